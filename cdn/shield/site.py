"""One site: its requests that are not hot, one fetch for an object however many ask, and what its answers become (RFC 9111, RFC 5861).

The I/O threads send up the leader of an object that is not here, while the others wait on its entry; whatever comes of the fetch, the
key is settled, and all of them look again at once. A fetch belongs to the site, not to the client that began it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import trio

from nova.cdn.cache import fields as f
from nova.cdn.cache import ranges, validation
from nova.cdn.cache import status as cache_status
from nova.cdn.cache.entry import TAG_FIELDS, Entry, assemble, make, tags_of
from nova.cdn.cache.freshness import Rules, Verdict, judge, wish
from nova.cdn.cache.keeper import Keeper, primary
from nova.cdn.cache.ranges import Span
from nova.cdn.errors import OriginBroken, OriginError
from nova.cdn.origins import checked
from nova.cdn.ports import Admission, FetchAnswer, Fetcher, FetchRequest, Fields, Informational, Refusal, Warmed
from nova.cdn.shield import live, reply, sliced
from nova.cdn.shield.backoff import Backoff
from nova.cdn.shield.fill import Fill
from nova.cdn.shield.request import SAFE, Incoming, Receive, Scope, Send, read
from nova.cdn.shield.slots import Slots
from nova.core.clock import Clock
from nova.core.errors import BadGateway, MethodNotAllowed, NovaError, RateLimited, of
from nova.core.guard import guarded
from nova.core.limits import RateLimit
from nova.core.log import Log
from nova.core.reactor import Feed
from nova.core.reactor.exchange import ClientDisconnected
from nova.core.reactor.refusal import refusal
from nova.core.settings_table import CdnSite
from nova.ext import kept as k
from nova.ext.kept import Answer, variant_key

PASS_TIME: Final = 60.0  # seconds for which an object that may not be kept goes to the origin request by request
_MISSES: Final = 100_000  # objects whose misses are counted until somebody looks
FAILING: Final = frozenset((500, 502, 503, 504))
CONDITIONAL: Final = frozenset((206, 304, 412, 416))  # statuses that say something of the request more than of the object
_log = Log("nova.cdn")


class Compressor(Protocol):
    """Makes the compressed forms of what was kept."""

    def kept(self, site: int, key: bytes, fields: Fields, answer: Answer) -> None: ...


class Disk(Protocol):
    """The tier below memory."""

    def kept(self, site: str, key: bytes, entry: Entry, body: Sequence[Any]) -> None:
        """Bring a whole answer to disk, in the background."""

    async def find(self, site: str, key: bytes) -> tuple[Entry, list[Any]] | None: ...

    def varies(self, site: str, key: bytes) -> tuple[bytes, ...]:
        """The names of fields by which answers under a key differ."""

    def forget_object(self, site: str, key: bytes) -> None:
        """An object with all its variants is not there any more."""


@dataclass(slots=True)
class Outcome:
    """What has become of a fetch: `entry` and `fill` (it grows), `answer` (kept, whole), `error`, or `head` and `pieces`: not to be shared,
    its client's own."""

    key: bytes  # under which others wait for it; moves when the answer turns out to vary
    old: Answer | None  # what is kept and stale
    known: trio.Event = field(default_factory=trio.Event)
    answer: Answer | None = None
    fill: Fill | None = None
    error: NovaError | None = None
    shared: bool = False
    head: tuple[int, bytes, Fields, int | None] | None = None  # of what is not shared
    pieces: trio.MemoryReceiveChannel[bytes] | None = None
    status: bytes = b""  # Cache-Status
    entry: Entry | None = None
    why: cache_status.Forward = "uri-miss"


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


class Site:
    """number: in the reactor. via: the name of this node in Via. feed: makes a sequence that connections can follow. counted_by: what
    a client's address is counted by for `client_rate`, None: it is exempt."""

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
        compressor: Compressor | None = None,
        disk: Disk | None = None,
        admission: Admission | None = None,
        counted_by: Callable[[str], Hashable | None] = lambda peer: peer,
    ) -> None:
        self.number, self.config, self.fetcher, self.keeper = number, config, fetcher, keeper
        self.counters = Counters()
        self._clock, self._via, self._feed = clock, via, feed
        self._compressor, self._disk, self._admission = compressor, disk, admission
        self._prefix = (config.prefix or "").encode()
        self.host_in_key = config.host == "client"
        self._rules = Rules(
            config.heuristic, config.heuristic_most, config.negative_ttl, config.stale_while_revalidate, config.stale_if_error
        )
        self.slots = Slots(config.fetch_slots, config.fetch_queue)
        self._backoff = Backoff(config.negative_backoff, config.negative_backoff_most)
        self._counted_by = counted_by
        self._rates: RateLimit[Hashable] | None = None if config.client_rate is None else RateLimit(config.client_rate)
        self._jobs: dict[bytes, Outcome] = {}
        self._doomed: set[int] = set()  # ids of outcomes that a purge has overtaken
        self._windows = live.Windows()
        self._slices: dict[bytes, sliced.SliceJob] = {}
        self._misses: dict[bytes, tuple[int, int, int]] = {}
        self._quiet = trio.lowlevel.ParkingLot()  # who waits for the end of the last fetch
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The fetches and the origins' upkeep; until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                await nursery.start(self.fetcher.run)
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._nursery = None

    # -- what the reactor and other protocols call -----------------------------------------------------------------------

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        incoming = read(scope, prefix=self._prefix, host_in_key=self.host_in_key)
        self.counters.requests += 1
        self.counters.assets += incoming.admitted
        sending = reply.Sending(send)
        try:
            await self._serve(incoming, receive, sending)
        except NovaError as error:
            if not sending.started:  # else the answer ends where it broke: whoever called us closes visibly
                await reply.refuse(send, error, incoming)
        except ClientDisconnected:
            pass  # its own doing
        finally:
            if incoming.lead is not None and incoming.lead not in self._jobs:
                self.keeper.table.settle(self.number, incoming.lead)
            self._quiet.unpark_all()

    def stale(self, key: bytes) -> None:
        """The answer under this key was served stale: fetch a new one, unless the origin is left alone with it."""
        now = self._clock.wall()
        nursery = self._nursery
        found = self.keeper.table.find(self.number, key)
        left = self._backoff.left(key, now)
        if nursery is None or found is None or key in self._jobs:
            self.keeper.table.settle(self.number, key)
        elif left:
            nursery.start_soon(self._settle_after, key, left)
        else:
            self._start(key, self._background(key, found), found, leads=True)

    async def idle(self) -> None:
        """Returns when no fetch is under way."""
        while self._jobs or self.slots.busy:
            await self._quiet.park()

    def own_host(self) -> bytes:
        """The Host for requests that nobody sent: that of the first origin."""
        return urlsplit(self.config.origins[0].url).netloc.encode()

    def drain_misses(self) -> dict[bytes, tuple[int, int, int]]:
        """(requests, hits, bytes) by object of what came up, since the last call."""
        found, self._misses = self._misses, {}
        return found

    async def prewarm(self, target: bytes, host: bytes) -> Warmed:
        """Fetch an object as a client's request would."""
        key = (host.lower() if self.host_in_key else b"") + target
        request = FetchRequest("GET", target, host, [(b"via", b"1.1 " + self._via)], key=key)
        name, found = self.keeper.find(self.number, key, [])
        if found is not None and not found.flags & k.PASS and found.fresh_until > self._clock.wall():
            return Warmed(found.status, max(found.total, 0), True)
        outcome = self._jobs.get(name or key)
        if outcome is None:
            self.keeper.table.lead(self.number, key)
            outcome = self._start(key, request, None, leads=True)
        await outcome.known.wait()
        if outcome.error is not None:
            raise outcome.error
        if outcome.answer is None and outcome.fill is None:
            status = outcome.head[0] if outcome.head is not None else 502
            size = 0
            if outcome.pieces is not None:
                async for piece in outcome.pieces:
                    size += len(piece)
            return Warmed(status, size, False)
        if outcome.fill is not None and outcome.entry is not None:
            async for _ in outcome.fill.read():
                pass
            return Warmed(outcome.entry.status, outcome.fill.size, not outcome.fill.failed)
        assert outcome.answer is not None
        return Warmed(outcome.answer.status, max(outcome.answer.total, 0), True)

    def doom(self, match: Callable[[bytes, tuple[bytes, ...]], bool]) -> int:
        """Fetches under way whose key and tags match will not be kept; who asks from now on begins a new one."""
        count = 0
        for key, outcome in list(self._jobs.items()):
            if match(primary(key), outcome.entry.tags if outcome.entry is not None else ()):
                self._doomed.add(id(outcome))
                del self._jobs[key]
                self.keeper.drop(self.number, key)
                self.keeper.table.settle(self.number, key)
                count += 1
        return count

    # -- serving ---------------------------------------------------------------------------------------------------------

    async def _serve(self, incoming: Incoming, receive: Receive, send: Send) -> None:
        if incoming.method == "CONNECT":
            raise MethodNotAllowed(detail="this is no tunnel")
        if f.has_looped(incoming.fields, self._via):
            raise BadGateway("loop", "the request has been here before: an origin leads back to this server")
        who = None if self._rates is None else self._counted_by(incoming.peer)
        if self._rates is not None and who is not None and (wait := self._rates.take(who, self._clock.monotonic())) > 0:
            self.counters.limited += 1
            raise RateLimited(detail="too many requests from this address", retry_after=wait)
        if self._admission is not None and not incoming.admitted:
            admitted = await self._admission.admit(
                incoming.target, incoming.fields, incoming.peer, host=incoming.host, secure=incoming.secure
            )
            if isinstance(admitted, Refusal):
                raise of(admitted.code, admitted.detail)
            incoming.key = incoming.key[: len(incoming.key) - len(incoming.target)] + admitted
            incoming.target = admitted
        if incoming.method not in ("GET", "HEAD") or incoming.has_body or incoming.upgrade is not None:
            await self._pass(incoming, receive, send, "method" if incoming.method not in ("GET", "HEAD") else "bypass")
            return
        await self._serve_object(incoming, receive, send)

    async def _serve_object(self, incoming: Incoming, receive: Receive, send: Send) -> None:
        now = self._clock.wall()
        wanted = wish(incoming.fields) if self.config.request_directives else None
        name, found = self.keeper.find(self.number, incoming.key, incoming.fields)
        if incoming.lead is not None and incoming.lead != name:
            self.keeper.table.settle(self.number, incoming.lead)  # what it varies with has changed meanwhile
            incoming.lead = None
        passes = found is not None and bool(found.flags & k.PASS) and found.fresh_until > now
        if found is not None and found.flags & (k.PASS | k.PIECE):
            found = None
        job = self._jobs.get(name) if name is not None else None
        if found is not None and found.growing and job is None:
            found = None  # a fetch of the site as it was before its rules changed: it serves its own
        if found is not None and self._usable(found, now, wanted):
            await self._send_kept(incoming, send, found, job)
            return
        if wanted is not None and wanted.only_if_cached:
            raise of("not_in_cache", "only-if-cached was asked for")
        if name is None or incoming.method == "HEAD" or f.value(incoming.fields, b"authorization") is not None:
            await self._pass(incoming, receive, send, "uri-miss" if found is None else "stale", old=found, name=name)
            return
        if passes and incoming.lead is None and job is None:
            await self._pass(incoming, receive, send, "uri-miss", name=name, marked=True)
            return
        if f.value(incoming.fields, b"range") is not None and incoming.lead is None:
            if not await self._from_growing(incoming, send, name) and not (found is None and await self._from_slices(incoming, send, name)):
                await self._pass(incoming, receive, send, "uri-miss" if found is None else "stale", old=found, name=name)
            return
        if (outcome := self._jobs.get(name)) is not None and incoming.lead is None and (wanted is None or not wanted.no_cache):
            await outcome.known.wait()
            if (outcome.answer is not None or outcome.fill is not None) and not (
                outcome.entry is not None and outcome.entry.flags & k.ALWAYS
            ):
                await self._send_outcome(incoming, send, outcome, collapsed=True)
                return
            if outcome.error is not None:
                raise outcome.error
        request = self._outgoing(incoming, found)
        leads = incoming.lead is not None
        always = found is not None and bool(found.flags & k.ALWAYS)
        if not leads and not always and name not in self._jobs:
            passed = self.keeper.table.find(self.number, name)
            if passed is None or not passed.flags & k.PASS or passed.fresh_until <= now:
                leads = self.keeper.table.lead(self.number, name)
        outcome = self._start(name, request, found, leads=leads, informational=reply.early(send, incoming))
        await outcome.known.wait()
        await self._send_outcome(incoming, send, outcome)

    def _usable(self, found: Answer, now: float, wanted: Any) -> bool:
        if found.growing:
            return not found.flags & k.ALWAYS and (wanted is None or not wanted.no_cache)
        if found.flags & k.ALWAYS:
            return False
        if wanted is None:
            return now < found.fresh_until
        return bool(wanted.takes(now, found.born, found.fresh_until, found.error_until <= found.fresh_until))

    async def _from_growing(self, incoming: Incoming, send: Send, name: bytes) -> bool:
        """A range of an object that is being fetched: from there, when its length is known."""
        outcome = self._jobs.get(name)
        if outcome is None or outcome.fill is None or outcome.entry is None or outcome.fill.total is None:
            return False
        return await reply.send_growing_range(send, incoming, outcome.entry, outcome.fill, outcome.status, self._clock.wall())

    # -- slices ----------------------------------------------------------------------------------------------------------

    async def _from_slices(self, incoming: Incoming, send: Send, name: bytes) -> bool:
        """A range of an object that is not here, from slices of it. False: the origin does not give any, or the range does not suit."""
        size = self.config.slice_size
        now = self._clock.wall()
        wanted = sliced.suits(f.value(incoming.fields, b"range") or b"", size)
        if wanted is None or b"\0" in name or incoming.method != "GET":
            return False
        number = wanted[0] // size
        part, stored = await self._slice(incoming, name, number)
        if part is None:
            return False
        if validation.precondition(incoming.fields, part.etag, part.modified, now) != 200:
            return False
        if not validation.range_applies(incoming.fields, part.etag, part.modified, now):
            return False
        span = Span(wanted[0], part.total - 1 if wanted[1] is None else min(wanted[1], part.total - 1))
        line = cache_status.hit(0) if stored else cache_status.forwarded("partial", stored=True)
        fields = reply.finish(incoming, [*part.fields, (b"age", b"%d" % max(0, int(now) - part.born))], line)
        fields += [
            (b"content-range", b"bytes %d-%d/%d" % (span.first, span.last, part.total)),
            (b"content-length", b"%d" % span.size),
        ]
        await send({"type": "http.response.start", "status": 206, "headers": fields})
        for at in ranges.slices(span, size):
            other = part if at == number else (await self._slice(incoming, name, at))[0]
            if other is None or (other.etag, other.total) != (part.etag, part.total):
                self.keeper.drop_object(self.number, name, soft=False, now=now)
                raise OriginError("origin_broken", "the object has changed between two of its slices")
            for piece in sliced.cut(other, at, size, span):
                self.counters.bytes += len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return True

    async def _slice(self, incoming: Incoming, name: bytes, number: int) -> tuple[sliced.Slice | None, bool]:
        """(slice `number`, whether it was here). One fetch a slice, however many ask."""
        key = sliced.slice_key(name, number)
        kept = self.keeper.table.find(self.number, key, hit=True)
        if kept is not None and kept.fresh_until > self._clock.wall() and (part := sliced.of(kept)) is not None:
            return part, True
        job = self._slices.get(key)
        if job is None:
            if self._nursery is None:
                raise of("shutting_down", "this site is being closed")
            job = self._slices[key] = sliced.SliceJob(trio.Event())
            first = number * self.config.slice_size
            request = self._outgoing(incoming, None)
            span = (b"range", b"bytes=%d-%d" % (first, first + self.config.slice_size - 1))
            self._nursery.start_soon(self._fetch_slice, key, replace(request, fields=[*request.fields, span]), number, job)
        await job.done.wait()
        if job.error is not None:
            raise job.error
        return job.part, False

    async def _fetch_slice(self, key: bytes, request: FetchRequest, number: int, job: sliced.SliceJob) -> None:
        with guarded(_log):
            try:
                async with self.slots.slot():
                    requested_at = self._clock.wall()
                    async with self.fetcher.fetch(request) as answer:
                        received_at = self._clock.wall()
                        total = sliced.given(answer.status, answer.fields, number, self.config.slice_size, answer.length)
                        verdict = self._judge(request, 200, answer.fields, requested_at, received_at)
                        if total is None or not verdict.keep or verdict.asked or verdict.vary:
                            return
                        digests = checked.said(answer.fields, part=True)
                        fill = Fill(self._feed(), answer.length)
                        while data := await answer.read():
                            if digests is not None:
                                digests.feed(data)
                            fill.append(data)
                        if digests is not None and not digests.fit():
                            raise OriginBroken("the slice is not what its digest says")
                        fill.end()
                entry = make(206, b"", answer.fields, verdict, received_at=received_at, total=fill.size, via=self._via)
                self.counters.fills += 1
                body = fill.body()
                self.keeper.keep(self.number, key, entry, body, flags=k.PIECE)
                lines = entry.head[entry.line_size : entry.fields_size]
                job.part = sliced.Slice(lines, entry.etag, entry.modified, entry.born, total, body)
            except OriginError as error:
                job.error = error
            finally:
                del self._slices[key]
                job.done.set()
                self._quiet.unpark_all()

    def _outgoing(self, incoming: Incoming, old: Answer | None) -> FetchRequest:
        """A GET for the whole object: the client's conditions and ranges are answered here."""
        fields = self._cleaned(incoming, validation.without_conditions(incoming.fields))
        if old is not None:
            fields += validation.conditions(list(f.split_lines(old.lines)))
        return FetchRequest("GET", incoming.target, incoming.host, fields, key=incoming.key)

    def _cleaned(self, incoming: Incoming, fields: Fields) -> list[tuple[bytes, bytes]]:
        gone = {b"host", b"content-length", b"expect"} | ({b"cookie"} if incoming.guarded else set())
        connection = [field for field in incoming.fields if field[0] == b"connection"]
        found = f.end_to_end([*fields, *(field for field in connection if field not in fields)], gone)
        return f.with_via(found, incoming.minor, self._via)

    def _background(self, key: bytes, old: Answer) -> FetchRequest:
        """The request that looks after a stale object: as its variant was asked for."""
        name = primary(key)
        host, slash, rest = name.partition(b"/")
        fields: list[tuple[bytes, bytes]] = [(b"via", b"1.1 " + self._via)]
        varies = self.keeper.table.find(self.number, name)
        if varies is not None and varies.flags & k.VARY and b"\0" in key:
            for field_name, value in zip(varies.lines.split(b"\n"), key.partition(b"\0")[2].split(b"\n"), strict=False):
                if field_name == b"accept-encoding":
                    bits = value[0] - 48 if value else 0
                    value = b", ".join(coding for bit, coding in ((1, b"gzip"), (2, b"br"), (4, b"zstd")) if bits & bit) or b"identity"
                if field_name and value != b"\x01":
                    fields.append((field_name, value))
        fields += validation.conditions(list(f.split_lines(old.lines)))
        return FetchRequest("GET", slash + rest if self.host_in_key else name, host if self.host_in_key else b"", fields, key=name)

    # -- fetching --------------------------------------------------------------------------------------------------------

    def _start(
        self, key: bytes, request: FetchRequest, old: Answer | None, *, leads: bool, informational: Informational | None = None
    ) -> Outcome:
        """informational: tells the client who began it of 1xx answers; those who wait with it are told of none."""
        outcome = Outcome(key, old, why="uri-miss" if old is None else "stale")
        if self._nursery is None:
            outcome.error = of("shutting_down", "this site is being closed")
            outcome.known.set()
            if leads:
                self.keeper.table.settle(self.number, key)
            return outcome
        if leads:
            self._jobs[key] = outcome
        self._nursery.start_soon(self._fetch, request, outcome, leads, informational)
        return outcome

    async def _fetch(self, request: FetchRequest, outcome: Outcome, leads: bool, informational: Informational | None) -> None:
        with guarded(_log) as failed:
            try:
                await self._fetch_once(request, outcome, leads, informational)
            except OriginError as error:
                self._failed(outcome, leads, error)
            finally:
                self._finish(outcome)
        if failed and not outcome.known.is_set():
            outcome.error = of("internal")
            outcome.known.set()

    def _finish(self, outcome: Outcome) -> None:
        key = outcome.key
        if outcome.fill is not None:
            outcome.fill.broken()  # nothing, when it has its end
        if self._jobs.get(key) is outcome:
            del self._jobs[key]
            if outcome.fill is not None and outcome.fill.failed:
                self.keeper.drop(self.number, key)
            self.keeper.table.settle(self.number, key)
        self._doomed.discard(id(outcome))
        self._quiet.unpark_all()
        if not outcome.known.is_set():
            if outcome.error is None and outcome.answer is None and outcome.head is None:
                outcome.error = of("shutting_down", "this site is being closed")
            outcome.known.set()

    async def _fetch_once(self, request: FetchRequest, outcome: Outcome, leads: bool, informational: Informational | None) -> None:
        old = outcome.old
        if old is None and leads:
            old = outcome.old = await self._from_disk(request, outcome)
            if outcome.known.is_set():
                return
            if old is not None:
                outcome.why = "stale"
                request = replace(request, fields=[*request.fields, *validation.conditions(list(f.split_lines(old.lines)))])
        key = outcome.key
        async with self.slots.slot():
            requested_at = self._clock.wall()
            async with self.fetcher.fetch(request, informational=informational) as answer:
                received_at = self._clock.wall()
                if answer.status == 304 and old is not None:
                    if self._confirmed(key, request, old, answer, outcome, requested_at, received_at):
                        return
                elif answer.status in FAILING and old is not None and old.error_until > received_at:
                    self._stand_in(key, old, outcome, leads, answer.status)
                    return
                else:
                    await self._take(key, request, answer, outcome, leads, requested_at, received_at)
                    return
            # A 304 about something else (RFC 9111, 4.3.4): the whole, then.
            whole = replace(request, fields=validation.without_conditions(request.fields))
            requested_at = self._clock.wall()
            async with self.fetcher.fetch(whole) as answer:
                await self._take(key, whole, answer, outcome, leads, requested_at, self._clock.wall())

    def _judge(self, request: FetchRequest, answer_status: int, fields: Fields, requested_at: float, received_at: float) -> Verdict:
        return judge(
            request.method, request.fields, answer_status, fields, requested_at=requested_at, received_at=received_at, rules=self._rules,
            request_counts=self.config.request_directives,
        )  # fmt: skip

    def _judge_new(self, request: FetchRequest, answer: FetchAnswer, requested_at: float, received_at: float) -> Verdict:
        """What is to become of a whole answer, its size included."""
        length = answer.length or 0
        if self.keeper.growing + length > self.keeper.capacity:
            return Verdict(False, "memory")  # bodies under way take all that there is: this one goes by
        if length > min(self.config.max_object, self.keeper.capacity // 2):
            return Verdict(False, "too_large")
        return self._judge(request, answer.status, answer.fields, requested_at, received_at)

    def _confirmed(
        self, key: bytes, request: FetchRequest, old: Answer, answer: FetchAnswer, outcome: Outcome, requested_at: float, received_at: float
    ) -> bool:
        """304: the kept body under a new head."""
        kept = list(f.split_lines(old.lines))
        if not validation.confirms(kept, answer.fields):
            return False
        found = validation.freshened(kept, [field for field in answer.fields if field[0] not in TAG_FIELDS and field[0] != b"via"])
        dated = f.value(answer.fields, b"date") is not None
        timed = found if dated else [field for field in found if field[0] != b"date"]
        if (age := f.value(answer.fields, b"age")) is not None:
            timed = [*timed, (b"age", age)]
        verdict = self._judge(request, old.status, timed, requested_at, received_at)
        if not dated:
            found = assemble_date(found, received_at)
        tags = tags_of(answer.fields) or self.keeper.tags_of(self.number, key)
        reason = old.status_line[13:-2]
        entry = assemble(old.status, reason, found, verdict, received_at=received_at, total=old.total, tags=tags)
        self.counters.validated += 1
        self._backoff.worked(key)
        if verdict.keep and id(outcome) not in self._doomed:
            body = old.body()
            alternates = [(i, old.alternate(i)) for i in range(3) if old.encodings >> i & 1]
            self.keeper.keep(self.number, key, entry, body)
            outcome.answer = self.keeper.table.find(self.number, key) or old
            if self._compressor is not None and alternates:
                self._compressor.kept(self.number, key, found, outcome.answer)
            if self._disk is not None:
                self._disk.kept(self.config.name, key, entry, body)
        else:
            self.keeper.drop(self.number, key)
            outcome.answer = old
        outcome.entry = entry
        outcome.status = cache_status.forwarded("stale", status=304, stored=verdict.keep)
        outcome.known.set()
        return True

    def _stand_in(self, key: bytes, old: Answer, outcome: Outcome, leads: bool, status: int | None) -> None:
        """The origin fails: the stale answer instead, for a while without asking again (RFC 5861, 4)."""
        now = self._clock.wall()
        seconds = self._backoff.failed(key, now)
        self.counters.stale += 1
        if leads and id(outcome) not in self._doomed:
            entry = entry_of(old, stale_until=min(old.error_until, int(now + seconds + 1)))
            self.keeper.keep(self.number, key, replace(entry, tags=self.keeper.tags_of(self.number, key)), old.body())
        outcome.answer = old
        outcome.status = cache_status.stale(old.fresh_until - now, asked=True, status=status, detail="stale-if-error")
        outcome.known.set()

    def _failed(self, outcome: Outcome, leads: bool, error: OriginError) -> None:
        """Nobody answered, or the answer broke off."""
        key, old = outcome.key, outcome.old
        now = self._clock.wall()
        self.counters.failed += 1
        if outcome.known.is_set():
            return  # readers have seen a part of it; they see the end
        if old is not None and old.error_until > now and not old.growing:
            self._stand_in(key, old, outcome, leads, None)
            return
        outcome.error = error
        outcome.status = cache_status.forwarded("uri-miss" if old is None else "stale", detail=error.code.replace("_", "-"))
        if leads and id(outcome) not in self._doomed:
            seconds = self._backoff.failed(key, now)
            if seconds:
                status, fields, body = refusal(error)
                until = now + max(seconds, 1.0)
                verdict = Verdict(True, "", now, until, 0.0, 0.0)
                self.keeper.keep(
                    self.number,
                    key,
                    assemble(status, b"", fields_without_length(fields), verdict, received_at=now, total=len(body), tags=()),
                    [body],
                )
            else:
                self.keeper.mark(self.number, key, until=now + 1)
        outcome.known.set()

    async def _take(
        self, key: bytes, request: FetchRequest, answer: FetchAnswer, outcome: Outcome, leads: bool, requested_at: float, received_at: float
    ) -> None:
        """A new answer: kept while it comes, else the client's own."""
        verdict = self._judge_new(request, answer, requested_at, received_at)
        length = answer.length
        doomed = id(outcome) in self._doomed
        if answer.status not in FAILING:
            self._backoff.worked(key)
        if not verdict.keep or doomed:
            await self._hand_over(key, answer, outcome, leads and not doomed, verdict)
            return
        read = answer.read if (digests := checked.said(answer.fields)) is None else checked.Checked(answer.read, digests, length).read
        # What is short is shown when its first bytes are there: a wrong digest, or an origin that dies, is a whole error then.
        first = await read() if length is not None and 0 < length <= checked.SHORT else b""
        self.counters.fills += 1
        total = 0 if answer.status == 204 else length
        entry = make(answer.status, answer.reason, answer.fields, verdict, received_at=received_at, total=total, via=self._via)
        entry = self._with_encoding_vary(entry, answer.fields, verdict, total)
        name = key
        if verdict.vary:
            name = self._variant(key, request, verdict.vary, outcome, leads) or b""
            if not name:
                await self._hand_over(key, answer, outcome, leads, Verdict(False, "vary_long"))
                return
        elif b"\0" in key:  # it does not vary any more
            name = primary(key)
            if leads:
                self._move(key, name, outcome)
        fill = Fill(self._feed(), total)
        outcome.fill, outcome.entry = fill, entry
        share = self._jobs.get(name) is outcome
        if share:
            self.keeper.grow(self.number, name, entry, fill.feed.sequence, total)
        outcome.status = cache_status.forwarded(outcome.why, stored=True)
        outcome.known.set()
        held = total or 0
        self.keeper.growing += held
        try:
            while data := first or await read():
                first = b""
                fill.append(data)
                if fill.size > held:
                    self.keeper.growing += fill.size - held
                    held = fill.size
                    if held > self.config.max_object or self.keeper.growing > 2 * self.keeper.capacity:
                        raise OriginError("origin_broken", "the object is larger than what can be kept of it")
        except OriginError:
            fill.broken()
            raise
        finally:
            self.keeper.growing -= held
        fill.end()
        self._complete(name, answer.fields, entry, fill, outcome, share, verdict, answer, received_at)

    def _complete(
        self, name: bytes, fields: Fields, entry: Entry, fill: Fill, outcome: Outcome, share: bool, verdict: Verdict, answer: FetchAnswer,
        received_at: float,
    ) -> None:  # fmt: skip
        """The body is whole: it is kept as such."""
        if id(outcome) in self._doomed or (share and self._jobs.get(name) is not outcome):
            return
        if fill.total is None:
            whole = make(answer.status, answer.reason, answer.fields, verdict, received_at=received_at, total=fill.size, via=self._via)
            entry = self._with_encoding_vary(whole, fields, verdict, fill.size)
        body = fill.body()
        if not share and self.keeper.table.find(self.number, name) is not None and name in self._jobs:
            return  # another one is at it
        weight = entry.weight(name, fill.size)
        if not self.keeper.table.admits(self.number, name, weight):
            if share:
                self.keeper.drop(self.number, name)
        else:
            self.keeper.keep(self.number, name, entry, body)
            kept = self.keeper.table.find(self.number, name)
            if kept is not None and self._compressor is not None and self.config.compress:
                self._compressor.kept(self.number, name, fields, kept)
        if (f.value(fields, b"content-type") or b"").partition(b";")[0].strip().lower() in live.KINDS:
            for target in self._windows.look(name, fill.size, body):
                self.keeper.table.spend(self.number, target)
        if self._disk is not None:
            self._disk.kept(self.config.name, name, entry, body)

    def _with_encoding_vary(self, entry: Entry, fields: Fields, verdict: Verdict, total: int | None) -> Entry:
        """What will be kept compressed too says that it depends on Accept-Encoding, from the first answer on."""
        if not self.config.compress or self._compressor is None or not reply.compressible(entry.status, fields, total):
            return entry
        if b"accept-encoding" in verdict.vary:
            return entry
        extra = b"vary: Accept-Encoding\r\n"
        at = entry.fields_size
        return replace(entry, head=entry.head[:at] + extra + entry.head[at:], fields_size=at + len(extra))

    def _variant(self, key: bytes, request: FetchRequest, names: tuple[bytes, ...], outcome: Outcome, leads: bool) -> bytes | None:
        """The key under which this answer lies; who waits for the object looks again, and finds it or leads for his own variant."""
        name = primary(key)
        listed = b"".join(b"%s\n" % each for each in names)
        variant = variant_key(name, listed, list(request.fields))
        if variant is None:
            return None
        self.keeper.varies(self.number, name, names, most=self.config.vary_most, variant=variant)
        if leads:
            self._move(key, variant, outcome)
        return variant

    def _move(self, key: bytes, name: bytes, outcome: Outcome) -> None:
        """The fetch turns out to be of another key than it began for."""
        if key == name or self._jobs.get(key) is not outcome:
            return
        del self._jobs[key]
        outcome.key = name
        if name not in self._jobs and self.keeper.table.lead(self.number, name):
            self._jobs[name] = outcome
        self.keeper.table.settle(self.number, key)

    async def _hand_over(self, key: bytes, answer: FetchAnswer, outcome: Outcome, leads: bool, verdict: Verdict) -> None:
        """It may not be kept: everybody who waits goes to the origin at once, this answer is its client's."""
        self.counters.passed += 1
        if leads:
            self.keeper.drop(self.number, key)
            self.keeper.mark(self.number, key, until=self._clock.wall() + PASS_TIME)
            if self._jobs.get(key) is outcome:
                del self._jobs[key]
                self.keeper.table.settle(self.number, key)
        give, outcome.pieces = trio.open_memory_channel[bytes](4)
        outcome.head = (answer.status, answer.reason, reply.outgoing(answer.fields, self._via), answer.length)
        outcome.status = cache_status.forwarded(outcome.why, detail=verdict.why.replace("_", "-"))
        outcome.known.set()
        try:
            async with give:
                while data := await answer.read():
                    await give.send(data)
                outcome.shared = True  # its end was reached
        except trio.BrokenResourceError:
            pass  # the client has left

    async def _from_disk(self, request: FetchRequest, outcome: Outcome) -> Answer | None:
        """What lies on disk comes up. It is the outcome, or it is stale, and then it is to be validated like what memory keeps."""
        if self._disk is None:
            return None
        names = self._disk.varies(self.config.name, outcome.key) if b"\0" not in outcome.key else ()
        if names and self._variant(outcome.key, request, names, outcome, True) is None:
            return None
        key = outcome.key
        found = await self._disk.find(self.config.name, key)
        if found is None or id(outcome) in self._doomed:
            return None
        entry, body = found
        now = self._clock.wall()
        served = max(entry.fresh_until, entry.stale_until) > now and not entry.flags & k.ALWAYS
        self.keeper.keep(self.number, key, entry, body, asked=not served)
        answer = self.keeper.table.find(self.number, key)
        if answer is None or not served:
            return answer
        outcome.entry, outcome.answer = entry, answer
        outcome.status = cache_status.hit(entry.fresh_until - now) + b"; detail=disk"
        outcome.known.set()
        return None

    async def _settle_after(self, key: bytes, seconds: float) -> None:
        try:
            await trio.sleep(seconds)
        finally:
            if key not in self._jobs:
                self.keeper.table.settle(self.number, key)

    # -- answers ---------------------------------------------------------------------------------------------------------

    async def _send_kept(self, incoming: Incoming, send: Send, found: Answer, job: Outcome | None) -> None:
        now = self._clock.wall()
        if found.growing:
            if job is not None and job.fill is not None:
                await self._send_outcome(incoming, send, job, collapsed=True)
                return
            raise of("origin_broken", "the fetch has just ended")
        line = cache_status.hit(found.fresh_until - now)
        if found.fresh_until <= now:
            line = cache_status.stale(found.fresh_until - now, asked=False)
        self.counters.hits += 1
        await self._counted(incoming, reply.send_answer(send, incoming, found, line, now), hit=True)

    async def _send_outcome(self, incoming: Incoming, send: Send, outcome: Outcome, *, collapsed: bool = False) -> None:
        line = outcome.status if not collapsed else cache_status.forwarded("uri-miss", collapsed=True)
        if outcome.error is not None:
            await reply.refuse(send, outcome.error, incoming, line)
        elif outcome.entry is not None and outcome.fill is not None:
            await self._counted(incoming, reply.send_growing(send, incoming, outcome.entry, outcome.fill, line, self._clock.wall()))
        elif outcome.answer is not None:
            await self._counted(incoming, reply.send_answer(send, incoming, outcome.answer, line, self._clock.wall()))
        elif outcome.head is not None and outcome.pieces is not None:
            async with outcome.pieces:
                await reply.send_pieces(send, incoming, outcome.head, outcome.pieces, line, lambda: outcome.shared)

    async def _counted(self, incoming: Incoming, sending: Awaitable[int], *, hit: bool = False) -> None:
        size = await sending
        self.counters.bytes += size
        before = self._misses.get(incoming.key, (0, 0, 0))
        if before[0] or len(self._misses) < _MISSES:
            self._misses[incoming.key] = (before[0] + 1, before[1] + hit, before[2] + size)

    # -- what passes -----------------------------------------------------------------------------------------------------

    async def _pass(
        self,
        incoming: Incoming,
        receive: Receive,
        send: Send,
        why: cache_status.Forward,
        *,
        old: Answer | None = None,
        name: bytes | None = None,
        marked: bool = False,
    ) -> None:
        """To the origin and back, unchanged but for what belongs to one hop; bound to the client.

        marked: a GET of an object that may not be kept, as its last answer said; when this one says otherwise, the mark goes.
        """
        body = reply.body_of(receive) if incoming.has_body else None
        fields = self._cleaned(incoming, incoming.fields)
        request = FetchRequest(
            incoming.method, incoming.target, incoming.host, fields, body, incoming.length if incoming.has_body else None, incoming.key,
            incoming.upgrade,
        )  # fmt: skip
        self.counters.passed += 1

        requested_at = self._clock.wall()
        try:
            async with self.slots.slot(), self.fetcher.fetch(request, informational=reply.early(send, incoming)) as answer:
                if answer.status == 101 and answer.stream is not None and incoming.switch is not None:
                    await reply.tunnel(incoming.switch, answer, incoming.upgrade or b"")
                    return
                self._consequences(incoming, answer, old, name, requested_at)
                line = cache_status.forwarded(why)
                if marked and name is not None and answer.status not in CONDITIONAL:
                    verdict = self._judge_new(request, answer, requested_at, self._clock.wall())
                    if verdict.keep:
                        self.keeper.drop(self.number, name)  # who asks next leads
                    else:
                        line = cache_status.forwarded(why, detail=verdict.why.replace("_", "-"))
                await reply.send_passed(send, incoming, answer, reply.outgoing(answer.fields, self._via), line)
        except OriginError as error:
            now = self._clock.wall()
            if old is None or old.error_until <= now or old.growing:
                await reply.refuse(send, error, incoming, cache_status.forwarded(why, detail=error.code.replace("_", "-")))
                return
            self.counters.stale += 1
            line = cache_status.stale(old.fresh_until - now, asked=True, detail="stale-if-error")
            await self._counted(incoming, reply.send_answer(send, incoming, old, line, now))

    def _consequences(self, incoming: Incoming, answer: FetchAnswer, old: Answer | None, name: bytes | None, requested_at: float) -> None:
        """What an answer that passes says about what is kept: unsafe methods (RFC 9111, 4.4) and HEAD (4.3.5)."""
        now = self._clock.wall()
        if incoming.method not in SAFE and 200 <= answer.status < 400:
            host = incoming.key[: len(incoming.key) - len(incoming.target)]
            for target in reply.same_origin(incoming, answer.fields):
                self.keeper.drop_object(self.number, host + target, soft=False, now=now)
                if self._disk is not None:
                    self._disk.forget_object(self.config.name, host + target)
        elif incoming.method == "HEAD" and answer.status == 200 and old is not None and name is not None and old.status == 200:
            kept = list(f.split_lines(old.lines))
            if not validation.same_object(kept, old.total, answer.fields):
                self.keeper.table.soften(self.number, name, int(now))
                return
            found = validation.freshened(kept, [field for field in answer.fields if field[0] not in TAG_FIELDS and field[0] != b"via"])
            if f.value(answer.fields, b"date") is None:
                found = assemble_date(found, now)
            verdict = judge("GET", (), 200, found, requested_at=requested_at, received_at=now, rules=self._rules)
            if verdict.keep:
                entry = assemble(
                    200,
                    old.status_line[13:-2],
                    found,
                    verdict,
                    received_at=now,
                    total=old.total,
                    tags=self.keeper.tags_of(self.number, name),
                )
                self.keeper.keep(self.number, name, entry, old.body())


def assemble_date(fields: Fields, received_at: float) -> list[tuple[bytes, bytes]]:
    """A 304 without Date was made when it came."""
    from email.utils import formatdate

    return [*(field for field in fields if field[0] != b"date"), (b"date", formatdate(int(received_at), usegmt=True).encode())]


def fields_without_length(fields: Fields) -> list[tuple[bytes, bytes]]:
    return [field for field in fields if field[0] != b"content-length"]


def entry_of(old: Answer, *, stale_until: int) -> Entry:
    """The entry of what is kept, with another time until which it is served stale."""
    head = old.status_line + old.lines
    length = b"" if old.status == 204 else b"content-length: %d\r\n" % old.total
    return Entry(
        old.status, head + length, len(old.status_line), len(head), old.flags & ~k.ALWAYS, old.born, old.fresh_until, stale_until,
        old.error_until, old.modified, old.etag, (), (),
    )  # fmt: skip
