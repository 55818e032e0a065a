"""One contract for the twins of the picture store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nova.core.offload import Offload
from nova.core.sql import open_sqlite
from nova.media.images.model import Image, ImageId
from nova.media.images.ports import ImageStore
from nova.media.images.store_memory import MemoryImages
from nova.media.images.store_sql import SCHEMA, SqlImages
from nova.media.streams.model import UnixMs, UserId


@pytest.fixture(params=["memory", "sql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ImageStore]:
    if request.param == "memory":
        yield MemoryImages()
        return
    async with open_sqlite(tmp_path / "nova.db", [SCHEMA], Offload(), now="") as sql:
        yield SqlImages(sql)


def image(number: int, owner: str = "ada") -> Image:
    return Image(ImageId(f"i{number}"), UserId(owner), "jpeg", 30, 20, 1, True, 999, "ab" * 32, "#102030", b"\x01\x02", UnixMs(number))


async def test_pictures_come_back_as_they_were(store: ImageStore) -> None:
    for at, owner in ((1, "ada"), (2, "bob"), (3, "ada")):
        assert await store.add(image(at, owner), 2)
    assert not await store.add(image(4, "ada"), 2)
    assert await store.get(ImageId("i4")) is None
    assert await store.get(ImageId("i1")) == image(1)
    assert await store.get(ImageId("i9")) is None
    assert await store.count(UserId("ada")) == 2
    assert await store.find(UserId("ada"), None, 9) == [image(3), image(1)]
    assert await store.find(None, ImageId("i3"), 1) == [image(2, "bob")]
    assert await store.delete(ImageId("i1")) and not await store.delete(ImageId("i1"))
    assert await store.find(UserId("ada"), None, 9) == [image(3)]
