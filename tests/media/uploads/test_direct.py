"""Uploads by signed addresses: to a bucket, and to this server where there is none."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import trio
from trio.testing import MockClock

from nova.core.blobs import Key, Part
from nova.core.blobs.s3 import S3Blobs
from nova.core.errors import Conflict, Forbidden, NotFound, RateLimited, TooLarge, Unavailable, Unprocessable, UnsupportedType
from nova.core.lifecycle import FINISH
from nova.core.offload import Offload
from nova.core.secret import Secret
from nova.core.sql import open_sqlite
from nova.media.images.signing import Keys
from nova.media.streams.access import Caller
from nova.media.streams.model import UserId
from nova.media.uploads import kinds
from nova.media.uploads.direct import Direct
from nova.media.uploads.model import Status, Upload
from nova.media.uploads.service import LATE, Limits, Uploads
from nova.media.uploads.store_sql import SCHEMA, SqlUploads
from nova.media.uploads.tus import Metadata
from tests.core.blobs.bucket import bucket
from tests.core.blobs.test_s3 import put as put_s3
from tests.media.uploads.test_service import ADA, DATA, House, broken, pieces

KEYS = Keys([("k1", Secret("a key of many bytes"))])
PNG = b"\x89PNG\r\n\x1a\n" + DATA


class Way:
    """One of the two: how bytes get to their address."""

    def __init__(self, blobs: S3Blobs | None) -> None:
        self.blobs = blobs
        self.direct = Direct(blobs, KEYS, kinds.kind)

    async def send(self, uploads: Uploads, upload: Upload, part: Part, data: bytes) -> None:
        if self.blobs is not None:
            await trio.to_thread.run_sync(put_s3, part.url, data)
            return
        query = dict(parse_qsl(urlsplit(part.url).query))
        await uploads.put(upload.id, pieces(data), expires=int(query["expires"]), signature=query["signature"])

    async def left(self) -> list[Any]:
        return [] if self.blobs is None else await self.blobs.list()


@contextmanager
def ways(name: str) -> Iterator[Way]:
    if name == "here":
        yield Way(None)
    else:
        with bucket() as blobs:
            yield Way(blobs)


@pytest.fixture(params=["here", "s3"])
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    with ways(request.param) as found:
        yield found


@pytest.fixture
def here() -> Way:
    return Way(None)


@pytest.fixture
def in_bucket() -> Iterator[Way]:
    with ways("s3") as found:
        yield found


async def test_bytes_go_to_their_address_and_become_something(tmp_path: Path, way: Way) -> None:
    house = House(tmp_path, direct=way.direct)
    async with house.open() as uploads:
        said = Metadata(sha256=sha256(PNG).hexdigest(), kind="image")
        upload, (part,) = await uploads.create_direct(UserId("ada"), len(PNG), said, 600)
        with pytest.raises(Unprocessable):
            await uploads.complete(upload.id, ADA)
        with pytest.raises(NotFound):
            await uploads.complete(upload.id, Caller(UserId("bob")))
        with pytest.raises(Conflict):
            await uploads.append(upload.id, ADA, 0, pieces(PNG))
        await way.send(uploads, upload, part, PNG)
        for _ in range(2):
            assert (await uploads.complete(upload.id, ADA)).status in (Status.PROCESSING, Status.READY)
        assert (await house.ended(uploads, upload)).status is Status.READY
        assert (await uploads.complete(upload.id, ADA)).status is Status.READY
    assert house.made == [(upload.id, PNG)]
    assert (house.files, await way.left()) == ([], [])


async def test_what_is_not_what_was_announced_fails(tmp_path: Path, way: Way) -> None:
    house = House(tmp_path, direct=way.direct)
    async with house.open() as uploads:
        upload, (part,) = await uploads.create_direct(UserId("ada"), len(PNG), Metadata(sha256="0" * 64), 600)
        await way.send(uploads, upload, part, PNG)
        await uploads.complete(upload.id, ADA)
        assert (await house.ended(uploads, upload)).error_code == "digest_mismatch"
    assert (house.files, await way.left(), house.made) == ([], [], [])


async def test_bounds_are_those_of_every_upload(tmp_path: Path, way: Way) -> None:
    house = House(tmp_path, direct=way.direct, limits=Limits(max_size=1000, per_user=1))
    async with house.open() as uploads:
        with pytest.raises(TooLarge):
            await uploads.create_direct(UserId("ada"), 1001, Metadata(), 600)
        upload, _ = await uploads.create_direct(UserId("ada"), 1000, Metadata(), 600)
        with pytest.raises(RateLimited):
            await uploads.create_direct(UserId("ada"), 1, Metadata(), 600)
        house.clock.advance(uploads.limits.keep + 1)
        assert await uploads.sweep() == 1
        with pytest.raises(NotFound):
            await uploads.get(upload.id, ADA)


async def test_a_process_that_dies_goes_on_with_what_the_bucket_has(tmp_path: Path, in_bucket: Way) -> None:
    house = House(tmp_path, direct=in_bucket.direct)
    house.gate = trio.Event()
    async with house.open() as uploads:
        upload, (part,) = await uploads.create_direct(UserId("ada"), len(PNG), Metadata(), 600)
        await in_bucket.send(uploads, upload, part, PNG)
        assert (await uploads.complete(upload.id, ADA)).status is Status.PROCESSING
    house.gate.set()
    async with house.open() as uploads:
        assert (await house.ended(uploads, upload)).status is Status.READY
    assert house.made == [(upload.id, PNG)]


async def test_what_the_bucket_holds_is_looked_at_before_it_is_fetched(tmp_path: Path, in_bucket: Way) -> None:
    house = House(tmp_path, direct=in_bucket.direct)
    async with house.open() as uploads:
        upload, (part,) = await uploads.create_direct(UserId("ada"), 900, Metadata(), 600)
        await in_bucket.send(uploads, upload, part, bytes(901))
        with pytest.raises(Unprocessable):
            await uploads.complete(upload.id, ADA)
        await in_bucket.send(uploads, upload, part, bytes(900))
        with pytest.raises(UnsupportedType):
            await uploads.complete(upload.id, ADA)
        found = await uploads.get(upload.id, ADA)
        assert (found.status, found.error_code) == (Status.FAILED, "unsupported_type")
        gone, (part,) = await uploads.create_direct(UserId("ada"), len(PNG), Metadata(), 600)
        await in_bucket.send(uploads, gone, part, PNG)
        await uploads.delete(gone.id, ADA)
    assert await in_bucket.left() == []


async def test_how_it_ended_is_told_also_when_the_bucket_is_away(tmp_path: Path, in_bucket: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    house, drop = House(tmp_path, direct=in_bucket.direct), S3Blobs.drop_direct

    async def away(blobs: S3Blobs, key: Key, ticket: str) -> None:
        raise Unavailable(detail="the bucket is away")

    async with open_sqlite(tmp_path / "nova.db", [SCHEMA], Offload(), now="") as sql:
        house.store = SqlUploads(sql)
        async with house.open() as uploads:
            good, (part,) = await uploads.create_direct(UserId("ada"), len(PNG), Metadata(), 600)
            await in_bucket.send(uploads, good, part, PNG)
            bad, (part,) = await uploads.create_direct(UserId("ada"), 900, Metadata(), 600)
            await in_bucket.send(uploads, bad, part, bytes(900))
            monkeypatch.setattr(S3Blobs, "drop_direct", away)
            with pytest.raises(UnsupportedType):
                await uploads.complete(bad.id, ADA)
            await uploads.complete(good.id, ADA)
            assert (await house.ended(uploads, good)).status is Status.READY
            assert [each.status for each in house.told if each.id == bad.id][-1] is Status.FAILED
            assert house.files == [] and len(await in_bucket.left()) == 2
            monkeypatch.setattr(S3Blobs, "drop_direct", drop)
            house.clock.advance(uploads.limits.keep + 1)
            assert await uploads.sweep() == 2
            assert await in_bucket.left() == []


async def test_what_cannot_be_forgotten_does_not_keep_the_others(tmp_path: Path, in_bucket: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    house, drop = House(tmp_path, direct=in_bucket.direct), S3Blobs.drop_direct
    async with open_sqlite(tmp_path / "nova.db", [SCHEMA], Offload(), now="") as sql:
        house.store = SqlUploads(sql)
        async with house.open() as uploads:
            stuck, (part,) = await uploads.create_direct(UserId("ada"), len(PNG), Metadata(), 600)
            await in_bucket.send(uploads, stuck, part, PNG)
            others = [
                (await uploads.create_direct(UserId("ada"), 900, Metadata(), 600))[0],
                await uploads.create(UserId("ada"), 3, Metadata()),
            ]

            async def away(blobs: S3Blobs, key: Key, ticket: str) -> None:
                if key.endswith(stuck.id):
                    raise Unavailable(detail="the bucket is away")
                await drop(blobs, key, ticket)

            monkeypatch.setattr(S3Blobs, "drop_direct", away)
            house.clock.advance(uploads.limits.keep + 1)
            await uploads.sweep()
            assert [await house.store.get(each.id) for each in others] == [None, None]
            assert await house.store.get(stuck.id) is not None
            monkeypatch.setattr(S3Blobs, "drop_direct", drop)
            await uploads.sweep()
            assert (await house.store.get(stuck.id), await in_bucket.left()) == (None, [])


async def test_a_deletion_that_takes_too_long_is_not_done(
    tmp_path: Path, in_bucket: Way, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, hangs = House(tmp_path, direct=in_bucket.direct), trio.Event()

    async def hang(blobs: S3Blobs, key: Key, ticket: str) -> None:
        hangs.set()
        await trio.sleep_forever()

    async with open_sqlite(tmp_path / "nova.db", [SCHEMA], Offload(), now="") as sql:
        house.store = SqlUploads(sql)
        async with house.open() as uploads:
            upload, (part,) = await uploads.create_direct(UserId("ada"), len(PNG), Metadata(), 600)
            await in_bucket.send(uploads, upload, part, PNG)

            async def delete() -> None:
                with pytest.raises(Unavailable):
                    await uploads.delete(upload.id, ADA)

            with monkeypatch.context() as patched:
                patched.setattr(S3Blobs, "drop_direct", hang)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(delete)
                    await hangs.wait()
                    mock_clock.jump(FINISH + 1)
            await uploads.delete(upload.id, ADA)
            assert await in_bucket.left() == []


async def test_who_completes_twice_hears_the_same_twice(tmp_path: Path, in_bucket: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    house, close = House(tmp_path, direct=in_bucket.direct), S3Blobs.close_direct
    begun, go, answers = trio.Event(), trio.Event(), list[Status]()

    async def slow(*args: Any) -> None:
        begun.set()
        await go.wait()
        await close(*args)

    async with open_sqlite(tmp_path / "nova.db", [SCHEMA], Offload(), now="") as sql:
        house.store = SqlUploads(sql)
        async with house.open() as uploads:
            upload, (part,) = await uploads.create_direct(UserId("ada"), len(PNG), Metadata(), 600)
            await in_bucket.send(uploads, upload, part, PNG)

            async def complete() -> None:
                answers.append((await uploads.complete(upload.id, ADA)).status)

            monkeypatch.setattr(S3Blobs, "close_direct", slow)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(complete)
                await begun.wait()
                nursery.start_soon(complete)
                with pytest.raises(Conflict):  # nor does a client of the other way end it
                    await uploads.append(upload.id, ADA, 0, pieces(PNG))
                go.set()
            assert len(answers) == 2 and {*answers} <= {Status.PROCESSING, Status.READY}
            assert (await house.ended(uploads, upload)).status is Status.READY


@pytest.mark.parametrize("end", ["delete", "complete"])
async def test_what_comes_to_an_address_after_the_end_counts_and_goes(tmp_path: Path, in_bucket: Way, end: str) -> None:
    house = House(tmp_path, direct=in_bucket.direct, limits=Limits(per_user=2, user_bytes=2 * len(PNG)))
    async with open_sqlite(tmp_path / "nova.db", [SCHEMA], Offload(), now="") as sql:
        house.store = SqlUploads(sql)
        async with house.open() as uploads:
            for _ in range(2):
                upload, (part,) = await uploads.create_direct(UserId("ada"), len(PNG), Metadata(), 600)
                await in_bucket.send(uploads, upload, part, PNG)
                if end == "delete":
                    await uploads.delete(upload.id, ADA)
                else:
                    await uploads.complete(upload.id, ADA)
                    await house.ended(uploads, upload)
                    while any(upload.id in each.key for each in await in_bucket.left()):
                        await trio.sleep(0.005)
                await in_bucket.send(uploads, upload, part, PNG)
            assert len(await in_bucket.left()) == 2, "a signed address is good until it expires"
            with pytest.raises(RateLimited):
                await uploads.create_direct(UserId("ada"), len(PNG), Metadata(), 600)
            house.clock.advance(600 + LATE)
            await uploads.sweep()
            assert await in_bucket.left() == []
            await uploads.create_direct(UserId("ada"), len(PNG), Metadata(), 600)


async def test_an_address_of_ours_takes_one_upload_until_its_end(tmp_path: Path, here: Way) -> None:
    house = House(tmp_path, direct=here.direct)
    async with house.open() as uploads:
        upload, (part,) = await uploads.create_direct(UserId("ada"), len(PNG), Metadata(), 600)
        query = dict(parse_qsl(urlsplit(part.url).query))
        expires, signature = int(query["expires"]), query["signature"]
        other, _ = await uploads.create_direct(UserId("ada"), len(PNG), Metadata(), 600)
        for id, until, mac in ((other.id, expires, signature), (upload.id, expires + 1, signature), (upload.id, expires, "k1.x")):
            with pytest.raises(Forbidden) as refused:
                await uploads.put(id, pieces(PNG), expires=until, signature=mac)
            assert refused.value.code == "bad_signature"
        for body, error in ((pieces(PNG[:-1]), Unprocessable), (pieces(PNG + b"x"), TooLarge), (broken(PNG[:99]), Exception)):
            with pytest.raises(error):
                await uploads.put(upload.id, body, expires=expires, signature=signature)
            assert (await uploads.get(upload.id, ADA)).offset == 0, "all bytes or none"
        await here.send(uploads, upload, part, PNG)
        with pytest.raises(Conflict):
            await here.send(uploads, upload, part, PNG)
        house.clock.advance(600)
        with pytest.raises(Forbidden) as late:
            await here.send(uploads, upload, part, PNG)
        assert late.value.code == "url_expired"
