"""The timeline: against its oracle, in any split of the batches, and what it makes of senders that do not behave."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nova.ext.buffer import Buffer
from nova.ext.timeline import TROUBLE_NAMES, Part, Timeline
from nova.media.live.troubles import TROUBLES
from nova.media.rtmp.flv import AUDIO, VIDEO, Tag, aac_frame, avc_picture
from tests.ext import timeline_oracle as oracle
from tests.media.live.material import AAC_44K, AVC, Recipe, flv, headers, inter, key, record, records, show, sound

MS = 90


def feed(tags: list[Tag] | tuple[Tag, ...], timeline: Timeline | None = None, *, end: bool = True) -> list[Part]:
    timeline = timeline or Timeline()
    parts = timeline.feed(records(tags))
    return parts + timeline.end() if end else parts


def shape(part: Part) -> tuple[object, ...]:
    flags = (part.independent, part.opens, part.closes, part.new_period)
    return part.start, part.end, part.video, part.audio, *flags


def spans(parts: list[Part]) -> list[tuple[float, float]]:
    return [(part.start / MS, part.end / MS) for part in parts]


def check(parts: list[Part], timeline: Timeline, *, target_duration: int = 360_000) -> None:
    """What holds for every stream, whatever was sent."""
    for before, after in pairwise(parts):
        assert before.end == after.start or after.new_period
        assert after.start >= before.end
        assert before.closes == after.opens
    begun = 0
    for part in parts:
        assert part.end > part.start or not part.size_bytes
        begun = part.start if part.opens else begun
        if not timeline.troubles().get("frame_interval"):
            assert part.end - part.start <= timeline.part_target_ticks
            assert part.end - begun <= target_duration * 1.01
        assert part.opens or not part.new_period
        for track, ticks in ((part.video, 90_000), (part.audio, part.tracks.audio.rate if part.tracks.audio else 1)):
            for row, following in pairwise(track):
                assert row[0] + row[1] == following[0] or ticks != 90_000
                assert row[0] < following[0]
            assert all(row[1] > 0 for row in track)


# Against the oracle


@pytest.mark.ffmpeg
@pytest.mark.parametrize(
    ("recipe", "interval"),
    [
        (Recipe(), 3000),
        (Recipe(b_frames=2), 3000),
        (Recipe(rate="25", gop=50), 3600),
        (Recipe(rate="30000/1001"), 3003),
        (Recipe(rate="24", gop=72), 3750),
        (Recipe(rate="60", gop=60), 1500),
        (Recipe(gop=300), 3000),
    ],
    ids=lambda value: f"{value.rate}fps-gop{value.gop}-b{value.b_frames}" if isinstance(value, Recipe) else "",
)
def test_a_film_is_cut_as_the_oracle_cuts_it(recipe: Recipe, interval: int) -> None:
    timeline = Timeline()
    parts = feed(flv(recipe), timeline, end=False)
    wanted = oracle.cut(flv(recipe), interval=interval)
    assert timeline.part_target_ticks == oracle.part_target(interval)
    assert [(p.start, p.end, p.closes) for p in parts] == [(c.start, c.end, c.closes) for c in wanted]
    assert [p.video for p in parts] == [c.video for c in wanted]
    assert [p.audio for p in parts] == [c.audio for c in wanted]
    check(parts, timeline)


@given(
    rate=st.sampled_from([12, 15, 23.976, 24, 25, 29.97, 30, 50, 59.94, 60]),
    gop=st.sampled_from([0.5, 1, 2, 3, 5]),
    start=st.integers(0, 2**32 - 20_000),
    sample_rate=st.sampled_from([44_100, 48_000]),
)
def test_any_steady_stream_is_cut_as_the_oracle_cuts_it(rate: float, gop: float, start: int, sample_rate: int) -> None:
    tags = headers(audio=AAC_44K if sample_rate == 44_100 else bytes.fromhex("1190"))
    tags += show(5, start=start / 1000, rate=rate, gop=gop, sample_rate=sample_rate)
    timeline = Timeline()
    timeline.feed(records(tags[:2]))  # the configuration of the made-up frames says 30
    timeline.expect(frame_rate=rate)
    parts = timeline.feed(records(tags[2:]))
    wanted = oracle.cut(tags, interval=round(90_000 / rate), rate=sample_rate)
    irregular = rate == 59.94  # 12 of its frames are 200.2 ms: rounding to ms decides which part takes the one too many
    if not irregular:
        assert [(p.start, p.end, p.closes, p.video, p.audio) for p in parts] == [
            (c.start, c.end, c.closes, c.video, c.audio) for c in wanted
        ]
    check(parts, timeline)


frames = st.lists(
    st.tuples(st.sampled_from("viiiaaahHx"), st.integers(-300, 300), st.integers(0, 40)),
    min_size=1,
    max_size=150,
)


def wild(plan: list[tuple[str, int, int]]) -> list[Tag]:
    """A sender that does what it likes: steps in any direction, headers that change, frames that lie."""
    tags, at = headers(), 1000
    for kind, step, size in plan:
        at += step if abs(step) < 290 else step * 100
        match kind:
            case "v":
                tags.append(key(at, size + 1))
            case "i":
                tags.append(inter(at, size + 1))
            case "a":
                tags.append(sound(at, size + 1))
            case "h":
                tags += headers(video=AVC if size % 2 else AVC[:-1] + b"\x81", audio=None)
            case "H":
                tags += headers(video=None, audio=bytes.fromhex("1190") if size % 2 else AAC_44K)
            case _:
                tags.append(Tag(VIDEO if size % 2 else AUDIO, at, bytes(size)))
    return tags


@given(frames, st.data())
def test_batches_may_be_split_anywhere_between_records(plan: list[tuple[str, int, int]], data: st.DataObject) -> None:
    tags = wild(plan)
    whole, split = Timeline(), Timeline()
    wanted = feed(tags, whole)
    parts: list[Part] = []
    at = 0
    while at < len(tags):
        step = data.draw(st.integers(1, len(tags)))
        parts += split.feed(records(tags[at : at + step]))
        at += step
    parts += split.end()
    assert [shape(part) for part in parts] == [shape(part) for part in wanted]
    assert split.troubles() == whole.troubles()
    assert split.counters() == whole.counters()


@given(frames)
@example([("v", 0, 0), ("v", 0, 0), ("v", 168, 0), ("a", 0, 0), ("v", 192, 0)])  # a picture longer than the sound that comes with it
def test_whatever_is_sent_the_output_is_a_timeline(plan: list[tuple[str, int, int]]) -> None:
    timeline = Timeline()
    check(feed(wild(plan), timeline), timeline)


# Wake-ups


@pytest.mark.parametrize(
    "tags", [headers() + show(3), headers(audio=None) + show(3, audio=False), headers(video=None) + show(3, video=False)]
)
def test_wakes_with_the_frame_that_closes_a_part(tags: list[Tag]) -> None:
    timeline = Timeline()
    timeline.expect(video=any(t.type == VIDEO for t in tags), audio=any(t.type == AUDIO for t in tags))
    wake: int | None = None
    closing = []
    for tag in tags:
        parts = timeline.feed(record(tag))
        if parts and wake is not None:
            closing.append((tag.timestamp, wake))
        wake = timeline.wake_at
    assert len(closing) > 10
    assert all(0 <= at - wake <= 2 for at, wake in closing)


def test_nothing_under_way_wakes_nobody() -> None:
    timeline = Timeline()
    timeline.feed(records([*headers(), inter(0), inter(33)]))
    assert timeline.wake_at is None


# Tracks


def test_starts_at_the_first_key_frame() -> None:
    timeline = Timeline()
    parts = feed([*headers(), inter(0), sound(10), inter(33), *show(1, start=0.066)], timeline)
    assert parts[0].video[0][0] == 0
    assert parts[0].video[0][3]
    assert parts[0].new_period
    assert timeline.troubles()["frame_waiting"] == 2


def test_video_alone_is_waited_with_for_a_second_unless_the_sender_says_so() -> None:
    tags = headers(audio=None) + show(3, audio=False)
    silent = Timeline()
    assert not silent.feed(records([tag for tag in tags if tag.timestamp < 990]))
    assert silent.feed(records([tag for tag in tags if tag.timestamp >= 990]))[0].start == 0
    told = Timeline()
    told.expect(video=True, audio=False)
    assert told.feed(records([tag for tag in tags if tag.timestamp < 300]))


def test_audio_alone_is_cut_at_its_own_frames() -> None:
    timeline = Timeline()
    timeline.expect(video=False, audio=True)
    parts = feed(headers(video=None) + show(10, video=False), timeline)
    check(parts, timeline)
    assert {part.end - part.start for part in parts[:-1]} == {9 * 1920}
    assert all(part.independent for part in parts)
    assert parts[0].tracks.video is None
    segments = [part.end for part in parts if part.closes]
    assert segments[0] == 11 * 9 * 1920 or segments[0] == 10 * 9 * 1920


def test_audio_that_comes_late_joins_at_a_key_frame_with_new_tracks() -> None:
    tags = headers(audio=None) + show(4, audio=False)
    late = headers(video=None, at=2500) + [tag for tag in show(4, video=False) if tag.timestamp >= 2500]
    timeline = Timeline()
    timeline.expect(video=True, audio=False)
    parts = feed(sorted(tags + late + show(2, start=4), key=lambda tag: tag.timestamp), timeline)
    check(parts, timeline)
    joined = [part for part in parts if part.new_period]
    assert [part.tracks.codecs for part in joined] == ["avc1.42c014", "avc1.42c014,mp4a.40.2"]
    assert joined[1].start == 4000 * MS
    assert joined[1].video[0][3]
    assert abs(joined[1].audio[0][0] - 4 * 48_000) <= 1100


def test_video_that_comes_late_joins_at_its_key_frame() -> None:
    tags = headers(video=None) + show(6, video=False) + headers(audio=None, at=3000) + show(3, start=3, audio=False)
    timeline = Timeline()
    parts = feed(sorted(tags, key=lambda tag: tag.timestamp), timeline)
    check(parts, timeline)
    assert [(part.start, part.tracks.codecs) for part in parts if part.new_period] == [
        (0, "mp4a.40.2"),
        (3000 * MS, "avc1.42c014,mp4a.40.2"),
    ]


def test_video_that_stops_leaves_parts_of_audio_and_goes_on_without_a_hole() -> None:
    tags = headers() + [tag for tag in show(8) if tag.type == AUDIO or not 2500 < tag.timestamp < 4000]
    timeline = Timeline()
    parts = feed(tags, timeline)
    check(parts, timeline)
    assert not timeline.troubles()
    pictures = [row for part in parts for row in part.video]
    assert all(a[0] + a[1] == b[0] for a, b in pairwise(pictures))
    silent = [part for part in parts if not part.video]
    assert len(silent) >= 3
    assert sum(part.new_period for part in parts) == 1


def test_video_that_stays_away_is_left_out() -> None:
    tags = headers() + show(3) + show(12, start=3, video=False)
    timeline = Timeline()
    parts = feed(tags, timeline)
    check(parts, timeline)
    assert [part.tracks.codecs for part in parts if part.new_period] == ["avc1.42c014,mp4a.40.2", "mp4a.40.2"]
    assert timeline.troubles()["video_lost"] == 1


def test_audio_that_stays_away_is_left_out_at_a_key_frame() -> None:
    tags = headers() + show(3) + show(14, start=3, audio=False, gop=1)
    timeline = Timeline()
    parts = feed(tags, timeline)
    check(parts, timeline)
    assert [part.tracks.codecs for part in parts if part.new_period] == ["avc1.42c014,mp4a.40.2", "avc1.42c014"]


# Clocks


def test_audio_runs_on_its_sample_count_and_not_on_milliseconds() -> None:
    parts = feed(headers() + show(10))
    times = [row[0] for part in parts for row in part.audio]
    assert {b - a for a, b in pairwise(times)} == {1024}


@given(st.lists(st.integers(-15, 15), min_size=200, max_size=200))
def test_jitter_of_audio_timestamps_does_not_reach_players(jitter: list[int]) -> None:
    tags = [tag if tag.type == VIDEO else tag._replace(timestamp=max(tag.timestamp + jitter[n % 200], 0)) for n, tag in enumerate(show(4))]
    times = [row[0] for part in feed(headers() + tags) for row in part.audio]
    assert {b - a for a, b in pairwise(times)} == {1024}


def test_a_gap_in_audio_is_a_longer_frame() -> None:
    tags = [tag for tag in show(4) if tag.type == VIDEO or not 1000 < tag.timestamp < 1200]
    timeline = Timeline()
    rows = [row for part in feed(headers() + tags, timeline) for row in part.audio]
    assert all(a[0] + a[1] == b[0] for a, b in pairwise(rows))
    assert sorted({row[1] for row in rows})[1] > 8000
    assert abs(rows[-1][0] - 48 * 3989) < 1100
    assert timeline.troubles() == {"audio_step": 1}


def test_the_same_audio_twice_is_dropped() -> None:
    tags = show(4)
    again = [tag for tag in tags if tag.type == AUDIO and 1000 < tag.timestamp < 1200]
    timeline = Timeline()
    parts = feed(headers() + sorted(tags + again, key=lambda tag: tag.timestamp), timeline)
    assert {b[0] - a[0] for part in parts for a, b in pairwise(part.audio)} == {1024}
    assert timeline.counters()["dropped_frames"] > 0


def test_timestamps_wrap_without_a_seam() -> None:
    start = 2**32 / 1000 - 2.4
    wrapped = [tag._replace(timestamp=tag.timestamp & 0xFFFFFFFF) for tag in show(6, start=start)]
    assert [shape(part) for part in feed(headers() + wrapped)] == [shape(part) for part in feed(headers() + show(6, start=1))]


@pytest.mark.parametrize("to", [0.0, 100.0, 3.5])
def test_a_clock_that_is_set_anew_begins_a_new_period_where_the_old_one_ended(to: float) -> None:
    timeline = Timeline()
    parts = feed(headers() + show(5, start=10) + show(4, start=to), timeline)
    check(parts, timeline)
    periods = [n for n, part in enumerate(parts) if part.new_period]
    assert len(periods) == 2
    assert parts[periods[1] - 1].closes
    assert 0 <= parts[periods[1]].start - parts[periods[1] - 1].end <= 100 * MS
    assert parts[periods[1]].video[0][3]
    first = parts[periods[1]]
    assert abs(first.audio[0][0] / 48 - first.start / MS) < 25  # the tracks are still in step
    assert timeline.troubles()["timestamp_jump"] == 1


def test_audio_that_follows_a_reset_late_does_not_cost_another_period() -> None:
    old, new = show(5, start=100), show(4)
    straggling = [tag for tag in old if tag.type == AUDIO][-6:]
    tags = [tag for tag in old if tag not in straggling] + new[:3] + straggling + new[3:]
    timeline = Timeline()
    parts = feed(headers() + tags, timeline)
    check(parts, timeline)
    assert sum(part.new_period for part in parts) == 2


def test_a_sender_whose_tracks_have_clocks_of_their_own_is_brought_in_step() -> None:
    tags = show(5, audio=False) + [tag._replace(timestamp=tag.timestamp + 3_600_000) for tag in show(5, video=False)]
    timeline = Timeline()
    parts = feed(headers() + sorted(tags, key=lambda tag: tag.timestamp % 3_600_000), timeline)
    check(parts, timeline)
    assert sum(part.new_period for part in parts) == 1
    assert abs(parts[3].audio[0][0] / 48 - parts[3].video[0][0] / MS) < 30


def test_timestamps_that_stand_still_or_step_back_a_little_are_moved_on() -> None:
    tags = [*headers(audio=None), key(0), inter(33), inter(33), inter(30), *show(3, start=0.066, audio=False, gop=9)[1:]]
    timeline = Timeline()
    timeline.expect(video=True, audio=False)
    parts = feed(tags, timeline)
    check(parts, timeline)
    times = [row[0] for part in parts for row in part.video]
    assert times == sorted(set(times))
    assert timeline.troubles() == {"timestamp_backward": 2}


def test_composition_offsets_reach_the_parts() -> None:
    tags = [key(0, offset=66), inter(33, offset=133), inter(66, offset=-33), *show(1, start=0.1, audio=False)[1:]]
    assert [row[2] for row in feed(headers(audio=None) + tags)[0].video[:3]] == [66 * MS, 133 * MS, -33 * MS]


# Parameters


def test_new_parameter_sets_begin_a_period_at_the_key_frame() -> None:
    other = AVC[:-1] + b"\x81"
    tags = headers() + show(3) + headers(video=other, audio=None, at=3000) + show(3, start=3)
    timeline = Timeline()
    parts = feed(tags, timeline)
    check(parts, timeline)
    periods = [part for part in parts if part.new_period]
    assert [part.tracks.video.config for part in periods if part.tracks.video] == [AVC, other]
    assert periods[1].start == 3000 * MS
    assert timeline.troubles() == {"parameters_changed": 1}


def test_the_same_parameter_sets_again_change_nothing() -> None:
    tags = show(6)
    again = tags[:200] + headers(at=tags[200].timestamp) + tags[200:]
    assert [shape(part) for part in feed(headers() + again)] == [shape(part) for part in feed(headers() + tags)]


def test_a_new_audio_configuration_waits_for_the_key_frame() -> None:
    tags = headers() + show(3) + headers(video=None, audio=AAC_44K, at=3000) + show(3, start=3, sample_rate=44_100)
    timeline = Timeline()
    parts = feed(tags, timeline)
    check(parts, timeline)
    assert [part.tracks.audio.rate for part in parts if part.new_period and part.tracks.audio] == [48_000, 44_100]


def test_a_new_audio_configuration_without_video_takes_effect_at_once() -> None:
    timeline = Timeline()
    timeline.expect(video=False, audio=True)
    tags = headers(video=None) + show(3, video=False)
    tags += headers(video=None, audio=AAC_44K, at=3000) + show(3, start=3, video=False, sample_rate=44_100)
    parts = feed(tags, timeline)
    check(parts, timeline)
    periods = [part for part in parts if part.new_period]
    assert [part.tracks.audio.rate for part in periods if part.tracks.audio] == [48_000, 44_100]
    assert abs(periods[1].start - 3000 * MS) < 30 * MS
    assert abs(periods[1].audio[0][0] - 3 * 44_100) < 1300


# Cutting


def test_segments_end_at_key_frames_after_the_target() -> None:
    parts = feed(headers() + show(9, gop=1.5))
    assert [part.end / MS for part in parts if part.closes][:3] == [3000, 6000, 9000]


def test_a_sender_without_key_frames_is_cut_before_the_target_duration_is_over() -> None:
    timeline = Timeline()
    parts = feed(headers() + show(13, gop=60), timeline)
    ends = [0.0] + [part.end / MS for part in parts if part.closes]
    assert all(b - a <= 4000 for a, b in pairwise(ends))
    assert timeline.troubles()["key_distance"] == 3


def test_key_frames_every_four_seconds_and_a_little_keep_their_segments() -> None:
    timeline = Timeline()
    timeline.feed(records(headers()))
    timeline.expect(frame_rate=29.97)
    parts = feed(show(21, rate=29.97, gop=120 / 29.97), timeline)
    ends = [part.end for part in parts if part.closes]
    keys = {row[0] for part in parts for row in part.video if row[3]}
    assert set(ends[1:-1]) <= keys
    assert len(ends) == 7


def test_irregular_frames_do_not_make_parts_too_long() -> None:
    tags = headers() + [tag for n, tag in enumerate(show(6)) if tag.type == AUDIO or n % 7 or tag.data[0] >> 4 == 1]
    timeline = Timeline()
    parts = feed(tags, timeline)
    check(parts, timeline)
    assert all(part.end - part.start >= 0.85 * timeline.part_target_ticks for part in parts if not (part.closes or part.independent))


def test_a_slow_camera_gets_a_part_target_that_its_frames_fit() -> None:
    timeline = Timeline()
    timeline.expect(video=True, audio=False)
    parts = feed(headers(audio=None) + show(12, rate=2, audio=False), timeline)
    check(parts, timeline)
    assert timeline.part_target_ticks in (500 * MS, 501 * MS)
    assert not timeline.troubles()


def test_an_announced_part_target_stays() -> None:
    timeline = Timeline(fixed_part_target=18_810, position=900_000)
    parts = feed(headers() + show(3, rate=30), timeline)
    assert timeline.part_target_ticks == 18_810
    assert parts[0].start == 900_000
    check(parts, timeline)


def test_more_bytes_than_a_part_may_have_end_it() -> None:
    timeline = Timeline(max_part=10_000, max_segment=30_000)
    tags = [*headers(audio=None), key(0, 3000), *(inter(33 * n, 3000) for n in range(1, 60))]
    timeline.expect(video=True, audio=False)
    parts = feed(tags, timeline)
    assert max(part.size_bytes for part in parts) <= 10_000
    assert timeline.troubles()["oversize"] > 5


# Hostile input


@pytest.mark.parametrize(
    ("tag", "trouble"),
    [
        (Tag(VIDEO, 40, avc_picture(bytes(4), key=False)), "frame_damaged"),
        (Tag(VIDEO, 40, avc_picture(b"\0\0\0\x09\x41abc", key=False)), "frame_damaged"),
        (Tag(VIDEO, 40, b"\x27\x01\0\0\0"), "frame_damaged"),
        (Tag(VIDEO, 40, avc_picture(b"\0\0\0\x04\x41abc", key=False, composition_ms=20_000)), "frame_damaged"),
        (Tag(VIDEO, 40, b"\x17\x00\0\0\0\x01\x64"), "config_broken"),
        (Tag(AUDIO, 40, b"\xaf\x00\xff\xff"), "config_broken"),
        (Tag(VIDEO, 40, b"\x22abcdef"), "codec_unsupported"),
        (Tag(VIDEO, 40, b"\x91hvc1abc"), "codec_unsupported"),
        (Tag(AUDIO, 40, b"\x2fabc"), "codec_unsupported"),
    ],
)
def test_a_frame_that_lies_is_left_out_and_counted(tag: Tag, trouble: str) -> None:
    good = headers() + show(3)
    timeline = Timeline()
    parts = feed([*good[:5], tag, *good[5:]], timeline)
    assert [shape(part) for part in parts] == [shape(part) for part in feed(good)]
    assert timeline.troubles() == {trouble: 1}


@pytest.mark.parametrize("data", [b"", b"\x17", b"\xaf", b"\xaf\x01", b"\x57\0\0\0\0\0", b"\x27\x02\0\0\0"])
def test_empty_tags_and_commands_are_passed_over(data: bytes) -> None:
    good = headers() + show(2)
    for kind in (AUDIO, VIDEO):
        parts = feed([*good[:6], Tag(kind, 40, data), *good[6:]])
        assert [shape(part) for part in parts] == [shape(part) for part in feed(good)] or data == b"\x17"


def test_enhanced_rtmp_with_avc_is_the_same_stream() -> None:
    def enhanced(tag: Tag) -> Tag:
        if tag.type != VIDEO:
            return tag
        kind, body = tag.data[0] >> 4 << 4 | 0x80, tag.data[5:]
        if tag.data[1] == 0:
            return tag._replace(data=bytes((kind,)) + b"avc1" + body)
        if not any(tag.data[2:5]):
            return tag._replace(data=bytes((kind | 3,)) + b"avc1" + body)
        return tag._replace(data=bytes((kind | 1,)) + b"avc1" + tag.data[2:5] + body)

    tags = [*headers(), key(0, offset=66), *show(2)[1:]]
    assert [shape(part) for part in feed([enhanced(tag) for tag in tags])] == [shape(part) for part in feed(tags)]


def test_a_batch_may_be_a_buffer_that_the_reactor_shares() -> None:
    data = records(headers() + show(2))
    parts = Timeline().feed(Buffer(b"before" + data)[6:])
    assert [shape(part) for part in parts] == [shape(part) for part in Timeline().feed(data)]
    with pytest.raises(TypeError):
        Timeline().feed(bytearray(data))  # could change under the frames that point into it


@pytest.mark.parametrize("cut", [1, 8, 15, 16, 20])
def test_a_batch_that_is_cut_short_is_a_bug_of_the_caller(cut: int) -> None:
    with pytest.raises(ValueError, match="cut short"):
        Timeline().feed(record(sound(0))[:cut])


def test_frames_without_end_that_wait_for_a_track_do_not_fill_the_memory() -> None:
    timeline = Timeline()
    batch = records([key(0, 1 << 20)])
    timeline.feed(records(headers(audio=None)))
    parts = []
    for _ in range(40):
        parts += timeline.feed(batch)
    assert parts


def test_every_trouble_has_words() -> None:
    assert set(TROUBLE_NAMES) <= set(TROUBLES)


def test_an_aac_frame_is_not_mistaken_for_its_configuration() -> None:
    assert aac_frame(b"x")[1] == 1
