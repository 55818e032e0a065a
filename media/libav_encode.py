"""The encoding half of the door to libav (PyAV): raw planes and samples to H.264 and AAC as RTMP carries them.

Tuned for a machine that has other work: the fastest preset, constant quality, one thread, no frame of delay.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Final, NamedTuple

import av
from av.codec.context import Flags
from av.video.frame import PictureType

AUDIO_BITRATE: Final = 96_000  # bit/s
QUALITY: Final = 23  # x264's quantizer: constant, which spares the analysis that rate control needs


class Coded(NamedTuple):
    """One picture or audio frame. pts: in the encoder's time base, frames or samples from the first one on."""

    data: bytes
    pts: int
    key: bool


class VideoEncoder:
    """H.264 without B-frames: what goes in comes out at once. `config` is the AVCDecoderConfigurationRecord."""

    def __init__(self, width: int, height: int, *, fps: int) -> None:
        context = av.CodecContext.create("libx264", "w")
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base, context.framerate = Fraction(1, fps), Fraction(fps)
        context.flags |= Flags.global_header
        context.options = {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "threads": "1",
            "qp": str(QUALITY),
            "forced-idr": "1",
            # Length-prefixed NAL units, as FLV wants them, and no keyframe but those that are asked for.
            "x264-params": "annexb=0:keyint=infinite:scenecut=0",
        }
        context.open()
        self._context = context
        self._frame = (width, height, "yuv420p")
        self.config = bytes(context.extradata or b"")

    def encode(self, planes: Sequence[bytes], pts: int, *, key: bool) -> list[Coded]:
        """The coded picture, a keyframe when `key` says so. planes: Y, Cb, Cr without padding."""
        frame = av.VideoFrame(*self._frame)
        frame.pts = pts
        if key:
            frame.pict_type = PictureType.I
        for plane, data in zip(frame.planes, planes, strict=True):
            plane.update(data)
        return [Coded(bytes(packet), int(packet.pts or 0), packet.is_keyframe) for packet in self._context.encode(frame)]


class AudioEncoder:
    """AAC-LC, the same samples left and right. `config` is the AudioSpecificConfig; `frame_samples` go in at a time."""

    def __init__(self, rate: int) -> None:
        context = av.CodecContext.create("aac", "w")
        context.sample_rate, context.layout, context.format = rate, "stereo", "fltp"
        context.bit_rate = AUDIO_BITRATE
        context.options = {"aac_coder": "fast"}
        context.flags |= Flags.global_header
        context.open()
        self._context = context
        self._rate = rate
        self.frame_samples = int(context.frame_size)
        self.config = bytes(context.extradata or b"")

    def encode(self, samples: bytes, pts: int) -> list[Coded]:
        """The coded frames that are ready: one late, and none of the encoder's priming before the first sample."""
        frame = av.AudioFrame(format="fltp", layout="stereo", samples=self.frame_samples)
        frame.sample_rate = self._rate
        frame.pts = pts
        for plane in frame.planes:
            plane.update(samples)
        coded = (Coded(bytes(packet), int(packet.pts or 0), True) for packet in self._context.encode(frame))
        return [each for each in coded if each.pts >= 0]
