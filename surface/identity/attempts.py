"""`limits.sign_in_attempts`: sign-in codes per address that were not right. Counts failures only: who has a code is let in."""

from __future__ import annotations

from nova.core.clock import Clock
from nova.core.errors import RateLimited
from nova.core.limits import Networks, RateLimit, address_key, parse_address
from nova.core.values import Rate


class Attempts:
    """exempt: the networks of `limits.exempt`."""

    def __init__(self, rate: Rate, exempt: Networks, clock: Clock) -> None:
        self._limit: RateLimit[tuple[int, int] | None] = RateLimit(rate)
        self._exempt, self._clock = exempt, clock

    def check(self, peer: str) -> None:
        """Raises RateLimited: this address gave too many wrong codes."""
        counted, key = self._key(peer)
        wait = self._limit.peek(key, self._clock.monotonic()) if counted else 0.0
        if wait:
            raise RateLimited("rate_limited", "too many wrong sign-in codes from this address", retry_after=wait)

    def wrong(self, peer: str) -> None:
        """A code from this address was not right."""
        counted, key = self._key(peer)
        if counted:
            self._limit.take(key, self._clock.monotonic())

    def _key(self, peer: str) -> tuple[bool, tuple[int, int] | None]:
        """Whether the address is counted, and by what; peers without an address are counted together."""
        address = parse_address(peer)
        if address is None:
            return True, None
        return address not in self._exempt, address_key(address)
