"""Sizes, windows and orientations as arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.core.errors import BadRequest, TooLarge
from nova.media.images import geometry
from nova.media.images.options import FITS, parse


def size(text: str, source: tuple[int, int] = (1000, 500)) -> tuple[int, int]:
    return geometry.plan(source, parse(text)[0]).canvas


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("rs:inside:200:200", (200, 100)), ("rs:outside:200:200", (400, 200)), ("rs:cover:200:200", (200, 200)),
        ("rs:contain:200:200", (200, 200)), ("rs:fill:200:300", (200, 300)), ("rs:inside:200:0", (200, 100)), ("rs:cover:0:50", (100, 50)),
        ("rs:inside:4000:4000", (1000, 500)), ("rs:inside:4000:4000/el:1", (4000, 2000)), ("rs:cover:4000:4000", (500, 500)),
        ("rs:cover:2000:1500/el:1", (2000, 1500)), ("rs:contain:2000:2000", (2000, 2000)), ("rs:fill:2000:20", (1000, 20)),
        ("rs:inside:100:100/dpr:2", (200, 100)), ("c:10:10:100:100/rs:inside:50:50", (50, 50)), ("q:50", (1000, 500)),
        ("c:990:490:500:500", (10, 10)), ("rs:inside:1:1", (1, 1)),
    ],
)  # fmt: skip
def test_sizes_follow_the_fit(text: str, wanted: tuple[int, int]) -> None:
    assert size(text) == wanted


def test_gravity_says_what_is_kept() -> None:
    for gravity, left in (("west", 0), ("center", 250), ("east", 500), ("fp:0.3:0.5", 50), ("fp:0.9:0", 500)):
        plan = geometry.plan((1000, 500), parse(f"rs:cover:100:100/g:{gravity}")[0])
        assert plan.window == pytest.approx((left, 0, 500, 500))
    seen = geometry.plan((1000, 500), parse("rs:cover:100:100/g:attention")[0], (0.6, 0.1))
    assert seen.window == pytest.approx((350, 0, 500, 500))


def test_contain_keeps_the_whole_picture_on_its_canvas() -> None:
    plan = geometry.plan((1000, 500), parse("rs:contain:200:200/g:south")[0])
    assert (plan.size, plan.canvas, plan.at) == ((200, 100), (200, 200), (0, 100))


def test_a_crop_outside_is_refused() -> None:
    with pytest.raises(BadRequest):
        size("c:1000:0:10:10")


def test_a_result_that_is_too_large_is_refused() -> None:
    with pytest.raises(TooLarge):
        size("rs:fill:8192:8192/el:1")
    with pytest.raises(TooLarge):
        size("q:5", (60_000, 700))


sides = st.integers(1, 20_000)


@given(
    sides,
    sides,
    st.sampled_from(FITS),
    st.integers(1, 3000),
    st.integers(1, 3000),
    st.booleans(),
    st.sampled_from(["center", "fp:0.1:0.9", "southeast"]),
)
def test_windows_lie_within_the_source(width: int, height: int, fit: str, wide: int, high: int, enlarge: bool, gravity: str) -> None:
    options = parse(f"rs:{fit}:{wide}:{high}/el:{int(enlarge)}/g:{gravity}")[0]
    try:
        plan = geometry.plan((width, height), options)
    except TooLarge:
        return
    x, y, w, h = plan.window
    slack = 1e-6 * max(width, height)
    assert -slack <= x <= x + w <= width + slack
    assert -slack <= y <= y + h <= height + slack
    assert plan.at[0] >= 0 and plan.at[0] + plan.size[0] <= plan.canvas[0]
    assert plan.at[1] >= 0 and plan.at[1] + plan.size[1] <= plan.canvas[1]
    if not enlarge:
        assert plan.size[0] <= width + 1 and plan.size[1] <= height + 1
    if fit in ("cover", "fill", "contain") and enlarge:
        assert plan.canvas == (wide, high)
    if fit == "inside":
        assert plan.size[0] <= wide + 1 and plan.size[1] <= high + 1


@given(st.integers(1, 8), st.integers(1, 50), st.integers(1, 50), st.data())
def test_a_window_is_found_in_the_stored_picture(orientation: int, width: int, height: int, data: st.DataObject) -> None:
    """Against Pillow's own transposition, pixel by pixel."""
    from PIL import Image

    from nova.media.images import codec

    stored = Image.new("L", (width, height))
    stored.putdata([at % 251 for at in range(width * height)])
    upright = codec.turn(stored, orientation)
    assert geometry.upright(stored.size, orientation) == upright.size
    x, y = data.draw(st.integers(0, upright.width - 1)), data.draw(st.integers(0, upright.height - 1))
    w, h = data.draw(st.integers(1, upright.width - x)), data.draw(st.integers(1, upright.height - y))
    a, b, c, d = (int(value) for value in geometry.stored((x, y, w, h), upright.size, orientation))
    assert codec.turn(stored.crop((a, b, a + c, b + d)), orientation).tobytes() == upright.crop((x, y, x + w, y + h)).tobytes()
