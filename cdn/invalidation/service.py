"""Invalidation and prewarming: jobs go into the purge log, every edge follows it and says what it did.

The log is a stream of the bus, its cursors are the sequence numbers. Each edge keeps its place: one that was away reads on from there
before it serves. Where the log has lost what is between (`gap`), the edge forgets everything: it cannot know what it was told.

Forgetting comes first. What an edge has to say of it is gathered and said afterwards, with the place behind it, and written down when it is
heard, like what the others say. So an edge that ends in between does, and says, it once more.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

import trio

from nova.cdn.invalidation.model import (
    KEEP_MS,
    EdgeResult,
    EdgeStatus,
    Job,
    JobId,
    JobKind,
    JobStatus,
    UnixMs,
    Warm,
    Word,
    Words,
    entry_of,
    read_entry,
    read_words,
    words_of,
)
from nova.cdn.invalidation.store_sql import SqlJobs
from nova.cdn.ports import Purge, Store
from nova.core.bus import START, Bus, Cursor
from nova.core.bus.port import AT_ONCE
from nova.core.clock import Clock
from nova.core.errors import BadRequest, NotFound, NovaError, TooLarge, Unavailable
from nova.core.lifecycle import cleanup
from nova.core.log import Log
from nova.core.values import Seconds

LOG: Final = "cdn.purges"
ACKS: Final = "cdn.acks"
WAIT: Final = Seconds(30.0)
BATCH: Final = 100  # entries that are read, and words that are said, at once
BACK_OFF: Final = 1.0  # seconds before a bus that is away is asked again
QUEUE: Final = 100  # prewarm jobs that wait for one edge; one more fails there
GATHER: Final = 0.1  # seconds in which words are gathered, before they are said and before they are written: one step for all of them
LOOK: Final = 1.0  # seconds between two looks at what others have said, when this edge has said nothing
UNSAID: Final = 1000  # words that wait to be said; with more of them nothing new is read
LAST_WORDS: Final = 2.0  # seconds for what is still to be said at the end
EARLY: Final = 1000  # jobs about which another edge spoke first
WARMING: Final = 4  # objects of a prewarm job that are fetched at once by one edge
ENTRY: Final = 200_000  # bytes of a job; the bus takes 256 KiB
LATE: Final = 15.0  # seconds after which edges that are not there any more are not awaited

_log = Log("nova.cdn.invalidation")


class Invalidations:
    """One edge's half of every job.

    edge: its name. edges: the names of those that are there now. shared: the log outlives this process (Redis); one that does not begins
    anew with each start, and what this edge had not done stands in its own store.
    """

    def __init__(
        self,
        store: Store,
        jobs: SqlJobs,
        bus: Bus,
        clock: Clock,
        *,
        edge: str,
        edges: Callable[[], list[str]],
        new_id: Callable[[], str],
        shared: bool,
    ) -> None:
        self._store, self._jobs, self._bus, self._clock = store, jobs, bus, clock
        self.edge, self._edges, self._new_id, self._shared = edge, edges, new_id, shared
        self._open: dict[JobId, Job] = {}
        self._untold: dict[JobId, Job] = {}  # of the last run: when the log has them neither, nobody was told of them
        self._early: OrderedDict[JobId, list[EdgeResult]] = OrderedDict()  # words about jobs that were not read yet
        self._unsaid: list[Word] = []
        self._to_say, self._spoke = trio.Event(), trio.Event()
        self._done: Cursor | None = None  # the place behind what was done
        self._heard = START  # the place behind the words that were written down
        self._to_warm, self._warming = trio.open_memory_channel[Job](QUEUE)
        self._changed = trio.Event()
        self._lock, self._saying = trio.Lock(), trio.Lock()
        self.current = False

    async def purge(self, purges: tuple[Purge, ...], owner: str) -> Job:
        """Have every edge forget. Returns once the job is on stable storage and in the log. Raises TooLarge, Unavailable."""
        return await self._ask(JobKind.PURGE, purges, (), owner)

    async def prewarm(self, warms: tuple[Warm, ...], owner: str) -> Job:
        """Have every edge fetch. Raises TooLarge, Unavailable."""
        return await self._ask(JobKind.PREWARM, (), warms, owner)

    async def get(self, job: JobId) -> Job:
        """Raises NotFound."""
        found = self._open.get(job) or await self._jobs.get(job)
        if found is None:
            raise NotFound(detail=f"There is no job {job[:40]}.")
        return found

    async def recent(self, limit: int = 50) -> list[Job]:
        return [self._open.get(job.id, job) for job in await self._jobs.find(limit=limit)]

    async def wait(self, job: JobId) -> Job:
        """The job once it is not pending any more. Raises NotFound."""
        while (found := await self.get(job)).status is JobStatus.PENDING:
            await self._changed.wait()
        return found

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read what was missed, then say `started`, then follow; until cancelled, when what was done is said."""
        name = f"acks:{self.edge}"
        heard = await self._jobs.place(name) if self._shared else None
        self._heard = heard or await self._end(ACKS)
        if self._shared and heard is None:
            await self._jobs.put((), {name: self._heard})
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._follow_words)
                nursery.start_soon(self._speak)
                nursery.start_soon(self._warm_in_turn)
                place = await self._catch_up()
                self.current = True
                task_status.started()
                nursery.start_soon(self._tidy)
                await self._follow(place)
        finally:
            with cleanup(LAST_WORDS):
                await self._end_well()

    async def _ask(self, kind: JobKind, purges: tuple[Purge, ...], warms: tuple[Warm, ...], owner: str) -> Job:
        awaited = tuple(EdgeResult(edge, EdgeStatus.PENDING) for edge in sorted({*self._edges(), self.edge}))
        job = Job(JobId(self._new_id()), kind, purges, warms, owner, UnixMs(int(self._clock.wall() * 1000)), awaited)
        entry = entry_of(job)
        if len(entry) > ENTRY:
            raise TooLarge(detail="One job names too much: ask for fewer at once, or use a pattern or a tag.")
        await self._jobs.put([job])
        self._open[job.id] = job
        try:
            await self._bus.append(LOG, entry)
        except BaseException as error:  # nobody has its id. If it is in the log after all, it comes from there, whole
            self._open.pop(job.id, None)
            if isinstance(error, Unavailable):
                await self._jobs.drop(job.id)
            raise
        return job

    async def _end(self, stream: str) -> Cursor:
        while True:
            try:
                return await self._bus.end(stream)
            except Unavailable:
                await trio.sleep(BACK_OFF)

    async def _catch_up(self) -> Cursor:
        """Everything that was told while this edge was away. Waits for the bus: without the log it may not serve.

        What it had begun, and had not said when it ended, stands in its own store: its place in the log may be behind that.
        """
        for job in reversed(await self._jobs.find(status=JobStatus.PENDING, limit=sys.maxsize)):
            self._open[job.id] = job
            mine = {each.status for each in job.edges if each.edge == self.edge}
            if EdgeStatus.PENDING in mine or not self._shared:
                await self._do(job)
            if self._shared and {each.status for each in job.edges} == {EdgeStatus.PENDING}:
                self._untold[job.id] = job
        place = await self._jobs.place(self.edge) if self._shared else await self._end(LOG)
        if place is not None:
            while self._shared:
                try:
                    place = await self._read_on(place)
                    await self._tell()
                    return place
                except Unavailable as error:  # while the rest of the server is up already: it would end with this
                    _log.warning("purge_log_away", code=error.code)
                    await trio.sleep(BACK_OFF)
            return place
        place = await self._end(LOG)  # its cache is as new as it is
        await self._jobs.put((), {self.edge: place})
        return place

    async def _tell(self) -> None:
        """Put what nobody was told of into the log: the other edges would be awaited for ever. Raises Unavailable."""
        while self._untold:
            job = next(iter(self._untold.values()))
            await self._bus.append(LOG, entry_of(job))
            del self._untold[job.id]

    async def _read_on(self, place: Cursor) -> Cursor:
        """To the end of the log, without waiting for more. Raises Unavailable."""
        while (found := await self._step(place, wait=AT_ONCE)) != place:
            place = found
        return place

    async def _follow(self, place: Cursor) -> None:
        while True:
            try:
                async with self._bus.listening(LOG):
                    place = await self._read_on(place)
                    self.current = True
                    while True:
                        place = await self._step(place, wait=WAIT)
            except Unavailable as error:
                # What is told now is not heard: whoever looks at this edge's readiness leaves it alone until it has read on.
                self.current = False
                _log.warning("purge_log_away", code=error.code)
                await trio.sleep(BACK_OFF)

    async def _step(self, place: Cursor, *, wait: Seconds) -> Cursor:
        """Do what stands behind `place`; the new place. Raises Unavailable."""
        if len(self._unsaid) >= UNSAID:
            await self._say()
        try:
            page = await self._bus.read(LOG, place, limit=BATCH, wait=wait)
        except BadRequest:
            page = await self._bus.read(LOG, START, limit=BATCH)
            page = replace(page, gap=True)
        if page.gap:
            _log.warning("purge_log_gap", edge=self.edge)
            await self._store.purge(Purge("all"))
        for entry in page.entries:
            try:
                job = read_entry(entry.data)
            except BadRequest:
                _log.warning("purge_log_entry_unreadable")
                continue
            self._untold.pop(job.id, None)
            if page.gap or wait == AT_ONCE:
                await self._know(job)
            self._open.setdefault(job.id, job)
            await self._do(job)
        self._done = page.cursor
        return page.cursor

    async def _know(self, job: Job) -> None:
        """Who was away, or reads the log again, has written down already what some edges said of a job: that stays."""
        async with self._lock:
            if job.id not in self._open and (known := await self._jobs.get(job.id)) is not None:
                self._open[job.id] = known

    async def _do(self, job: Job) -> None:
        """This edge's part of a job. A task of its own fetches what is to be warm: no purge waits for that."""
        if job.warms:
            async with self._lock:  # the place in the log goes on while this waits, and nothing would lead back to it
                await self._jobs.put([self._open.get(job.id, job)])
            try:
                self._to_warm.send_nowait(job)
            except trio.WouldBlock:
                self._has_done(job, EdgeStatus.FAILED, 0, "overloaded")
            return
        try:
            objects = await self._store.purge(*job.purges)
        except NovaError as error:
            self._has_done(job, EdgeStatus.FAILED, 0, error.code)
        else:
            self._has_done(job, EdgeStatus.ACKED, objects, "")

    def _has_done(self, job: Job, status: EdgeStatus, objects: int, detail: str) -> None:
        took = max(0, self._now() - job.created_at)
        self._unsaid.append(Word(job.id, EdgeResult(self.edge, status, objects, took, detail)))
        self._to_say.set()

    async def _speak(self) -> None:
        """Say what was done, a while after it: the other edges may share a core with this one, and are still to forget."""
        while True:
            await self._to_say.wait()
            await trio.sleep(GATHER)
            try:
                await self._say()
            except Unavailable as error:
                _log.warning("purge_log_away", code=error.code)
                await trio.sleep(BACK_OFF)

    async def _say(self) -> None:
        """Raises Unavailable: the rest is still to be said."""
        async with self._saying:
            place, left = self._done, len(self._unsaid)
            while left > 0:
                words = self._unsaid[: min(left, BATCH)]
                left -= len(words)
                await self._bus.append(ACKS, words_of(Words(self.edge, None if left else place, words)))
                del self._unsaid[: len(words)]
                self._spoke.set()
            if not self._unsaid:
                self._to_say = trio.Event()

    async def _end_well(self) -> None:
        """What was done is said and written down, as far as bus and store take it; the next start does and says the rest once more."""
        try:
            await self._say()
            while await self._take_words():
                pass
        except NovaError as error:
            _log.warning("purge_log_away", code=error.code)

    async def _warm_in_turn(self) -> None:
        async for job in self._warming:
            stored, failed = await self._warm(job.warms)
            detail = f"{failed} of {len(job.warms)} were not stored" if failed else ""
            self._has_done(job, EdgeStatus.FAILED if failed else EdgeStatus.ACKED, stored, detail)

    async def _warm(self, warms: tuple[Warm, ...]) -> tuple[int, int]:
        """How many are stored, and how many are not."""
        stored = failed = 0
        room = trio.CapacityLimiter(WARMING)

        async def one(warm: Warm) -> None:
            nonlocal stored, failed
            async with room:
                try:
                    warmed = await self._store.prewarm(warm.site, warm.target, host=warm.host)
                except NovaError:
                    failed += 1
                    return
                if warmed.stored:
                    stored += 1
                else:
                    failed += 1

        async with trio.open_nursery() as nursery:
            for warm in warms:
                nursery.start_soon(one, warm)
        return stored, failed

    async def _follow_words(self) -> None:
        """Nothing rings for it: words come while every edge has its own work with a job, and are there soon after this edge's."""
        while True:
            with trio.move_on_after(LOOK):
                await self._spoke.wait()
                self._spoke = trio.Event()
                await trio.sleep(GATHER)
            try:
                while await self._take_words():
                    pass
            except Unavailable as error:
                _log.warning("purge_log_away", code=error.code)
                await trio.sleep(BACK_OFF)
            except BadRequest:
                self._heard = await self._end(ACKS)

    async def _take_words(self) -> bool:
        """Write down what edges have said since the last time, this one too; whether there is more. Raises Unavailable, BadRequest."""
        page = await self._bus.read(ACKS, self._heard, limit=BATCH)
        heard: dict[JobId, list[EdgeResult]] = {}
        places = {f"acks:{self.edge}": page.cursor}
        for entry in page.entries:
            try:
                said = read_words(entry.data)
            except BadRequest:
                continue
            for word in said.words:
                heard.setdefault(word.job, []).append(word.result)
            if said.edge == self.edge and said.place is not None:
                places[self.edge] = Cursor(said.place)
        if page.entries:
            await self._hear(heard, places if self._shared else {})
            self._heard = page.cursor
        return len(page.entries) == BATCH

    async def _hear(self, heard: Mapping[JobId, Sequence[EdgeResult]], places: Mapping[str, Cursor]) -> None:
        """Write down what was said, and the places behind it. Raises Unavailable."""
        async with self._lock:  # two words about one job at once: neither may overwrite the other
            jobs: list[Job] = []
            early: dict[JobId, list[EdgeResult]] = {}
            for id, results in heard.items():
                said = [*self._early.get(id, ()), *results]
                job = self._open.get(id) or await self._jobs.get(id)
                if job is None:
                    early[id] = said
                    continue
                for result in said:
                    job = job.heard(result, self._now())
                jobs.append(job)
            await self._keep(jobs, places)
            for id in heard:
                self._early.pop(id, None)
            self._early |= early
            while len(self._early) > EARLY:
                self._early.popitem(last=False)

    async def _keep(self, jobs: Sequence[Job], places: Mapping[str, Cursor] = MappingProxyType({})) -> None:
        await self._jobs.put(jobs, places)
        for job in jobs:
            if job.status is JobStatus.PENDING:
                self._open[job.id] = job
            else:
                self._open.pop(job.id, None)
        self._changed.set()
        self._changed = trio.Event()

    async def _tidy(self) -> None:
        """Edges that left are not awaited for ever; old jobs go."""
        while True:
            await trio.sleep(LATE / 3)
            there, now = set(self._edges()), self._now()
            for job in list(self._open.values()):
                gone = {edge.edge for edge in job.edges} - there - {self.edge}
                if gone and now - job.created_at > LATE * 1000:
                    async with self._lock:
                        if (latest := self._open.get(job.id)) is not None:
                            await self._keep([latest.without(gone, now)])
            await self._jobs.sweep(UnixMs(now - KEEP_MS))

    def _now(self) -> UnixMs:
        return UnixMs(int(self._clock.wall() * 1000))
