"""The demo's picture, its readable time, and its tone."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.media.demo import stamp
from nova.media.demo.picture import NEUTRAL, Picture
from nova.media.demo.tone import RATE, Tone

NOW = 1_767_225_600_000  # ms since 1970


@given(at=st.integers(0, 2**42), age=st.integers(0, 2**35))
def test_stamp_is_read_back_as_the_latest_time_it_can_mean(at: int, age: int) -> None:
    assert stamp.decode(stamp.encode(at), at + age) == at


@given(at=st.integers(0, 2**42), wrong=st.integers(0, stamp.BITS - 1))
def test_stamp_with_a_misread_square_is_no_time(at: int, wrong: int) -> None:
    squares = list(stamp.encode(at))
    squares[wrong] = not squares[wrong]
    assert stamp.decode(tuple(squares), at) is None


@pytest.mark.parametrize(("width", "height"), [(960, 540), (1280, 720), (640, 360), (384, 216)])
@pytest.mark.parametrize("later", [0, 3_141, 59_999_999])
def test_picture_has_whole_planes_and_carries_its_time(width: int, height: int, later: int) -> None:
    picture = Picture(width, height)
    luma, cb, cr = picture.draw(NOW + later)
    assert [len(plane) for plane in (luma, cb, cr)] == [width * height, width * height // 4, width * height // 4]
    squares = tuple(luma[y * width + x] > 125 for x, y in picture.squares())
    assert stamp.decode(squares, NOW + later) == NOW + later
    assert {cb[y // 2 * (width // 2) + x // 2] for x, y in picture.squares()} == {NEUTRAL}


def test_picture_moves() -> None:
    picture = Picture(384, 216)
    (first, *_), (second, *_) = picture.draw(NOW), picture.draw(NOW + 500)
    sky = 384 * 216 // 2  # the planets are above, the clock below
    assert first[:sky] != second[:sky]
    assert first[sky:] != second[sky:]
    assert picture.draw(NOW)[0] == first


def test_sizes_that_would_need_padding_are_refused() -> None:
    with pytest.raises(ValueError, match="1000x540"):
        Picture(1000, 540)


@given(start=st.floats(0, 2e9), sizes=st.lists(st.integers(0, RATE // 2), min_size=2, max_size=2))
def test_tone_is_the_same_in_any_split(start: float, sizes: list[int]) -> None:
    whole, split = Tone(start), Tone(start)
    assert b"".join(split.read(size) for size in sizes) == whole.read(sum(sizes))


def test_tone_beeps_on_the_second() -> None:
    tone = Tone(1_767_225_599.5)
    samples = array("f", tone.read(RATE))
    loud = next(i for i, value in enumerate(samples) if abs(value) > 0.06)
    assert RATE // 2 <= loud < RATE // 2 + RATE // 50
    assert max(map(abs, samples)) < 0.5
