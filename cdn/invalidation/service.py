"""Invalidation and prewarming: jobs go into the purge log, every edge follows it and says what it did.

The log is a stream of the bus, its cursors are the sequence numbers. Each edge keeps its place: one that was away reads on from there
before it serves. Where the log has lost what is between (`gap`), the edge forgets everything: it cannot know what it was told.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
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
    ack_of,
    entry_of,
    read_ack,
    read_entry,
)
from nova.cdn.invalidation.store_sql import SqlJobs
from nova.cdn.ports import Purge, Store
from nova.core.bus import START, Bus, Cursor
from nova.core.clock import Clock
from nova.core.errors import BadRequest, NotFound, NovaError, TooLarge, Unavailable
from nova.core.log import Log
from nova.core.values import Seconds

LOG: Final = "cdn.purges"
ACKS: Final = "cdn.acks"
WAIT: Final = Seconds(30.0)
BATCH: Final = 100  # entries that are read at once
BACK_OFF: Final = 1.0  # seconds before a bus that is away is asked again
QUEUE: Final = 100  # prewarm jobs that wait for one edge; one more fails there
GATHER: Final = 0.1  # seconds in which what other edges say is gathered: one write for all, and none while everybody is still forgetting
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
        self._early: OrderedDict[JobId, list[EdgeResult]] = OrderedDict()  # words about jobs that were not read yet
        self._to_warm, self._warming = trio.open_memory_channel[Job](QUEUE)
        self._changed = trio.Event()
        self._lock = trio.Lock()
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
        """Read what was missed, then say `started`, then follow; until cancelled."""
        async with trio.open_nursery() as nursery:
            heard = await self._jobs.place(f"acks:{self.edge}") if self._shared else None
            nursery.start_soon(self._follow_acks, heard or await self._end(ACKS))
            nursery.start_soon(self._warm_in_turn)
            place = await self._catch_up()
            self.current = True
            task_status.started()
            nursery.start_soon(self._tidy)
            await self._follow(place)

    async def _ask(self, kind: JobKind, purges: tuple[Purge, ...], warms: tuple[Warm, ...], owner: str) -> Job:
        awaited = tuple(EdgeResult(edge, EdgeStatus.PENDING) for edge in sorted({*self._edges(), self.edge}))
        job = Job(JobId(self._new_id()), kind, purges, warms, owner, UnixMs(int(self._clock.wall() * 1000)), awaited)
        entry = entry_of(job)
        if len(entry) > ENTRY:
            raise TooLarge(detail="One job names too much: ask for fewer at once, or use a pattern or a tag.")
        await self._jobs.put(job)
        self._open[job.id] = job
        await self._bus.append(LOG, entry)
        return job

    async def _end(self, stream: str) -> Cursor:
        while True:
            try:
                return await self._bus.end(stream)
            except Unavailable:
                await trio.sleep(BACK_OFF)

    async def _catch_up(self) -> Cursor:
        """Everything that was told while this edge was away. The bus must be there: without the log it may not serve."""
        place = await self._jobs.place(self.edge)
        if not self._shared:
            place = await self._end(LOG)
            missed = await self._jobs.find(status=JobStatus.PENDING, limit=sys.maxsize)
            for job in reversed(missed):
                self._open[job.id] = job
                await self._do(job)
        elif place is None:
            place = await self._end(LOG)  # its cache is as new as it is
        else:
            while True:
                last = place
                place = await self._step(place, wait=Seconds(0))
                if place == last:
                    break
        await self._jobs.put_place(self.edge, place)
        return place

    async def _follow(self, place: Cursor) -> None:
        while True:
            try:
                place = await self._step(place, wait=WAIT)
                self.current = True
            except Unavailable as error:
                # What is told now is not heard: whoever looks at this edge's readiness leaves it alone until it has read on.
                self.current = False
                _log.warning("purge_log_away", code=error.code)
                await trio.sleep(BACK_OFF)

    async def _step(self, place: Cursor, *, wait: Seconds) -> Cursor:
        """Do what stands behind `place`; the new place."""
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
            self._open.setdefault(job.id, job)
            if early := self._early.pop(job.id, None):
                await self._hear(job.id, *early)
            await self._do(job)
        if page.cursor != place:
            await self._jobs.put_place(self.edge, page.cursor)
        return page.cursor

    async def _do(self, job: Job) -> None:
        """This edge's part of a job, and its word about it. A task of its own fetches what is to be warm: no purge waits for that."""
        if job.warms:
            try:
                self._to_warm.send_nowait(job)
            except trio.WouldBlock:
                await self._say(job, EdgeStatus.FAILED, 0, "overloaded")
            return
        objects = 0
        try:
            for purge in job.purges:
                objects += await self._store.purge(purge)
        except NovaError as error:
            await self._say(job, EdgeStatus.FAILED, objects, error.code)
        else:
            await self._say(job, EdgeStatus.ACKED, objects, "")

    async def _say(self, job: Job, status: EdgeStatus, objects: int, detail: str) -> None:
        took = max(0, int(self._clock.wall() * 1000) - job.created_at)
        result = EdgeResult(self.edge, status, objects, took, detail)
        await self._hear(job.id, result)
        await self._bus.append(ACKS, ack_of(job.id, result))

    async def _warm_in_turn(self) -> None:
        async for job in self._warming:
            stored, failed = await self._warm(job.warms)
            detail = f"{failed} of {len(job.warms)} were not stored" if failed else ""
            try:
                await self._say(job, EdgeStatus.FAILED if failed else EdgeStatus.ACKED, stored, detail)
            except Unavailable as error:
                _log.warning("purge_log_away", code=error.code)

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

    async def _follow_acks(self, place: Cursor) -> None:
        while True:
            try:
                page = await self._bus.read(ACKS, place, limit=1, wait=WAIT)
                if page.entries:
                    await trio.sleep(GATHER)
                    page = await self._bus.read(ACKS, place, limit=BATCH)
                place = page.cursor
            except Unavailable:
                await trio.sleep(BACK_OFF)
                continue
            except BadRequest:
                place = await self._end(ACKS)
                continue
            heard: dict[JobId, list[EdgeResult]] = {}
            for entry in page.entries:
                try:
                    job, result = read_ack(entry.data)
                except BadRequest:
                    continue
                if result.edge != self.edge:
                    heard.setdefault(job, []).append(result)
            for job, results in heard.items():
                await self._hear(job, *results)
            if self._shared and page.entries:
                await self._jobs.put_place(f"acks:{self.edge}", place)

    async def _hear(self, id: JobId, *results: EdgeResult) -> None:
        async with self._lock:  # two words about one job at once: neither may overwrite the other
            job = self._open.get(id) or await self._jobs.get(id)
            if job is None:
                self._early.setdefault(id, []).extend(results)
                if len(self._early) > EARLY:
                    self._early.popitem(last=False)
                return
            for result in results:
                job = job.heard(result, self._now())
            await self._keep(job)

    async def _keep(self, job: Job) -> None:
        await self._jobs.put(job)
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
                            await self._keep(latest.without(gone, now))
            await self._jobs.sweep(UnixMs(now - KEEP_MS))

    def _now(self) -> UnixMs:
        return UnixMs(int(self._clock.wall() * 1000))
