"""The records of identity: users, sign-in codes, revocations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from nova.surface.identity.principal import UserId


class Place(NamedTuple):
    """Where a user stands among all of them, newest first. made_ms: unix milliseconds."""

    made_ms: int
    id: UserId

    @classmethod
    def parse(cls, text: str) -> Place:
        """Raises ValueError: not what `str` made."""
        made, separator, user = text.partition(".")
        if not separator or not made.isdecimal() or len(made) > 15:
            raise ValueError("not a place among users")
        return cls(int(made), UserId(user))

    def __str__(self) -> str:
        return f"{self.made_ms}.{self.id}"


@dataclass(frozen=True, slots=True)
class User:
    """A user of the embedded issuer.

    owner: the one whom the first sign-in URL of this server is for. created_at: unix seconds.
    """

    id: UserId
    name: str
    created_at: float
    owner: bool = False

    @property
    def place(self) -> Place:
        return Place(round(self.created_at * 1000), self.id)


@dataclass(frozen=True, slots=True)
class SignInCode:
    """A sign-in code without its text; digest: SHA-256 of it. expires_at: unix seconds."""

    digest: bytes = field(repr=False)
    user: UserId
    scopes: frozenset[str]
    expires_at: float


@dataclass(frozen=True, slots=True)
class Revocation:
    """What is refused: the token `jti`, or the tokens of `user` that were issued at `not_before_ms` or earlier.

    until: unix seconds; then everything that it could refuse has expired by itself.
    """

    until: float
    jti: str | None = None
    user: UserId | None = None
    not_before_ms: int = 0
