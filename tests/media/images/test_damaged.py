"""Files that are wrong: a coded answer, in little time, and never another picture's pixels."""

import random

import pytest

from nova.core.errors import NovaError, TooLarge, Unprocessable, UnsupportedType
from nova.media.images import sniff
from nova.media.images.job import Job, Output
from nova.media.images.options import parse
from nova.media.images.render import render
from nova.media.images.sniff import Limits
from tests.media.images import material
from tests.media.images.material import STILL

JOB = Job([Output(parse("rs:inside:32:32")[0], "webp"), Output(parse("q:70")[0], "jpg")], facts=True)
CODES = {"bad_image", "image_too_large", "unsupported_image"}


def verdict(data: bytes, job: Job = JOB) -> str:
    """The code of the refusal; `ok` when there are results."""
    try:
        render(data, job)
    except NovaError as error:
        return error.code
    return "ok"


@pytest.mark.parametrize("format", STILL)
def test_files_that_end_early_are_refused(format: str) -> None:
    data = material.saved(material.photo(80, 60), format)
    for size in (*range(0, 64, 3), *(len(data) * part // 100 for part in range(5, 95, 10))):
        assert verdict(data[:size]) in CODES, size


@pytest.mark.parametrize("format", STILL)
def test_flipped_bits_give_pixels_or_a_code(format: str) -> None:
    data = material.saved(material.photo(80, 60), format)
    rng = random.Random(format)
    for _ in range(40):
        damaged = bytearray(data)
        for _ in range(rng.choice([1, 3, 20])):
            damaged[rng.randrange(len(data)) if rng.random() < 0.6 else rng.randrange(min(len(data), 200))] ^= 1 << rng.randrange(8)
        assert verdict(bytes(damaged)) in CODES | {"ok"}


@pytest.mark.parametrize("format", ["gif", "webp"])
def test_damaged_animations_give_frames_or_a_code(format: str) -> None:
    data = material.animation(format, frames=12)
    rng = random.Random(format)
    job = Job([Output(parse("rs:inside:20:20")[0], "webp")])
    for _ in range(30):
        damaged = bytearray(data[: rng.randrange(20, len(data) + 1)])
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        assert verdict(bytes(damaged), job) in CODES | {"ok"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"BM" + bytes(60),
        b"8BPS" + bytes(60),
        b"%!PS-Adobe",
        b"\0" * 100,
        b"%PDF-1.4",
    ],
)
def test_what_is_no_picture_of_ours_is_refused_by_its_bytes(data: bytes) -> None:
    with pytest.raises(UnsupportedType) as refused:
        sniff.look(memoryview(data), Limits())
    assert refused.value.code == "unsupported_image"


def test_bombs_are_refused_by_their_header() -> None:
    for data in (
        material.png_of(30_000, 30_000, b"x"),
        material.png_of(0x7FFFFFFF, 1, b"x"),
        b"GIF89a" + b"\xff\xff\xff\xff\0\0\0" + b"," + bytes(4) + b"\xff\xff\xff\xff\0" + b"\x08\0;",
        b"RIFF\0\0\0\0WEBPVP8X" + bytes([10, 0, 0, 0, 0, 0, 0, 0]) + b"\xff\xff\xff\xff\xff\xff",
        b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03" + bytes(9) + b"\xff\xda\0\x02",
        b"II*\0\x08\0\0\0\x02\0\0\x01\x04\0\x01\0\0\0\0\0\x01\0\x01\x01\x04\0\x01\0\0\0\0\0\x01\0\0\0\0\0",
    ):
        with pytest.raises(TooLarge) as refused:
            render(data, JOB)
        assert refused.value.code == "image_too_large"
    with pytest.raises(TooLarge):
        render(material.scan_bomb(120), JOB)


def test_a_file_that_is_too_long_is_not_looked_at() -> None:
    with pytest.raises(TooLarge):
        sniff.look(memoryview(material.saved(material.corners(), "png") + bytes(1000)), Limits(file_bytes=1000))


def test_zero_sizes_are_refused() -> None:
    for data in (
        material.png_of(0, 5),
        b"GIF89a" + bytes(7) + b"," + bytes(9) + b"\x08\0;",
        b"\xff\xd8\xff\xc0\0\x11\x08\0\0\0\0\x03" + bytes(9) + b"\xff\xda\0\x02",
    ):
        with pytest.raises(Unprocessable) as refused:
            render(data, JOB)
        assert refused.value.code == "bad_image"


def test_a_long_animation_has_an_end() -> None:
    data = material.animation("gif", frames=30)
    limits = Limits(frames=20)
    assert verdict(data, Job(JOB.outputs, limits=limits)) == "image_too_large"
    endless = data[:-1] + data[data.index(b"!\xf9", 400) : -1] * 40 + b";"
    assert verdict(endless, Job(JOB.outputs, limits=limits)) == "image_too_large"
    pixels = Limits(total_pixels=60 * 40 * 10)
    assert verdict(data, Job([Output(parse("q:50")[0], "webp")], limits=pixels)) == "image_too_large"


def test_a_strip_of_the_greatest_width_is_served_small_only() -> None:
    data = material.png_of(65_535, 8)
    assert verdict(data, Job([Output(parse("rs:inside:320:320")[0], "webp")])) == "ok"
    assert verdict(data, Job([Output(parse("q:50")[0], "jpg")])) == "image_too_large"


def test_absurd_exif_is_no_orientation() -> None:
    for exif in (
        b"Exif\0\0" + b"II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\0\x03\0\0\0\x01\0\x63\0\0" * 40,
        b"Exif\0\0" + bytes(200),
    ):
        data = material.saved(material.corners(), "jpeg", exif=exif)
        done = render(data, Job(facts=True))
        assert done.facts is not None
        assert (done.facts.orientation, done.facts.width) == (1, 96)


def test_the_name_says_nothing() -> None:
    """A GIF that pretends to be a JPEG is read as what it is."""
    assert sniff.look(memoryview(material.saved(material.corners(), "gif")), Limits()).format == "gif"
