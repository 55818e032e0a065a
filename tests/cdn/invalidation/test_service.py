"""Jobs over the purge log: several edges on one bus, each with its own store, away and back."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio

from nova.cdn.invalidation import service as invalidation
from nova.cdn.invalidation.model import EdgeResult, EdgeStatus, JobStatus, Warm, Word, Words, read_words, words_of
from nova.cdn.invalidation.service import ACKS, LOG, Invalidations
from nova.cdn.invalidation.store_sql import SCHEMA, SqlJobs
from nova.cdn.ports import Purge
from nova.core.bus import START, Bus, Cursor, MemoryBus, Page
from nova.core.bus.port import AT_ONCE
from nova.core.bus.shared import RedisBus
from nova.core.clock import SystemClock
from nova.core.errors import NotFound, TooLarge, Unavailable
from nova.core.ids import Ids
from nova.core.offload import Offload
from nova.core.secret import SecretUrl
from nova.core.sql import open_sqlite
from nova.core.values import Seconds
from tests.cdn.invalidation.fakes import FakeStore
from tests.core.bus.redis_server import redis_server

CLOCK = SystemClock()
A_TAG = (Purge("tag", b"t"),)


class Node:
    """One edge with its own database."""

    def __init__(self, service: Invalidations, store: FakeStore, jobs: SqlJobs) -> None:
        self.service, self.store, self.jobs = service, store, jobs


class Broken(MemoryBus):
    """A bus that refuses entries of the streams in `refuses`, what the edges in `mute` say, and, while it is `away`, to be read. tried: how
    often it was asked for what it refused."""

    def __init__(self) -> None:
        super().__init__(CLOCK)
        self.refuses: set[str] = set()
        self.mute: set[str] = set()
        self.away = False
        self.tried = 0

    async def read(self, stream: str, after: Cursor, *, limit: int = 100, wait: Seconds = AT_ONCE) -> Page:
        if self.away:
            self.tried += stream == LOG
            raise Unavailable
        return await super().read(stream, after, limit=limit, wait=wait)

    async def append(self, stream: str, data: bytes) -> Cursor:
        if stream in self.refuses or (stream == ACKS and read_words(data).edge in self.mute):
            self.tried += 1
            raise Unavailable
        return await super().append(stream, data)


class Cluster:
    def __init__(self, folder: Path, bus: Bus, *, shared: bool) -> None:
        self.folder, self.bus, self.shared = folder, bus, shared
        self.there: list[str] = []

    @asynccontextmanager
    async def node(self, name: str) -> AsyncIterator[Node]:
        """The edge `name`, ready to serve; its database is kept when it goes."""
        store = FakeStore()
        async with open_sqlite(self.folder / f"{name}.db", [SCHEMA], Offload(), now="2026-01-01T00:00:00Z") as sql:
            jobs = SqlJobs(sql)
            service = Invalidations(
                store, jobs, self.bus, CLOCK, edge=name, edges=lambda: list(self.there), new_id=Ids(CLOCK).new, shared=self.shared
            )
            self.there.append(name)
            async with trio.open_nursery() as nursery:
                await nursery.start(service.run)
                yield Node(service, store, jobs)
                nursery.cancel_scope.cancel()
            self.there.remove(name)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path, MemoryBus(CLOCK), shared=True)


async def soon(check: Callable[[], Awaitable[bool]]) -> None:
    with trio.fail_after(10):
        while not await check():
            await trio.sleep(0.005)


async def test_every_edge_forgets_and_says_so(cluster: Cluster) -> None:
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(cluster.node(name)) for name in ("a", "b", "c")]
        asked = await nodes[0].service.purge(A_TAG, "ada")
        assert [(edge.edge, edge.status) for edge in asked.edges] == [(name, EdgeStatus.PENDING) for name in "abc"]
        done = await nodes[0].service.wait(asked.id)
        assert done.status is JobStatus.DONE
        assert [(edge.edge, edge.status, edge.objects) for edge in done.edges] == [(name, EdgeStatus.ACKED, 3) for name in "abc"]
        assert done.done_at is not None
        assert [node.store.purged for node in nodes] == [list(A_TAG)] * 3

        # Every node can be asked for it, also after a look into its store alone.
        async def told() -> bool:
            return all([(await node.jobs.get(asked.id) or asked).status is JobStatus.DONE for node in nodes])

        await soon(told)
        assert [job.id for job in await nodes[2].service.recent()] == [asked.id]


async def test_an_edge_that_was_away_reads_on_before_it_serves(cluster: Cluster) -> None:
    async with cluster.node("a") as a:
        async with cluster.node("b") as b:
            await a.service.wait((await a.service.purge(A_TAG, "ada")).id)
            assert b.store.purged == list(A_TAG)
        missed = [Purge("key", f"/{number}".encode(), "s", soft=True) for number in range(250)]
        for purge in missed:
            await a.service.purge((purge,), "ada")
        async with cluster.node("b") as b:  # entered once it is ready
            assert b.store.purged == missed
            assert b.service.current


async def test_an_edge_that_missed_more_than_the_log_keeps_forgets_everything(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, MemoryBus(CLOCK, window=20), shared=True)
    async with cluster.node("a") as a:
        async with cluster.node("b"):
            await a.service.wait((await a.service.purge(A_TAG, "ada")).id)
        for _ in range(40):
            last = await a.service.purge(A_TAG, "ada")
        await a.service.wait(last.id)
        async with cluster.node("b") as b:
            assert b.store.purged[0] == Purge("all")


async def test_a_log_that_began_anew_is_a_gap_too(cluster: Cluster) -> None:
    async with cluster.node("a") as a:
        await a.service.wait((await a.service.purge(A_TAG, "ada")).id)

        async def kept() -> bool:
            return await a.jobs.place("a") not in (None, START)

        await soon(kept)
    cluster.bus = MemoryBus(CLOCK)
    async with cluster.node("a") as a:
        assert a.store.purged == [Purge("all")]


async def test_without_a_shared_log_what_was_not_done_stands_in_the_store(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, MemoryBus(CLOCK), shared=False)
    async with cluster.node("a") as a:
        done = await a.service.wait((await a.service.purge(A_TAG, "ada")).id)
        assert done.status is JobStatus.DONE
    async with open_sqlite(tmp_path / "a.db", [SCHEMA], Offload(), now="2026-01-01T00:00:00Z") as sql:
        # As a process that was killed between its answer and its deed leaves it.
        killed = Invalidations(
            FakeStore(), SqlJobs(sql), MemoryBus(CLOCK), CLOCK, edge="a", edges=list, new_id=Ids(CLOCK).new, shared=False
        )  # fmt: skip
        left = await killed.purge((Purge("key", b"/x", "s"),), "ada")
    cluster.bus = MemoryBus(CLOCK)
    async with cluster.node("a") as a:
        assert a.store.purged == [Purge("key", b"/x", "s")]  # that one, and not everything
        assert (await a.service.wait(left.id)).status is JobStatus.DONE


async def test_what_an_edge_had_told_nobody_when_it_was_killed_is_told_by_its_next_start(tmp_path: Path) -> None:
    bus = Broken()
    cluster = Cluster(tmp_path, bus, shared=True)
    async with cluster.node("b") as b:
        async with cluster.node("a") as a:
            await a.service.wait((await a.service.purge(A_TAG, "ada")).id)

            async def killed(stream: str, data: bytes) -> Cursor:
                await trio.sleep_forever()
                raise AssertionError

            bus.append, append = killed, bus.append  # type: ignore[method-assign]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(a.service.purge, (Purge("key", b"/x", "s"),), "ada")

                async def stored() -> bool:
                    return len(await a.jobs.find(status=JobStatus.PENDING)) == 1

                await soon(stored)
                (left,) = await a.jobs.find(status=JobStatus.PENDING)
                nursery.cancel_scope.cancel()
            bus.append = append  # type: ignore[method-assign]
        async with cluster.node("a") as a:
            with trio.fail_after(10):
                done = await a.service.wait(left.id)
            assert {edge.edge: edge.status for edge in done.edges} == {"a": EdgeStatus.ACKED, "b": EdgeStatus.ACKED}
        assert b.store.purged == [*A_TAG, Purge("key", b"/x", "s")]
        async with cluster.node("a"):  # and not once more
            await soon(lambda: _is_at_the_end(b))
        assert b.store.purged == [*A_TAG, Purge("key", b"/x", "s")]


async def _is_at_the_end(node: Node) -> bool:
    return node.service._done == await node.service._bus.end(LOG)


async def test_an_edge_that_cannot_makes_the_job_fail(cluster: Cluster) -> None:
    async with cluster.node("a") as a, cluster.node("b") as b:
        b.store.broken = True
        job = await a.service.wait((await a.service.purge(A_TAG, "ada")).id)
        assert job.status is JobStatus.FAILED
        assert [(edge.status, edge.detail) for edge in job.edges] == [(EdgeStatus.ACKED, ""), (EdgeStatus.FAILED, "storage_failed")]


async def test_an_edge_that_left_is_not_awaited_for_ever(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nova.cdn.invalidation.service.LATE", 0.05)
    cluster.there.append("ghost")
    async with cluster.node("a") as a:
        job = await a.service.purge(A_TAG, "ada")
        cluster.there.remove("ghost")
        with trio.fail_after(10):
            done = await a.service.wait(job.id)
        assert done.status is JobStatus.DONE
        assert [(edge.edge, edge.status) for edge in done.edges] == [("a", EdgeStatus.ACKED), ("ghost", EdgeStatus.AWAY)]


async def test_prewarming_is_a_job_and_holds_no_purge_up(cluster: Cluster) -> None:
    async with cluster.node("a") as a:
        a.store.gate = trio.Event()
        warm = await a.service.prewarm((Warm("s", b"/1"), Warm("s", b"/2")), "ada")
        bad = await a.service.prewarm((Warm("s", b"/gone"), Warm("s", b"/private"), Warm("s", b"/3")), "ada")
        assert (await a.service.wait((await a.service.purge(A_TAG, "ada")).id)).status is JobStatus.DONE
        a.store.gate.set()
        done = await a.service.wait(warm.id)
        assert (done.status, done.edges[0].objects) == (JobStatus.DONE, 2)
        failed = await a.service.wait(bad.id)
        assert (failed.status, failed.edges[0].detail) == (JobStatus.FAILED, "2 of 3 were not stored")


async def test_what_is_too_much_or_unknown_is_said(cluster: Cluster) -> None:
    async with cluster.node("a") as a:
        with pytest.raises(TooLarge):
            await a.service.purge(tuple(Purge("key", b"/" + b"x" * 4000) for _ in range(100)), "ada")
        with pytest.raises(NotFound):
            await a.service.get((await a.service.purge(A_TAG, "ada")).id.replace("-7", "-8"))  # type: ignore[arg-type]


async def test_entries_that_cannot_be_read_are_passed_over(cluster: Cluster) -> None:
    async with cluster.node("a") as a:
        await cluster.bus.append(LOG, b"nonsense")
        await cluster.bus.append(ACKS, b"nonsense")
        await cluster.bus.append(ACKS, b'{"edge":"a","place":null,"words":[["x"]]}')
        assert (await a.service.wait((await a.service.purge(A_TAG, "ada")).id)).status is JobStatus.DONE


async def test_an_edge_forgets_before_it_speaks_and_its_place_waits_for_its_words(tmp_path: Path) -> None:
    bus = Broken()
    cluster = Cluster(tmp_path, bus, shared=True)
    async with cluster.node("a") as a, cluster.node("b") as b:
        before = await b.jobs.place("b")
        bus.refuses = {ACKS}
        job = await a.service.purge(A_TAG, "ada")

        async def forgotten() -> bool:
            return bool(a.store.purged and b.store.purged and bus.tried >= 2)

        await soon(forgotten)
        for node in (a, b):  # nobody has heard of it: no edge counts as done, whatever it has forgotten
            assert {edge.status for edge in (await node.service.get(job.id)).edges} == {EdgeStatus.PENDING}
            assert node.service.current
        assert await b.jobs.place("b") == before
        bus.refuses = set()  # what was to be said is said once the bus is back
        with trio.fail_after(30):
            assert (await b.service.wait(job.id)).status is JobStatus.DONE
        assert await b.jobs.place("b") != before
        assert b.store.purged == list(A_TAG)


async def test_an_edge_that_is_killed_before_it_speaks_does_and_says_it_again(tmp_path: Path) -> None:
    bus = Broken()
    cluster = Cluster(tmp_path, bus, shared=True)
    async with cluster.node("a") as a:
        async with cluster.node("b") as b:
            bus.refuses = {ACKS}
            job = await a.service.purge(A_TAG, "ada")

            async def forgotten() -> bool:
                return bool(b.store.purged)

            await soon(forgotten)  # and here it ends, without a word: the bus takes none
        bus.refuses = set()
        assert EdgeStatus.PENDING in {edge.status for edge in (await a.service.get(job.id)).edges if edge.edge == "b"}
        async with cluster.node("b") as b:
            assert b.store.purged == list(A_TAG)
            with trio.fail_after(30):
                assert (await a.service.wait(job.id)).status is JobStatus.DONE
                assert (await b.service.wait(job.id)).status is JobStatus.DONE


async def test_words_of_an_edge_that_was_killed_before_it_wrote_them_are_found_again(cluster: Cluster) -> None:
    async with cluster.node("a") as a:
        async with cluster.node("b"):
            pass
        job = await a.service.purge(A_TAG, "ada")
        place = await cluster.bus.end(LOG)
        # As an earlier life of b left it: forgotten and said, and killed then.
        words = Words("b", place, [Word(job.id, EdgeResult("b", EdgeStatus.ACKED, 3, 1))])
        await cluster.bus.append(ACKS, words_of(words))
        async with cluster.node("b") as b:
            assert b.store.purged == list(A_TAG)

            async def told() -> bool:
                kept = await b.jobs.get(job.id)
                return kept is not None and kept.status is JobStatus.DONE and await b.jobs.place("b") == place

            await soon(told)


async def test_what_is_still_to_be_said_is_said_at_the_end(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    async with cluster.node("a") as a:
        monkeypatch.setattr(invalidation, "GATHER", 3600.0)
        async with cluster.node("b") as b:
            job = await a.service.purge(A_TAG, "ada")

            async def forgotten() -> bool:
                return bool(b.store.purged)

            await soon(forgotten)
        said = [read_words(entry.data) for entry in (await cluster.bus.read(ACKS, START)).entries]
        assert [(each.edge, each.place, [word.job for word in each.words]) for each in said] == [
            ("b", await cluster.bus.end(LOG), [job.id])
        ]
        async with cluster.node("b") as b:
            assert b.store.purged == []  # its place was kept
            assert [edge.status for edge in (await b.service.get(job.id)).edges] == [EdgeStatus.PENDING, EdgeStatus.ACKED]


async def test_words_are_gathered(cluster: Cluster) -> None:
    async with cluster.node("a") as a:
        async with cluster.node("b"):
            pass
        jobs = [await a.service.purge(A_TAG, "ada") for _ in range(150)]
        async with cluster.node("b") as b:
            for job in jobs:
                await b.service.wait(job.id)
        said = [read_words(entry.data) for entry in (await cluster.bus.read(ACKS, START)).entries]
        sizes = [len(each.words) for each in said if each.edge == "b"]
        assert sum(sizes) == 150
        assert max(sizes) > 1


async def test_an_edge_with_too_much_to_say_reads_nothing_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invalidation, "UNSAID", 2)
    monkeypatch.setattr(invalidation, "BATCH", 1)
    monkeypatch.setattr(invalidation, "BACK_OFF", 0.01)
    bus = Broken()
    async with Cluster(tmp_path, bus, shared=True).node("a") as a:
        bus.refuses = {ACKS}
        jobs = [await a.service.purge(A_TAG, "ada") for _ in range(5)]

        async def full() -> bool:
            return not a.service.current

        await soon(full)
        assert len(a.store.purged) == 2
        bus.refuses = set()
        with trio.fail_after(30):
            for job in jobs:
                assert (await a.service.wait(job.id)).status is JobStatus.DONE
        assert len(a.store.purged) == 5


async def test_what_others_said_stays_said_when_an_edge_reads_the_log_again(tmp_path: Path) -> None:
    bus = Broken()
    cluster = Cluster(tmp_path, bus, shared=True)
    async with cluster.node("a") as a:
        async with cluster.node("b") as b:
            bus.mute = {"b"}
            job = await a.service.purge(A_TAG, "ada")

            async def written() -> bool:
                kept = await b.jobs.get(job.id)
                return kept is not None and EdgeStatus.ACKED in {edge.status for edge in kept.edges if edge.edge == "a"}

            await soon(written)
        bus.mute = set()
        async with cluster.node("b") as b:
            with trio.fail_after(30):
                assert (await b.service.wait(job.id)).status is JobStatus.DONE
        kept = await a.service.wait(job.id)
        assert {edge.status for edge in kept.edges} == {EdgeStatus.ACKED}


async def test_a_job_that_the_bus_does_not_take_is_none(tmp_path: Path) -> None:
    bus = Broken()
    async with Cluster(tmp_path, bus, shared=True).node("a") as a:
        bus.refuses = {LOG}
        with pytest.raises(Unavailable):
            await a.service.purge(A_TAG, "ada")
        assert await a.service.recent() == []
        bus.refuses = set()
        assert (await a.service.wait((await a.service.purge(A_TAG, "ada")).id)).status is JobStatus.DONE


async def test_an_edge_that_starts_while_the_bus_is_away_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invalidation, "BACK_OFF", 0.01)
    bus = Broken()
    cluster = Cluster(tmp_path, bus, shared=True)
    async with cluster.node("b") as b:
        async with cluster.node("a"):
            pass
        job = await b.service.purge(A_TAG, "ada")
        bus.away = True
        ready = trio.Event()

        async def start() -> None:
            async with cluster.node("a") as a:
                assert a.store.purged == list(A_TAG)
                ready.set()
                assert (await b.service.wait(job.id)).status is JobStatus.DONE

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(start)
                while bus.tried < 3:
                    await trio.sleep(0.005)
                assert not ready.is_set()
                bus.away = False


async def test_an_edge_is_ready_again_once_it_has_read_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invalidation, "BACK_OFF", 0.01)
    monkeypatch.setattr(invalidation, "WAIT", 0.01)
    bus = Broken()
    async with Cluster(tmp_path, bus, shared=True).node("a") as a:
        bus.away = True

        async def ready() -> bool:
            return a.service.current

        async def unready() -> bool:
            return not a.service.current

        await soon(unready)
        monkeypatch.setattr(invalidation, "WAIT", 3600.0)  # nothing more comes
        bus.away = False
        await soon(ready)


async def test_a_log_that_was_lost_is_a_reason_to_forget_everything_once(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        bus = RedisBus(SecretUrl(server.url))
        async with bus.opened(), Cluster(tmp_path, bus, shared=True).node("a") as a:
            await a.service.wait((await a.service.purge(A_TAG, "ada")).id)
            server.say(f"DEL {LOG}")

            async def forgotten() -> bool:
                return Purge("all") in a.store.purged

            await soon(forgotten)
            for _ in range(3):  # so that it has gone round
                await bus.read(LOG, START)
            job = await a.service.purge((Purge("key", b"/x", "s"),), "ada")
            assert (await a.service.wait(job.id)).status is JobStatus.DONE
            assert a.store.purged == [*A_TAG, Purge("all"), Purge("key", b"/x", "s")]


async def test_a_log_that_was_trimmed_to_nothing_is_forgotten_for_once(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        bus = RedisBus(SecretUrl(server.url))
        async with bus.opened(), Cluster(tmp_path, bus, shared=True).node("a") as a:
            await a.service.wait((await a.service.purge(A_TAG, "ada")).id)
            server.say(f"XTRIM {LOG} MAXLEN 0")
            for _ in range(3):  # so that it has gone round
                await bus.read(LOG, START)
            job = await a.service.purge((Purge("key", b"/x", "s"),), "ada")
            assert (await a.service.wait(job.id)).status is JobStatus.DONE
            assert a.store.purged.count(Purge("all")) <= 1
            server.say(f"XTRIM {LOG} MAXLEN 0")
            async with Cluster(tmp_path, bus, shared=True).node("b") as b:  # one that is new finds an empty log
                for _ in range(3):
                    await bus.read(LOG, START)
                assert b.store.purged == []


@pytest.mark.parametrize("shared", [False, True])
async def test_what_was_being_warmed_when_an_edge_was_killed_is_warmed_by_its_next_start(tmp_path: Path, shared: bool) -> None:
    bus = Broken()
    cluster = Cluster(tmp_path, bus, shared=shared)
    async with cluster.node("a") as a, cluster.node("b") as b:
        b.store.gate = trio.Event()
        if not shared:
            a = b
        warm = await a.service.prewarm((Warm("s", b"/1"),), "ada")
        job = await a.service.purge(A_TAG, "ada")
        await a.service.wait(job.id)
        await b.service.wait(job.id)  # its place in the log is behind both now
    if not shared:
        cluster.bus = MemoryBus(CLOCK)
    async with cluster.node("b") as b:
        with trio.fail_after(10):
            done = await b.service.wait(warm.id)
        assert {edge.edge: edge.objects for edge in done.edges}["b"] == 1
        assert b.store.warmed == [b"/1"]


async def test_an_edge_that_left_while_nobody_was_here_is_not_awaited_for_ever(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nova.cdn.invalidation.service.LATE", 0.05)
    cluster.there.append("ghost")
    async with cluster.node("a") as a:
        job = await a.service.purge(A_TAG, "ada")

        async def said() -> bool:
            return EdgeStatus.ACKED in {edge.status for edge in (await a.service.get(job.id)).edges}

        await soon(said)
    cluster.there.remove("ghost")
    async with cluster.node("a") as a:
        with trio.fail_after(10):
            assert (await a.service.wait(job.id)).status is JobStatus.DONE
