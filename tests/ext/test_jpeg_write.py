"""Writing JPEG: libjpeg-turbo reads it, its sizes are libjpeg-turbo's, and what was asked for is in it and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from nova.ext.jpeg import Target, encode, probe, thumbnail
from tests.ext.jpeg_files import cjpeg, djpeg, exif, luma, needs_cjpeg, picture, psnr, segment, segments

pytestmark = needs_cjpeg


@pytest.mark.parametrize("kernels", ["scalar", ""])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (8, 8), (17, 9), (301, 203)])
@pytest.mark.parametrize("subsampling", [420, 444])
def test_every_kind_of_file_is_read_by_libjpeg(width: int, height: int, subsampling: int, kernels: str) -> None:
    pixels = picture(width, height)
    files = [
        encode(pixels.tobytes(), width, height, quality=90, subsampling=subsampling, kernels=kernels, **kind).data  # type: ignore[arg-type]
        for kind in ({}, {"optimize": True}, {"progressive": True})
    ]
    plain, optimal, progressive = (djpeg(data) for data in files)
    assert (plain == optimal).all() and (plain == progressive).all()  # the same coefficients
    assert psnr(luma(plain), luma(pixels)) > 35
    assert [probe(data).progressive for data in files] == [False, False, True]
    assert probe(files[0]).sampling[0] == ((2, 2) if subsampling == 420 else (1, 1))


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 80, 95, 100])
def test_quality_and_size_are_those_of_libjpeg(quality: int) -> None:
    pixels = picture(301, 203)
    theirs = cjpeg(301, 203, "-sample", "2x2", "-baseline", quality=quality)
    ours = encode(pixels.tobytes(), 301, 203, quality=quality).data
    tables = [dict(segments(data))[0xC0][-9:] for data in (ours, theirs)]
    assert tables[0] == tables[1]
    assert b"".join(p[1:] for m, p in segments(ours) if m == 0xDB) == b"".join(p[1:] for m, p in segments(theirs) if m == 0xDB)
    assert len(ours) == pytest.approx(len(theirs), rel=0.02)
    assert psnr(luma(djpeg(ours)), luma(pixels)) > psnr(luma(djpeg(theirs)), luma(pixels)) - 0.1


def test_optimal_codes_and_progressive_scans_are_smaller() -> None:
    pixels = picture(301, 203).tobytes()
    plain, optimal, progressive = (
        len(encode(pixels, 301, 203, **kind).data)  # type: ignore[arg-type]
        for kind in ({}, {"optimize": True}, {"progressive": True})
    )
    assert optimal < plain and progressive < plain
    assert optimal == pytest.approx(len(cjpeg(301, 203, "-sample", "2x2", "-optimize", quality=80)), rel=0.02)
    assert progressive == pytest.approx(len(cjpeg(301, 203, "-sample", "2x2", "-progressive", quality=80)), rel=0.02)


def test_noise_and_flat_fields_survive() -> None:
    rng = np.random.default_rng(3)
    noise = rng.integers(0, 256, (64, 80, 3)).astype(np.uint8)
    for pixels in (noise, np.zeros_like(noise), np.full_like(noise, 255), np.where(noise > 127, 255, 0).astype(np.uint8)):
        for kind in ({}, {"optimize": True}, {"progressive": True}):
            data = encode(pixels.tobytes(), 80, 64, quality=100, subsampling=444, **kind).data  # type: ignore[arg-type]
            assert psnr(djpeg(data), pixels) > 38


def test_grey_stays_grey() -> None:
    samples = picture(64, 48)[..., 1]
    result = encode(np.ascontiguousarray(samples).tobytes(), 64, 48, quality=95)
    assert probe(result.data).components == 1
    assert psnr(djpeg(result.data), samples) > 38
    assert probe(thumbnail(cjpeg(64, 48, "-grayscale"), [Target(20, 20)]).results[0].data).components == 1


@pytest.mark.parametrize("kind", [{}, {"progressive": True}, {"optimize": True}])
def test_most_bytes_takes_the_best_quality_that_fits(kind: dict[str, bool]) -> None:
    pixels = picture(301, 203).tobytes()
    whole = encode(pixels, 301, 203, quality=85, **kind)  # type: ignore[arg-type]
    assert (whole.quality, whole.fits) == (85, True)
    limit = len(whole.data) * 2 // 3
    made = encode(pixels, 301, 203, quality=85, max_bytes=limit, **kind)  # type: ignore[arg-type]
    assert made.fits and len(made.data) <= limit and made.quality < 85
    better = encode(pixels, 301, 203, quality=made.quality + 1, **kind)  # type: ignore[arg-type]
    assert len(better.data) > limit
    assert made.data == encode(pixels, 301, 203, quality=made.quality, **kind).data  # type: ignore[arg-type]


def test_most_bytes_that_cannot_be_met_says_so() -> None:
    made = encode(picture(301, 203).tobytes(), 301, 203, max_bytes=300)
    assert (made.fits, made.quality) == (False, 10)


def test_nothing_of_the_source_but_its_pixels_is_in_the_result() -> None:
    gps = exif([(0x8825, 4, 1, b"\0\0\0\x1a"), (0x0112, 3, 1, b"\0\x03\0\0")], tail=b"GPSSECRET")
    data = cjpeg(64, 48)
    marked = (
        data[:2]
        + gps
        + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0GPSSECRET")
        + segment(0xED, b"GPSSECRET")
        + segment(0xFE, b"GPSSECRET")
    )
    for kind in ({}, {"progressive": True}, {"optimize": True}):
        made = thumbnail(marked + data[2:], [Target(32, 24, **kind)]).results[0].data  # type: ignore[arg-type]
        assert b"GPS" not in made and b"Exif" not in made
        assert {marker for marker, _ in segments(made)} <= {0xE0, 0xDB, 0xC0, 0xC2, 0xC4}


@pytest.mark.parametrize("text", ["A", "abc", "abcd", "© A. Photographer, 2026"])
def test_copyright_is_written_alone(text: str) -> None:
    made = thumbnail(cjpeg(64, 48), [Target(32, 24, copyright=text)]).results[0].data
    said = probe(made)
    assert (said.copyright, said.orientation) == (text, 1)
    assert djpeg(made).shape == (24, 32, 3)


@pytest.mark.parametrize("size", [100, 65519, 65520, 200_000])
def test_profile_is_kept_when_asked_to(size: int) -> None:
    profile = np.random.default_rng(1).integers(0, 256, size).astype(np.uint8).tobytes()
    made = thumbnail(cjpeg(64, 48), [Target(32, 24, icc=profile)]).results[0].data
    assert probe(made).icc_profile == profile
    assert djpeg(made).shape == (24, 32, 3)


def test_values_out_of_range_are_refused() -> None:
    for wrong in (
        {"quality": 0},
        {"quality": 101},
        {"subsampling": 422},
        {"max_bytes": -1},
        {"output": "png"},
        {"filter": "cubic"},
        {"window": (0, 0, 0, 5)},
        {"window": (0, 0, float("nan"), 5)},
        {"icc": bytes(2 << 20)},
    ):
        with pytest.raises(ValueError):
            Target(10, 10, **wrong)  # type: ignore[arg-type]
    for width, height in ((0, 1), (1, 0), (20000, 1)):
        with pytest.raises(ValueError):
            Target(width, height)
    with pytest.raises(ValueError, match="neither"):
        encode(bytes(5), 2, 2)
