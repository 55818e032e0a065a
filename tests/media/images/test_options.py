"""The options of a picture's URL: what is read, what is refused, and that it is written back the same."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nova.core.errors import BadRequest
from nova.media.images.options import FITS, GRAVITIES, PLAIN, Options, Watermark, canonical, hinted, parse
from nova.media.images.presets import PRESETS

ID = "018f0000-0000-7000-8000-000000000000"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("rs:cover:320:320/q:80/g:attention", Options(fit="cover", width=320, height=320, quality=80, gravity="attention")),
        ("rs:fit:0:200", Options(width=0, height=200)),
        ("rs:inside:100", Options(width=100)),
        ("rs:outside:auto:0/dpr:auto", Options(fit="outside", width_hint=True, dpr=0.0)),
        ("g:fp:0.25:1/c:1:2:30:40", Options(gravity="fp", focal=(0.25, 1.0), crop=(1, 2, 30, 40))),
        (f"wm:{ID}:50:north:30", Options(watermark=Watermark(ID, 50, "north", 30))),
        (f"wm:{ID}", Options(watermark=Watermark(ID))),
        ("exp:1790000000/bg:FFaa00/pr:1/el:1/or:0/fl:hv/rot:270", Options(
            expires=1790000000, background="ffaa00", progressive=True, enlarge=True, upright=False, flip="hv", rotate=270)),
        ("bl:2.5/sh:1/mb:20000/icc:keep/still:1/dpr:1.5/fast:1", Options(
            blur=2.5, sharpen=1.0, max_bytes=20000, keep_profile=True, still=True, dpr=1.5, fast=True)),
        ("-", PLAIN),
    ],
)  # fmt: skip
def test_options_are_read(text: str, wanted: Options) -> None:
    assert parse(text) == (wanted, "")
    assert parse(canonical(wanted)) == (wanted, "")


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "rs", "rs:cover", "rs:cover:0:0", "rs:zoom:1:1", "rs:cover:9999:1", "rs:cover:-1:5", "rs:cover:1:2:3", "rs:cover:1e3:5",
        "q:0", "q:101", "q:80/q:80", "q:", "q:8.5", "q:٣", "g:fp:2:0", "g:fp:0.1", "g:middle", "c:1:2:3", "c:0:0:0:5", "rot:45", "fl:x",
        "bl:0", "bl:101", "sh:x", "bg:fff", "bg:#ffffff", "wm:1", f"wm:{ID}:0", "mb:5", "dpr:9", "dpr:0.5", "icc:p3", "exp:0", "exp:x",
        "preset:nothing", "preset:", "q:80//g:center", "q:80/", "/q:80", "Q:80", "q:80 ", "still:yes", "q:1" + "0" * 2000,
        "/".join("ab" * 30),
        "a" * 10_240, "q:" * 5000,
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(text: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse(text, PRESETS)
    assert refused.value.code == "bad_options"
    assert len(refused.value.detail) < 400


def test_a_preset_is_where_options_begin() -> None:
    found, named = parse("preset:avatar/q:50", PRESETS)
    assert (found.fit, found.quality, named) == ("cover", 50, "avatar")
    assert parse("q:50/preset:avatar", PRESETS) == (found, "avatar")
    assert parse("preset:avatar", PRESETS)[0] == PRESETS["avatar"]


def test_every_preset_says_what_it_is() -> None:
    for options in PRESETS.values():
        assert parse(canonical(options))[0] == options


def test_hints_fall_into_few_buckets() -> None:
    both = parse("rs:inside:auto:0/dpr:auto")[0]
    assert both.hinted
    assert canonical(hinted(both, 321, 1.3)) == "rs:inside:480:0/dpr:1.5"
    assert canonical(hinted(both, None, None)) == "rs:inside:1080:0"
    assert canonical(hinted(both, 99999, 12)) == "rs:inside:2560:0/dpr:3"
    assert len({canonical(hinted(both, width, ratio / 10)) for width in range(1, 4000, 79) for ratio in range(5, 60, 4)}) == 40


reals = st.integers(0, 10_000).map(lambda value: value / 10_000)
options = st.builds(
    Options,
    fit=st.sampled_from(FITS), width=st.integers(1, 8192), height=st.integers(0, 8192), enlarge=st.booleans(),
    gravity=st.sampled_from([*GRAVITIES, "attention"]), crop=st.none() | st.tuples(*[st.integers(1, 65535)] * 4), upright=st.booleans(),
    rotate=st.sampled_from([0, 90, 180, 270]), flip=st.sampled_from(["", "h", "v", "hv"]),
    blur=st.just(0.0) | st.integers(1, 1000).map(lambda v: v / 10),
    background=st.sampled_from(["", "00ff7f"]), quality=st.integers(0, 100), max_bytes=st.just(0) | st.integers(100, 10**9),
    dpr=st.sampled_from([0.0, 1.0, 2.5]),
    keep_profile=st.booleans(), still=st.booleans(), expires=st.integers(0, 2**40),
)  # fmt: skip


@given(options)
@example(Options(fit="inside", width=1, expires=10**12))
def test_what_is_written_is_read_back(wanted: Options) -> None:
    assert parse(canonical(wanted)) == (wanted, "")


@given(st.text(alphabet="rsqgcpexp:/0123456789abot.-", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found, _ = parse(text, PRESETS)
    except BadRequest:
        return
    assert parse(canonical(found))[0] == found
