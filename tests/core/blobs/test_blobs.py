"""The contract of `Blobs`, for every adapter, and what only files can get wrong."""

import os
import resource
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from nova.core import errors
from nova.core.blobs import Blobs, Key, Stored, blob_key
from nova.core.blobs.files import FileBlobs
from nova.core.blobs.memory import MemoryBlobs
from nova.core.offload import Offload
from tests.core.blobs.bucket import bucket

BIG = os.urandom(700_001)


@pytest.fixture(params=["memory", "files", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Blobs]:
    if request.param == "s3":
        with bucket() as found:
            yield found
        return
    yield MemoryBlobs() if request.param == "memory" else FileBlobs(tmp_path / "blobs", Offload())


async def pieces(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def put(blobs: Blobs, key: str, data: bytes = b"x") -> Stored:
    return await blobs.put(blob_key(key), pieces(data), max_bytes=1_000_000)


async def content(blobs: Blobs, key: str, first: int = 0, size: int | None = None) -> bytes:
    async with blobs.get(blob_key(key), first=first, size=size) as download:
        return b"".join([chunk async for chunk in download.chunks])


async def keys(blobs: Blobs, prefix: str = "", after: str = "", limit: int = 1000) -> list[str]:
    return [stat.key for stat in await blobs.list(prefix, after=after, limit=limit)]


async def test_stored_bytes_come_back_with_their_digest(blobs: Blobs) -> None:
    stored = await put(blobs, "a/b/c.bin", BIG)
    assert stored.sha256 == sha256(BIG).hexdigest()
    assert await content(blobs, "a/b/c.bin") == BIG
    assert await blobs.stat(blob_key("a/b/c.bin")) == stored.stat
    assert stored.stat.size_bytes == len(BIG) and stored.stat.modified.tzinfo is not None
    assert (await put(blobs, "empty", b"")).stat.size_bytes == 0
    assert await content(blobs, "empty") == b""


@pytest.mark.parametrize(("first", "size"), [(0, 1), (5, None), (299_999, 300_000), (700_000, 9), (700_001, 1), (9_000_000, None), (3, 0)])
async def test_ranges_are_what_a_slice_would_be(blobs: Blobs, first: int, size: int | None) -> None:
    await put(blobs, "big", BIG)
    assert await content(blobs, "big", first, size) == BIG[first : None if size is None else first + size]


async def test_missing_blob_is_not_found_and_may_be_deleted(blobs: Blobs) -> None:
    missing = blob_key("no/such")
    with pytest.raises(errors.NotFound):
        await blobs.stat(missing)
    with pytest.raises(errors.NotFound):
        async with blobs.get(missing):
            pass
    await blobs.delete(missing)
    await put(blobs, "no/such")
    await blobs.delete(missing)
    assert await keys(blobs) == []


async def test_replaced_blob_is_the_new_one_for_new_readers_only(blobs: Blobs) -> None:
    old = await put(blobs, "a", BIG)
    async with blobs.get(blob_key("a")) as download:
        new = await put(blobs, "a", b"new")
        assert b"".join([chunk async for chunk in download.chunks]) == BIG
    assert await content(blobs, "a") == b"new"
    assert new.stat.etag != old.stat.etag


async def test_refused_content_leaves_the_older_blob(blobs: Blobs) -> None:
    await put(blobs, "a", b"old")
    with pytest.raises(errors.TooLarge):
        await blobs.put(blob_key("a"), pieces(BIG), max_bytes=len(BIG) - 1)
    with pytest.raises(errors.Unprocessable) as mismatch:
        await blobs.put(blob_key("a"), pieces(BIG), max_bytes=len(BIG), sha256="0" * 64)
    assert mismatch.value.code == "digest_mismatch"
    await blobs.put(blob_key("b"), pieces(BIG), max_bytes=len(BIG), sha256=sha256(BIG).hexdigest())
    assert await content(blobs, "a") == b"old"
    assert await keys(blobs) == ["a", "b"]


async def test_broken_or_cancelled_upload_leaves_nothing(blobs: Blobs, tmp_path: Path) -> None:
    async def breaks() -> AsyncIterator[bytes]:
        yield BIG
        raise ConnectionError("the client is gone")

    async def stalls() -> AsyncIterator[bytes]:
        yield BIG
        await trio.sleep_forever()

    with pytest.raises(ConnectionError):
        await blobs.put(blob_key("a"), breaks(), max_bytes=len(BIG))
    async with trio.open_nursery() as nursery:

        async def upload() -> None:
            await blobs.put(blob_key("a"), stalls(), max_bytes=len(BIG))

        nursery.start_soon(upload)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert await keys(blobs) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_list_is_in_key_order_with_prefix_and_pages(blobs: Blobs) -> None:
    names = ["a", "a-b", "a/b", "a/b/c", "a/b-c", "a0", "b", "ab/c"]
    for name in names:
        await put(blobs, name)
    assert await keys(blobs) == sorted(names)
    assert await keys(blobs, "a/") == ["a/b", "a/b-c", "a/b/c"]
    assert await keys(blobs, "a/b") == ["a/b", "a/b-c", "a/b/c"]
    assert await keys(blobs, "c") == []
    paged: list[str] = []
    while page := await keys(blobs, after=paged[-1] if paged else "", limit=3):
        paged += page
    assert paged == sorted(names)


SEGMENTS = st.lists(st.sampled_from(["a", "b", "a-", "a.b", "a0", "ab"]), min_size=1, max_size=3).map("/".join)


@settings(max_examples=30, deadline=None)
@given(st.sets(SEGMENTS, max_size=12), SEGMENTS, SEGMENTS)
def test_list_of_files_is_that_of_memory(tmp_path_factory: pytest.TempPathFactory, names: set[str], prefix: str, after: str) -> None:
    async def main() -> None:
        files, memory = FileBlobs(tmp_path_factory.mktemp("blobs"), Offload()), MemoryBlobs()
        for name in names:
            await put(files, name)
            await put(memory, name)
        for begin in ("", prefix, prefix + "/"):
            for behind in ("", after):
                assert await keys(files, begin, behind) == await keys(memory, begin, behind)

    trio.run(main)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/a",
        "a/",
        "a//b",
        "..",
        "a/../b",
        ".hidden",
        "a/.unfinished",
        "a+/b",
        "a b",
        "a\0",
        "a\\b",
        "ä",
        "a\n",
        "a" * 129,
        "a/" * 16 + "a",
        "%2e%2e",
    ],
)
def test_keys_that_could_leave_the_store_are_refused(text: str) -> None:
    with pytest.raises(errors.BadRequest):
        blob_key(text)


async def test_adapters_check_keys_themselves(blobs: Blobs) -> None:
    with pytest.raises(errors.BadRequest):
        await blobs.stat(Key("../secret"))
    with pytest.raises(errors.BadRequest):
        await blobs.list("../")


async def test_unfinished_file_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    await put(FileBlobs(tmp_path, Offload()), "kept")
    left = tmp_path / ".unfinished" / "left"
    left.write_bytes(b"half")
    again = FileBlobs(tmp_path, Offload())
    assert not left.exists() and await keys(again) == ["kept"]


async def test_disk_that_cannot_take_it_is_a_coded_error(tmp_path: Path) -> None:
    files = FileBlobs(tmp_path, Offload())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
    try:
        with pytest.raises(errors.Unavailable) as failed:
            await put(files, "big", BIG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert failed.value.code == "storage_failed"
    assert await keys(files) == []
    await put(files, "big", BIG)


def test_directory_that_cannot_be_made_is_a_coded_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(errors.Unavailable):
        FileBlobs(tmp_path / "file" / "blobs", Offload())
