"""Which edges there are: each one tells the others of itself, and one that falls silent is away."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Final

import trio

from nova.core.bus import Bus
from nova.core.clock import Clock
from nova.core.errors import Unavailable
from nova.core.log import Log

TOPIC: Final = "cdn.edges"
EVERY: Final = 2.0  # seconds between two words of an edge
SILENT: Final = 7.0  # seconds after which it is away: three words were lost
MOST: Final = 1000  # edges that are remembered

_log = Log("nova.cdn.edges")


@dataclass(frozen=True, slots=True)
class Edge:
    """What an edge says of itself.

    load: of its fetch slots, 0 to 1. version: of its configuration, and since when (unix seconds). current: it has read the purge log.
    sites: versions of the sites that it serves. seen: unix seconds of its last word, by our clock.
    """

    name: str
    region: str
    url: str
    load: float
    well: bool
    current: bool
    version: str
    since: float
    sites: Mapping[str, str] = field(default_factory=dict)
    seen: float = 0.0


class Edges:
    """The edges as this one knows them.

    own: says how this edge is now. now: unix seconds.
    """

    def __init__(self, own: Callable[[], Edge], bus: Bus, clock: Clock) -> None:
        self._own, self._bus, self._clock = own, bus, clock
        self._heard: dict[str, tuple[Edge, float]] = {}

    def all(self) -> list[Edge]:
        """Those whose last word is recent, this one among them, by name."""
        own = replace(self._own(), seen=self._clock.wall())
        others = [self._heard[name][0] for name in self.names() if name != own.name]
        return sorted([own, *others], key=lambda edge: edge.name)

    def names(self) -> list[str]:
        """Of those that were heard lately; this one may be missing."""
        now = self._clock.monotonic()
        self._heard = {name: (edge, at) for name, (edge, at) in self._heard.items() if now - at <= SILENT}
        return list(self._heard)

    def hear(self, data: bytes) -> None:
        """Take an edge's word; what cannot be read is nobody's."""
        try:
            found = json.loads(data)
            edge = Edge(**{**found, "seen": self._clock.wall()})
        except (ValueError, TypeError):
            return
        if edge.name in self._heard or len(self._heard) < MOST:
            self._heard[edge.name] = edge, self._clock.monotonic()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tell and listen, until cancelled; a bus that is away is tried again."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            task_status.started()
            while True:
                try:
                    await self._bus.publish(TOPIC, json.dumps(asdict(self._own())).encode())
                except Unavailable as error:
                    _log.warning("edge_unheard", code=error.code)
                await trio.sleep(EVERY)

    async def _listen(self) -> None:
        while True:
            try:
                async with self._bus.subscribe([TOPIC]) as messages:
                    async for message in messages:
                        self.hear(message.data)
            except Unavailable:
                await trio.sleep(EVERY)
