"""What the parts of one site stand on: its settings, what it keeps, its origins, its slots, and what they count."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import trio

from nova.cdn.cache import fields as f
from nova.cdn.cache.entry import Entry
from nova.cdn.cache.freshness import Rules, Verdict, judge
from nova.cdn.cache.keeper import Keeper
from nova.cdn.cache.tally import Tally
from nova.cdn.ports import FetchAnswer, Fetcher, FetchRequest, Fields
from nova.cdn.shield import unkeyed
from nova.cdn.shield.request import Incoming
from nova.cdn.shield.slots import Slots
from nova.core.clock import Clock
from nova.core.reactor import Feed
from nova.core.settings_table import CdnSite
from nova.ext import kept as k
from nova.ext.buffer import Buffer
from nova.ext.kept import Answer, variant_key

LONG: Final = 16_384  # bytes of a piece that connections share


class Compressor(Protocol):
    """Makes the compressed forms of what was kept."""

    def kept(self, site: int, key: bytes, fields: Fields, answer: Answer) -> None: ...


class Disk(Protocol):
    """The tier below memory."""

    def kept(self, site: str, key: bytes, entry: Entry, body: Sequence[Any]) -> None:
        """Bring a whole answer to disk, in the background."""

    def size(self, site: str, key: bytes) -> int:
        """Bytes of the answer under a key, 0: none is here."""

    async def find(self, site: str, key: bytes) -> tuple[Entry, list[Any]] | None: ...

    def varies(self, site: str, key: bytes) -> tuple[bytes, ...]:
        """The names of fields by which answers under a key differ."""

    def forget_object(self, site: str, key: bytes) -> None:
        """An object with all its variants is not there any more."""


@dataclass(slots=True)
class Counters:
    """Since the start; of what came up to trio. The I/O threads count the rest."""

    requests: int = 0
    fills: int = 0
    passed: int = 0
    validated: int = 0
    failed: int = 0
    stale: int = 0
    limited: int = 0
    hits: int = 0
    assets: int = 0  # requests that came through an asset's path: the I/O threads do not know whose they are
    bytes: int = 0


class Ground:
    """Arguments: see Site. nursery: of the site's fetches, None: it does not run. quiet: who waits for the end of the last fetch."""

    def __init__(
        self,
        number: int,
        config: CdnSite,
        fetcher: Fetcher,
        keeper: Keeper,
        clock: Clock,
        *,
        via: bytes,
        feed: Callable[[], Feed],
        compressor: Compressor | None,
        disk: Disk | None,
    ) -> None:
        self.number, self.config, self.fetcher, self.keeper = number, config, fetcher, keeper
        self.clock, self.via, self.feed = clock, via, feed
        self.compressor, self.disk = compressor, disk
        self.host_in_key = config.host == "client"
        # How the origins call this site when they are asked by their own names.
        self.own_hosts = () if self.host_in_key else tuple(urlsplit(each.url).netloc.lower().encode() for each in config.origins)
        self.rules = Rules(
            config.heuristic, config.heuristic_most, config.negative_ttl, config.stale_while_revalidate, config.stale_if_error
        )
        self.largest = min(config.max_object, keeper.capacity // 2)  # bytes of an object that is kept
        self.slots = Slots(config.fetch_slots, config.fetch_queue)
        self.counters = Counters()
        self.misses = Tally[bytes]()  # requests, hits, bytes
        self.quiet = trio.lowlevel.ParkingLot()
        self.nursery: trio.Nursery | None = None

    def judge(self, request: FetchRequest, answer_status: int, fields: Fields, requested_at: float, received_at: float) -> Verdict:
        """What is to become of an answer to `request`."""
        return judge(
            request.method, request.fields, answer_status, fields, requested_at=requested_at, received_at=received_at, rules=self.rules,
            request_counts=self.config.request_directives,
        )  # fmt: skip

    def judge_new(self, request: FetchRequest, answer: FetchAnswer, requested_at: float, received_at: float) -> Verdict:
        """What is to become of a whole answer, its size and what it varies with included."""
        if (answer.length or 0) > self.largest:
            return Verdict(False, "too_large")
        verdict = self.judge(request, answer.status, answer.fields, requested_at, received_at)
        if verdict.keep and (names := self.apart(request.key, request.fields, request.host)):
            verdict = replace(verdict, vary=(*verdict.vary, *(name for name in names if name not in verdict.vary)))
        if verdict.keep and verdict.vary:
            if varied(request.key, request, verdict.vary) is None:
                return Verdict(False, "vary_long")
            if b"accept-encoding" in verdict.vary and not f.takes_coding(request.fields, f.value(answer.fields, b"content-encoding")):
                return Verdict(False, "encoding")  # the key knows fewer codings than there are
        return verdict

    def apart(self, key: bytes, fields: Fields, host: bytes) -> list[bytes]:
        """The names of fields by which the answer to a request is kept apart though its origin may not say so."""
        known = self.keeper.table.find(self.number, key)
        names = known.lines.split() if known is not None and known.flags & k.VARY else ()
        return unkeyed.apart(fields, host.lower() if self.host_in_key else None, names)

    def passing(self, data: bytes) -> bytes | Buffer:
        """A piece of an answer that is not kept, in the form in which it counts until its client has it. A short one is copied into the
        connection at once."""
        if len(data) < LONG:
            return data
        piece = Buffer(data)
        self.keeper.hold(piece)
        return piece

    async def counted(self, incoming: Incoming, sending: Awaitable[int], *, hit: bool = False) -> None:
        """Count an answer of trio's, by its bytes."""
        size = await sending
        self.counters.bytes += size
        self.misses.add(incoming.key, len(incoming.key), 1, int(hit), size)


def varied(name: bytes, request: FetchRequest, names: Sequence[bytes]) -> bytes | None:
    """The key of an answer under `name` that differs by the fields `names`; None: this request says too much in them."""
    return variant_key(name, b"".join(b"%s\n" % each for each in names), list(request.fields))
