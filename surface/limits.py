"""The limits of the edge, from the settings: API requests, and wrong stream keys."""

from __future__ import annotations

from collections.abc import Hashable

from nova.core.addresses import Client
from nova.core.clock import Clock
from nova.core.errors import RateLimited
from nova.core.limits import Networks, RateLimit, address_key, parse_address
from nova.core.values import Rate


class ApiRates:
    """`limits.api_rate`: per user, or per address without one; exempt addresses are freed from both."""

    def __init__(self, rate: Rate, clock: Clock) -> None:
        self._limit: RateLimit[Hashable] = RateLimit(rate)
        self._clock = clock

    def check(self, user: str | None, client: Client) -> None:
        """Raises RateLimited."""
        if client.exempt:
            return
        key: Hashable = user
        if user is None:
            key = None if client.address is None else address_key(client.address)
        wait = self._limit.take(key, self._clock.monotonic())
        if wait:
            raise RateLimited(detail="Too many requests; the Retry-After header says when to go on.", retry_after=wait)


class KeyGuesses:
    """`limits.key_guesses`: wrong stream keys per address, over RTMP and the hooks together."""

    def __init__(self, rate: Rate, exempt: Networks, clock: Clock) -> None:
        self._limit: RateLimit[Hashable] = RateLimit(rate)
        self._exempt = exempt
        self._clock = clock

    def allowed(self, peer: str) -> bool:
        """Whether a key from this address is looked at at all."""
        key = self._key(peer)
        return key is None or self._limit.peek(key, self._clock.monotonic()) == 0

    def wrong(self, peer: str) -> None:
        """A key from this address was not right."""
        key = self._key(peer)
        if key is not None:
            self._limit.take(key, self._clock.monotonic())

    def _key(self, peer: str) -> Hashable | None:
        return counted_by(peer, self._exempt)


def counted_by(peer: str, exempt: Networks) -> Hashable | None:
    """What a peer's address is counted by; None: it is exempt."""
    address = parse_address(_host(peer))
    if address is None:
        return peer
    return None if address in exempt else address_key(address)


def _host(peer: str) -> str:
    """The address in `address`, `address:port` or `[address]:port`."""
    if peer.startswith("["):
        return peer[1:].partition("]")[0]
    return peer.rpartition(":")[0] if peer.count(":") == 1 else peer
