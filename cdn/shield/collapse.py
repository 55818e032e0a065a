"""One fetch for an object however many ask, and what its answer becomes (RFC 9111, RFC 5861).

The leader of an object that is not here comes up while the others wait on its entry; whatever comes of the fetch, the key is settled, and
all of them look again at once. A fetch belongs to the site, not to the client that began it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

import trio

from nova.cdn.cache import fields as f
from nova.cdn.cache import status as cache_status
from nova.cdn.cache import validation
from nova.cdn.cache.entry import TAG_FIELDS, Entry, assemble, dated, make, tags_of
from nova.cdn.cache.freshness import FAILING, Verdict
from nova.cdn.cache.keeper import primary
from nova.cdn.errors import OriginBroken, OriginError
from nova.cdn.origins import checked
from nova.cdn.ports import FetchAnswer, FetchRequest, Fields, Informational
from nova.cdn.shield import live, reply, unkeyed
from nova.cdn.shield.backoff import Backoff
from nova.cdn.shield.fill import Fill
from nova.cdn.shield.ground import Ground, varied
from nova.cdn.shield.outgoing import background
from nova.cdn.shield.sliced import Match
from nova.core.errors import NovaError, of
from nova.core.guard import guarded
from nova.core.log import Log
from nova.core.reactor.refusal import refusal
from nova.ext import kept as k
from nova.ext.buffer import Buffer
from nova.ext.kept import Answer

PASS_TIME: Final = 60.0  # seconds for which an object that may not be kept goes to the origin request by request
LARGE_TIME: Final = 3600.0  # ... that had not said how long it would be, and was too long: one client in an hour sees that
CROWD: Final = 64  # who wait for one answer: their heads take half a millisecond
HEAD_TIME: Final = 8e-6  # seconds that the kernel takes to send one
AHEAD: Final = 1  # pieces of what is not kept that wait for its client
HEADS_FIRST: Final = 0.02  # seconds for which a body waits for them at most
_COUNTED: Final = int(HEADS_FIRST / HEAD_TIME)
_OWN_WORDS: Final = frozenset((b"via", b"if-none-match", b"if-modified-since"))
_log = Log("nova.cdn")


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
    pieces: trio.MemoryReceiveChannel[bytes | Buffer] | None = None
    status: bytes = b""  # Cache-Status
    entry: Entry | None = None
    why: cache_status.Forward = "uri-miss"
    tags: tuple[bytes, ...] | None = None  # None: no head has come
    purges: list[Match] = field(default_factory=list)  # those that came before its tags were known


class Collapse:
    """The fetches of one site."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._number, self._config = ground.number, ground.config
        self._keeper, self._clock, self._via = ground.keeper, ground.clock, ground.via
        self.jobs: dict[bytes, Outcome] = {}  # by the key under which others wait
        self._alone: dict[int, Outcome] = {}  # fetches for which nobody waits, by id: what comes of them may be kept, too
        self._backoff = Backoff(ground.config.negative_backoff, ground.config.negative_backoff_most)
        self._doomed: set[int] = set()  # ids of outcomes that a purge has overtaken
        self._windows = live.Windows()

    @property
    def idle(self) -> bool:
        return not self.jobs and not self._ground.slots.busy

    def stale(self, key: bytes) -> None:
        """The answer under this key was served stale: fetch a new one, unless the origin is left alone with it."""
        now = self._clock.wall()
        nursery = self._ground.nursery
        found = self._keeper.table.find(self._number, key)
        left = self._backoff.left(key, now)
        if nursery is None or found is None or key in self.jobs:
            self._keeper.table.settle(self._number, key)
        elif left:
            nursery.start_soon(self._settle_after, key, left)
        else:
            self.start(key, self._again(key, found), found, leads=True, why="stale")

    def _again(self, key: bytes, old: Answer) -> FetchRequest:
        ground = self._ground
        return background(ground.keeper, ground.number, key, old, host_in_key=ground.host_in_key, via=ground.via)

    def doom(self, match: Match, *, soft: bool, tagged: bool = True) -> int:
        """Fetches under way whose key and tags match will not be kept; who asks from now on begins a new one. soft: what they were to
        replace stays, for it is stale. tagged: whether `match` looks at tags, which are not known before the head."""
        count = 0
        for outcome in (*self.jobs.values(), *self._alone.values()):
            key = outcome.key
            tags = outcome.tags if outcome.tags is not None else self._keeper.tags_of(self._number, key)
            if not match(primary(key), tags):
                if tagged and outcome.tags is None:
                    outcome.purges.append(match)
                continue
            self._doomed.add(id(outcome))
            if self.jobs.get(key) is outcome:
                del self.jobs[key]
                found = self._keeper.table.find(self._number, key)
                if not soft or (found is not None and found.growing):
                    self._keeper.drop(self._number, key)
                self._keeper.table.settle(self._number, key)
                count += 1
        return count

    def start(
        self, key: bytes, request: FetchRequest, old: Answer | None, *, leads: bool, informational: Informational | None = None,
        why: cache_status.Forward = "uri-miss",
    ) -> Outcome:  # fmt: skip
        """informational: tells the client who began it of 1xx answers; those who wait with it are told of none. why: it is asked for."""
        outcome = Outcome(key, old, why=why)
        if self._ground.nursery is None:
            outcome.error = of("shutting_down", "this site is being closed")
            outcome.known.set()
            if leads:
                self._keeper.table.settle(self._number, key)
            return outcome
        if leads:
            self.jobs[key] = outcome
        else:
            self._alone[id(outcome)] = outcome
        self._ground.nursery.start_soon(self._fetch, request, outcome, leads, informational)
        return outcome

    async def _fetch(self, request: FetchRequest, outcome: Outcome, leads: bool, informational: Informational | None) -> None:
        with guarded(_log) as failed:
            try:
                await self._fetch_first(request, outcome, leads, informational)
            except OriginError as error:
                self._failed(outcome, leads, error)
            finally:
                self._finish(outcome)
        if failed and not outcome.known.is_set():
            outcome.error = of("internal")
            outcome.known.set()

    def _finish(self, outcome: Outcome) -> None:
        key = outcome.key
        if self.jobs.get(key) is outcome:
            del self.jobs[key]
            if outcome.fill is not None and outcome.fill.failed:
                self._keeper.drop(self._number, key)
                if outcome.fill.too_large:
                    self._keeper.mark(self._number, key, until=self._clock.wall() + LARGE_TIME)
            self._keeper.table.settle(self._number, key)
        self._alone.pop(id(outcome), None)
        self._doomed.discard(id(outcome))
        self._ground.quiet.unpark_all()
        if not outcome.known.is_set():
            if outcome.error is None and outcome.answer is None and outcome.head is None:
                outcome.error = of("shutting_down", "this site is being closed")
            outcome.known.set()

    async def _fetch_first(self, request: FetchRequest, outcome: Outcome, leads: bool, informational: Informational | None) -> None:
        """An answer that is none may be the doing of one client's fields: before all who ask are told of it, the origin is asked in our own
        words. Raises OriginError."""
        try:
            await self._fetch_once(request, outcome, leads, informational)
        except OriginBroken:
            plain = [field for field in request.fields if field[0] in _OWN_WORDS]
            if not leads or outcome.known.is_set() or len(plain) == len(request.fields):
                raise
            await self._fetch_once(replace(request, fields=plain), outcome, leads, None)

    async def _fetch_once(self, request: FetchRequest, outcome: Outcome, leads: bool, informational: Informational | None) -> None:
        old = outcome.old
        if old is None and leads:
            old = outcome.old = await self._from_disk(request, outcome)
            if outcome.known.is_set():
                return
            if old is not None:
                outcome.why = "stale"
                fields = request.fields if b"\0" in outcome.key else unkeyed.without(request.fields)
                request = replace(request, fields=[*fields, *validation.conditions(list(f.split_lines(old.lines)))])
        key = outcome.key
        async with self._ground.slots.slot():
            requested_at = self._clock.wall()
            async with self._ground.fetcher.fetch(request, informational=informational) as answer:
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
            async with self._ground.fetcher.fetch(whole) as answer:
                await self._take(key, whole, answer, outcome, leads, requested_at, self._clock.wall())

    def _confirmed(
        self, key: bytes, request: FetchRequest, old: Answer, answer: FetchAnswer, outcome: Outcome, requested_at: float, received_at: float
    ) -> bool:
        """304: the kept body under a new head."""
        kept = list(f.split_lines(old.lines))
        if not validation.confirms(kept, answer.fields):
            return False
        found = validation.freshened(kept, [field for field in answer.fields if field[0] not in TAG_FIELDS and field[0] != b"via"])
        has_date = f.value(answer.fields, b"date") is not None
        timed = found if has_date else [field for field in found if field[0] != b"date"]
        if (age := f.value(answer.fields, b"age")) is not None:
            timed = [*timed, (b"age", age)]
        verdict = self._ground.judge(request, old.status, timed, requested_at, received_at)
        if b"\0" not in key and set(verdict.vary) - {b"accept-encoding"}:
            verdict = Verdict(False, "vary_any")  # for which requests the kept answer is, nobody knows
        if not has_date:
            found = dated(found, received_at)
        found = [field for field in found if field[0] not in verdict.strip]
        tags = tags_of(answer.fields) or self._keeper.tags_of(self._number, key)
        reason = old.status_line[13:-2]
        entry = assemble(old.status, reason, found, verdict, received_at=received_at, total=old.total, tags=tags)
        if b"\0" not in key:  # it does not lie under a variant, though our own Vary may stand in it: the disk would look for one
            entry = replace(entry, vary=())
        self._ground.counters.validated += 1
        self._backoff.worked(key)
        if verdict.keep and id(outcome) not in self._doomed and self._keeper.lists(self._number, key):
            body = old.body()
            alternates = [(i, old.alternate(i)) for i in range(3) if old.encodings >> i & 1]
            self._keeper.keep(self._number, key, entry, body)
            outcome.answer = self._keeper.table.find(self._number, key) or old
            if self._ground.compressor is not None and alternates:
                self._ground.compressor.kept(self._number, key, found, outcome.answer)
            if self._ground.disk is not None:
                self._ground.disk.kept(self._config.name, key, entry, body)
        else:
            if id(outcome) not in self._doomed:  # what lies there after a purge is another fetch's
                self._keeper.drop(self._number, key)
            outcome.answer = old
        outcome.entry = entry
        outcome.status = cache_status.forwarded(outcome.why, status=304, stored=verdict.keep)
        outcome.known.set()
        return True

    def _stand_in(self, key: bytes, old: Answer, outcome: Outcome, leads: bool, status: int | None) -> None:
        """The origin fails: the stale answer instead, for a while without asking again (RFC 5861, 4)."""
        now = self._clock.wall()
        seconds = self._backoff.failed(key, now)
        self._ground.counters.stale += 1
        if leads and id(outcome) not in self._doomed and self._keeper.lists(self._number, key):
            entry = entry_of(old, stale_until=min(old.error_until, int(now + seconds + 1)))
            self._keeper.keep(self._number, key, replace(entry, tags=self._keeper.tags_of(self._number, key)), old.body())
        outcome.answer = old
        outcome.status = cache_status.stale(old.fresh_until - now, asked=True, status=status, detail="stale-if-error")
        outcome.known.set()

    def _failed(self, outcome: Outcome, leads: bool, error: OriginError) -> None:
        """Nobody answered, or the answer broke off."""
        key, old = outcome.key, outcome.old
        now = self._clock.wall()
        self._ground.counters.failed += 1
        if outcome.known.is_set():
            return  # readers have seen a part of it; they see the end
        if old is not None and old.error_until > now and not old.growing:
            self._stand_in(key, old, outcome, leads, None)
            return
        outcome.error = error.with_traceback(None)  # its frames hold this outcome, and what it would have replaced
        outcome.status = cache_status.forwarded(outcome.why, detail=error.code.replace("_", "-"))
        if leads and id(outcome) not in self._doomed:
            seconds = self._backoff.failed(key, now)
            if seconds:
                status, fields, body = refusal(error)
                until = now + max(seconds, 1.0)
                verdict = Verdict(True, "", now, until, 0.0, 0.0)
                self._keeper.keep(
                    self._number,
                    key,
                    assemble(status, b"", fields_without_length(fields), verdict, received_at=now, total=len(body), tags=()),
                    [body],
                )
            else:
                self._keeper.mark(self._number, key, until=now + 1)
        outcome.known.set()

    async def _take(
        self, key: bytes, request: FetchRequest, answer: FetchAnswer, outcome: Outcome, leads: bool, requested_at: float, received_at: float
    ) -> None:
        """A new answer: kept while it comes, else the client's own."""
        verdict = self._ground.judge_new(request, answer, requested_at, received_at)
        length = answer.length
        outcome.tags = tags_of(answer.fields)
        if any(match(primary(key), outcome.tags) for match in outcome.purges):
            self._doomed.add(id(outcome))  # its tags are among those that were purged while it was awaited
            if self.jobs.get(key) is outcome:
                del self.jobs[key]
                self._keeper.table.settle(self._number, key)
        doomed = id(outcome) in self._doomed
        if answer.status not in FAILING:
            self._backoff.worked(key)
        total = 0 if answer.status == 204 else length
        room = self._keeper.room(total or 0) if verdict.keep and not doomed else None
        if room is None:
            if verdict.keep and not doomed:
                verdict = Verdict(False, "memory")
            await self._hand_over(key, answer, outcome, leads and not doomed, verdict)
            return
        with room:
            read = answer.read if (digests := checked.said(answer.fields)) is None else checked.Checked(answer.read, digests, length).read
            # What is short is shown when its first bytes are there: a wrong digest, or an origin that dies, is a whole error then.
            first = await read() if length is not None and 0 < length <= checked.SHORT else b""
            self._ground.counters.fills += 1
            entry = make(answer.status, answer.reason, answer.fields, verdict, received_at=received_at, total=total, via=self._via)
            entry = self._with_encoding_vary(entry, answer.fields, verdict, total)
            name = key
            if verdict.vary:
                varies = self._variant(key, request, verdict.vary, outcome, leads)
                assert varies is not None  # else the verdict would be another
                name = varies
            elif b"\0" in key:  # it does not vary any more
                name = primary(key)
                if leads:
                    self._move(key, name, outcome)
            with Fill(self._keeper, room, self._ground.feed(), total, most=self._ground.largest) as fill:
                outcome.fill, outcome.entry = fill, entry
                share = self.jobs.get(name) is outcome
                if share:
                    self._keeper.grow(self._number, name, entry, fill.feed.sequence, total)
                outcome.status = cache_status.forwarded(outcome.why, stored=True)
                outcome.known.set()
                if share:
                    await self._let_heads_go()
                while data := first or await read():
                    first = b""
                    fill.append(data)
                fill.end()
        self._complete(name, answer.fields, entry, fill, outcome, share, verdict, answer, received_at)

    async def _let_heads_go(self) -> None:
        """Reading a body takes the core that the I/O threads need for the heads of a crowd that has waited for it: those go first."""
        left = HEADS_FIRST
        while left > 0 and (waiting := self._keeper.table.answering(_COUNTED)) >= CROWD:
            pause = min(left, max(0.001, waiting * HEAD_TIME))  # a look costs their core what twenty heads do
            await trio.sleep(pause)
            left -= pause

    def _complete(
        self, name: bytes, fields: Fields, entry: Entry, fill: Fill, outcome: Outcome, share: bool, verdict: Verdict, answer: FetchAnswer,
        received_at: float,
    ) -> None:  # fmt: skip
        """The body is whole: it is kept as such."""
        if id(outcome) in self._doomed or (share and self.jobs.get(name) is not outcome):
            return
        if not self._keeper.lists(self._number, name):
            return
        if fill.total is None:
            whole = make(answer.status, answer.reason, answer.fields, verdict, received_at=received_at, total=fill.size, via=self._via)
            entry = self._with_encoding_vary(whole, fields, verdict, fill.size)
        body = fill.body()
        if not share and self._keeper.table.find(self._number, name) is not None and name in self.jobs:
            return  # another one is at it
        weight = entry.weight(name, fill.size)
        if not self._keeper.table.admits(self._number, name, weight):
            if share:
                self._keeper.drop(self._number, name)
        else:
            self._keeper.keep(self._number, name, entry, body)
            kept = self._keeper.table.find(self._number, name)
            if kept is not None and self._ground.compressor is not None and self._config.compress:
                self._ground.compressor.kept(self._number, name, fields, kept)
        if (f.value(fields, b"content-type") or b"").partition(b";")[0].strip().lower() in live.KINDS:
            for target in self._windows.look(name, fill.size, body):
                self._keeper.table.spend(self._number, target)
        if self._ground.disk is not None:
            self._ground.disk.kept(self._config.name, name, entry, body)

    def _with_encoding_vary(self, entry: Entry, fields: Fields, verdict: Verdict, total: int | None) -> Entry:
        """What will be kept compressed too says that it depends on Accept-Encoding, from the first answer on."""
        if not self._config.compress or self._ground.compressor is None or not reply.compressible(entry.status, fields, total):
            return entry
        if b"accept-encoding" in verdict.vary:
            return entry
        extra = b"vary: Accept-Encoding\r\n"
        at = entry.fields_size
        return replace(entry, head=entry.head[:at] + extra + entry.head[at:], fields_size=at + len(extra))

    def _variant(self, key: bytes, request: FetchRequest, names: tuple[bytes, ...], outcome: Outcome, leads: bool) -> bytes | None:
        """The key under which this answer lies; who waits for the object looks again, and finds it or leads for his own variant."""
        name = primary(key)
        variant = varied(name, request, names)
        if variant is None:
            return None
        self._keeper.varies(self._number, name, names, most=self._config.vary_most, variant=variant)
        if leads:
            self._move(key, variant, outcome)
        return variant

    def _move(self, key: bytes, name: bytes, outcome: Outcome) -> None:
        """The fetch turns out to be of another key than it began for."""
        if key == name or self.jobs.get(key) is not outcome:
            return
        del self.jobs[key]
        outcome.key = name
        if name not in self.jobs and self._keeper.table.lead(self._number, name):
            self.jobs[name] = outcome
        else:  # another one is at it; this one's body may be kept after that one's, unless a purge comes between
            self._alone[id(outcome)] = outcome
        self._keeper.table.settle(self._number, key)

    async def _hand_over(self, key: bytes, answer: FetchAnswer, outcome: Outcome, leads: bool, verdict: Verdict) -> None:
        """It may not be kept: everybody who waits goes to the origin at once, this answer is its client's."""
        self._ground.counters.passed += 1
        if leads:
            self._keeper.drop(self._number, key)
            self._keeper.mark(self._number, key, until=self._clock.wall() + PASS_TIME)
            if self.jobs.get(key) is outcome:
                del self.jobs[key]
                self._keeper.table.settle(self._number, key)
        give, outcome.pieces = trio.open_memory_channel[bytes | Buffer](AHEAD)
        outcome.head = (answer.status, answer.reason, reply.outgoing(answer.fields, self._via), answer.length)
        outcome.status = cache_status.forwarded(outcome.why, detail=verdict.why.replace("_", "-"))
        outcome.known.set()
        try:
            async with give:
                while data := await answer.read():
                    await give.send(self._ground.passing(data))
                outcome.shared = True  # its end was reached
        except trio.BrokenResourceError:
            pass  # the client has left

    async def _from_disk(self, request: FetchRequest, outcome: Outcome) -> Answer | None:
        """What lies on disk comes up. It is the outcome, or it is stale, and then it is to be validated like what memory keeps."""
        disk = self._ground.disk
        if disk is None:
            return None
        names = disk.varies(self._config.name, outcome.key) if b"\0" not in outcome.key else ()
        if names and self._variant(outcome.key, request, names, outcome, True) is None:
            return None
        key = outcome.key
        room = self._keeper.room(disk.size(self._config.name, key))
        if room is None:
            return None
        with room:
            found = await disk.find(self._config.name, key)
        if found is None or id(outcome) in self._doomed or not self._keeper.lists(self._number, key):
            return None
        entry, body = found
        outcome.tags = entry.tags
        now = self._clock.wall()
        served = max(entry.fresh_until, entry.stale_until) > now and not entry.flags & k.ALWAYS
        self._keeper.keep(self._number, key, entry, body, asked=not served)
        answer = self._keeper.table.find(self._number, key)
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
            if key not in self.jobs:
                self._keeper.table.settle(self._number, key)


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
