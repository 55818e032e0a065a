"""The disk tier with many objects: memory of its index, and how long its start takes."""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import trio

from bench.method.results import Question, Sample
from bench.method.versus import Versus
from nova.cdn.cache.disk import DiskTier, file_name, pack
from nova.cdn.cache.entry import make
from nova.cdn.cache.freshness import Verdict
from nova.core.clock import SystemClock
from nova.core.offload import Offload

OBJECTS = 100_000
NOW = 1_767_225_600.0


def key(number: int) -> bytes:
    return b"www.example.com/articles/2026/%d/index.html" % number


def fill(root: Path, count: int) -> None:
    """Files of 100 bytes of body, with a tag that all have and one of a hundred."""
    verdict = Verdict(True, "", NOW, NOW + 3600, 0.0, 0.0)
    fields = [(b"content-type", b"text/html"), (b"etag", b'"abcdef"')]
    entry = make(200, b"OK", fields, verdict, received_at=NOW, total=100, via=b"bench")
    for number in range(count):
        path = root / file_name("site", key(number))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pack("site", key(number), replace(entry, tags=(b"all", b"film-%d" % (number % 100))), [bytes(100)]))


def resident() -> int:
    return int(Path("/proc/self/status").read_text().partition("RssAnon:")[2].split()[0]) * 1024


async def start(root: Path, count: int) -> Sample:
    """In a process of its own, which has done nothing else: the memory of before is not given to the index."""
    disk = DiskTier(root, 1 << 40, "s3fifo", Offload(), SystemClock())
    before, wall, used = resident(), time.perf_counter(), time.process_time()
    async with trio.open_nursery() as nursery:
        await nursery.start(disk.run)
        wall, used = time.perf_counter() - wall, time.process_time() - used
        assert len(disk) == count
        each = (resident() - before - sum(len(key(number)) for number in range(count))) / count
        assert await disk.find("site", key(count - 1)) is not None
        nursery.cancel_scope.cancel()
    return Sample(count, used, wall, each, {"figure": each, "start_s": wall, "start_cpu_s": used})


def started(root: Path, count: int) -> Sample:
    return trio.run(start, root, count)


def bench_disk_index(versus: Versus, ram: Path, smoke: bool) -> None:
    """figure: growth of the resident memory over the start, less the keys, by object. Of few it is what the start takes."""
    count = 1000 if smoke else OBJECTS
    fill(ram, count)

    def run() -> Sample:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(started, ram, count).result()

    versus(
        Question("cdn-disk-index", f"{OBJECTS} objects on disk", "bytes of memory each", "lower", None, {"figure": 100.0, "start_s": 10.0}),
        ours=run,
    )
