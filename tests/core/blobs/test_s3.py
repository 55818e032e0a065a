"""What only S3 can get wrong: parts, aborts, pages, prefixes, signed URLs, a service that is down."""

import os
from collections.abc import AsyncIterator
from hashlib import sha256

import pytest
import trio

from nova.core import errors
from nova.core.blobs import blob_key
from nova.core.blobs.s3 import PART, S3Blobs, parse_url
from nova.core.offload import Offload
from tests.core.blobs.bucket import CREDENTIALS, NAME, bucket

KEY = blob_key("a/b")


async def pieces(data: bytes, size: int = 1_000_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def unfinished() -> int:
    import boto3

    return len(boto3.client("s3", region_name="us-east-1").list_multipart_uploads(Bucket=NAME).get("Uploads", []))


@pytest.mark.slow
async def test_large_blobs_go_up_in_parts() -> None:
    data = os.urandom(2 * PART + 12_345)
    with bucket() as blobs:
        stored = await blobs.put(KEY, pieces(data), max_bytes=len(data), sha256=sha256(data).hexdigest())
        assert stored.stat.size_bytes == len(data)
        assert stored.stat.etag.endswith('-3"'), "three parts"
        async with blobs.get(KEY, first=PART - 5, size=10) as download:
            assert b"".join([chunk async for chunk in download.chunks]) == data[PART - 5 : PART + 5]
        assert unfinished() == 0


async def test_what_breaks_off_leaves_nothing() -> None:
    data = bytes(PART + 100)
    with bucket() as blobs:
        with pytest.raises(errors.Unprocessable):
            await blobs.put(KEY, pieces(data), max_bytes=len(data), sha256="0" * 64)
        with pytest.raises(errors.TooLarge):
            await blobs.put(KEY, pieces(data), max_bytes=PART + 50)

        async def stuck() -> AsyncIterator[bytes]:
            yield data
            scope.cancel()
            await trio.sleep_forever()

        with trio.CancelScope() as scope:
            await blobs.put(KEY, stuck(), max_bytes=10 * PART)
        assert scope.cancelled_caught
        assert unfinished() == 0
        with pytest.raises(errors.NotFound):
            await blobs.stat(KEY)


async def test_keys_lie_below_the_prefix() -> None:
    import boto3

    with bucket("deep/down/") as blobs:
        await blobs.put(KEY, pieces(b"x"), max_bytes=5)
        s3 = boto3.client("s3", region_name="us-east-1")
        assert [each["Key"] for each in s3.list_objects_v2(Bucket=NAME)["Contents"]] == ["deep/down/a/b"]
        s3.put_object(Bucket=NAME, Key="elsewhere/z", Body=b"")
        assert [stat.key for stat in await blobs.list()] == ["a/b"]


async def test_signed_urls_name_blob_and_end() -> None:
    with bucket() as blobs:
        for url in (await blobs.signed_put(KEY, seconds=60), await blobs.signed_get(KEY, seconds=60)):
            assert f"/{NAME}/" in url or f"{NAME}.s3" in url
            assert "some/where/a/b?" in url and "X-Amz-Expires=60" in url and "X-Amz-Signature=" in url


async def test_a_service_that_is_down_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    blobs = S3Blobs("b", "", Offload(), endpoint="http://127.0.0.1:1")
    with pytest.raises(errors.Unavailable) as failed:
        await blobs.stat(KEY)
    assert failed.value.code == "storage_failed"


@pytest.mark.parametrize("url", ["http://b/p", "s3://", "s3:///p", "s3://b/p?x"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError):
        parse_url(url)
    assert parse_url("s3://b/x/y/") == ("b", "x/y/")
    assert parse_url("s3://b") == ("b", "")


def put(url: str, data: bytes) -> int:
    """By somebody who has nothing but the address."""
    import requests

    return requests.put(url, data=data, timeout=5).status_code


async def test_a_small_blob_is_put_by_others_in_one_piece() -> None:
    data = os.urandom(70_000)
    with bucket() as blobs:
        ticket = await blobs.open_direct(KEY, len(data))
        (part,) = await blobs.direct_parts(KEY, ticket, len(data), seconds=60)
        assert (part.number, part.first, part.size) == (1, 0, len(data))
        assert "X-Amz-SignedHeaders=content-length%3Bhost" in part.url, "S3 takes no other length"
        with pytest.raises(errors.Unprocessable):
            await blobs.close_direct(KEY, ticket, len(data))
        assert put(part.url, data[:-1]) == 200
        with pytest.raises(errors.Unprocessable):
            await blobs.close_direct(KEY, ticket, len(data))
        assert put(part.url, data) == 200
        for _ in range(2):
            await blobs.close_direct(KEY, ticket, len(data))
        async with blobs.get(KEY) as download:
            assert b"".join([chunk async for chunk in download.chunks]) == data
        for _ in range(2):
            await blobs.drop_direct(KEY, ticket)
        with pytest.raises(errors.NotFound):
            await blobs.stat(KEY)


async def test_a_large_blob_is_put_by_others_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nova.core.blobs.s3.SINGLE", 1 << 20)
    monkeypatch.setattr("nova.core.blobs.s3.DIRECT_PART", PART)
    data = os.urandom(2 * PART + 99)
    with bucket() as blobs:
        ticket = await blobs.open_direct(KEY, len(data))
        parts = await blobs.direct_parts(KEY, ticket, len(data), seconds=60)
        assert [(part.number, part.first, part.size) for part in parts] == [(1, 0, PART), (2, PART, PART), (3, 2 * PART, 99)]
        for part in (parts[2], parts[0]):
            assert put(part.url, data[part.first : part.first + part.size]) == 200
        with pytest.raises(errors.Unprocessable, match="part 2"):
            await blobs.close_direct(KEY, ticket, len(data))
        assert put(parts[1].url, data[PART : 2 * PART]) == 200
        for _ in range(2):  # the answer to the first one may have been lost
            await blobs.close_direct(KEY, ticket, len(data))
        async with blobs.get(KEY) as download:
            assert b"".join([chunk async for chunk in download.chunks]) == data
        await blobs.drop_direct(KEY, ticket)
        other = await blobs.open_direct(KEY, len(data))
        assert unfinished() == 1
        for _ in range(2):
            await blobs.drop_direct(KEY, other)
        assert unfinished() == 0


def test_no_blob_takes_more_parts_than_s3_allows() -> None:
    from nova.core.blobs.s3 import LARGEST_PART, _pieces

    for size in (1, 64 << 20, (64 << 20) + 1, 4 << 30, 1 << 40):
        pieces = list(_pieces(size))
        assert [number for number, _, _ in pieces] == list(range(1, len(pieces) + 1))
        assert len(pieces) <= 1000
        assert sum(length for _, _, length in pieces) == size
        assert all(length >= 5 << 20 for _, _, length in pieces[:-1])
        assert all(length <= LARGEST_PART for _, _, length in pieces)
