"""The order of leaving: against short oracles, and S3-FIFO against the library of its authors."""

import importlib.util
import sys
from collections import OrderedDict
from pathlib import Path
from types import ModuleType

import pytest

from nova.ext.eviction import POLICIES, Eviction


def _load() -> ModuleType:
    path = Path(__file__).resolve().parent.parent / "traces.py"
    spec = importlib.util.spec_from_file_location("cdn_traces", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["cdn_traces"] = module
    spec.loader.exec_module(module)
    return module


traces = _load()


class Cache:
    """A cache of names over the kernel."""

    def __init__(self, policy: str, capacity: int, *, admission: bool = False) -> None:
        self.order, self.capacity, self.admission = Eviction(policy, capacity), capacity, admission
        self.handles: dict[int, int] = {}
        self.names: dict[int, int] = {}
        self.sizes: dict[int, int] = {}

    def ask(self, name: int, size: int) -> bool:
        if name in self.handles:
            self.order.hit(self.handles[name])
            return True
        if size > self.capacity or (self.admission and not self.order.admits(traces.hash64(name), size)):
            return False
        while self.order.bytes + size > self.capacity:
            gone = self.names.pop(self.order.victim())
            self.order.forget(self.handles.pop(gone), traces.hash64(gone))
            del self.sizes[gone]
        handle = self.handles[name] = self.order.add(traces.hash64(name), size)
        self.names[handle] = name
        self.sizes[name] = size
        return False


def hit_ratio(cache: Cache, trace: list[tuple[int, int]]) -> float:
    return sum(cache.ask(*each) for each in trace) / len(trace)


def lru(trace: list[tuple[int, int]], capacity: int) -> list[bool]:
    kept: OrderedDict[int, int] = OrderedDict()
    used, hits = 0, []
    for name, size in trace:
        hits.append(name in kept)
        if name in kept:
            kept.move_to_end(name)
            continue
        while used + size > capacity:
            used -= kept.popitem(last=False)[1]
        kept[name] = size
        used += size
    return hits


def test_lru_and_fifo_are_what_they_say() -> None:
    trace = traces.mix(20_000, 1)
    cache = Cache("lru", 20_000_000)
    assert [cache.ask(*each) for each in trace] == lru(trace, 20_000_000)
    fifo = Cache("fifo", 3)
    assert [fifo.ask(name, 1) for name in (1, 2, 3, 1, 4, 1)] == [False, False, False, True, False, False]


@pytest.mark.parametrize("policy", POLICIES)
def test_bytes_are_counted_exactly(policy: str) -> None:
    cache = Cache(policy, 5_000_000)
    for number, (name, size) in enumerate(traces.mix(10_000, 2)):
        cache.ask(name, size)
        if number % 7 == 0 and cache.handles:
            gone = next(iter(cache.handles))
            handle = cache.handles.pop(gone)
            cache.order.remove(handle)
            del cache.names[handle], cache.sizes[gone]
        assert cache.order.bytes == sum(cache.sizes.values()) if number % 500 == 0 else True
    assert cache.order.bytes == sum(cache.sizes.values())
    assert len(cache.order) == len(cache.sizes)


@pytest.mark.parametrize("policy", POLICIES)
def test_what_nobody_will_ask_for_goes_first(policy: str) -> None:
    order = Eviction(policy, 100)
    handles = [order.add(traces.hash64(number), 5) for number in range(20)]
    order.hit(handles[13])
    order.first(handles[13])
    assert order.victim() == handles[13]


def test_handles_that_are_nobodys_are_refused() -> None:
    order = Eviction("s3fifo", 100)
    handle = order.add(1, 5)
    order.remove(handle)
    for wrong in (handle, 5000):
        with pytest.raises(ValueError, match="no such handle"):
            order.hit(wrong)
    with pytest.raises(ValueError, match="no policy"):
        Eviction("best", 1)


def test_what_fills_the_small_queue_must_come_twice() -> None:
    order = Eviction("s3fifo", 1000)
    order.add(1, 950)
    assert not order.admits(traces.hash64(9), 200)
    assert order.admits(traces.hash64(9), 200)
    assert not order.admits(traces.hash64(8), 2000)


def test_order_itself_is_small() -> None:
    order = Eviction("s3fifo", 1 << 30)
    for number in range(100_000):
        order.add(traces.hash64(number), 100)
    assert order.memory / 100_000 < 44  # between two doublings; the entries of the object table come to it


@pytest.mark.parametrize("count", [60_000, 200_000])  # the shorter one is about as long as it takes to be full
@pytest.mark.parametrize("capacity", [30_000_000, 100_000_000, 300_000_000])
def test_s3fifo_is_within_a_point_of_its_authors(capacity: int, count: int) -> None:
    library = pytest.importorskip("libcachesim")
    for trace in (traces.mix(count, 3), list(traces.zipf(count, 50_000, 0.8, 4))):
        theirs = library.S3FIFO(capacity, hashpower=18)
        request = library.Request()
        hits = 0
        for name, size in trace:
            request.obj_id, request.obj_size = name, size
            hits += theirs.get(request)
        ours = hit_ratio(Cache("s3fifo", capacity), trace)
        assert abs(ours - hits / len(trace)) < 0.01


@pytest.mark.parametrize("count", [60_000, 200_000])
@pytest.mark.parametrize("capacity", [30_000_000, 100_000_000, 300_000_000])
def test_s3fifo_is_not_below_lru_on_live_windows(capacity: int, count: int) -> None:
    trace = traces.mix(count, 5)
    assert hit_ratio(Cache("s3fifo", capacity), trace) > sum(lru(trace, capacity)) / len(trace) - 0.005
