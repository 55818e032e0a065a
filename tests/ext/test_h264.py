"""The H.264 kernel, against sequence parameter sets written bit by bit, and against ffprobe on what x264 writes."""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.ext.h264 import H264Error, Video, frame_kind
from tests.exact import exact
from tests.ext.bit_writer import BitWriter, avcc, escape
from tests.media.live.material import AVC, Recipe, flv

HIGH = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}


@dataclass(frozen=True)
class Sps:
    profile: int = 100
    constraints: int = 0
    level: int = 31
    chroma: int = 1
    planes: bool = False
    scaling: bool = False
    order: int = 0
    cycle: int = 0
    wide: int = 80  # macroblocks
    high: int = 45  # map units
    frames_only: bool = True
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    sar: tuple[int, int] | None = None
    colour: tuple[int, int, int] | None = None
    timing: tuple[int, int] | None = None

    def bytes(self) -> bytes:
        w = BitWriter().u(8, self.profile).u(8, self.constraints).u(8, self.level).ue(0)
        if self.profile in HIGH:
            w.ue(self.chroma)
            if self.chroma == 3:
                w.u(1, self.planes)
            w.ue(0).ue(0).u(1, 0).u(1, self.scaling)
            if self.scaling:
                for i in range(8 if self.chroma != 3 else 12):
                    w.u(1, i % 2)
                    if i == 1:
                        w.se(-8)  # 0: the rest of the list is not sent
                    elif i % 2:
                        for n in range(16 if i < 6 else 64):
                            w.se(1 if n % 2 else -1)
        w.ue(0).ue(self.order)
        if self.order == 0:
            w.ue(4)
        elif self.order == 1:
            w.u(1, 0).se(-2).se(3).ue(self.cycle)
            for i in range(self.cycle):
                w.se(i)
        w.ue(4).u(1, 0).ue(self.wide - 1).ue(self.high - 1).u(1, self.frames_only)
        if not self.frames_only:
            w.u(1, 1)
        w.u(1, 1).u(1, any(self.crop))
        if any(self.crop):
            for side in self.crop:
                w.ue(side)
        vui = self.sar or self.colour or self.timing
        w.u(1, bool(vui))
        if vui:
            w.u(1, self.sar is not None)
            if self.sar is not None:
                w.u(8, 255).u(16, self.sar[0]).u(16, self.sar[1])
            w.u(1, 1).u(1, 0).u(1, self.colour is not None)
            if self.colour is not None:
                w.u(3, 5).u(1, 1).u(1, 1).u(8, self.colour[0]).u(8, self.colour[1]).u(8, self.colour[2])
            w.u(1, 0).u(1, self.timing is not None)
            if self.timing is not None:
                w.u(32, self.timing[0]).u(32, self.timing[1]).u(1, 1)
        return b"\x67" + escape(w.u(1, 1).bytes())

    @property
    def config(self) -> bytes:
        return avcc(self.bytes(), profile=self.profile, constraints=self.constraints, level=self.level)

    @property
    def size(self) -> tuple[int, int]:
        planar = self.profile not in HIGH or (self.chroma in (1, 2))
        unit_x = 2 if planar else 1
        unit_y = (2 if self.profile not in HIGH or self.chroma == 1 else 1) * (2 - self.frames_only)
        left, right, top, bottom = self.crop
        return self.wide * 16 - unit_x * (left + right), self.high * 16 * (2 - self.frames_only) - unit_y * (top + bottom)


sets = st.builds(
    Sps,
    profile=st.sampled_from([66, 77, 100, 122, 244]),
    constraints=st.integers(0, 255),
    level=st.sampled_from([30, 31, 40, 51]),
    chroma=st.integers(0, 3),
    scaling=st.booleans(),
    order=st.integers(0, 2),
    cycle=st.integers(0, 255),
    wide=st.integers(8, 240),
    high=st.integers(8, 130),
    frames_only=st.booleans(),
    crop=st.tuples(*[st.integers(0, 7)] * 4),
    sar=st.none() | st.tuples(st.integers(1, 65535), st.integers(1, 65535)),
    colour=st.none() | st.tuples(*[st.integers(0, 255)] * 3),
    timing=st.none() | st.tuples(st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1)),
)


@given(sets)
def test_reads_what_the_bit_writer_wrote(sps: Sps) -> None:
    video = Video(exact(sps.config))
    assert (video.width, video.height) == sps.size
    assert video.codecs == f"avc1.{sps.profile:02x}{sps.constraints:02x}{sps.level:02x}"
    assert video.sample_aspect_ratio == (sps.sar or (0, 0))
    assert video.frame_rate == ((sps.timing[1], 2 * sps.timing[0]) if sps.timing else (0, 0))
    assert video.config == sps.config


@given(sets, st.data())
def test_a_configuration_cut_anywhere_is_refused_or_read_within_its_bytes(sps: Sps, data: st.DataObject) -> None:
    cut = sps.config[: data.draw(st.integers(0, len(sps.config) - 1))]
    with pytest.raises(H264Error):
        Video(exact(cut))


def test_1080_lines_are_cropped_from_1088() -> None:
    video = Video(Sps(wide=120, high=68, crop=(0, 0, 0, 4)).config)
    assert (video.width, video.height) == (1920, 1080)


@pytest.mark.parametrize(
    ("config", "code"),
    [
        (b"", "h264_short"),
        (b"\x02" + AVC[1:], "h264_version"),
        (AVC[:4] + b"\xfe" + AVC[5:], "h264_length_size"),
        (AVC[:5] + b"\xe0" + AVC[6:], "h264_parameter_sets"),
        (avcc(b"\x65" + bytes(20), profile=66, constraints=0, level=30), "h264_parameter_sets"),
        (Sps(wide=1025).config, "h264_size"),
        (Sps(crop=(400, 400, 0, 0)).config, "h264_size"),
        (Sps(order=3).config, "h264_sps"),
        (avcc(b"\x67" + b"\0" * 40, profile=100, constraints=0, level=30), "h264_short"),
    ],
)
def test_a_broken_configuration_says_why(config: bytes, code: str) -> None:
    with pytest.raises(H264Error, match=f"^{code}$"):
        Video(config)


@pytest.mark.ffmpeg
@pytest.mark.parametrize(("size", "rate"), [("320x180", "30"), ("426x240", "30000/1001"), ("192x108", "25")])
def test_reads_what_x264_writes(size: str, rate: str) -> None:
    video = Video(flv(Recipe(seconds=0.2, size=size, rate=rate, sample_rate=0))[0].data[5:])
    assert f"{video.width}x{video.height}" == size
    top, bottom = video.frame_rate
    wanted = rate.split("/")
    assert top * int(wanted[1] if len(wanted) > 1 else "1") == bottom * int(wanted[0])


def nal(payload: bytes, size: int = 4) -> bytes:
    return len(payload).to_bytes(size, "big") + payload


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_frame_is_known_by_its_slices(size: int) -> None:
    assert frame_kind(exact(nal(b"\x06\x05", size) + nal(b"\x65abc", size)), size) == 2
    assert frame_kind(exact(nal(b"\x09\xf0", size) + nal(b"\x41abc", size)), size) == 1


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"", "h264_no_picture"),
        (nal(b"\x06\x05"), "h264_no_picture"),
        (bytes(4), "h264_nal_length"),
        (nal(b"\x65abc") + bytes(4), "h264_nal_length"),
        (struct.pack(">I", 5) + b"\x65abc", "h264_nal_length"),
        (struct.pack(">I", 2**32 - 1) + b"\x65abc", "h264_nal_length"),
        (nal(b"\x65abc") + b"\0\0", "h264_nal_length"),
    ],
)
def test_lengths_that_lie_are_refused(frame: bytes, code: str) -> None:
    with pytest.raises(H264Error, match=f"^{code}$"):
        frame_kind(exact(frame), 4)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_within_their_bounds(data: bytes) -> None:
    with suppress(H264Error):
        Video(exact(data))
    with suppress(H264Error):
        assert frame_kind(exact(data), 4) in (1, 2)
