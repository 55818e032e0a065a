"""Publishing files: FLV as it is, at its pace, over and over; what cannot be read is said."""

from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from nova.core.errors import BadRequest
from nova.core.offload import Offload
from nova.media.rtmp import amf, flv
from nova.media.rtmp.client import Target, paced
from nova.media.rtmp.files import file_tags, looped, publish_file
from nova.media.rtmp.flv import Tag
from tests.media.rtmp.house import KEY, running

META = Tag(flv.SCRIPT, 0, amf.encode("onMetaData", amf.Array(width=16)))
TAGS = [META, *(Tag(flv.VIDEO, stamp, flv.avc_picture(bytes(5000), key=stamp == 1000)) for stamp in (1000, 1033, 1066))]


def no_remux(path: Path) -> Iterator[bytes]:
    raise BadRequest(detail="libav cannot read it")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.flv"
    path.write_bytes(flv.file_header(audio=False, video=True) + b"".join(map(flv.tag_bytes, TAGS)))
    return path


async def given(*tags: Tag) -> AsyncGenerator[Tag, None]:
    for tag in tags:
        await trio.lowlevel.checkpoint()
        yield tag


async def test_file_begins_at_zero(clip: Path) -> None:
    got = [tag async for tag in file_tags(clip, Offload(), no_remux)]
    assert got == [tag._replace(timestamp=max(0, tag.timestamp - 1000)) for tag in TAGS]


async def test_other_files_go_through_libav(tmp_path: Path, clip: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"\x00\x00\x00\x18ftyp")
    data = clip.read_bytes()
    got = [tag async for tag in file_tags(path, Offload(), lambda path: iter([data[:100], data[100:]]))]
    assert len(got) == len(TAGS)
    with pytest.raises(BadRequest, match="libav cannot"):
        [tag async for tag in file_tags(path, Offload(), no_remux)]


@pytest.mark.parametrize(
    ("data", "said"),
    [(None, "cannot read"), (flv.file_header(audio=True, video=True), "nothing to publish"), (b"FLV\x01\x05", "cut short")],
)
async def test_what_cannot_be_published_is_said(tmp_path: Path, data: bytes | None, said: str) -> None:
    path = tmp_path / "x.flv"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(BadRequest, match=said):
        [tag async for tag in file_tags(path, Offload(), no_remux)]


async def test_loop_goes_on_one_frame_behind_the_last() -> None:
    stamps = []
    loop = looped(lambda: given(*(tag._replace(timestamp=max(0, tag.timestamp - 1000)) for tag in TAGS)))
    async for tag in loop:
        stamps.append((tag.type, tag.timestamp))
        if len(stamps) == 7:
            break
    await loop.aclose()
    assert stamps == [(18, 0), (9, 0), (9, 33), (9, 66), (9, 99), (9, 132), (9, 165)]


async def test_tags_are_paced_by_their_time_stamps_over_the_wrap(autojump_clock: trio.testing.MockClock) -> None:
    start = trio.current_time()
    times = []
    async for _ in paced(given(*(Tag(9, stamp & 0xFFFFFFFF, b"") for stamp in (2**32 - 500, 2**32 - 600, 2**32 + 500)))):
        times.append(round(trio.current_time() - start, 3))
    assert times == [0, 0, 1.0]


async def test_file_is_published_over_a_real_connection(clip: Path) -> None:
    seen: list[Tag] = []
    async with running(reactor=False) as house:
        await publish_file(clip, Target.parse(f"{house.url}/{KEY}"), offload=Offload(), remux=no_remux, sent=seen.append)
        assert await house.end() == "unpublished"
        assert [(kind, stamp) for kind, stamp, _, _ in house.ingests[0].records] == [(9, 0), (9, 33), (9, 66)]
    assert len(seen) == len(TAGS)
