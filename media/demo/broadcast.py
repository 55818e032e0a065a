"""The demo as FLV tags, made as fast as time passes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Final

import trio

from nova.media.demo.picture import Picture
from nova.media.demo.tone import RATE, Tone
from nova.media.libav_encode import AudioEncoder, VideoEncoder
from nova.media.rtmp import flv

WIDTH, HEIGHT = 960, 540  # a quarter of the encoder's work for full HD, sharp enough for a phone and a window
FPS: Final = 30
GOP: Final = 2 * FPS  # frames between keyframes: the segments of the server
BEHIND: Final = 1.0  # seconds late after which frames are left out: the machine slept, and live means now


class Broadcast:
    """Frame after frame, with the sound up to each."""

    def __init__(self, at: float, width: int = WIDTH, height: int = HEIGHT) -> None:
        """at: seconds since 1970 of the first frame. width, height: as Picture takes them."""
        self._picture = Picture(width, height)
        self._video = VideoEncoder(width, height, fps=FPS)
        self._audio = AudioEncoder(RATE)
        self._tone = Tone(at)
        self._samples = 0  # given to the encoder
        self._group = -1  # of pictures: number // GOP of the last frame

    def head(self) -> Iterator[flv.Tag]:
        """What comes before the first frame."""
        yield flv.Tag(flv.VIDEO, 0, flv.avc_config(self._video.config))
        yield flv.Tag(flv.AUDIO, 0, flv.aac_config(self._audio.config))

    def frame(self, number: int, at: float) -> Iterator[flv.Tag]:
        """Frame `number` (0, 1, …; numbers may be left out), showing the time `at`, and the sound until it."""
        while self._samples * FPS <= number * RATE:
            for coded in self._audio.encode(self._tone.read(self._audio.frame_samples), self._samples):
                yield flv.Tag(flv.AUDIO, coded.pts * 1000 // RATE, flv.aac_frame(coded.data))
            self._samples += self._audio.frame_samples
        # By the clock, not by counting: where frames were left out, keyframes still come every two seconds.
        key, self._group = number // GOP != self._group, number // GOP
        for coded in self._video.encode(self._picture.draw(int(at * 1000)), number, key=key):
            yield flv.Tag(flv.VIDEO, coded.pts * 1000 // FPS, flv.avc_picture(coded.data, key=coded.key))


async def live() -> AsyncIterator[flv.Tag]:
    """The tags of an endless broadcast, each when its time has come."""
    broadcast = Broadcast(time.time())
    for tag in broadcast.head():
        yield tag
    began = trio.current_time()
    number = 0
    while True:
        await trio.sleep_until(began + number / FPS)
        for tag in broadcast.frame(number, time.time()):
            yield tag
        number += 1
        if trio.current_time() - began - number / FPS > BEHIND:
            number = int((trio.current_time() - began) * FPS)
