"""Reading JPEG against libjpeg-turbo and against Lanczos3 in floating point: samplings, scans, restarts, sizes, orientations, windows."""

from __future__ import annotations

import itertools
import struct

import numpy as np
import pytest

from nova.ext.jpeg import Result, Target, probe, thumbnail
from tests.ext.jpeg_files import UPRIGHT, Samples, cjpeg, djpeg, exif, lanczos, luma, needs_cjpeg, oriented, psnr, segment

pytestmark = needs_cjpeg

SAMPLINGS = [
    "1x1,1x1,1x1",
    "2x1,1x1,1x1",
    "2x2,1x1,1x1",
    "1x2,1x1,1x1",
    "4x1,1x1,1x1",
    "4x2,1x1,1x1",
    "3x1,1x1,1x1",
    "2x2,2x1,1x2",
    "1x1,2x2,2x2",
]
SCANS = [(), ("-progressive",), ("-restart", "1B"), ("-restart", "3B", "-progressive"), ("-restart", "1"), ("-optimize",)]


def one(data: bytes, target: Target, **options: object) -> Result:
    [result] = thumbnail(data, [target], **options).results  # type: ignore[arg-type]
    return result


def rgb(data: bytes, width: int, height: int, window: tuple[float, float, float, float] | None = None) -> Samples:
    return np.frombuffer(one(data, Target(width, height, output="rgb", window=window)).data, np.uint8).reshape(height, width, 3)


def grey(data: bytes, width: int, height: int, kernels: str = "", fast: bool = False) -> Samples:
    result = one(data, Target(width, height, output="planes"), kernels=kernels, fast=fast)
    at, w, h = result.planes[0]
    return np.frombuffer(result.data, np.uint8)[at : at + w * h].reshape(h, w)


@pytest.mark.parametrize("scan", SCANS, ids=" ".join)
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_every_sampling_and_kind_of_scan_is_read_as_libjpeg_does(sampling: str, scan: tuple[str, ...]) -> None:
    data = cjpeg(203, 117, "-sample", sampling, *scan)
    said = probe(data)
    assert said.supported and (said.width, said.height) == (203, 117)
    assert said.sampling == tuple((int(a), int(b)) for a, b in (pair.split("x") for pair in sampling.split(",")))
    assert said.progressive == ("-progressive" in scan)
    plain = grey(data, 203, 117, "scalar")
    # Where luma is what is subsampled, libjpeg repeats samples and we interpolate.
    assert psnr(plain, djpeg(data, "-grayscale")) > (55 if sampling != "1x1,2x2,2x2" else 40)
    assert (plain == grey(data, 203, 117)).all()


@pytest.mark.parametrize("scan", SCANS, ids=" ".join)
def test_grey_is_read_as_libjpeg_does(scan: tuple[str, ...]) -> None:
    data = cjpeg(203, 117, "-grayscale", *scan)
    assert probe(data).components == 1
    result = one(data, Target(203, 117, output="planes"))
    assert result.planes == ((0, 203, 117),)
    assert psnr(np.frombuffer(result.data, np.uint8).reshape(117, 203), djpeg(data)) > 55


@pytest.mark.parametrize(("width", "height"), [(1, 1), (8, 8), (9, 17), (16, 1), (1, 300), (500, 333)])
def test_sizes_that_are_no_whole_mcus(width: int, height: int) -> None:
    for options in ((), ("-progressive",)):
        data = cjpeg(width, height, "-sample", "2x2", *options)
        assert psnr(grey(data, width, height), djpeg(data, "-grayscale")) > 50


def test_scans_of_one_component_each_are_read(tmp_path: object) -> None:
    import pathlib

    script = pathlib.Path(str(tmp_path)) / "scans"
    script.write_text("0;\n1;\n2;\n")
    data = cjpeg(203, 117, "-sample", "2x2", "-scans", str(script))
    assert not probe(data).progressive
    assert (grey(data, 203, 117) == grey(cjpeg(203, 117, "-sample", "2x2"), 203, 117)).all()


def test_colours_are_libjpegs() -> None:
    data = cjpeg(160, 120, "-sample", "1x1", quality=95)
    assert psnr(rgb(data, 160, 120), djpeg(data)) > 50


@pytest.mark.parametrize("kind", [(), ("-progressive",)], ids=["baseline", "progressive"])
@pytest.mark.parametrize("part", range(2, 25))
def test_each_size_is_lanczos_of_the_whole_picture(part: int, kind: tuple[str, ...]) -> None:
    """Every number of coefficients (1 to 8 a side) is on the way."""
    data = cjpeg(640, 480, "-sample", "2x2", *kind)
    width, height = 640 * part // 32, 480 * part // 32
    want = lanczos(djpeg(data, "-grayscale"), width, height)
    found = grey(data, width, height)
    assert psnr(found, want) > (38 if part <= 3 else 41)
    assert (found == grey(data, width, height, "scalar")).all()


def test_fast_costs_less_than_it_could() -> None:
    data = cjpeg(640, 480, "-sample", "2x2")
    want = lanczos(djpeg(data, "-grayscale"), 80, 60)
    assert psnr(grey(data, 80, 60, fast=True), want) > 27


def test_larger_than_the_source_is_interpolated() -> None:
    data = cjpeg(40, 30, "-sample", "2x2")
    assert psnr(grey(data, 131, 97), lanczos(djpeg(data, "-grayscale"), 131, 97)) > 45


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 200), (300, 1), (2, 3)])
def test_a_few_pixels_of_many_are_a_mean(width: int, height: int, linear: bool) -> None:
    """More taps than samples: under the address sanitizer this reads no further than a row's room."""
    data = cjpeg(640, 480, "-sample", "2x2")
    made = one(data, Target(width, height, output="planes"), linear=linear)
    assert abs(float(np.frombuffer(made.data, np.uint8)[: width * height].mean()) - float(djpeg(data, "-grayscale").mean())) < (
        15 if linear else 6
    )


def test_another_shape_is_stretched() -> None:
    data = cjpeg(640, 480)
    assert psnr(grey(data, 100, 300), lanczos(djpeg(data, "-grayscale"), 100, 300)) > 38


def test_area_is_the_mean_of_what_a_pixel_covers() -> None:
    data = cjpeg(640, 480)
    result = one(data, Target(80, 60, output="planes", filter="area"))
    found = np.frombuffer(result.data, np.uint8)[: 80 * 60].reshape(60, 80)
    assert psnr(found, djpeg(data, "-grayscale").reshape(60, 8, 80, 8).mean(axis=(1, 3))) > 45


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_in_every_output(orientation: int) -> None:
    data = oriented(cjpeg(203, 118, "-sample", "2x2"), orientation, "<" if orientation % 2 else ">")
    said = probe(data)
    upright = UPRIGHT[orientation](djpeg(data))
    high, wide = upright.shape[:2]
    assert (said.orientation, said.upright_width, said.upright_height) == (orientation, wide, high)
    for width, height in ((wide, high), (wide // 2, high // 2), (61, 77)):
        want = lanczos(upright, width, height)
        assert psnr(rgb(data, width, height), want) > 36
        result = one(data, Target(width, height, quality=98))
        assert psnr(luma(djpeg(result.data)), luma(want)) > 37
        assert probe(result.data).orientation == 1
        result = one(data, Target(width, height, output="planes"))
        at, w, h = result.planes[1]
        cb = 128 - 0.168736 * want[..., 0] - 0.331264 * want[..., 1] + 0.5 * want[..., 2]
        padded = np.pad(cb, ((0, height & 1), (0, width & 1)), mode="edge")
        halves = padded.reshape(h, 2, w, 2).mean(axis=(1, 3))
        assert psnr(np.frombuffer(result.data, np.uint8)[at : at + w * h].reshape(h, w), halves) > 37


def test_orientation_can_be_left_alone() -> None:
    data = cjpeg(203, 118)
    assert one(oriented(data, 6), Target(50, 40), orient=False).data == one(data, Target(50, 40)).data


@pytest.mark.parametrize("value", [0, 9, 255, 65535])
def test_absurd_orientation_is_none(value: int) -> None:
    assert probe(oriented(cjpeg(16, 16), value)).orientation == 1


@pytest.mark.parametrize(
    "payload",
    [
        b"Exif\0\0",
        b"Exif\0\0MM\0*\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(50),
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x98\x82\x02\0\xff\0\0\0\xf0\xff\xff\xff" + bytes(4),
        b"Exif\0\0XX\0*\0\0\0\x08\0\x01" + bytes(20),
    ],
)
def test_broken_exif_is_ignored(payload: bytes) -> None:
    data = cjpeg(16, 16)
    said = probe(data[:2] + segment(0xE1, payload) + data[2:])
    assert (said.orientation, said.copyright, said.exif) == (1, "", True)


def test_copyright_is_read_and_nothing_else() -> None:
    text = b"A. Photographer\0An Editor\0"
    data = cjpeg(16, 16)
    head = exif([(0x8298, 2, len(text), struct.pack(">I", 26)), (0x8825, 4, 1, struct.pack(">I", 99))][:1], tail=text)
    assert probe(data[:2] + head + data[2:]).copyright == "A. Photographer; An Editor"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_window_is_a_part_of_the_upright_picture(orientation: int) -> None:
    data = oriented(cjpeg(400, 300, "-sample", "2x2"), orientation)
    upright = UPRIGHT[orientation](djpeg(data))
    for window, size in (
        ((100.0, 60.0, 128.0, 96.0), (128, 96)),
        ((20.5, 30.25, 190.0, 200.5), (64, 71)),
        ((0.0, 250.0, 40.0, 50.0), (40, 50)),
    ):
        assert psnr(luma(rgb(data, *size, window=window)), luma(lanczos(upright, *size, window=window))) > 40


def test_window_of_a_progressive_file() -> None:
    data = cjpeg(400, 300, "-sample", "2x2", "-progressive")
    window = (100.0, 150.0, 128.0, 96.0)
    assert psnr(luma(rgb(data, 64, 48, window)), luma(lanczos(djpeg(data), 64, 48, window))) > 40


def test_what_lies_behind_the_window_is_not_read() -> None:
    data = cjpeg(640, 480)
    half = data[: len(data) * 3 // 4]
    whole = one(data, Target(40, 40, window=(0, 0, 40, 40)))
    assert one(half, Target(40, 40, window=(0, 0, 40, 40))).data == whole.data


def test_several_sizes_from_one_decode_are_as_good_as_alone() -> None:
    data = cjpeg(1280, 960, "-sample", "2x2")
    sizes = [(150, 112), (1080, 810), (320, 240), (720, 540)]
    made = thumbnail(data, [Target(w, h, output="planes") for w, h in sizes]).results
    whole = djpeg(data, "-grayscale")
    for (width, height), result in zip(sizes, made, strict=True):
        assert (result.width, result.height) == (width, height)
        found = np.frombuffer(result.data, np.uint8)[: width * height].reshape(height, width)
        want = lanczos(whole, width, height)
        assert psnr(found, want) > psnr(grey(data, width, height), want) - 1.5
        assert psnr(found, want) > 39


def test_targets_of_different_windows_share_the_decode() -> None:
    data = cjpeg(640, 480, "-sample", "2x2")
    windows = [(0.0, 0.0, 640.0, 480.0), (80.0, 60.0, 320.0, 320.0), (500.0, 400.0, 140.0, 80.0)]
    sizes = [(320, 240), (100, 100), (70, 40)]
    made = thumbnail(data, [Target(*size, output="rgb", window=window) for size, window in zip(sizes, windows, strict=True)]).results
    for (width, height), window, result in zip(sizes, windows, made, strict=True):
        found = np.frombuffer(result.data, np.uint8).reshape(height, width, 3)
        assert psnr(luma(found), luma(lanczos(djpeg(data), width, height, window))) > 39


def test_an_icc_profile_is_put_together_from_its_pieces() -> None:
    profile = bytes(range(256)) * 500
    pieces = [profile[at : at + 60000] for at in range(0, len(profile), 60000)]
    marked = [segment(0xE2, b"ICC_PROFILE\0" + bytes([i + 1, len(pieces)]) + piece) for i, piece in enumerate(pieces)]
    data = cjpeg(16, 16)
    for order in itertools.permutations(marked):
        said = probe(data[:2] + b"".join(order) + data[2:])
        assert said.icc and said.icc_profile == profile
    said = probe(data[:2] + b"".join(marked[:-1]) + data[2:])
    assert said.icc and said.icc_profile == b""


def test_fill_bytes_before_markers_are_passed_over() -> None:
    data = cjpeg(64, 48, "-restart", "1B")
    at = data.index(b"\xff\xd1")
    padded = data[:2] + b"\xff\xff\xff" + data[2:at] + b"\xff\xff" + data[at:]
    assert one(padded, Target(64, 48)).data == one(data, Target(64, 48)).data


def test_what_follows_the_picture_is_not_looked_at() -> None:
    data = cjpeg(64, 48)
    assert one(data + b"a second picture, or a film", Target(64, 48)).data == one(data, Target(64, 48)).data


def test_any_readable_buffer_will_do() -> None:
    data = cjpeg(64, 48)
    wanted = one(data, Target(10, 10)).data
    assert one(bytearray(data), Target(10, 10)).data == wanted  # type: ignore[arg-type]
    assert one(memoryview(data), Target(10, 10)).data == wanted  # type: ignore[arg-type]


def test_placeholder_comes_with_the_targets_or_alone() -> None:
    data = oriented(cjpeg(400, 200, "-sample", "2x2"), 6)
    alone = thumbnail(data, [], placeholder=True)
    beside = thumbnail(data, [Target(100, 200)], placeholder=True)
    mean = djpeg(data).mean(axis=(0, 1))
    for found in (alone, beside):
        assert len(found.thumbhash) in range(15, 26)
        lightness = (found.thumbhash[0] & 63) / 63
        assert abs(lightness - mean.mean() / 255) < 0.03
        assert found.thumbhash[4] >> 7 == 0  # upright, it is a portrait
        assert found.color[0] == "#" and len(found.color) == 7
    assert alone.results == [] and len(beside.results) == 1
    assert thumbnail(data, [Target(100, 200)]).color == ""
