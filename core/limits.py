"""Rates and counts per address or user, in tables that cannot grow without bound.

Machines: `now` comes in (monotonic seconds), nothing is awaited. A bucket is one number, its "theoretical arrival time" (the
generic cell rate algorithm, ITU-T I.371): the moment at which it is full again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Generic, TypeVar

from nova.core.values import Cidr, Rate

K = TypeVar("K", bound=Hashable)
IpAddress = IPv4Address | IPv6Address

ENTRIES: Final = 65536  # keys of a table; about 10 MB, and more addresses than one machine serves in the time of a refill
_ROUNDING: Final = 1e-6  # seconds: what floats lose over a burst, months after the start, must not refuse its last token
_HOST_BITS: Final = 64  # of an IPv6 address; a customer gets at least the network above them, and may use all of it


def parse_address(text: str) -> IpAddress | None:
    """The address in `text` (a zone is dropped), IPv4-mapped ones as IPv4; None when there is none."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def address_key(address: IpAddress) -> tuple[int, int]:
    """What limits count an address by: the whole of IPv4, the /64 of IPv6."""
    if isinstance(address, IPv6Address):
        return 6, int(address) >> _HOST_BITS
    return 4, int(address)


class Networks:
    """A list of networks that answers quickly whether an address is in it."""

    def __init__(self, networks: Iterable[Cidr]) -> None:
        self._networks = tuple(networks)
        self._known = lru_cache(maxsize=4096)(self._look)

    def __contains__(self, address: IpAddress) -> bool:
        return self._known(address)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def _look(self, address: IpAddress) -> bool:
        return any(address in network for network in self._networks if network.version == address.version)


class RateLimit(Generic[K]):
    """A token bucket per key: `rate.events` at once, refilled evenly over `rate.per`.

    entries: keys remembered. One more forgets the key that asked longest ago; it was probably full again, and `forgiven`
    counts those that were not.
    """

    def __init__(self, rate: Rate, *, entries: int = ENTRIES) -> None:
        """Raises ValueError: a rate of nothing."""
        if rate.events < 1 or rate.per <= 0:
            raise ValueError(f"not a rate: {rate}")
        self._cost = rate.per / rate.events
        self._burst = rate.per
        self._entries = entries
        self._full_at: OrderedDict[K, float] = OrderedDict()
        self.forgiven = 0

    def take(self, key: K, now: float, count: int = 1) -> float:
        """0 when `count` are admitted; else nothing is taken, and the answer is after how many seconds to try again.

        More than the burst is never admitted: the answer is then the time of a whole refill.
        """
        table = self._full_at
        at = max(table.get(key, now), now)
        after = at + count * self._cost
        wait = after - now - self._burst
        if wait > _ROUNDING:
            if key in table:
                table.move_to_end(key)
            return min(wait, self._burst)
        table[key] = after
        table.move_to_end(key)
        if len(table) > self._entries:
            _, full_at = table.popitem(last=False)
            self.forgiven += full_at > now
        return 0.0

    def peek(self, key: K, now: float) -> float:
        """As `take` of one, without taking it: for limits on failures, which are only known later."""
        wait = max(self._full_at.get(key, now), now) + self._cost - now - self._burst
        return wait if wait > _ROUNDING else 0.0

    def sweep(self, now: float, count: int = 256) -> None:
        """Drop up to `count` of the oldest keys that are full again. Called now and then, it keeps an idle table small."""
        table = self._full_at
        for _ in range(min(count, len(table))):
            key = next(iter(table))
            if table[key] > now:
                return
            del table[key]

    def __len__(self) -> int:
        return len(self._full_at)


class CountLimit(Generic[K]):
    """At most `each` things at once per key, and `total` together. The table holds what is open, so it is bounded by `total`."""

    def __init__(self, each: int, total: int) -> None:
        self._each = each
        self._total = total
        self._open: dict[K, int] = {}
        self.count = 0

    def enter(self, key: K, *, exempt: bool = False) -> bool:
        """Count one more; False when there is no room. exempt: from the limit per key, not from the total."""
        held = self._open.get(key, 0)
        if self.count >= self._total or (held >= self._each and not exempt):
            return False
        self._open[key] = held + 1
        self.count += 1
        return True

    def leave(self, key: K) -> None:
        """Undo one `enter` that was admitted."""
        held = self._open[key] - 1
        if held:
            self._open[key] = held
        else:
            del self._open[key]
        self.count -= 1

    def held(self, key: K) -> int:
        return self._open.get(key, 0)
