"""What the application needs from the rest of the surface and from core; the composition root wires it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from nova.core.addresses import Client
from nova.core.idempotency import Answer, Claim
from nova.surface.identity.principal import Principal


@dataclass(frozen=True, slots=True)
class Credentials:
    """Of a request, as far as they decide who asks.

    verified: what the reactor found out about the bearer token; None: nothing, look at `authorization`.
    """

    method: str
    host: str
    peer: str
    secure: bool
    origin: str = ""
    authorization: str = field(default="", repr=False)
    cookie: str = field(default="", repr=False)
    access_token: str = field(default="", repr=False)
    verified: object = field(default=None, repr=False)


class Gate(Protocol):
    """Tells who asks."""

    async def admit(self, credentials: Credentials) -> Principal | None:
        """None: no credential. Raises Unauthenticated: one that does not hold; Forbidden `bad_origin`."""


class RateLimiter(Protocol):
    """How often one user, or one address without a user, may ask."""

    def check(self, user: str | None, client: Client) -> None:
        """Raises RateLimited."""


class Replays(Protocol):
    """Answers kept for a repeated Idempotency-Key."""

    async def once(
        self,
        user: str,
        route: str,
        key: str,
        request: bytes,
        work: Callable[[Claim], Awaitable[Answer]],
        *,
        content: Callable[[], Awaitable[bytes]] | None = None,
    ) -> tuple[Answer, bool]:
        """See core.idempotency.Idempotency."""


class KeyGuesses(Protocol):
    """Counts wrong stream keys per address."""

    def allowed(self, peer: str) -> bool: ...
    def wrong(self, peer: str) -> None: ...


Observe = Callable[[str, int, float], None]  # route name, status, seconds
