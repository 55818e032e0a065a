"""The real ffmpeg: pushing to the server, and playing from it."""

import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from nova.core.errors import BadRequest
from nova.core.offload import Offload
from nova.media.libav import remux_flv
from nova.media.rtmp.client import Target
from nova.media.rtmp.files import publish_file
from tests.media.rtmp.house import KEY, OTHER_KEY, STREAM, House, running

pytestmark = pytest.mark.ffmpeg

QUIET = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of H.264 with B-frames and AAC, a key picture every half second."""
    path = tmp_path_factory.mktemp("clip") / "clip.flv"
    subprocess.run(
        [*QUIET, "-f", "lavfi", "-i", "testsrc2=s=320x180:r=30", "-f", "lavfi", "-i", "sine=r=48000", "-t", "4", "-c:v", "libx264",
         "-preset", "ultrafast", "-bf", "2", "-g", "15", "-c:a", "aac", "-f", "flv", path],
        check=True, timeout=60,
    )  # fmt: skip
    return path


@asynccontextmanager
async def ffmpeg(*arguments: object) -> AsyncIterator[trio.Process]:
    """A running ffmpeg; it is ended with the block."""
    command = [*QUIET, *(str(argument) for argument in arguments)]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            lambda task_status: trio.run_process(command, capture_stderr=True, check=False, task_status=task_status)
        )
        yield process
        nursery.cancel_scope.cancel()


async def push(clip: Path, house: House, key: str = KEY, *, paced: bool = False) -> subprocess.CompletedProcess[bytes]:
    pace = ["-readrate", "2"] if paced else []
    command = [*QUIET, *pace, "-i", str(clip), "-c", "copy", "-f", "flv", f"{house.url}/{key}"]
    return await trio.run_process(command, capture_stderr=True, check=False)


@pytest.fixture(params=["sockets", "reactor"])
def reactor(request: pytest.FixtureRequest) -> bool:
    """The server stands on trio's sockets, or on the reactor's: both have to do the same."""
    return bool(request.param == "reactor")


@pytest.mark.parametrize("chunk_size", [128, 4096, 65536])
async def test_ffmpeg_pushes_and_every_packet_arrives(clip: Path, chunk_size: int, reactor: bool) -> None:
    async with running(chunk_size=chunk_size, reactor=reactor) as house:
        done = await push(clip, house)
        assert (done.returncode, done.stderr) == (0, b"")
        assert await house.end() == "unpublished"
        (ingest,) = house.ingests
        assert ingest.ended == "unpublished"
        video = [record for record in ingest.records if record[0] == 9 and not record[2] & 2 and record[3][1] == 1]
        assert len(video) == 120
        assert [stamp for _, stamp, _, _ in video] == sorted(stamp for _, stamp, _, _ in video)
        assert sum(flags & 1 for _, _, flags, _ in video) == 8
        assert sum(flags & 2 for _, _, flags, _ in ingest.records) == 4  # a configuration of either track
        assert 186 <= sum(record[0] == 8 for record in ingest.records) <= 192
        assert ingest.values[0]["width"] == 320.0


async def test_wrong_key_is_told_to_ffmpeg(clip: Path, reactor: bool) -> None:
    async with running(reactor=reactor) as house:
        done = await push(clip, house, "sk_wrong")
        assert done.returncode != 0
        assert b"The stream key is not valid." in done.stderr
        assert await house.end() == "bad_stream_key"


async def test_second_ffmpeg_takes_the_stream_over(clip: Path, reactor: bool) -> None:
    async with running(reactor=reactor) as house, ffmpeg("-re", "-i", clip, "-c", "copy", "-f", "flv", f"{house.url}/{KEY}") as first:
        await (await house.ingest()).until(lambda ingest: len(ingest.records) > 10)
        done = await push(clip, house, OTHER_KEY)
        assert done.returncode == 0
        assert house.ingests[0].ended == "takeover"
        await (await house.ingest(2)).until(lambda ingest: ingest.ended == "unpublished")  # ffmpeg may be gone before that is read
        assert await first.wait() != 0


async def test_ffmpeg_plays_what_is_pushed_and_ends_with_it(clip: Path, tmp_path: Path, reactor: bool) -> None:
    out = tmp_path / "played.flv"
    async with running(reactor=reactor) as house, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: push(clip, house, paced=True))
        ingest = await (await house.ingest()).until(lambda ingest: len(ingest.records) > 10)
        played = await trio.run_process(
            [*QUIET, "-i", f"{house.url}/{STREAM}", "-c", "copy", "-f", "flv", str(out)], capture_stderr=True, check=False
        )
        assert played.returncode == 0, played.stderr
        await ingest.until(lambda ingest: ingest.ended == "unpublished")
        assert sorted(["unpublished", "ended"]) == sorted([await house.end(1), await house.end(2)])
    probe = subprocess.run(
        ["ffprobe", "-v", "error", "-show_entries", "packet=codec_type,dts,flags,size", "-of", "json", out],
        check=True,
        capture_output=True,
        timeout=30,
    )
    packets = json.loads(probe.stdout)["packets"]
    video = [packet for packet in packets if packet["codec_type"] == "video"]
    assert "K" in video[0]["flags"]
    # Byte for byte what was pushed: the last second surely came after the player had joined.
    sizes = [len(record[3]) - 5 for record in ingest.records if record[0] == 9 and record[3][1] == 1 and not record[2] & 2]
    assert len(video) >= 30
    assert [int(packet["size"]) for packet in video] == sizes[-len(video) :]
    stamps = [int(packet["dts"]) for packet in video]
    assert stamps == sorted(stamps)


async def test_play_of_nothing_is_told_to_ffmpeg(reactor: bool) -> None:
    async with running(reactor=reactor) as house:
        played = await trio.run_process([*QUIET, "-i", f"{house.url}/nothing", "-f", "null", "-"], capture_stderr=True, check=False)
        assert played.returncode != 0
        assert b"not live" in played.stderr
        assert await house.end() == "stream_not_live"


@pytest.mark.parametrize("container", ["mp4", "ts", "mkv"])
async def test_any_container_is_published_packet_for_packet(clip: Path, tmp_path: Path, container: str) -> None:
    path = tmp_path / f"clip.{container}"
    subprocess.run([*QUIET, "-i", clip, "-t", "0.9", "-c", "copy", path], check=True, timeout=30)
    async with running(reactor=False) as house:
        await publish_file(path, Target.parse(f"{house.url}/{KEY}"), offload=Offload(), remux=remux_flv)
        assert await house.end() == "unpublished"
    (ingest,) = house.ingests
    pictures = [record for record in ingest.records if record[0] == 9 and not record[2] & 2 and record[3][1] == 1]
    assert 26 <= len(pictures) <= 30
    assert pictures[0][2] & 1
    assert pictures[0][1] <= 70  # none of the time before the file's first picture
    stamps = [record[1] for record in pictures]
    assert stamps == sorted(stamps)
    assert len({record[3] for record in ingest.records if record[2] & 2}) == 2
    assert sum(record[0] == 8 for record in ingest.records) > 35


async def test_what_flv_cannot_carry_is_said_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    subprocess.run([*QUIET, "-f", "lavfi", "-i", "sine", "-t", "0.1", "-c:a", "pcm_s32le", path], check=True, timeout=30)
    with pytest.raises(BadRequest, match="convert it first"):
        list(remux_flv(path))
    path.write_bytes(b"no media at all")
    with pytest.raises(BadRequest, match="cannot be sent"):
        list(remux_flv(path))
