"""Worker processes: what a crash, a stuck decoder, a leaving caller and a crowd do to the others."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from nova.core.errors import NovaError, TooLarge, Unavailable, Unprocessable
from nova.media.images.job import Job, Output
from nova.media.images.options import parse
from nova.media.images.pool import Bounds, Pool, memfd
from nova.media.images.sniff import Limits
from tests.media.images import hostile, material

JOB = Job([Output(parse("rs:inside:32:32")[0], "jpg")], facts=True)


@asynccontextmanager
async def running(bounds: Bounds) -> AsyncIterator[tuple[Pool, list[str]]]:
    said: list[str] = []
    async with trio.open_nursery() as nursery:
        pool = Pool(bounds, observe=lambda outcome, seconds: said.append(outcome))
        await nursery.start(pool.run)
        yield pool, said
        nursery.cancel_scope.cancel()


async def picture() -> Sequence[int]:
    return [memfd([material.saved(material.corners(), "jpeg")])]


def processes(pool: Pool) -> list[int]:
    return [worker.process.pid for worker in pool._idle]


async def test_jobs_of_a_warm_worker() -> None:
    async with running(Bounds(workers=1)) as (pool, said):
        await pool.warm()
        first = processes(pool)
        for _ in range(3):
            done = await pool.do(JOB, picture)
            assert done.facts is not None
            assert (done.facts.width, done.made[0].width, done.made[0].format) == (96, 32, "jpg")
        assert processes(pool) == first
        assert said == ["ok"] * 3
    with pytest.raises(ProcessLookupError):
        os.kill(first[0], 0)


async def test_no_descriptor_is_left_behind() -> None:
    async with running(Bounds(workers=1)) as (pool, _):
        await pool.do(JOB, picture)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            await pool.do(JOB, picture)
        assert len(os.listdir("/proc/self/fd")) == before


async def test_a_damaged_file_is_the_senders_fault_and_the_worker_lives() -> None:
    async with running(Bounds(workers=1)) as (pool, said):
        await pool.do(JOB, picture)
        first = processes(pool)

        async def cut() -> Sequence[int]:
            return [memfd([material.saved(material.corners(), "jpeg")[:300]])]

        with pytest.raises(Unprocessable) as refused:
            await pool.do(JOB, cut)
        assert refused.value.code == "bad_image"
        assert processes(pool) == first
        assert said == ["ok", "failed"]


async def test_a_crash_ends_one_job() -> None:
    async with running(Bounds(workers=1)) as (pool, said):
        await pool.warm()
        pool._idle[0].process.kill()
        await pool._idle[0].process.wait()
        with pytest.raises(Unprocessable) as refused:
            await pool.do(JOB, picture)
        assert refused.value.code == "image_too_costly"
        assert (await pool.do(JOB, picture)).made
        assert said == ["died", "ok"]


async def test_a_worn_worker_is_replaced_before_the_next_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nova.media.images.pool.WORN", 2)
    async with running(Bounds(workers=1)) as (pool, _):
        await pool.warm()
        (first,) = processes(pool)
        for _ in range(2):
            await pool.do(JOB, picture)
        with trio.fail_after(10):
            while processes(pool) in ([], [first]):
                await trio.sleep(0.005)
        assert len(processes(pool)) == 1
        assert (await pool.do(JOB, picture)).made
        assert len(processes(pool)) == 1


@pytest.mark.slow
async def test_a_decoder_that_does_not_return_is_ended_by_the_clock() -> None:
    async with running(Bounds(workers=1, seconds=1.0)) as (pool, said):
        await pool.do(JOB, picture)
        os.kill(pool._idle[0].process.pid, 19)  # SIGSTOP: not even the processor's limit runs
        with pytest.raises(Unprocessable) as refused:
            await pool.do(JOB, picture)
        assert refused.value.code == "image_too_costly"
        assert (await pool.do(JOB, picture)).made
        assert said == ["ok", "late", "ok"]


async def test_memory_has_a_bound() -> None:
    async with running(Bounds(workers=1, memory=250 << 20)) as (pool, _):

        async def large() -> Sequence[int]:
            return [memfd([material.png_of(16_000, 16_000)])]

        with pytest.raises(TooLarge) as refused:
            await pool.do(Job(facts=True, limits=Limits(pixels=10**9)), large)
        assert refused.value.code == "image_too_large"
        assert (await pool.do(JOB, picture)).made


async def test_one_job_too_many_is_refused_at_once() -> None:
    async with running(Bounds(workers=1, queue=1)) as (pool, said):
        gate, loading = trio.Event(), trio.Event()

        async def slow() -> Sequence[int]:
            loading.set()
            await gate.wait()
            return await picture()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.do, JOB, slow)
            await loading.wait()
            nursery.start_soon(pool.do, JOB, picture)
            await trio.testing.wait_all_tasks_blocked()
            assert pool.load == (1, 1)
            with pytest.raises(Unavailable) as refused:
                await pool.do(JOB, picture)
            assert (refused.value.code, refused.value.retry_after) == ("overloaded", 1.0)
            gate.set()
        assert sorted(said) == ["ok", "ok", "refused"]


async def test_a_caller_that_leaves_takes_its_worker_with_it() -> None:
    async with running(Bounds(workers=1)) as (pool, _):
        await pool.do(JOB, picture)
        (first,) = processes(pool)
        os.kill(first, 19)
        with trio.move_on_after(0.05):
            await pool.do(JOB, picture)
        done = await pool.do(Job([Output(parse("rs:inside:16:16")[0], "webp")]), picture)
        assert (done.made[0].format, done.made[0].width) == ("webp", 16)
        assert processes(pool) != [first]


async def test_a_worker_may_not_take_more_than_its_limits() -> None:
    async with running(Bounds(workers=1, memory=1 << 30, result=1 << 20)) as (pool, _):
        await pool.do(JOB, picture)
        limits = Path(f"/proc/{pool._idle[0].process.pid}/limits").read_text(encoding="ascii")
        assert f"Max address space         {1 << 30}" in limits
        assert "Max core file size        0" in limits
        assert f"Max file size             {1 << 20}" in limits
        names = os.listdir(f"/proc/{pool._idle[0].process.pid}/fd")
        assert len(names) <= 8, "nothing of the server is open there, perhaps files of the last job"


@pytest.mark.slow
async def test_files_that_are_wrong_get_their_code_from_one_worker() -> None:
    """In the time and memory that a job may have; and the next picture is right, by the same process."""
    async with running(Bounds(workers=1, seconds=3.0, memory=512 << 20)) as (pool, said):
        await pool.warm()
        first = processes(pool)
        for name, data, code in hostile.cases():

            async def load(data: bytes = data) -> Sequence[int]:
                return [memfd([data])]

            found, status = "ok", 422
            try:
                await pool.do(Job([Output(hostile.OPTIONS, "jpg")], facts=True), load)
            except NovaError as refused:
                found, status = refused.code, refused.row.status
            assert code in ("", found), name
            assert status in (413, 415, 422), name
        assert set(said) == {"ok", "failed"}, "nothing died, nothing was late"
        assert (await pool.do(JOB, picture)).made
        assert processes(pool) == first
