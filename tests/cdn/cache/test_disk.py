"""The disk tier: what is whole is served, what is torn never, and a disk that refuses stops nobody."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from nova.cdn.cache.disk import DiskTier, file_name, pack, unpack
from nova.cdn.cache.entry import Entry, make
from nova.cdn.cache.freshness import Verdict
from nova.core.clock import FakeClock
from nova.core.offload import Offload
from nova.ext.buffer import Buffer

NOW = 1_767_225_600.0


def entry(*fields: tuple[bytes, bytes], vary: tuple[bytes, ...] = ()) -> Entry:
    verdict = Verdict(True, "", NOW, NOW + 60, NOW + 90, NOW + 600, False, vary)
    return make(200, b"OK", [*fields, (b"etag", b'"e"')], verdict, received_at=NOW, total=5, via=b"nova")


@asynccontextmanager
async def tier(root: Path, capacity: int = 1 << 20) -> AsyncIterator[DiskTier]:
    made = DiskTier(root, capacity, "s3fifo", Offload(), FakeClock())
    async with trio.open_nursery() as nursery:
        await nursery.start(made.run)
        yield made
        nursery.cancel_scope.cancel()


async def written(made: DiskTier, count: int) -> None:
    with trio.fail_after(10):
        while made.writes < count and not made.failures:
            await trio.sleep(0.001)


def on_disk(root: Path) -> int:
    size = 0
    for path in root.glob("??/*"):
        with suppress(FileNotFoundError):  # deleted since
            size += path.stat().st_size
    return size


def body_of(found: tuple[Entry, list[Buffer]] | None) -> bytes | None:
    return None if found is None else b"".join(map(bytes, found[1]))


async def test_answers_are_there_after_a_restart(tmp_path: Path) -> None:
    kept = entry((b"surrogate-key", b"a b"), vary=(b"accept",))
    async with tier(tmp_path) as made:
        made.kept("one", b"h/a\0x\n", kept, [b"he", b"llo"])
        await written(made, 1)
    async with tier(tmp_path) as made:
        assert made.varies("one", b"h/a") == (b"accept",)
        assert made.tagged(b"b", None) == [("one", b"h/a\0x\n")]
        found = await made.find("one", b"h/a\0x\n")
        assert found is not None
        assert (found[0], body_of(found)) == (kept, b"hello")
        assert await made.find("two", b"h/a\0x\n") is None


async def test_what_was_forgotten_stays_so(tmp_path: Path) -> None:
    async with tier(tmp_path) as made:
        made.kept("one", b"h/a", entry(), [b"hello"])
        await written(made, 1)
        made.kept("one", b"h/b", entry(), [b"hello"])
        made.forget("one", b"h/b")  # before it was written
        assert made.forget("one", b"h/a")
        made.kept("one", b"h/c", entry(), [b"hello"])
        await written(made, 2)
    async with tier(tmp_path) as made:
        assert len(made) == 1
        assert await made.find("one", b"h/a") is None
        assert await made.find("one", b"h/b") is None


async def test_what_was_softened_is_stale_also_after_a_restart(tmp_path: Path) -> None:
    kept = entry((b"surrogate-key", b"t"))
    async with tier(tmp_path) as made:
        made.kept("one", b"h/a", kept, [b"hello"])
        await written(made, 1)
        assert await made.purge([("one", b"h/a"), ("one", b"h/b")], soft=True, now=NOW + 5) == {("one", b"h/a")}
        found = await made.find("one", b"h/a")
        assert found is not None
        assert (found[0].fresh_until, found[0].stale_until, body_of(found)) == (NOW + 5, NOW + 35, b"hello")
        made.kept("one", b"h/c", kept, [b"hello"])
        assert await made.purge([("one", b"h/c")], soft=True, now=NOW + 5)  # before it was written: then it is not
        made.kept("one", b"h/d", kept, [b"hello"])
        await written(made, 2)
        assert len(made) == 2
    async with tier(tmp_path) as made:
        found = await made.find("one", b"h/a")
        assert found is not None
        assert found[0].fresh_until <= NOW
        assert sorted(made.tagged(b"t", "one")) == [("one", b"h/a"), ("one", b"h/d")]
        made.kept("one", b"h/a", kept, [b"newer"])
        await written(made, 1)
        assert body_of(await made.find("one", b"h/a")) == b"newer"
    async with tier(tmp_path) as made:
        found = await made.find("one", b"h/a")
        assert found is not None
        assert (found[0].fresh_until, body_of(found)) == (NOW + 60, b"newer")
        assert not list(tmp_path.glob("??/*.soft"))
        assert await made.purge([("one", b"h/a")], soft=True, now=NOW)
        assert made.forget("one", b"h/a")
    assert len([*tmp_path.glob("??/*")]) == 1


async def test_a_crash_between_the_new_file_and_the_softened_one_leaves_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / file_name("one", b"h/a")
    path.parent.mkdir()
    path.with_suffix(".soft").write_bytes(pack("one", b"h/a", entry(), [b"older"]))
    path.write_bytes(pack("one", b"h/a", entry(), [b"newer"]))
    async with tier(tmp_path) as made:
        found = await made.find("one", b"h/a")
        assert found is not None
        assert (found[0].fresh_until, body_of(found)) == (NOW + 60, b"newer")
        assert not path.with_suffix(".soft").exists()


class Slow:
    """An offload whose work waits for a gate."""

    def __init__(self, inner: Any) -> None:
        self._inner, self.gate = inner, trio.Event()

    async def run(self, *work: Any) -> Any:
        await self.gate.wait()
        return await self._inner.run(*work)


@pytest.mark.parametrize("soft", [False, True])
async def test_nothing_is_written_where_a_purge_is_at_work(tmp_path: Path, soft: bool) -> None:
    async with tier(tmp_path) as made:
        made.kept("one", b"h/a", entry(), [b"older"])
        await written(made, 1)
        quick: Any = made._offload
        slow: Any = Slow(quick)
        async with trio.open_nursery() as nursery:
            made._offload = slow
            nursery.start_soon(partial(made.purge, [("one", b"h/a")], soft=soft, now=NOW))
            await trio.testing.wait_all_tasks_blocked()
            made._offload = quick
            found = await made.find("one", b"h/a")
            assert (found is not None) == soft
            assert found is None or (found[0].fresh_until, body_of(found)) == (NOW, b"older")
            made.kept("one", b"h/a", entry(), [b"newer"])  # memory alone has it
            made.kept("one", b"h/b", entry(), [b"other"])
            await written(made, 2)
            slow.gate.set()
        found = await made.find("one", b"h/a")
        assert (found is not None) == soft
        assert found is None or (found[0].fresh_until, body_of(found)) == (NOW, b"older")
        made.kept("one", b"h/a", entry(), [b"newest"])
        await written(made, 3)
    async with tier(tmp_path) as made:
        found = await made.find("one", b"h/a")
        assert found is not None
        assert (found[0].fresh_until, body_of(found), len(made)) == (NOW + 60, b"newest", 2)
    assert len([*tmp_path.glob("??/*")]) == 2


async def test_what_is_forgotten_while_it_is_softened_is_gone(tmp_path: Path) -> None:
    async with tier(tmp_path) as made:
        made.kept("one", b"h/a", entry(), [b"hello"])
        await written(made, 1)
        inner: Any = made._offload

        class Between:
            async def run(self, *work: Any) -> Any:
                done = await inner.run(*work)
                assert made.forget("one", b"h/a")  # by its name of before
                return done

        made._offload = Between()  # type: ignore[assignment]
        assert await made.purge([("one", b"h/a")], soft=True, now=NOW) == {("one", b"h/a")}
        assert made.stuck == 0
    assert not [*tmp_path.glob("??/*")]


class Interrupted:
    """An offload behind whose next work something else is done before anybody hears of it."""

    def __init__(self, made: DiskTier, between: Callable[[], Awaitable[object]]) -> None:
        self._made, self._inner, self._between = made, made._offload, between
        made._offload = self  # type: ignore[assignment]

    async def run(self, *work: Any) -> Any:
        self._made._offload = self._inner
        done = await self._inner.run(*work)
        await self._between()
        return done


async def test_two_soft_purges_of_one_object_do_not_hinder_each_other(tmp_path: Path) -> None:
    async with tier(tmp_path) as made:
        made.kept("one", b"h/a", entry(), [b"hello"])
        await written(made, 1)
        Interrupted(made, partial(made.purge, [("one", b"h/a")], soft=True, now=NOW))
        assert await made.purge([("one", b"h/a")], soft=True, now=NOW + 5) == {("one", b"h/a")}
        found = await made.find("one", b"h/a")
        assert found is not None
        assert (found[0].fresh_until, body_of(found), made.failures) == (NOW, b"hello", 0)
    async with tier(tmp_path) as made:
        found = await made.find("one", b"h/a")
        assert found is not None
        assert found[0].fresh_until <= NOW


async def test_what_is_purged_while_it_is_softened_is_gone_when_that_purge_returns(tmp_path: Path) -> None:
    """Not only when the other one does: a crash between the two would bring it back."""
    async with tier(tmp_path) as made:
        made.kept("one", b"h/a", entry(), [b"hello"])
        await written(made, 1)

        async def hard() -> None:
            assert await made.purge([("one", b"h/a")], soft=False, now=NOW) == {("one", b"h/a")}
            assert not [*tmp_path.glob("??/*")]

        Interrupted(made, hard)
        assert await made.purge([("one", b"h/a")], soft=True, now=NOW) == {("one", b"h/a")}
        assert (len(made), made.failures, made.stuck) == (0, 0, 0)


@pytest.mark.parametrize("again", [False, True])
async def test_what_is_forgotten_while_it_is_read_is_not_given_out(tmp_path: Path, again: bool) -> None:
    async with tier(tmp_path) as made:
        made.kept("one", b"h/a", entry(), [b"older"])
        await written(made, 1)

        async def meanwhile() -> None:
            assert made.forget("one", b"h/a")
            if again:
                made.kept("one", b"h/a", entry(), [b"newer"])
                await written(made, 2)

        Interrupted(made, meanwhile)
        assert await made.find("one", b"h/a") is None
        assert made._reading == {}
        assert body_of(await made.find("one", b"h/a")) == (b"newer" if again else None)


async def test_what_is_softened_while_it_is_read_is_stale(tmp_path: Path) -> None:
    async with tier(tmp_path) as made:
        made.kept("one", b"h/a", entry(), [b"hello"])
        await written(made, 1)
        Interrupted(made, partial(made.purge, [("one", b"h/a")], soft=True, now=NOW))
        found = await made.find("one", b"h/a")
        assert found is not None
        assert (found[0].fresh_until, body_of(found), made._reading) == (NOW, b"hello", {})


async def test_a_file_that_is_not_what_its_name_says_is_removed_at_the_start(tmp_path: Path) -> None:
    async with tier(tmp_path) as made:
        made.kept("one", b"h/a", entry(), [b"hello"])
        await written(made, 1)
    path = tmp_path / file_name("one", b"h/a")
    for name, data in [
        (file_name("one", b"h/b"), path.read_bytes()), ("00/x", b""), ("00/y", b"NOVACDN1\0\0\0\5[1,2]"), ("00/z.soft", path.read_bytes()),
        (file_name("one", b"h/c"), pack("one", b"h/c", replace(entry(), fresh_until=1 << 32), [])),
        (file_name("one", b"h/d"), pack("one", b"h/d", replace(entry(), tags=(b"t",) * 65_536), [])),
    ]:  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "00" / "folder").mkdir()
    (tmp_path / "ab").write_bytes(b"no folder")
    async with tier(tmp_path) as made:
        assert list(made.names(None)) == [("one", b"h/a")]
        assert [each for each in tmp_path.glob("??/*") if each.is_file()] == [path]
        assert made.used == path.stat().st_size


async def test_what_cannot_be_made_stale_goes(tmp_path: Path) -> None:
    async with tier(tmp_path) as made:
        made.kept("one", b"h/a", entry(), [b"hello"])
        await written(made, 1)
        path = tmp_path / file_name("one", b"h/a")
        path.with_suffix(".soft").mkdir()
        (path.with_suffix(".soft") / "x").touch()
        assert await made.purge([("one", b"h/a")], soft=True, now=NOW)
        assert await made.find("one", b"h/a") is None
        assert (made.stuck, made.failures, path.exists()) == (0, 1, False)


async def test_a_purge_tells_of_every_file_that_stays(tmp_path: Path) -> None:
    async with tier(tmp_path) as made:
        names = [("one", b"h/%d" % number) for number in range(5)]
        for number, name in enumerate(names):
            made.kept(*name, entry(), [b"hello"])
            await written(made, number + 1)
        for name in names[:2]:
            path = tmp_path / file_name(*name)
            path.unlink()
            path.mkdir()
        assert await made.purge(names, soft=False, now=NOW) == set(names)
        assert (made.stuck, len(made)) == (2, 0)
        assert not [path for path in tmp_path.glob("??/*") if path.is_file()]


async def test_what_cannot_be_taken_from_the_disk_is_told(tmp_path: Path) -> None:
    async with tier(tmp_path) as made:
        made.kept("one", b"h/a", entry(), [b"hello"])
        await written(made, 1)
        path = tmp_path / file_name("one", b"h/a")
        path.unlink()
        path.mkdir()  # a file that cannot be removed, as on a disk that is read-only
        assert made.forget("one", b"h/a")
        assert (made.stuck, made.failures) == (1, 1)
        assert await made.find("one", b"h/a") is None
        made.kept("one", b"h/b", entry(), [b"hello"])  # left alone for a while
        await trio.testing.wait_all_tasks_blocked()
        assert made.writes == 1


async def test_an_object_goes_with_its_variants(tmp_path: Path) -> None:
    kept = entry(vary=(b"accept",))
    async with tier(tmp_path) as made:
        for key in (b"h/a\0x\n", b"h/a\0y\n", b"h/ab\0x\n"):
            made.kept("one", key, kept, [b"hello"])
        await written(made, 3)
        made.kept("one", b"h/a\0z\n", kept, [b"hello"])  # not written yet
        made.forget_object("one", b"h/a")
        made.kept("one", b"h/c", entry(), [b"hello"])
        await written(made, 4)
        assert sorted(made.names("one")) == [("one", b"h/ab\0x\n"), ("one", b"h/c")]
        assert (made.varies("one", b"h/a"), made.varies("one", b"h/ab")) == ((), (b"accept",))


async def test_every_torn_or_changed_byte_is_seen(tmp_path: Path) -> None:
    data = pack("one", b"h/a", entry(), [b"hello"])
    assert unpack(data) is not None
    for at in range(len(data)):
        assert unpack(data[:at]) is None
        assert unpack(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]) is None
    async with tier(tmp_path) as made:
        made.kept("one", b"h/a", entry(), [b"hello"])
        await written(made, 1)
        path = tmp_path / file_name("one", b"h/a")
        path.write_bytes(path.read_bytes()[:-3] + b"xyz")
        assert await made.find("one", b"h/a") is None
        assert (made.torn, path.exists()) == (1, False)


async def test_bytes_on_disk_are_bounded(tmp_path: Path) -> None:
    async with tier(tmp_path, 20_000) as made:
        for number in range(30):
            made.kept("one", b"h/%d" % number, entry(), [bytes(1000)])
            await written(made, number + 1)
        assert made.used <= 20_000
        with trio.fail_after(10):  # what went from the index is deleted behind it
            while made.used != on_disk(tmp_path):
                await trio.sleep(0.001)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
async def test_full_disk_is_left_alone_for_a_while(tmp_path: Path) -> None:
    async with tier(tmp_path) as made:
        folder = tmp_path / file_name("one", b"h/a").split("/")[0]
        folder.mkdir()
        (folder / (file_name("one", b"h/a").split("/")[1] + ".tmp")).symlink_to("/dev/full")
        made.kept("one", b"h/a", entry(), [b"hello"])
        await written(made, 1)
        assert (made.writes, made.failures) == (0, 1)
        made.kept("one", b"h/b", entry(), [b"hello"])
        await trio.testing.wait_all_tasks_blocked()
        assert made.writes == 0


async def test_unusable_folder_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    async with tier(tmp_path / "file") as made:
        assert made.failures == 1
        assert await made.find("one", b"h/a") is None


WRITER = """
import sys, trio
from pathlib import Path
from typing import Any
sys.path.insert(0, {here!r})
from nova.cdn.cache.disk import DiskTier
from nova.cdn.cache.entry import make
from nova.cdn.cache.freshness import Verdict
from nova.core.clock import SystemClock
from nova.core.offload import Offload

async def main():
    made = DiskTier(Path({root!r}), 1 << 30, "s3fifo", Offload(), SystemClock())
    entry = make(200, b"OK", [], Verdict(True, "", 1e9, 4e9, 4e9, 4e9), received_at=1e9, total=1, via=b"nova")
    async with trio.open_nursery() as nursery:
        await nursery.start(made.run)
        print("ready", flush=True)
        number = 0
        while True:
            number += 1
            made.kept("one", b"h/%d" % (number % 50), entry, [bytes([number % 251]) * 200_000])
            await trio.sleep(0.001)

trio.run(main)
"""


async def test_killed_while_writing_leaves_whole_answers_only(tmp_path: Path) -> None:
    for _ in range(2):
        code = WRITER.format(here=str(Path(__file__).resolve().parents[3]), root=str(tmp_path))
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        try:
            with trio.fail_after(90):
                while len(list(tmp_path.glob("??/*"))) < 20:
                    await trio.sleep(0.01)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        async with tier(tmp_path, 1 << 30) as made:
            assert len(made) >= 15
            for site, key in made.names(None):
                body = body_of(await made.find(site, key))
                assert body is not None
                assert len(body) == 200_000
                assert len(set(body)) == 1
            assert made.torn == 0
            assert not list(tmp_path.glob("??/*.tmp"))
