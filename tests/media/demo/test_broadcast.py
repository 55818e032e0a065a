"""The demo as an encoder made it, read back by ffmpeg."""

import subprocess

import pytest

from nova.media.demo import stamp
from nova.media.demo.broadcast import FPS, GOP, HEIGHT, WIDTH, Broadcast
from nova.media.demo.picture import Picture
from nova.media.rtmp import flv

NOW = 1_767_225_600.25
FRAMES = GOP + 5


@pytest.fixture(scope="module")
def tags() -> list[flv.Tag]:
    broadcast = Broadcast(NOW)
    return [*broadcast.head(), *(tag for i in range(FRAMES) for tag in broadcast.frame(i, NOW + i / FPS))]


def test_tags_come_in_order_with_the_sound_beside_the_picture(tags: list[flv.Tag]) -> None:
    for kind in (flv.VIDEO, flv.AUDIO):
        stamps = [tag.timestamp for tag in tags[2:] if tag.type == kind]
        assert stamps == sorted(set(stamps))
    newest = {flv.VIDEO: 0, flv.AUDIO: 0}
    for tag in tags[2:]:
        newest[tag.type] = tag.timestamp
        assert abs(newest[flv.VIDEO] - newest[flv.AUDIO]) <= 80  # ms; a frame of video and two of audio
    keys = [tag.timestamp for tag in tags[2:] if tag.type == flv.VIDEO and tag.data[0] >> 4 == 1]
    assert keys == [0, GOP * 1000 // FPS]


def test_keyframes_stay_two_seconds_apart_when_frames_are_left_out() -> None:
    broadcast = Broadcast(NOW, 384, 216)
    numbers = [0, 1, 40, 75, 76, 119, 120, 200]
    tags = [[tag for tag in broadcast.frame(number, NOW + number / FPS) if tag.type == flv.VIDEO] for number in numbers]
    assert [number for number, [tag] in zip(numbers, tags, strict=True) if tag.data[0] >> 4 == 1] == [0, 75, 120, 200]


@pytest.mark.ffmpeg
def test_ffmpeg_reads_the_time_from_every_frame(tags: list[flv.Tag]) -> None:
    file = flv.file_header(audio=True, video=True) + b"".join(map(flv.tag_bytes, tags))
    command = ["ffmpeg", "-v", "error", "-xerror", "-f", "flv", "-i", "-", "-map", "0:v", "-f", "rawvideo", "-pix_fmt", "gray", "-"]
    gray = subprocess.run(command, input=file, capture_output=True, check=True, timeout=60).stdout
    frames = [gray[i : i + WIDTH * HEIGHT] for i in range(0, len(gray), WIDTH * HEIGHT)]
    places = Picture(WIDTH, HEIGHT).squares()
    told = [stamp.decode(tuple(frame[y * WIDTH + x] > 125 for x, y in places), int(NOW * 1000) + 10_000) for frame in frames]
    assert told == [int((NOW + i / FPS) * 1000) for i in range(FRAMES)]


@pytest.mark.ffmpeg
def test_ffmpeg_hears_a_stereo_tone(tags: list[flv.Tag]) -> None:
    file = flv.file_header(audio=True, video=True) + b"".join(map(flv.tag_bytes, tags))
    command = ["ffmpeg", "-v", "error", "-xerror", "-f", "flv", "-i", "-", "-map", "0:a", "-f", "s16le", "-"]
    pcm = subprocess.run(command, input=file, capture_output=True, check=True, timeout=60).stdout
    samples = memoryview(pcm).cast("h")
    assert abs(len(samples) / 2 / 48000 - FRAMES / FPS) < 0.1
    assert 1500 < max(samples) < 8000
