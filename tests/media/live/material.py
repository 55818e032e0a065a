"""Real input for the tests of live media: FLV from ffmpeg, as the records that a publisher's connection hands up."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from nova.media.rtmp.flv import AUDIO, VIDEO, FlvReader, Tag, aac_config, aac_frame, avc_config, avc_picture

VIDEO_INPUT = ["-f", "lavfi", "-i", "testsrc2=size={size}:rate={rate}:duration={seconds}"]
AUDIO_INPUT = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate={sample_rate}:duration={seconds}"]


class Recipe(NamedTuple):
    """What ffmpeg makes. rate: frames a second, 0: no video; sample_rate 0: no audio; gop: frames between key frames."""

    seconds: float = 6
    rate: str = "30"
    gop: int = 60
    b_frames: int = 0
    size: str = "320x180"
    sample_rate: int = 48000
    channels: int = 1
    profile: str = "high"


@cache
def flv(recipe: Recipe) -> tuple[Tag, ...]:
    """Media tags of a short film, sequence headers first."""
    values = recipe._asdict()
    command = ["ffmpeg", "-v", "error", "-nostdin", "-threads", "1"]
    encode: list[str] = []
    if recipe.rate != "0":
        command += [word.format(**values) for word in VIDEO_INPUT]
        encode += [
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-profile:v",
            recipe.profile,
            "-pix_fmt",
            "yuv420p",
            "-bf",
            str(recipe.b_frames),
        ]
        encode += ["-g", str(recipe.gop), "-keyint_min", str(recipe.gop), "-sc_threshold", "0", "-b:v", "400k", "-threads", "1"]
        encode += ["-x264-params", "b-adapt=0"]
    if recipe.sample_rate:
        command += [word.format(**values) for word in AUDIO_INPUT]
        encode += ["-c:a", "aac", "-b:a", "64k", "-ac", str(recipe.channels)]
    done = subprocess.run(
        [*command, *encode, "-f", "flv", "-flvflags", "no_duration_filesize", "-"], stdout=subprocess.PIPE, check=True, timeout=60
    )
    reader = FlvReader()
    return tuple(tag for tag in reader.feed(done.stdout) if tag.type in (AUDIO, VIDEO))


def record(tag: Tag) -> bytes:
    """A tag as the RTMP kernel hands it up (ext/rtmp.pxd, RtmpRecord)."""
    return struct.pack("<IIIBBH", len(tag.data), tag.timestamp & 0xFFFFFFFF, 1, tag.type, 4, 0) + tag.data


def records(tags: Iterable[Tag]) -> bytes:
    return b"".join(map(record, tags))


# Made by hand: an SPS of 320x180 at 30 frames a second from x264, and frames that no decoder has to understand.
AVC = bytes.fromhex("0142c014ffe100176742c014da05067e7c0440000003004000000f03c50aa801000468ce3c80")
AAC = bytes.fromhex("1190")  # LC, 48 kHz, stereo
AAC_44K = bytes.fromhex("1210")


def key(at: int, size: int = 400, offset: int = 0) -> Tag:
    """An IDR picture at `at` ms."""
    return Tag(VIDEO, at, avc_picture(struct.pack(">I", size) + b"\x65" + bytes(size - 1), key=True, composition_ms=offset))


def inter(at: int, size: int = 100, offset: int = 0) -> Tag:
    return Tag(VIDEO, at, avc_picture(struct.pack(">I", size) + b"\x41" + bytes(size - 1), key=False, composition_ms=offset))


def sound(at: int, size: int = 40) -> Tag:
    return Tag(AUDIO, at, aac_frame(b"\x21" * size))


def headers(*, video: bytes | None = AVC, audio: bytes | None = AAC, at: int = 0) -> list[Tag]:
    tags = []
    if video is not None:
        tags.append(Tag(VIDEO, at, avc_config(video)))
    if audio is not None:
        tags.append(Tag(AUDIO, at, aac_config(audio)))
    return tags


def show(
    seconds: float, *, start: float = 0, rate: float = 30, gop: float = 2, video: bool = True, audio: bool = True, sample_rate: int = 48000
) -> list[Tag]:
    """Frames of a well-behaved sender from `start` on, interleaved by time; without headers. Times in seconds."""
    tags = []
    if video:
        count, distance = round(seconds * rate), round(gop * rate)
        for n in range(count):
            at = round((start + n / rate) * 1000)
            tags.append(key(at) if n % distance == 0 else inter(at))
    if audio:
        tags += [sound(round((start + n * 1024 / sample_rate) * 1000)) for n in range(int(seconds * sample_rate / 1024))]
    return sorted(tags, key=lambda tag: tag.timestamp)
