"""Videos and reels: one contract for the stores' twins, and the rules over them."""

from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from nova.core.blobs import Key
from nova.core.blobs.memory import MemoryBlobs
from nova.core.blobs.s3 import S3Blobs
from nova.core.clock import FakeClock
from nova.core.errors import Forbidden, NotFound, RateLimited, Unavailable, Unprocessable
from nova.core.ids import Ids
from nova.core.lifecycle import FINISH
from nova.core.offload import Offload
from nova.core.sql import open_sqlite
from nova.media.library.model import Kind, State, Video, VideoId
from nova.media.library.ports import VideoStore, Wanted
from nova.media.library.service import Changes, Draft, Library
from nova.media.library.store_memory import MemoryVideos
from nova.media.library.store_sql import SCHEMA, SqlVideos
from nova.media.streams.access import Caller
from nova.media.streams.model import UnixMs, UserId, Visibility
from tests.core.blobs.bucket import bucket

ADA, BOB = Caller(UserId("ada")), Caller(UserId("bob"))


@pytest.fixture(params=["memory", "sql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VideoStore]:
    if request.param == "memory":
        yield MemoryVideos()
        return
    async with open_sqlite(tmp_path / "nova.db", [SCHEMA], Offload(), now="") as sql:
        yield SqlVideos(sql)


def library(store: VideoStore, per_user: int = 10) -> tuple[Library, MemoryBlobs, list[str]]:
    clock, blobs, told = FakeClock(), MemoryBlobs(), list[str]()
    return Library(store, blobs, clock, Ids(clock).new, lambda kind, subject, data: told.append(kind), per_user=per_user), blobs, told


async def body(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def test_records_come_back_as_they_were(store: VideoStore) -> None:
    video = Video(VideoId("v1"), UserId("ada"), Kind.REEL, "T", "D", Visibility.PUBLIC, UnixMs(1))
    await store.put(video)
    changed = replace(
        video, title="U", state=State.UPLOADED, format="mp4", size_bytes=5, digest="d", poster="p", visibility=Visibility.PRIVATE
    )
    await store.put(changed)
    assert await store.get(VideoId("v1")) == changed
    assert (await store.count(UserId("ada")), await store.count(UserId("bob"))) == (1, 0)
    assert await store.find(Wanted(5)) == []
    assert await store.find(Wanted(5, reader=UserId("ada"))) == [changed] == await store.find(Wanted(5, everything=True))
    assert await store.find(Wanted(5, kind=Kind.VIDEO, everything=True)) == []
    assert await store.delete(VideoId("v1")) and not await store.delete(VideoId("v1"))


async def test_a_video_with_its_bytes(store: VideoStore) -> None:
    found, blobs, told = library(store)
    data = b"moov" * 10
    video = await found.take(UserId("ada"), Draft("T"), "mp4", len(data), body(data), sha256(data).hexdigest())
    assert (video.state, video.size_bytes) == (State.UPLOADED, 40)
    assert [stat.size_bytes for stat in await blobs.list(f"videos/{video.id}/")] == [40]
    with pytest.raises(Forbidden):
        await found.delete(video.id, BOB)
    await found.delete(video.id, ADA)
    assert await blobs.list("videos/") == []
    assert told == ["VideoCreated", "VideoUploaded", "VideoDeleted"]
    with pytest.raises(Unprocessable):
        await found.take(UserId("ada"), Draft("T"), "mp4", len(data), body(data), "0" * 64)
    assert await found.find(ADA, limit=5) == ([], None)


async def test_a_caller_that_leaves_leaves_nothing_behind(store: VideoStore) -> None:
    found, blobs, _ = library(store)
    data = b"moov" * 10

    async def cut(scope: trio.CancelScope) -> AsyncIterator[bytes]:
        yield data[:8]
        scope.cancel()
        await trio.lowlevel.checkpoint()

    with trio.CancelScope() as scope:
        await found.take(UserId("ada"), Draft("T"), "mp4", len(data), cut(scope), sha256(data).hexdigest())
    assert scope.cancelled_caught
    assert (await found.find(ADA, limit=5), await blobs.list("videos/")) == (([], None), [])

    # Between the bytes and their record, and within the deletion.
    put, record = blobs.put, store.add

    async def leave(*args: object, **more: object) -> object:
        done = await put(*args, **more)  # type: ignore[arg-type]
        scope.cancel()
        return done

    blobs.put = leave  # type: ignore[assignment, method-assign]
    with trio.CancelScope() as scope:
        await found.take(UserId("ada"), Draft("T"), "mp4", len(data), body(data), sha256(data).hexdigest())
        await trio.lowlevel.checkpoint()
    blobs.put = put  # type: ignore[method-assign]
    kept, _ = await found.find(ADA, limit=5)
    assert len(await blobs.list("videos/")) == len(kept), "bytes have a record, or there are none"

    async def fails(video: Video, per_user: int) -> bool:
        raise Unavailable("storage_failed", "the disk is full")

    store.add = fails  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await found.take(UserId("ada"), Draft("T"), "mp4", len(data), body(data), sha256(data).hexdigest())
    store.add = record  # type: ignore[method-assign]
    assert len(await blobs.list("videos/")) == len(kept)


async def test_a_caller_that_leaves_a_deletion_has_deleted_all(store: VideoStore) -> None:
    found, blobs, told = library(store)
    data = b"moov" * 10
    video = await found.take(UserId("ada"), Draft("T"), "mp4", len(data), body(data), sha256(data).hexdigest())
    delete = store.delete

    async def leave(video: VideoId) -> bool:
        scope.cancel()
        return await delete(video)

    store.delete = leave  # type: ignore[method-assign]
    with trio.CancelScope() as scope:
        await found.delete(video.id, ADA)
    assert (await found.find(ADA, limit=5), await blobs.list("videos/")) == (([], None), [])
    assert told[-1] == "VideoDeleted"


async def test_a_deletion_that_takes_too_long_is_not_done(tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, told, data, hangs = FakeClock(), list[str](), b"moov" * 10, trio.Event()

    async def hang(blobs: S3Blobs, key: Key) -> bool:
        hangs.set()
        await trio.sleep_forever()
        raise AssertionError

    with bucket() as blobs:
        async with open_sqlite(tmp_path / "nova.db", [SCHEMA], Offload(), now="") as sql:
            found = Library(SqlVideos(sql), blobs, clock, Ids(clock).new, lambda kind, subject, data: told.append(kind))
            video = await found.take(UserId("ada"), Draft("T"), "mp4", len(data), body(data), sha256(data).hexdigest())

            async def delete() -> None:
                with pytest.raises(Unavailable):
                    await found.delete(video.id, ADA)

            with monkeypatch.context() as patched:
                patched.setattr(S3Blobs, "delete", hang)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(delete)
                    await hangs.wait()
                    mock_clock.jump(FINISH + 1)
            assert "VideoDeleted" not in told
            await found.delete(video.id, ADA)
            assert (await found.find(ADA, limit=5), await blobs.list(), told[-1]) == (([], None), [], "VideoDeleted")


async def test_many_at_once_are_no_more_than_a_user_may_keep(store: VideoStore) -> None:
    found, blobs, _ = library(store, per_user=2)
    data, ready, refused = b"moov" * 10, trio.Event(), list[str]()
    waiting = 0

    async def slow() -> AsyncIterator[bytes]:
        nonlocal waiting
        waiting += 1
        if waiting == 5:
            ready.set()
        await ready.wait()
        yield data

    async def take() -> None:
        try:
            await found.take(UserId("ada"), Draft("T"), "mp4", len(data), slow(), sha256(data).hexdigest())
        except RateLimited as error:
            refused.append(error.code)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(take)
    kept, _ = await found.find(ADA, limit=5)
    assert (len(kept), refused, len(await blobs.list("videos/"))) == (2, ["quota_exceeded"] * 3, 2)


async def test_private_videos_are_their_owners(store: VideoStore) -> None:
    found, _, _ = library(store)
    hidden = await found.create(UserId("ada"), Draft("T", Kind.REEL, visibility=Visibility.PRIVATE))
    assert (await found.get(hidden.id, ADA)).id == hidden.id
    for caller, kind in ((BOB, None), (Caller(), None), (ADA, Kind.VIDEO)):
        with pytest.raises(NotFound):
            await found.get(hidden.id, caller, kind)
    await found.change(hidden.id, ADA, Changes(title="U", visibility=Visibility.PUBLIC))
    assert (await found.get(hidden.id, BOB)).title == "U"


async def test_lists_go_page_by_page(store: VideoStore) -> None:
    found, _, _ = library(store, per_user=3)
    made = [(await found.create(UserId("ada"), Draft(str(at)))).id for at in range(3)]
    with pytest.raises(RateLimited):
        await found.create(UserId("ada"), Draft("4"))
    first, last = await found.find(BOB, limit=2, owner=UserId("ada"))
    assert [each.id for each in first] == made[:0:-1]
    rest, end = await found.find(BOB, limit=2, after=last)
    assert ([each.id for each in rest], end) == (made[:1], None)
