"""The AAC kernel, against configurations written bit by bit, and against what ffmpeg's encoder writes."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.ext.aac import AacError, Audio
from tests.exact import exact
from tests.ext.bit_writer import BitWriter
from tests.media.live.material import Recipe, flv

RATES = [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350]
CHANNELS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 8, 11: 7, 12: 8, 13: 24, 14: 8}


def rate(w: BitWriter, hertz: int, *, spelled: bool = False) -> BitWriter:
    return w.u(4, 15).u(24, hertz) if spelled else w.u(4, RATES.index(hertz))


@given(st.sampled_from([1, 2, 3, 4]), st.sampled_from(RATES), st.sampled_from(sorted(CHANNELS)), st.booleans(), st.booleans())
def test_reads_a_plain_configuration(kind: int, hertz: int, layout: int, short: bool, spelled: bool) -> None:
    w = rate(BitWriter().u(5, kind), hertz, spelled=spelled).u(4, layout).u(1, short).u(1, 0).u(1, 0)
    audio = Audio(exact(w.bytes()))
    assert (audio.codecs, audio.rate, audio.channels, audio.frame) == (f"mp4a.40.{kind}", hertz, CHANNELS[layout], 960 if short else 1024)


def test_sbr_around_the_core_gives_the_outer_rate_and_twice_the_samples() -> None:
    w = rate(rate(BitWriter().u(5, 5), 24000).u(4, 2), 48000).u(5, 2).u(3, 0)
    audio = Audio(w.bytes())
    assert (audio.codecs, audio.rate, audio.channels, audio.frame) == ("mp4a.40.5", 48000, 2, 2048)


def test_sbr_behind_the_core_counts_as_well() -> None:
    w = rate(BitWriter().u(5, 2), 22050).u(4, 2).u(3, 0).u(11, 0x2B7).u(5, 5).u(1, 1)
    audio = Audio(rate(w, 44100).bytes())
    assert (audio.codecs, audio.rate, audio.frame) == ("mp4a.40.5", 44100, 2048)


def test_parametric_stereo_makes_two_channels_of_one() -> None:
    w = rate(rate(BitWriter().u(5, 29), 24000).u(4, 1), 48000).u(5, 2).u(3, 0)
    audio = Audio(w.bytes())
    assert (audio.codecs, audio.channels) == ("mp4a.40.29", 2)


def test_channels_of_a_program_config_element_are_counted() -> None:
    w = rate(BitWriter().u(5, 2), 48000).u(4, 0).u(3, 0)
    w.u(4, 0).u(2, 1).u(4, 3).u(4, 2).u(4, 0).u(4, 1).u(2, 1).u(3, 0).u(4, 0).u(3, 0)  # front 2, back 1, low frequency 1
    for pair in (0, 1, 1):
        w.u(1, pair).u(4, 0)
    audio = Audio(w.u(4, 0).bytes())
    assert audio.channels == 1 + 2 + 2 + 1


@pytest.mark.parametrize(
    ("config", "code"),
    [
        (b"", "aac_short"),
        (b"\x11", "aac_short"),
        (rate(BitWriter().u(5, 8), 48000).u(4, 2).u(3, 0).bytes(), "aac_object_type"),
        (BitWriter().u(5, 2).u(4, 13).u(4, 2).u(3, 0).bytes(), "aac_sampling_rate"),
        (rate(BitWriter().u(5, 2), 7000, spelled=True).u(4, 2).u(3, 0).bytes(), "aac_sampling_rate"),
        (rate(BitWriter().u(5, 2), 48000).u(4, 15).u(3, 0).bytes(), "aac_channels"),
    ],
)
def test_a_broken_configuration_says_why(config: bytes, code: str) -> None:
    with pytest.raises(AacError, match=f"^{code}$"):
        Audio(config)


@pytest.mark.ffmpeg
@pytest.mark.parametrize(("hertz", "channels"), [(48000, 2), (44100, 1)])
def test_reads_what_ffmpeg_writes(hertz: int, channels: int) -> None:
    tags = flv(Recipe(seconds=0.2, rate="0", sample_rate=hertz, channels=channels))
    audio = Audio(tags[0].data[2:])
    assert (audio.codecs, audio.rate, audio.channels, audio.frame) == ("mp4a.40.2", hertz, channels, 1024)


@given(st.binary(max_size=64))
def test_any_bytes_are_read_within_their_bounds(data: bytes) -> None:
    with suppress(AacError):
        assert Audio(exact(data)).frame in (960, 1024, 1920, 2048)
