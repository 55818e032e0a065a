"""One source to its results: which way up, in which colours, with nothing of what the file told about its maker."""

import io
from typing import Any

import numpy
import pytest
from PIL import Image, ImageCms

from nova.media.images import codec, fast, sniff
from nova.media.images.job import Job, Made, Output
from nova.media.images.options import FORMATS, parse
from nova.media.images.render import render
from tests.media.images import material
from tests.media.images.material import CORNERS, ORIENTED, STILL


def make(data: bytes, text: str, format: str = "png", **more: Any) -> Made:
    return render(data, Job([Output(parse(text)[0], format)], **more)).made[0]


def seen(data: bytes) -> Image.Image:
    """As a browser shows it: an independent reading of the result."""
    return Image.open(io.BytesIO(data)).convert("RGB")


def quarters(image: Image.Image) -> list[int]:
    """Which corner's colour each quarter of the picture has."""
    found = []
    for at in range(4):
        x, y = image.width * (1 + 2 * (at % 2)) // 4, image.height * (1 + 2 * (at // 2)) // 4
        pixel: Any = image.getpixel((x, y))
        found.append(min(range(4), key=lambda each: sum(abs(a - b) for a, b in zip(pixel, CORNERS[each], strict=True))))
    return found


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ORIENTED)
def test_every_orientation_comes_out_upright(format: str, orientation: int) -> None:
    data = material.with_exif(material.corners(), format, orientation)
    texts = ["rs:inside:48:0", "rs:cover:60:40", "rs:fill:50:30", "rs:contain:90:90", "q:90", "rs:inside:48:0/li:1"]
    outputs = [Output(parse(text)[0], kind) for text in texts for kind in ("jpg", "webp")]
    done = render(data, Job(outputs, facts=True))
    assert done.facts is not None
    assert (done.facts.width, done.facts.height) == (96, 64)
    for made in done.made:
        image = seen(made.data)
        assert image.size == (made.width, made.height)
        assert quarters(image) == [0, 1, 2, 3], (made.format, made.width)
    part = seen(make(data, "c:48:0:48:32/rs:inside:20:20").data)
    pixel: Any = part.getpixel((10, 6))
    assert all(abs(a - b) < 40 for a, b in zip(pixel, CORNERS[1], strict=True))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ORIENTED)
def test_the_orientation_may_be_left_alone(format: str, orientation: int) -> None:
    data = material.with_exif(material.corners(), format, orientation)
    stored = material.stored(material.corners(), orientation)
    for text in ("or:0", "or:0/rs:inside:48:48", "or:0/li:1", "or:0/rs:cover:40:40"):
        left = seen(make(data, text).data)
        assert quarters(left) == quarters(stored)
        if ":48" not in text and ":40" not in text:
            assert left.size == stored.size
    assert seen(make(data, "q:90").data).size == (96, 64)
    both = render(data, Job([Output(parse(text)[0], "png") for text in ("or:0", "q:90")])).made
    assert [quarters(seen(made.data)) for made in both] == [quarters(stored), [0, 1, 2, 3]]


@pytest.mark.parametrize("output", FORMATS)
@pytest.mark.parametrize("format", ORIENTED)
def test_no_result_tells_of_a_place(format: str, output: str) -> None:
    data = material.with_exif(material.corners(), format, 3)
    assert b"Ada" in data
    texts = ("rs:inside:40:40", "q:90", "icc:keep", "pr:1", "or:0", "li:1", "rs:inside:40:40/li:1", "fast:1", "rs:cover:40:40/g:attention")
    for text in texts:
        material.no_place_in(make(data, text, output).data)


@pytest.mark.parametrize("output", FORMATS)
@pytest.mark.parametrize("format", STILL)
def test_every_format_goes_to_every_other(format: str, output: str) -> None:
    made = make(material.saved(material.corners(), format), "rs:inside:48:48", output)
    assert sniff.kind(made.data) == {"jpg": "jpeg"}.get(output, output)
    image = seen(made.data)
    assert image.size == (48, 32)
    assert quarters(image) == [0, 1, 2, 3]


def test_turning_and_mirroring_come_last() -> None:
    data = material.saved(material.corners(), "png")
    assert quarters(seen(make(data, "rot:90").data)) == [2, 0, 3, 1]
    assert quarters(seen(make(data, "rot:180").data)) == [3, 2, 1, 0]
    assert quarters(seen(make(data, "rot:270").data)) == [1, 3, 0, 2]
    assert quarters(seen(make(data, "fl:h").data)) == [1, 0, 3, 2]
    assert quarters(seen(make(data, "fl:v").data)) == [2, 3, 0, 1]


def test_alpha_is_premultiplied_and_flattened_where_it_must_be() -> None:
    image = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 33, 64))
    data = material.saved(image, "png")
    edge = Image.open(io.BytesIO(make(data, "rs:inside:16:16").data))
    pixel: Any = edge.getpixel((8, 8))
    assert edge.mode == "RGBA"
    assert pixel[0] <= 2, "no red of the invisible half bleeds into the edge"
    jpg: Any = seen(make(data, "rs:inside:16:16", "jpg").data).getpixel((14, 8))
    assert min(jpg) > 240
    filled: Any = seen(make(data, "rs:inside:16:16/bg:00ff00").data).getpixel((14, 8))
    assert filled[1] > 240 and filled[0] < 15


@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "tiff"])
@pytest.mark.parametrize("text", ["rs:inside:16:16/li:1", "rs:inside:16:16/li:1/or:0", "rs:cover:16:16/g:attention/li:1"])
def test_fine_stripes_keep_their_light_when_asked(format: str, text: str) -> None:
    """Black and white in turn are half of the light: a sample of 188, not of 128."""
    stripes = numpy.zeros((128, 128, 3), numpy.uint8)
    stripes[:, ::2] = 255
    data = material.saved(Image.fromarray(stripes), format, **({"quality": 100, "subsampling": 0} if format == "jpeg" else {}))
    linear, plain = (numpy.asarray(seen(make(data, each).data), float) for each in (text, text.replace("/li:1", "")))
    assert abs(linear.mean() - 188) < 4
    assert abs(plain.mean() - 128) < 4
    cmyk = material.saved(Image.fromarray(stripes).convert("CMYK"), "jpeg", quality=100)
    assert abs(numpy.asarray(seen(make(cmyk, text).data), float).mean() - 188) < 6


def test_light_of_some_results_is_no_matter_of_the_others() -> None:
    stripes = numpy.zeros((128, 128), numpy.uint8)
    stripes[:, ::2] = 255
    data = material.saved(Image.fromarray(stripes), "jpeg", quality=100)
    outputs = [Output(parse(text)[0], "png") for text in ("rs:inside:16:16/li:1", "rs:inside:16:16")]
    linear, plain = (numpy.asarray(seen(made.data), float).mean() for made in render(data, Job(outputs)).made)
    assert (round(linear / 20), round(plain / 20)) == (9, 6)


def test_contain_leaves_room_that_is_transparent_or_coloured() -> None:
    data = material.saved(material.corners(), "png")
    clear = Image.open(io.BytesIO(make(data, "rs:contain:96:96").data))
    corner: Any = clear.getpixel((0, 0))
    assert (clear.size, clear.mode, corner[3]) == ((96, 96), "RGBA", 0)
    full: Any = seen(make(data, "rs:contain:96:96/bg:123456").data).getpixel((0, 0))
    assert full == (0x12, 0x34, 0x56)


def test_profiles_become_srgb_or_are_kept() -> None:
    profile = material.p3_profile()
    data = material.saved(Image.new("RGB", (40, 40), (250, 10, 10)), "png", icc_profile=profile)
    converted = make(data, "rs:inside:20:20")
    pixel: Any = seen(converted.data).getpixel((5, 5))
    assert pixel[1] > 200 and pixel[0] < 60, "the profile exchanges red and green"
    assert "icc_profile" not in Image.open(io.BytesIO(converted.data)).info
    for format in ("png", "jpg", "webp", "avif"):
        kept = make(data, "rs:inside:20:20/icc:keep", format)
        assert Image.open(io.BytesIO(kept.data)).info["icc_profile"] == profile
    broken = material.saved(Image.new("RGB", (40, 40), (250, 10, 10)), "png", icc_profile=b"no profile at all" * 20)
    pixel = seen(make(broken, "rs:inside:20:20").data).getpixel((5, 5))
    assert pixel[0] > 240


def test_cmyk_grey_palette_and_deep_pictures_are_read() -> None:
    cmyk = Image.new("CMYK", (40, 40), (0, 255, 255, 0))
    pixel: Any = seen(make(material.saved(cmyk, "jpeg"), "rs:inside:20:20").data).getpixel((9, 9))
    assert pixel[0] > 200 and pixel[1] < 60
    deep = Image.fromarray(numpy.full((40, 40), 40_000, dtype="uint16"))
    pixel = seen(make(material.saved(deep, "png"), "rs:inside:20:20").data).getpixel((9, 9))
    assert abs(pixel[0] - 40_000 // 256) <= 1
    for mode in ("1", "L", "P", "LA"):
        made = make(material.saved(material.corners().convert("L").convert(mode), "png"), "rs:inside:20:20")
        assert seen(made.data).size == (20, 13)


def test_effects_change_what_they_say() -> None:
    data = material.saved(material.photo(200, 150), "png")
    plain, blurred, sharpened = (
        numpy.asarray(seen(make(data, text).data), dtype=float)
        for text in ("rs:inside:100:75", "rs:inside:100:75/bl:3", "rs:inside:100:75/sh:1")
    )
    rough = [float(numpy.abs(numpy.diff(each, axis=0)).mean()) for each in (blurred, plain, sharpened)]
    assert rough == sorted(rough)


def test_a_watermark_lies_where_it_was_asked_for() -> None:
    base, mark = (
        material.saved(Image.new("RGB", (200, 100), (0, 0, 0)), "png"),
        material.saved(Image.new("RGB", (50, 50), (255, 255, 255)), "png"),
    )
    name = "018f0000-0000-7000-8000-000000000000"
    for gravity, inside, outside in (("northwest", (5, 5), (190, 90)), ("southeast", (195, 95), (5, 5))):
        job = Job([Output(parse(f"wm:{name}:50:{gravity}:20")[0], "png")], marks=[name])
        image = seen(render(base, job, {name: mark}).made[0].data)
        covered: Any = image.getpixel(inside)
        bare: Any = image.getpixel(outside)
        assert 120 < covered[0] < 135 and bare[0] == 0


def test_attention_finds_the_subject() -> None:
    image = Image.new("RGB", (400, 100), (128, 128, 128))
    image.paste(material.photo(60, 60).convert("RGB"), (320, 20))
    data = material.saved(image, "png")
    found = numpy.asarray(seen(make(data, "rs:cover:50:50/g:attention").data), dtype=float)
    middle = numpy.asarray(seen(make(data, "rs:cover:50:50").data), dtype=float)
    assert found.std() > 10 * max(1.0, middle.std())


def test_a_bound_on_bytes_lowers_the_quality() -> None:
    data = material.saved(material.photo(400, 300), "jpeg")
    for format in ("jpg", "webp", "avif"):
        free, bound = make(data, "rs:inside:400:300", format), make(data, "rs:inside:400:300/mb:6000", format)
        assert len(free.data) > 6000 >= len(bound.data)
        assert codec.LOWEST_QUALITY <= bound.quality < free.quality
    least = make(data, "mb:100", "jpg")
    assert least.quality == codec.LOWEST_QUALITY


def test_progressive_is_progressive() -> None:
    data = material.saved(material.photo(64, 64), "png")
    assert b"\xff\xc2" in make(data, "pr:1", "jpg").data
    assert b"\xff\xc2" not in make(data, "q:80", "jpg").data


@pytest.mark.parametrize("format", ["gif", "webp"])
def test_animations_stay_animated_where_the_format_can(format: str) -> None:
    data = material.animation(format)
    done = render(data, Job([Output(parse("rs:inside:30:20")[0], kind) for kind in FORMATS], facts=True))
    assert done.facts is not None
    assert done.facts.frames == 5
    frames = {made.format: getattr(Image.open(io.BytesIO(made.data)), "n_frames", 1) for made in done.made}
    assert frames == {"jpg": 1, "png": 1, "webp": 5, "avif": 1, "gif": 5}
    assert all((made.width, made.height) == (30, 20) for made in done.made)
    assert getattr(Image.open(io.BytesIO(make(data, "still:1", "webp").data)), "n_frames", 1) == 1


def test_facts_hold_placeholders() -> None:
    facts = render(material.saved(material.corners(300, 200), "jpeg"), Job(facts=True)).facts
    assert facts is not None
    assert (facts.format, facts.alpha, facts.frames) == ("jpeg", False, 1)
    assert 15 <= len(facts.thumbhash) <= 30
    shown = tuple(bytes.fromhex(facts.color[1:]))
    assert min(sum(abs(a - b) for a, b in zip(shown, corner, strict=True)) for corner in CORNERS) < 40
    clear = render(material.saved(Image.new("RGBA", (20, 20), (0, 0, 0, 100)), "png"), Job(facts=True)).facts
    assert clear is not None and clear.alpha


TEXTS = (
    "rs:inside:200:0", "rs:cover:128:128", "rs:contain:90:90/bg:336699", "rs:cover:100:100/g:attention", "c:31:17:301:203/rs:fill:64:48",
    "rs:inside:120:0/rot:90/fl:h", "q:90", "rs:inside:100:0/bl:1.5", "rs:inside:150:0/icc:keep",
)  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("orientation", [1, 6, pytest.param(7, marks=pytest.mark.slow)])
def test_the_compiled_path_shows_what_the_other_shows(text: str, orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image = material.photo(640, 400)
    image.paste((255, 60, 60), (420, 100, 500, 190))
    data = material.with_exif(image, "jpeg", orientation)
    outputs = [Output(parse(text)[0], format) for format in ("jpg", "webp", "png")]
    assert fast.present()
    compiled = render(data, Job(outputs, facts=True))
    monkeypatch.setattr(fast, "present", lambda: False)
    other = render(data, Job(outputs, facts=True))
    assert compiled.facts is not None and other.facts is not None
    assert (compiled.facts.width, compiled.facts.height) == (other.facts.width, other.facts.height) == (640, 400)
    for ours, theirs in zip(compiled.made, other.made, strict=True):
        a, b = (numpy.asarray(seen(each.data), dtype=float) for each in (ours, theirs))
        assert a.shape == b.shape
        material.no_place_in(ours.data)
        error = float(((a.mean(-1) - b.mean(-1)) ** 2).mean())
        assert 10 * numpy.log10(255**2 / error) > (18 if "attention" in text else 32), ours.format


@pytest.mark.parametrize(
    ("width", "height", "target"), [(900, 600, 320), (640, 480, 128), pytest.param(1200, 900, 700, marks=pytest.mark.slow)]
)
def test_resizing_is_as_good_as_a_float_lanczos(width: int, height: int, target: int) -> None:
    """Against numpy: every tap in double precision, from the decoder's own pixels."""
    image = material.photo(width, height)
    made = make(material.saved(image, "png"), f"rs:inside:{target}:{target}")
    found = numpy.asarray(seen(made.data), dtype=float)
    wanted = _lanczos(_lanczos(numpy.asarray(image, dtype=float), made.height, 0), made.width, 1)
    error = float(((found - numpy.clip(wanted, 0, 255)) ** 2).mean())
    assert 10 * numpy.log10(255**2 / error) > 50


def _lanczos(pixels: Any, size: int, axis: int) -> Any:
    scale = pixels.shape[axis] / size
    support = 3 * max(1.0, scale)
    rows = []
    moved = numpy.moveaxis(pixels, axis, 0)
    for at in range(size):
        center = (at + 0.5) * scale
        first, last = max(0, int(center - support + 0.5)), min(moved.shape[0], int(center + support + 0.5))
        x = (numpy.arange(first, last) - center + 0.5) / max(1.0, scale)
        weights = numpy.sinc(x) * numpy.sinc(x / 3) * (numpy.abs(x) < 3)
        rows.append(numpy.tensordot(weights / weights.sum(), moved[first:last], 1))
    return numpy.moveaxis(numpy.stack(rows), 0, axis)


def test_srgb_sources_are_not_touched() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = material.saved(material.corners(), "png", icc_profile=profile)
    assert seen(make(data, "or:0").data).tobytes() == material.corners().tobytes()
