"""The worker processes that decode pictures: eight jobs at once, what the way there and back costs, 20 000 pictures, hostile files.

Our process and its workers count together, in CPU time and in memory.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from bench.method.cpu import read, tree
from bench.method.memory import bytes_held
from bench.method.results import Question, Sample
from bench.method.versus import Versus
from bench.pictures import photo
from nova.core.errors import NovaError
from nova.media.images import render
from nova.media.images.job import Job, Output
from nova.media.images.options import parse
from nova.media.images.pool import Bounds, Pool, memfd
from tests.media.images import hostile, material

os.environ.setdefault("VIPS_CONCURRENCY", "1")
os.environ.setdefault("VIPS_BLOCK_UNTRUSTED", "1")
pyvips = pytest.importorskip("pyvips", reason="the bench extra brings it")

AT_ONCE = 8
MANY = 20_000
LARGE = (4032, 3024)


def job(text: str, format: str = "jpg") -> Job:
    return Job([Output(parse(text)[0], format)])


async def ask(pool: Pool, data: bytes, wanted: Job) -> None:
    async def load() -> list[int]:
        return [memfd([data])]

    await pool.do(wanted, load)


def with_pool(work: Callable[[Pool], Awaitable[Sample]], workers: int = 2) -> Sample:
    """What `work` finds with warm workers."""

    async def main() -> Sample:
        pool = Pool(Bounds(workers=workers, queue=1000))
        async with trio.open_nursery() as nursery:
            await nursery.start(pool.run)
            async with trio.open_nursery() as first:
                for _ in range(workers):
                    first.start_soon(ask, pool, photo(800, 800), job("rs:inside:64:64"))
            found = await work(pool)
            nursery.cancel_scope.cancel()
        return found

    return trio.run(main)


@contextmanager
def all_cores() -> Iterator[None]:
    """Of this process and those that it starts: the suite keeps it on one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Memory:
    """Of this process and its children, every 20 ms, in a thread."""

    def __init__(self) -> None:
        self.idle = bytes_held(os.getpid())
        self.most = self.idle
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            try:
                self.most = max(self.most, bytes_held(os.getpid()))
            except OSError:  # a process ended between two looks
                continue

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def above_mb(self) -> float:
        return (self.most - self.idle) / 1e6


def latencies(done: list[float], cpu_s: float, wall_s: float, memory: Memory) -> Sample:
    done.sort()
    also = {
        "p50_ms": done[len(done) // 2] * 1000, "per_second": len(done) / wall_s, "cpu_ms": cpu_s / len(done) * 1000,
        "mb_above_idle": memory.above_mb,
    }  # fmt: skip
    return Sample(len(done), cpu_s, wall_s, done[min(len(done) - 1, len(done) * 99 // 100)] * 1000, also)


def bench_jobs_at_once(versus: Versus, seconds: float) -> None:
    data, length = photo(*LARGE), 2 * seconds

    def vips() -> Sample:
        pyvips.cache_set_max(0)
        done: list[float] = []
        end = time.perf_counter() + length

        def work() -> None:
            while (began := time.perf_counter()) < end:
                pyvips.Image.thumbnail_buffer(data, 1080, height=1080).jpegsave_buffer(Q=80, strip=True)
                done.append(time.perf_counter() - began)

        before, wall = time.process_time(), time.perf_counter()
        with Memory() as memory:
            threads = [threading.Thread(target=work) for _ in range(AT_ONCE)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return latencies(done, time.process_time() - before, time.perf_counter() - wall, memory)

    async def ours(pool: Pool) -> Sample:
        done: list[float] = []
        end = time.perf_counter() + length

        async def work() -> None:
            while (began := time.perf_counter()) < end:
                await ask(pool, data, job("rs:inside:1080:1080"))
                done.append(time.perf_counter() - began)

        before, wall = read(os.getpid()), time.perf_counter()
        with Memory() as memory:
            async with trio.open_nursery() as nursery:
                for _ in range(AT_ONCE):
                    nursery.start_soon(work)
        return latencies(done, before.until(read(os.getpid())), time.perf_counter() - wall, memory)

    with all_cores():
        versus(
            Question(
                "images-8-at-once", "12 MP to 1080, eight at once on two cores", "p99 in ms", "lower", 0.6, limits={"mb_above_idle": 100.0}
            ),
            anchor=vips,
            ours=lambda: with_pool(ours),
            anchor_name=f"libvips {pyvips.version(0)}.{pyvips.version(1)}, eight threads",
        )


@pytest.mark.parametrize(("name", "size", "text", "goal"), [
    ("avatar-128", (800, 800), "rs:inside:128:128", 0.5), ("2mp-320", (1800, 1200), "rs:inside:320:320", 0.75),
])  # fmt: skip
def bench_round_trip(versus: Versus, seconds: float, name: str, size: tuple[int, int], text: str, goal: float) -> None:
    """One job after the other, both on one core: what processes cost beside a call."""
    data, wanted = photo(*size), job(text)

    def sample(done: int, cpu_s: float, wall_s: float) -> Sample:
        return Sample(done, cpu_s, wall_s, done / cpu_s, {"cpu_ms": cpu_s / done * 1000, "wall_ms": wall_s / done * 1000})

    def call() -> Sample:
        done, cpu, wall = 0, time.process_time(), time.perf_counter()
        while time.perf_counter() - wall < seconds / 2:
            render.render(data, wanted)
            done += 1
        return sample(done, time.process_time() - cpu, time.perf_counter() - wall)

    async def through(pool: Pool) -> Sample:
        done, cpu, wall = 0, read(os.getpid()), time.perf_counter()
        while time.perf_counter() - wall < seconds / 2:
            await ask(pool, data, wanted)
            done += 1
        return sample(done, cpu.until(read(os.getpid())), time.perf_counter() - wall)

    versus(
        Question(f"images-round-trip-{name}", f"a JPEG, {name}, through a worker process", "pictures per CPU-second", "higher", goal),
        anchor=call,
        ours=lambda: with_pool(through, workers=1),
        anchor_name="the same call in the process itself",
    )


def mixed() -> list[tuple[bytes, Job]]:
    """Every format, sizes from 40 to 400 pixels, what pages ask for."""
    texts = (
        "rs:cover:64:64/g:attention", "rs:inside:100:100", "rs:contain:80:80", "rs:inside:120:120/bl:1", "rs:inside:60:60/li:1", "q:60",
    )  # fmt: skip
    found = []
    for at, (format_, text) in enumerate(itertools.product(("jpeg", "png", "webp", "tiff", "gif", "jpeg"), texts)):
        picture = material.photo(40 + 37 * at % 360, 40 + 53 * at % 300, at)
        found.append((material.saved(picture, format_), job(text, ("jpg", "webp", "png")[at % 3])))
    found.append((material.saved(material.photo(200, 150), "avif"), job("rs:inside:64:64", "webp")))
    found.append((material.animation("gif"), job("rs:inside:32:32", "webp")))
    found.append((material.saved(material.photo(90, 90), "png")[:2000], job("q:50")))  # what is refused leaves nothing either
    return found


def bench_drift(versus: Versus, smoke: bool) -> None:
    """What all processes hold, on average over every tenth of the run: the last one beside the second."""
    count, sources = MANY // 20 if smoke else MANY, mixed()

    async def ours(pool: Pool) -> Sample:
        held: list[float] = []
        jobs = iter(range(count))

        async def work() -> None:
            for at in jobs:
                data, wanted = sources[at % len(sources)]
                try:
                    await ask(pool, data, wanted)
                except NovaError:
                    continue
                if at % 50 == 0:
                    held.append(bytes_held(os.getpid()))

        cpu, wall = read(os.getpid()), time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(work)
        wall_s, tenth = time.perf_counter() - wall, max(1, len(held) // 10)
        early, late = (sum(part) / len(part) for part in (held[tenth : 2 * tenth], held[-tenth:]))
        also = {"drift_mb": (late - early) / 1e6, "held_mb": late / 1e6, "most_mb": max(held) / 1e6, "per_second": count / wall_s}
        return Sample(count, cpu.until(read(os.getpid())), wall_s, (late - early) / 1e6, also)

    with all_cores():
        versus(
            Question("images-drift", f"{MANY} mixed pictures", "MB held more at the end", "lower", limits={"drift_mb": 5.0}),
            ours=lambda: with_pool(ours),
        )


def bench_hostile(versus: Versus) -> None:
    """Each file to a worker that has seen none of the others' size: its CPU time, and how much further its memory goes."""
    files = list(hostile.cases(1600, 1200))  # 2 MP, as phones' previews are

    async def ours(pool: Pool) -> Sample:
        (worker,) = [pid for pid in tree(os.getpid()) if pid != os.getpid()]
        found: dict[str, float] = {}
        wall = time.perf_counter()
        for name, data, code in files:
            Path(f"/proc/{worker}/clear_refs").write_text("5")  # the peak begins anew
            before, held = read(worker), _peak(worker)
            said = ""
            try:
                await ask(pool, data, Job([Output(hostile.OPTIONS, "jpg")], facts=True))
            except NovaError as error:
                said = error.code
            assert code in ("", said), name
            found[f"{name}_cpu_ms"] = before.until(read(worker)) * 1000
            found[f"{name}_mb"] = (_peak(worker) - held) / 1e6
        cpu = max(value for name, value in found.items() if name.endswith("_cpu_ms"))
        memory = max(value for name, value in found.items() if name.endswith("_mb"))
        return Sample(len(files), cpu / 1000, time.perf_counter() - wall, cpu, {"worst_cpu_ms": cpu, "worst_mb": memory, **found})

    versus(
        Question(
            "images-hostile", "files that are wrong", "CPU ms of the worst", "lower", limits={"worst_cpu_ms": 250.0, "worst_mb": 64.0}
        ),
        ours=lambda: with_pool(ours, workers=1),
    )


def _peak(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
