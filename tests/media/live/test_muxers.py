"""Both muxers by one contract: what goes in as a part comes out as the same packets; PyAV is the oracle of the compiled writer."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.ext.buffer import Arena, Buffer
from nova.ext.fmp4 import Fmp4Writer, init_segment
from nova.ext.timeline import Part, Timeline
from nova.media.live import muxers
from nova.media.live.ports import Muxer, MuxError
from nova.media.rtmp.flv import AUDIO, VIDEO, Tag
from tests.ext.bit_writer import avcc
from tests.ext.test_h264 import Sps
from tests.media.live.material import Recipe, flv, headers, inter, key, records, show, sound
from tests.media.live.packets import boxes, decode, packets, probe

FILMS = [
    Recipe(seconds=3),
    Recipe(seconds=3, b_frames=2),
    Recipe(seconds=2, rate="25", gop=25, sample_rate=44100, channels=2),
    Recipe(seconds=2, sample_rate=0),
    Recipe(seconds=2, sample_rate=0, b_frames=3),
    Recipe(seconds=2, rate="0"),
]


def cut(tags: Sequence[Tag]) -> list[Part]:
    timeline = Timeline()
    timeline.expect(video=any(tag.type == VIDEO for tag in tags), audio=any(tag.type == AUDIO for tag in tags))
    parts: list[Part] = timeline.feed(records(tags))
    return parts + timeline.end()


def mux(muxer: Muxer, parts: Sequence[Part]) -> list[bytes]:
    """Initialization segments and parts, in order."""
    out: list[bytes] = []
    arena = Arena(64 << 20)
    for part in parts:
        if part.opens:
            arena = Arena(64 << 20)
        if part.new_period:
            out.append(muxer.init(part.tracks))
        out.append(bytes(muxer.part(part, arena)))
    return out


@pytest.fixture(params=muxers.WRITERS)
def muxer(request: pytest.FixtureRequest) -> Iterator[Muxer]:
    made = muxers.make(request.param)
    yield made
    made.close()


def expected(parts: Sequence[Part]) -> list[tuple[int, int, int, str]]:
    """(stream, pts, dts, key) of every frame."""
    rows = []
    for part in parts:
        tracks = [part.video, part.audio] if part.tracks.video else [part.audio]
        for number, track in enumerate(tracks):
            rows += [(number, row[0] + row[2], row[0], "K" if row[3] else "_") for row in track]
    return sorted(rows, key=lambda row: (row[0], row[2]))


@pytest.mark.ffmpeg
@pytest.mark.parametrize("recipe", FILMS, ids=lambda r: f"{r.rate}fps-b{r.b_frames}-{r.sample_rate}Hz")
def test_both_writers_make_the_same_packets(recipe: Recipe, tmp_path: Path) -> None:
    parts = cut(flv(recipe))
    found = {}
    for writer in muxers.WRITERS:
        muxer = muxers.make(writer)
        found[writer] = packets(b"".join(mux(muxer, parts)), tmp_path)
        muxer.close()
    assert found["compiled"] == found["pyav"]
    assert [(p.stream, p.pts, p.dts, p.flags) for p in found["compiled"]] == expected(parts)


@pytest.mark.ffmpeg
@pytest.mark.parametrize("recipe", FILMS[:3], ids=lambda r: f"{r.rate}fps-b{r.b_frames}")
def test_ffmpeg_plays_it_without_a_word(muxer: Muxer, recipe: Recipe, tmp_path: Path) -> None:
    made = b"".join(mux(muxer, cut(flv(recipe))))
    decode(made, tmp_path)
    video, audio = probe(made, tmp_path)
    assert (video["codec_name"], video["width"], video["height"], video["time_base"]) == ("h264", 320, 180, "1/90000")
    assert (audio["codec_name"], audio["sample_rate"], audio["channels"]) == ("aac", str(recipe.sample_rate), recipe.channels)


@pytest.mark.ffmpeg
def test_a_player_that_joins_at_any_independent_part_decodes_from_there(muxer: Muxer, tmp_path: Path) -> None:
    parts = cut(flv(Recipe(seconds=3, gop=30)))
    init, *fragments = mux(muxer, parts)
    starts = [n for n, part in enumerate(parts) if part.independent]
    assert len(starts) >= 3
    for start in starts:
        decode(init + b"".join(fragments[start:]), tmp_path)


def test_a_part_is_one_fragment_that_starts_where_its_frames_do(muxer: Muxer) -> None:
    parts = cut(headers() + show(3))
    _, *fragments = mux(muxer, parts)
    for number, (part, data) in enumerate(zip(parts, fragments, strict=True), 1):
        found = boxes(data)
        assert [label for label, _ in found if label.count("/") == 1] == ["/moof", "/mdat"]
        assert [payload[4:] for label, payload in found if label.endswith("/mfhd")] == [struct.pack(">I", number)]
        times = [struct.unpack(">Q", payload[4:])[0] for label, payload in found if label.endswith("/tfdt")]
        assert times == [track[0][0] for track in (part.video, part.audio) if track]


def test_a_part_without_pictures_keeps_the_track_of_its_sound(muxer: Muxer) -> None:
    tags = headers() + [tag for tag in show(8) if tag.type == AUDIO or not 2500 < tag.timestamp < 4000]
    parts = cut(tags)
    made = mux(muxer, parts)[1:]
    silent = [data for part, data in zip(parts, made, strict=True) if not part.video]
    assert silent
    for data in silent:
        assert [payload[4:8] for label, payload in boxes(data) if label.endswith("/tfhd")] == [b"\0\0\0\2"]


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_part_is_the_same_whatever_was_written_before_it(muxer: Muxer, step: int) -> None:
    tags = headers() + [tag for tag in show(8) if tag.type == AUDIO or not 2500 < tag.timestamp < 4000]
    parts = cut(tags)
    assert len({id(part.tracks) for part in parts}) == 1
    some = parts[::step]
    for part, data in zip(some, mux(muxer, some)[1:], strict=True):
        fresh = muxers.make("pyav")
        fresh.init(part.tracks)
        alone = bytes(fresh.part(part, Arena(1 << 20)))
        fresh.close()
        assert times_and_samples(data) == times_and_samples(alone)


def times_and_samples(data: bytes) -> list[tuple[str, bytes]]:
    return [(label, payload) for label, payload in boxes(data) if label.rsplit("/", 1)[1] in ("tfdt", "mdat")]


def test_a_part_that_does_not_fit_its_arena_is_refused(muxer: Muxer) -> None:
    part = cut([*headers(), key(0, 20_000), *(inter(33 * n, 3000) for n in range(1, 20))])[0]
    muxer.init(part.tracks)
    with pytest.raises(MuxError):
        muxer.part(part, Arena(4096))
    assert len(muxer.part(part, Arena(1 << 20))) > 20_000


def test_the_muxer_goes_on_after_a_refused_part(muxer: Muxer) -> None:
    parts = cut(headers() + show(2))
    muxer.init(parts[0].tracks)
    with pytest.raises(MuxError):
        muxer.part(parts[0], Arena(100) if len(parts[0].video) > 100 else _full())
    arena = Arena(1 << 20)
    assert [len(muxer.part(part, arena)) > 0 for part in parts] == [True] * len(parts)


def _full() -> Arena:
    arena = Arena(4096)
    arena.append(bytes(4000))
    return arena


# The compiled writer alone


def test_a_part_lies_in_the_arena_of_its_segment() -> None:
    parts = cut(headers() + show(1))
    writer, arena = Fmp4Writer(), Arena(1 << 20)
    made = [writer.part(part, arena) for part in parts]
    assert all(isinstance(each, Buffer) and each.in_memfd() for each in made)
    assert b"".join(map(bytes, made)) == bytes(arena.view(0, len(arena)))


def test_the_initialization_segment_says_what_the_sps_says(tmp_path: Path) -> None:
    sps = Sps(profile=100, wide=45, high=36, crop=(0, 0, 0, 0), sar=(16, 11), colour=(9, 16, 9))
    video = avcc(sps.bytes(), profile=100, constraints=0, level=31)
    part = cut([*headers(video=video), key(0), inter(33), inter(66)])[0]
    found = dict(boxes(init_segment(part.tracks)))
    entry = found.get("/moov/trak/mdia/minf/stbl/stsd", b"")
    whole = init_segment(part.tracks)
    assert entry
    assert b"colrnclx" + struct.pack(">HHHB", 9, 16, 9, 128) in whole
    assert b"pasp" + struct.pack(">II", 16, 11) in whole
    assert b"avcC" + video in whole
    assert found["/ftyp"][:4] == b"iso6"


def test_a_rate_above_16_bits_is_left_to_the_configuration() -> None:
    part = cut([*headers(video=None, audio=bytes.fromhex("1010")), *(sound(10 * n) for n in range(60))])[0]
    whole = init_segment(part.tracks)
    at = whole.index(b"mp4a")
    assert struct.unpack_from(">I", whole, at + 28) == (0,)
    assert part.tracks.audio is not None
    assert part.tracks.audio.rate == 96_000


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(1, 300), st.integers(-100, 100), st.integers(10, 60)),
        min_size=2,
        max_size=40,
    )
)
def test_what_is_left_out_of_a_run_reads_back_the_same(plan: list[tuple[bool, int, int, int]]) -> None:
    tags, at = headers(), 0
    for number, (is_key, size, offset, step) in enumerate(plan):
        tags += [(key if is_key or not number else inter)(at, size, offset), sound(at, size)]
        at += step
    parts = cut(tags)
    for part, data in zip(parts, mux(muxers.make("compiled"), parts)[1:], strict=True):
        assert read_back(data, 1) == part.video
        assert [row[:2] + row[4:] for row in read_back(data, 2)] == [row[:2] + row[4:] for row in part.audio]


def read_back(data: bytes, track: int) -> list[tuple[int, int, int, bool, bytes]]:
    """The samples of one track of a fragment, read by the letter of 14496-12, 8.8."""
    rows = []
    number = duration = flags = 0
    for label, payload in boxes(data):
        if label.endswith("/tfhd"):
            said, number = struct.unpack_from(">II", payload)
            rest = list(struct.unpack_from(f">{(len(payload) - 8) // 4}I", payload, 8))
            assert said & ~0x28 == 0x20000
            duration = rest.pop(0) if said & 8 else -1
            flags = rest.pop(0) if said & 0x20 else -1
        elif label.endswith("/tfdt"):
            (time,) = struct.unpack_from(">Q", payload, 4)
        elif label.endswith("/trun") and number == track:
            said, count, at = struct.unpack_from(">IIi", payload)
            assert said >> 24 == 1
            words = list(struct.unpack_from(f">{(len(payload) - 12) // 4}I", payload, 12))
            first = words.pop(0) if said & 4 else flags
            for n in range(count):
                lasts = words.pop(0) if said & 0x100 else duration
                size = words.pop(0)
                mark = words.pop(0) if said & 0x400 else (first if n == 0 else flags)
                offset = words.pop(0) if said & 0x800 else 0
                rows.append((time, lasts, offset - (1 << 32) if offset >> 31 else offset, mark == 0x2000000, data[at : at + size]))
                time, at = time + lasts, at + size
            assert not words
    return rows
