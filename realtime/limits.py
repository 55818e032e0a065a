"""How often one may publish, subscribe and come. Machines: `now` comes in (monotonic seconds).

What protects a node (of an address, commands, connections) each node counts for itself. What protects a channel is counted once for all
nodes: by the node that keeps the stream, or by the bus with the publication that it numbers.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import Final

from nova.core.bus import Quota
from nova.core.errors import RateLimited
from nova.core.limits import Networks, RateLimit, address_key, parse_address
from nova.core.values import Rate
from nova.realtime.rules import Namespace

_OF_SENDER: Final = "messages of one sender to this channel"
_OF_ALL: Final = "messages to this channel"


class ChannelRates:
    """Rates of the rules."""

    def __init__(self) -> None:
        self._by_sender: dict[Rate, RateLimit[tuple[str, str]]] = {}
        self._by_channel: dict[Rate, RateLimit[str]] = {}

    def take(self, space: Namespace, channel: str, sender: str, now: float) -> None:
        """A publication of `sender` to `channel`. Raises RateLimited: one of them is above its rate."""
        if space.rate is not None:
            of_sender = self._by_sender.setdefault(space.rate, RateLimit(space.rate))
            _admit(of_sender.take((channel, sender), now), _OF_SENDER)
        if space.channel_rate is not None:
            of_all = self._by_channel.setdefault(space.channel_rate, RateLimit(space.channel_rate))
            _admit(of_all.take(channel, now), _OF_ALL)


def quotas_of(space: Namespace, sender: str) -> list[Quota]:
    """The same, for the bus to count."""
    found = [] if space.rate is None else [Quota(f"s{sender}", space.rate, _OF_SENDER)]
    return found if space.channel_rate is None else [*found, Quota("", space.channel_rate, _OF_ALL)]


class Limits:
    """Rates of commands.

    address_rate: publishes of one address to everything. command_rate: of one user, or of an address without one, all commands
    but pings together. exempt: addresses freed from the limits by address.
    """

    def __init__(self, address_rate: Rate, command_rate: Rate, exempt: Networks) -> None:
        self._addresses: RateLimit[Hashable] = RateLimit(address_rate)
        self._commands: RateLimit[Hashable] = RateLimit(command_rate)
        self._channels = ChannelRates()
        self._exempt = exempt
        self._address = lru_cache(maxsize=8192)(self._look)  # a text costs 30 times as much to read as to find

    def command(self, user: str | None, peer: str, now: float) -> None:
        """Raises RateLimited."""
        key = self._who(user, peer)
        if key is not None:
            _admit(self._commands.take(key, now), "commands")

    def publish(self, space: Namespace, channel: str, sender: str, peer: str, now: float) -> None:
        """Raises RateLimited: the sender, the address or the channel is above its rate, by what came here."""
        address = self._address(peer)
        if address is not None:
            _admit(self._addresses.take(address, now), "messages from this address")
        self._channels.take(space, channel, sender, now)

    def _who(self, user: str | None, peer: str) -> Hashable:
        """None: nothing counts."""
        address = self._address(peer)
        return None if address is None else user if user is not None else address

    def _look(self, peer: str) -> Hashable:
        address = parse_address(peer)
        if address is None:
            return peer or None
        return None if address in self._exempt else address_key(address)


def _admit(wait: float, what: str) -> None:
    if wait:
        raise RateLimited("rate_limited", f"too many {what}", retry_after=wait)


class Admission:
    """How many connections come in a second: those above it are told when to come again, so that a storm becomes a queue.

    exempt: addresses that are not counted. refused: how many were told so.
    """

    def __init__(self, rate: Rate, exempt: Networks) -> None:
        self._limit: RateLimit[str] = RateLimit(rate, entries=1)
        self._exempt = exempt
        self.refused = 0

    def admit(self, peer: str, now: float) -> float:
        """0: come in; else after how many seconds."""
        address = parse_address(peer)
        if address is not None and address in self._exempt:
            return 0.0
        wait = self._limit.take("", now)
        self.refused += wait > 0
        return wait
