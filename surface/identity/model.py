"""The records of identity: users, sign-in codes, revocations."""

from __future__ import annotations

from dataclasses import dataclass, field

from nova.surface.identity.principal import UserId


@dataclass(frozen=True, slots=True)
class User:
    """A user of the embedded issuer.

    owner: the one whom the first sign-in URL of this server is for. created_at: unix seconds.
    """

    id: UserId
    name: str
    created_at: float
    owner: bool = False


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
