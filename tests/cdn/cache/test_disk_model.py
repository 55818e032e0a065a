"""The disk tier against a dict: whatever comes, goes, is purged, evicted, and read again after a restart."""

import shutil
import tempfile
import tracemalloc
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import trio
from hypothesis import given
from hypothesis import strategies as st

from nova.cdn.cache.disk import DiskTier, Info, Name, file_name, pack
from nova.cdn.cache.entry import Entry, make
from nova.cdn.cache.freshness import Verdict
from nova.core.clock import FakeClock
from nova.core.offload import Offload

NOW = 1_767_225_600
CAPACITY = 3000  # some seven answers
TAGS = (b"a", b"b", b"c")
VERDICT = Verdict(True, "", NOW, NOW + 60, NOW + 90, NOW + 600)
PLAIN: Final = make(200, b"OK", [(b"etag", b'"e"')], VERDICT, received_at=NOW, total=5, via=b"nova")

LATE: Final = replace(PLAIN, tags=TAGS, vary=(b"accept",))


@dataclass
class Lying:
    entry: Entry
    body: bytes
    size: int
    fresh_until: int
    soft: bool = False


class Model(dict[Name, Lying]):
    """What is on disk, in the order in which it came. fifo: the oldest go first."""

    def keep(self, name: Name, entry: Entry, body: bytes) -> None:
        self.pop(name, None)
        self[name] = Lying(entry, body, len(pack(*name, entry, [body])), entry.fresh_until)
        while sum(lying.size for lying in self.values()) > CAPACITY:
            del self[next(iter(self))]

    def restart(self) -> None:
        """The files are read in the order of their names."""
        for name in sorted(self, key=lambda name: file_name(*name)):
            lying = self[name] = self.pop(name)
            lying.fresh_until = lying.entry.born if lying.soft else lying.entry.fresh_until

    def object(self, site: str, key: bytes) -> set[Name]:
        return {name for name in self if name[0] == site and name[1].partition(b"\0")[0] == key}

    def varies(self, site: str, key: bytes) -> tuple[bytes, ...]:
        return next((lying.entry.vary for name, lying in reversed(self.items()) if name in self.object(site, key) and lying.entry.vary), ())

    def purge(self, names: Iterable[Name], *, soft: bool) -> None:
        for name in names:
            if soft:
                self[name].soft, self[name].fresh_until = True, min(self[name].fresh_until, NOW + 5)
            else:
                del self[name]


SITES = st.sampled_from(["one", "one", "two"])
KEYS = st.sampled_from([b"h/a", b"h/a", b"h/ab", b"g/a"])
NAMES = st.sampled_from([(site, key) for site in ("one", "two") for key in (b"h/a", b"h/a\0x\n", b"h/a\0y\n", b"h/ab\0x\n", b"g/a")][:8])
WHAT = st.one_of(
    st.tuples(st.just("names"), st.lists(NAMES, max_size=4)),
    st.tuples(st.just("object"), SITES, KEYS),
    st.tuples(st.just("tag"), st.sampled_from(TAGS), st.none() | SITES),
    st.tuples(st.just("prefix"), st.sampled_from([b"h/", b"h/a", b"g"]), st.none() | SITES),
)
KEEP = st.tuples(st.just("keep"), NAMES, st.sets(st.sampled_from(TAGS)), st.integers(0, 10) | st.integers(0, 900))
PURGE = st.tuples(st.just("purge"), WHAT, st.booleans(), st.booleans())
FORGET, RESTART = st.tuples(st.just("forget"), NAMES), st.tuples(st.just("restart"))
STEPS = st.lists(st.one_of(KEEP, KEEP, PURGE, PURGE, FORGET, RESTART), min_size=20, max_size=60)


@asynccontextmanager
async def opened(root: Path) -> AsyncIterator[DiskTier]:
    made = DiskTier(root, CAPACITY, "fifo", Offload(), FakeClock())
    async with trio.open_nursery() as nursery:
        await nursery.start(made.run)
        yield made
        nursery.cancel_scope.cancel()


async def settled(made: DiskTier) -> None:
    """The writer waits for more: what was on its way is there, and what had to go for it is deleted."""
    with trio.fail_after(30):
        while made._take.statistics().current_buffer_used or not made._take.statistics().tasks_waiting_receive:
            await trio.sleep(0)


def named(made: DiskTier, what: tuple[object, ...]) -> list[Name]:
    """The names that a purge means, as the tier finds them."""
    match what:
        case "names", list(names):
            return names
        case "object", str(site), bytes(key):
            return made.names_of(site, key)
        case "tag", bytes(tag), (None | str()) as site:
            return made.tagged(tag, site)
        case "prefix", bytes(prefix), (None | str()) as site:
            return [name for name in made.names(site) if name[1].startswith(prefix)]
    raise AssertionError(what)


def meant(name: Name, tags: tuple[bytes, ...], what: tuple[object, ...]) -> bool:
    """Whether a purge means an answer."""
    match what:
        case "names", list(names):
            return name in names
        case "object", str(site), bytes(key):
            return name[0] == site and name[1].partition(b"\0")[0] == key
        case "tag", bytes(tag), site:
            return tag in tags and site in (None, name[0])
        case "prefix", bytes(prefix), site:
            return name[1].startswith(prefix) and site in (None, name[0])
    raise AssertionError(what)


async def same(made: DiskTier, model: Model, root: Path) -> None:
    assert made.used == sum(lying.size for lying in model.values()) <= CAPACITY
    assert sorted(made.names(None)) == sorted(model)
    assert {path.relative_to(root).as_posix(): path.stat().st_size for path in root.glob("??/*")} == {
        file_name(*name) + (".soft" if lying.soft else ""): lying.size for name, lying in model.items()
    }
    for name, lying in model.items():
        assert (made.size(*name), made.info(name)) == (lying.size, Info(lying.size, lying.entry.tags, lying.fresh_until))
        found = await made.find(*name)
        assert found is not None
        assert (found[0], b"".join(map(bytes, found[1]))) == (lying.entry.stale_from(lying.fresh_until), lying.body)
        key = name[1].partition(b"\0")[0]
        assert made.varies(name[0], key) == model.varies(name[0], key)
        assert {name for name in made.names_of(name[0], key) if made.size(*name)} == model.object(name[0], key)
    assert (made.failures, made.stuck, made.torn) == (0, 0, 0)


async def play(root: Path, steps: list[tuple[object, ...]]) -> None:
    model, left = Model(), list(steps)
    while True:
        async with opened(root) as made:
            model.restart()
            await same(made, model, root)
            while left:
                match left.pop(0):
                    case "keep", (str(site), bytes(key)), set(tags), int(size):
                        vary = (b"accept", b"b")[: 1 + size % 2] if b"\0" in key else ()
                        entry = replace(PLAIN, tags=tuple(sorted(tags)), vary=vary)
                        made.kept(site, key, entry, [bytes([size % 251]) * size])
                        await settled(made)
                        model.keep((site, key), entry, bytes([size % 251]) * size)
                    case "purge", tuple(what), bool(soft), bool(written):
                        late = ("one", b"h/a\0x\n")
                        if written:  # one that is on its way
                            made.kept(*late, LATE, [b"on its way"])
                            if not soft:
                                await trio.lowlevel.checkpoint()  # it is being written
                        found = {name for name, lying in model.items() if meant(name, lying.entry.tags, what)}
                        caught = {late} if written and meant(late, LATE.tags, what) else set[Name]()
                        assert await made.purge(named(made, what), soft=soft, now=NOW + 5) == found | caught
                        await settled(made)
                        model.purge(found | (caught & model.keys()), soft=soft)  # with it, what lay there before
                        if written and not caught:
                            model.keep(late, LATE, b"on its way")
                    case "forget", (str(site), bytes(key)):
                        assert made.forget(site, key) == (model.pop((site, key), None) is not None)
                    case "restart",:
                        for path in [*root.glob("??/*")]:  # what a crash leaves
                            path.with_suffix(".tmp").write_bytes(path.read_bytes()[:-1])
                            path.with_suffix(".soft").write_bytes(path.read_bytes())
                        break
                await same(made, model, root)
            else:
                return


@given(STEPS)
def test_it_is_a_dict(steps: list[tuple[object, ...]]) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        trio.run(play, root, steps)
    finally:
        shutil.rmtree(root)


async def test_the_index_takes_less_than_100_bytes_an_object(tmp_path: Path) -> None:
    """Beside the key: what Python allocates and what malloc gives to `Places`, over 100,000 objects as `run` and `_write` add them."""
    count, keys = 100_000, 0
    async with opened(tmp_path) as made:
        info = Info(1, (b"all", b"film"), NOW)
        empty = made._places.memory
        tracemalloc.start()
        try:
            python, _ = tracemalloc.get_traced_memory()
            for number in range(count):
                key = b"www.example.com/%d/%s" % (number, b"x" * (number % 16))
                keys += len(key)
                made._add(("one", key), info, ())
            del key
            python = tracemalloc.get_traced_memory()[0] - python
        finally:
            tracemalloc.stop()
        assert len(made) == count
        assert (python + made._places.memory - empty - keys) / count < 100
        assert python / count < 1
