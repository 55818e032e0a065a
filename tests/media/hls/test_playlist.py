"""Playlists as texts: what the renderers write, and what they promise about numbers."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from nova.ext.buffer import Arena, Buffer
from nova.ext.timeline import Tracks
from nova.media.hls import names, playlist
from nova.media.hls.playlist import TICKS, Variant
from nova.media.live.window import Init, PartInfo, Window
from tests.media.live.house import House
from tests.media.live.m3u8 import media
from tests.media.live.material import headers, show

TARGET = 4 * TICKS
INIT = Init(0, b"", Tracks())
OTHER = Init(1, b"", Tracks())


def fill(window: Window, plan: list[tuple[int, bool, bool]], *, close_last: bool = True) -> None:
    """plan: (parts of 0.2 s, discontinuity, another init) of each segment."""
    at = 0
    for number, (parts, discontinuity, other) in enumerate(plan):
        segment = window.begin(OTHER if other else INIT, discontinuity, at, 1_767_225_600 + at / TICKS, Arena(4096))
        for index in range(parts):
            segment.parts.append(PartInfo(index, 18_000, index == 0, Buffer(b"x")))
            at = segment.end = segment.end + 18_000
        if close_last or number < len(plan) - 1:
            window.close()


def test_a_playlist_reads_as_the_specification_shows_it() -> None:
    window = Window(size=15, target=TARGET, first_msn=266)
    fill(window, [(10, False, False), (10, True, True), (2, False, True)], close_last=False)
    text = playlist.media_playlist(window, target=TARGET, part_target=18_000)
    head, _, rest = text.partition("#EXT-X-PROGRAM-DATE-TIME")
    assert head == (
        "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:4\n"
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.6,HOLD-BACK=12\n#EXT-X-PART-INF:PART-TARGET=0.2\n"
        '#EXT-X-MEDIA-SEQUENCE:266\n#EXT-X-DISCONTINUITY-SEQUENCE:0\n#EXT-X-MAP:URI="init-0.mp4"\n'
    )
    assert rest.startswith(':2026-01-01T00:00:00.000Z\n#EXT-X-PART:DURATION=0.2,URI="part-266.0.m4s",INDEPENDENT=YES\n')
    assert '#EXTINF:2.00000,\nseg-266.m4s\n#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI="init-1.mp4"\n#EXT-X-PROGRAM-DATE-TIME' in text
    assert text.endswith('#EXT-X-PART:DURATION=0.2,URI="part-268.1.m4s"\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI="part-268.2.m4s"\n')


@given(st.lists(st.tuples(st.integers(1, 20), st.booleans(), st.booleans()), min_size=1, max_size=60), st.sampled_from([5, 15, 31]))
def test_a_window_of_any_segments_is_listed_and_kept_as_the_specification_asks(plan: list[tuple[int, bool, bool]], size: int) -> None:
    window = Window(size=size, target=TARGET, first_msn=7)
    made, left, gone = [], {}, {}
    at = 0
    for parts, discontinuity, other in plan:
        before = [segment.msn for segment in window.listed]
        length = sum(segment.duration for segment in window.listed)
        segment = window.begin(OTHER if other else INIT, discontinuity, at, 0, Arena(4096))
        made.append(segment)
        segment.end = at = at + parts * 18_000
        for old in window.close():
            gone[old.msn] = at
        for msn in set(before) - {segment.msn for segment in window.listed}:
            left[msn] = (at, length + segment.duration)
        listed = list(window.listed)
        # 6.2.2: at least three target durations stay, once there were as many.
        if left:
            assert sum(each.duration for each in listed) >= 3 * TARGET
        assert [each.msn for each in listed] == list(range(listed[0].msn, made[-1].msn + 1))
        assert window.discontinuity_sequence == sum(each.discontinuity for each in made[: listed[0].msn - 7])
    for msn, when in gone.items():
        # 6.2.2: for the duration of the segment and of the longest playlist that listed it.
        removed, longest = left[msn]
        assert when >= removed + made[msn - 7].duration + longest


def test_segments_of_one_length_fill_the_window_exactly() -> None:
    window = Window(size=15, target=TARGET)
    fill(window, [(10, False, False)] * 40)
    fresh = window.begin(INIT, False, 0, 0, Arena(4096))
    assert len(list(window)) == 15
    assert fresh.msn == 40
    assert len(window.listed) == 7


@given(st.integers(1, 10**9))
def test_durations_keep_their_value(ticks: int) -> None:
    assert abs(float(playlist.seconds(ticks)) - ticks / TICKS) <= 0.000_005
    assert re.fullmatch(r"\d+(\.\d{1,5})?", playlist.seconds(ticks))


@given(st.lists(st.tuples(st.integers(1, TARGET), st.integers(0, 10**7)), max_size=12))
def test_the_peak_is_that_of_the_worst_run_and_not_below_the_average_of_a_long_stream(rates: list[tuple[int, int]]) -> None:
    wanted = 0
    for first in range(len(rates)):
        for last in range(first + 1, len(rates) + 1):
            ticks = sum(each[0] for each in rates[first:last])
            if 0.5 * TARGET <= ticks <= 1.5 * TARGET:
                wanted = max(wanted, sum(each[1] for each in rates[first:last]) * 8 * TICKS // ticks)
    assert playlist.peak_bandwidth(rates, TARGET) == wanted


def test_the_multivariant_playlist_says_what_the_publisher_sends() -> None:
    variant = Variant(2_800_000, 2_600_000, "avc1.64001f,mp4a.40.2", 1280, 720, 30000 / 1001)
    assert playlist.multivariant_playlist(variant) == (
        "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-STREAM-INF:BANDWIDTH=2800000,AVERAGE-BANDWIDTH=2600000,"
        'CODECS="avc1.64001f,mp4a.40.2",RESOLUTION=1280x720,FRAME-RATE=29.970\nvideo.m3u8\n'
    )


def test_sound_alone_has_no_resolution() -> None:
    text = playlist.multivariant_playlist(Variant(128_000, 0, "mp4a.40.2", 0, 0, 0))
    assert 'BANDWIDTH=128000,CODECS="mp4a.40.2"\n' in text


async def test_bandwidth_is_declared_first_and_measured_then() -> None:
    house = House()
    ingest = house.publish()
    ingest.metadata({"videocodecid": 7.0, "audiocodecid": 10.0, "videodatarate": 2500.0, "audiodatarate": 128.0})
    house.send(ingest, headers() + show(0.5))
    assert "BANDWIDTH=2800000,CODECS" in await house.text("index.m3u8")
    house.send(ingest, [tag for tag in show(9) if tag.timestamp >= 500])
    house.live.sweep()
    text = await house.text("index.m3u8")
    peak = int(re.search(r":BANDWIDTH=(\d+)", text)[1])  # type: ignore[index]
    average = int(re.search(r"AVERAGE-BANDWIDTH=(\d+)", text)[1])  # type: ignore[index]
    listed = house.live._streams["s"].stream.window.listed
    sizes = [segment.size_bytes * 8 * TICKS / segment.duration for segment in listed if segment.duration > TICKS]
    assert max(sizes[:-1]) <= peak < max(sizes) * 1.2
    assert average <= peak


def test_names_and_paths_belong_together() -> None:
    assert names.stream_of(names.path("0198", names.MEDIA)) == "0198"
    assert names.stream_of(names.path("0198", names.MULTIVARIANT)) is None
    assert names.stream_of(b"/other/0198/video.m3u8") is None


async def test_an_ended_playlist_waits_for_nobody() -> None:
    house = House()
    ingest = house.publish()
    house.send(ingest, headers() + show(5))
    ingest.end("unpublished")
    ended = media(await house.text("video.m3u8", msn=10**12))
    assert ended.ended
