"""Pictures over a real store, a bucket and worker processes: what a caller that leaves, and a store that hangs, leave behind."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from nova.core import idempotency
from nova.core.blobs import Key
from nova.core.blobs.s3 import S3Blobs
from nova.core.clock import FakeClock
from nova.core.errors import NotFound, RateLimited, Unavailable
from nova.core.idempotency import Answer, Claim, Idempotency
from nova.core.ids import Ids
from nova.core.lifecycle import FINISH
from nova.core.offload import Offload
from nova.core.secret import Secret
from nova.core.sql import open_sqlite
from nova.core.values import Seconds
from nova.media.images.delivery import Delivery
from nova.media.images.pool import Bounds, Pool
from nova.media.images.service import Images
from nova.media.images.signing import Keys
from nova.media.images.store_sql import SCHEMA, SqlImages
from nova.media.streams.access import Caller
from nova.media.streams.model import UserId
from tests.core.blobs.bucket import bucket
from tests.media.images import material

ADA = Caller(UserId("ada"))
PICTURE = material.saved(material.corners(), "jpeg")


@dataclass
class Gallery:
    """The service, what it stands on, and what it told."""

    images: Images
    blobs: S3Blobs
    keys: Idempotency
    told: list[str]


@asynccontextmanager
async def gallery(root: Path, **more: Any) -> AsyncIterator[Gallery]:
    clock, offload, told = FakeClock(), Offload(), list[str]()
    with bucket() as blobs:
        async with open_sqlite(root / "nova.db", [SCHEMA, idempotency.SCHEMA], offload, now="") as sql, trio.open_nursery() as nursery:
            store, pool, ids = SqlImages(sql), Pool(Bounds(workers=1)), Ids(clock)
            delivery = Delivery(store, blobs, pool, Keys([("k1", Secret("a key of many bytes"))]), None, clock, offload)
            images = Images(store, blobs, delivery, pool, clock, ids.new, lambda kind, subject, facts: told.append(kind), **more)
            await nursery.start(images.run)
            yield Gallery(images, blobs, Idempotency(sql, clock, ids, ttl=Seconds(86400)), told)
            nursery.cancel_scope.cancel()


async def body() -> AsyncIterator[bytes]:
    yield PICTURE


async def test_many_pictures_at_once_are_no_more_than_the_quota(tmp_path: Path) -> None:
    """All were counted before the first one was there."""
    async with gallery(tmp_path, per_user=2) as found:
        outcomes, waiting, all_wait = list[str](), 0, trio.Event()

        async def late() -> AsyncIterator[bytes]:
            nonlocal waiting
            waiting += 1
            if waiting == 5:
                all_wait.set()
            await all_wait.wait()
            yield PICTURE

        async def create() -> None:
            try:
                await found.images.create(UserId("ada"), late())
            except RateLimited as error:
                outcomes.append(error.code)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(create)
        kept, _ = await found.images.find(ADA, limit=9)
        assert (outcomes, len(kept), found.told) == (["quota_exceeded"] * 3, 2, ["ImageCreated"] * 2)
        assert {each.key.split("/")[1] for each in await found.blobs.list()} == {image.id for image in kept}


async def test_a_deletion_that_takes_too_long_is_not_done(tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = trio.Event()

    async def hang(blobs: S3Blobs, key: Key) -> bool:
        hangs.set()
        await trio.sleep_forever()
        raise AssertionError

    async with gallery(tmp_path) as found:
        image, _ = await found.images.create(UserId("ada"), body())

        async def delete() -> None:
            with pytest.raises(Unavailable):
                await found.images.delete(image.id, ADA)

        with monkeypatch.context() as patched:
            patched.setattr(S3Blobs, "delete", hang)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(delete)
                await hangs.wait()
                mock_clock.jump(FINISH + 1)
        assert "ImageDeleted" not in found.told
        await found.images.delete(image.id, ADA)
        assert (await found.blobs.list(), found.told[-1]) == ([], "ImageDeleted")
        with pytest.raises(NotFound):
            await found.images.get(image.id)


async def test_a_caller_that_leaves_its_new_picture_finds_it_by_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scope, keep = trio.CancelScope(), Delivery.keep

    async def leave(*args: Any) -> None:
        scope.cancel()
        await keep(*args)

    async with gallery(tmp_path) as found:

        async def work(claim: Claim) -> Answer:
            image, _ = await found.images.create(UserId("ada"), body())
            return Answer(201, {}, image.id.encode())

        async def content() -> bytes:
            return b"digest of the body"

        with monkeypatch.context() as patched, scope:
            patched.setattr(Delivery, "keep", leave)
            await found.keys.once("ada", "POST /v1/images", "k1", b"asked", work, content=content)
        assert scope.cancel_called
        answer, again = await found.keys.once("ada", "POST /v1/images", "k1", b"asked", work, content=content)
        (image,), _ = await found.images.find(ADA, limit=5)
        assert (answer.body.decode(), again) == (image.id, True)
