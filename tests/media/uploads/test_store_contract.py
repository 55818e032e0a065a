"""One contract for the twins of the upload store."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from nova.core.offload import Offload
from nova.core.sql import open_sqlite
from nova.media.streams.model import UnixMs, UserId
from nova.media.uploads.model import Addresses, Status, Upload, UploadId
from nova.media.uploads.ports import UploadStore
from nova.media.uploads.store_memory import MemoryUploads
from nova.media.uploads.store_sql import SCHEMA, SqlUploads
from nova.media.uploads.tus import Metadata


@pytest.fixture(params=["memory", "sql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[UploadStore]:
    if request.param == "memory":
        yield MemoryUploads()
        return
    async with open_sqlite(tmp_path / "nova.db", [SCHEMA], Offload(), now="") as sql:
        yield SqlUploads(sql)


def upload(number: int, owner: str = "ada", **more: object) -> Upload:
    made = Upload(UploadId(f"u{number}"), UserId(owner), 100 * number, Metadata("a.png", kind="image"), UnixMs(5), UnixMs(1000 * number))
    return replace(made, **more)  # type: ignore[arg-type]


async def test_uploads_come_back_as_they_were(store: UploadStore) -> None:
    await store.add(upload(1))
    assert await store.get(UploadId("u1")) == upload(1)
    assert await store.get(UploadId("u2")) is None
    await store.advance(UploadId("u1"), 50, UnixMs(9))
    await store.settle(UploadId("u1"), Status.FAILED, error=("bad_image", "damaged"))
    assert await store.get(UploadId("u1")) == upload(
        1, offset=50, expires_at=9, status=Status.FAILED, error_code="bad_image", error_detail="damaged"
    )
    assert await store.delete(UploadId("u1"))
    assert not await store.delete(UploadId("u1"))


async def test_the_last_byte_ends_the_uploading_in_the_same_step(store: UploadStore) -> None:
    await store.add(upload(1))
    await store.advance(UploadId("u1"), 99, UnixMs(9))
    assert await store.get(UploadId("u1")) == upload(1, offset=99, expires_at=9)
    await store.advance(UploadId("u1"), 100, UnixMs(10))
    assert await store.get(UploadId("u1")) == upload(1, offset=100, expires_at=10, status=Status.PROCESSING)
    await store.settle(UploadId("u1"), Status.READY, result=("image", "i1"))
    await store.advance(UploadId("u1"), 100, UnixMs(11))
    assert await store.get(UploadId("u1")) == upload(
        1, offset=100, expires_at=11, status=Status.READY, result_kind="image", result_id="i1"
    )


async def test_unfinished_uploads_are_counted_by_owner(store: UploadStore) -> None:
    assert await store.load(UserId("ada")) == (0, 0)
    for at, status in enumerate(Status, 1):
        await store.add(upload(at, status=status))
    await store.add(upload(9, "bob"))
    assert await store.load(UserId("ada")) == (2, 300)


async def test_one_too_many_is_not_stored(store: UploadStore) -> None:
    assert await store.add(upload(1), (2, 300))
    assert not await store.add(upload(3), (2, 300))
    assert await store.add(upload(2), (2, 300))
    assert not await store.add(upload(4), (2, 9999))
    assert await store.add(upload(9, "bob"), (1, 900))
    assert [await store.get(UploadId(f"u{at}")) is None for at in (1, 2, 3, 4, 9)] == [False, False, True, True, False]


async def test_addresses_count_until_they_are_forgotten(store: UploadStore) -> None:
    for at in (1, 2, 3):
        assert await store.add(upload(at), None, Addresses(UploadId(f"u{at}"), UserId("ada"), 100 * at, "one", UnixMs(50 * at)))
    assert await store.load(UserId("ada")) == (3, 600)
    await store.delete(UploadId("u1"))
    await store.settle(UploadId("u2"), Status.READY, result=("image", "i1"))
    assert await store.load(UserId("ada")) == (2, 600), "of an upload that is whole, its bytes alone"
    assert await store.load(UserId("bob")) == (0, 0)
    assert [each.upload for each in await store.addresses_over(UnixMs(100), 9)] == ["u1", "u2"]
    assert await store.addresses_over(UnixMs(99), 9) == [Addresses(UploadId("u1"), UserId("ada"), 100, "one", UnixMs(50))]
    assert [each.upload for each in await store.addresses_over(UnixMs(999), 1, (UnixMs(50), UploadId("u1")))] == ["u2"]
    for at in (1, 2, 3):
        await store.forget_addresses(UploadId(f"u{at}"))
    assert await store.load(UserId("ada")) == (1, 300)


async def test_uploads_are_found_by_status_and_by_their_end(store: UploadStore) -> None:
    for at in (3, 1, 2):
        await store.add(upload(at, status=Status.PROCESSING if at == 2 else Status.UPLOADING))
    assert [each.id for each in await store.with_status(Status.UPLOADING)] == ["u1", "u3"]
    assert [each.id for each in await store.expired(UnixMs(2500), 10)] == ["u1"], "what is being processed is not over"
    assert [each.id for each in await store.expired(UnixMs(9999), 1)] == ["u1"]
    assert [each.id for each in await store.expired(UnixMs(9999), 9, (UnixMs(1000), UploadId("u1")))] == ["u3"]
    await store.add(upload(4, expires_at=UnixMs(3000)))
    assert [each.id for each in await store.expired(UnixMs(3000), 9, (UnixMs(3000), UploadId("u3")))] == ["u4"]
    assert [each.id for each in await store.expired(UnixMs(3000), 9)] == ["u1", "u3", "u4"]
