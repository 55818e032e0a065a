"""Resizing in linear light against the same in floating point."""

from __future__ import annotations

import numpy as np
import pytest

from nova.ext.jpeg import Target, encode, thumbnail
from tests.ext.jpeg_files import UPRIGHT, cjpeg, djpeg, from_linear, lanczos, luma, needs_cjpeg, oriented, psnr, to_linear

pytestmark = needs_cjpeg


@pytest.mark.parametrize("kind", [(), ("-progressive",)], ids=["baseline", "progressive"])
@pytest.mark.parametrize("sampling", ["1x1", "2x1", "2x2", "4x1"])
@pytest.mark.parametrize(("width", "height"), [(40, 30), (320, 240), (600, 450)])
def test_light_is_what_is_weighed(width: int, height: int, sampling: str, kind: tuple[str, ...]) -> None:
    data = cjpeg(640, 481, "-sample", sampling, *kind)
    want = from_linear(lanczos(to_linear(djpeg(data)), width, height))
    made = [thumbnail(data, [Target(width, height, output="rgb")], linear=True, kernels=k).results[0].data for k in ("scalar", "")]
    assert made[0] == made[1]
    assert psnr(np.frombuffer(made[0], np.uint8).reshape(height, width, 3), want) > (
        45 if sampling != "4x1" else 38
    )  # libjpeg repeats its chroma
    file = thumbnail(data, [Target(width, height, quality=98)], linear=True).results[0].data
    assert psnr(luma(djpeg(file)), luma(want)) > 45


def test_fine_stripes_keep_their_light() -> None:
    """Black and white in turn are half of the light, which is a sample of 188, not of 128."""
    stripes = np.zeros((128, 128), np.uint8)
    stripes[:, ::2] = 255
    data = encode(stripes.tobytes(), 128, 128, quality=100).data
    plain, linear = (
        np.frombuffer(thumbnail(data, [Target(16, 16, output="planes")], linear=linear).results[0].data, np.uint8)
        for linear in (False, True)
    )
    assert abs(float(plain.mean()) - 128) < 2
    assert abs(float(linear.mean()) - 188) < 2


@pytest.mark.parametrize("orientation", [2, 4, 5, 7])
def test_orientation_and_windows_hold_there_too(orientation: int) -> None:
    data = oriented(cjpeg(301, 203, "-sample", "2x2"), orientation)
    window = (20.0, 30.0, 101.0, 77.0)
    want = from_linear(lanczos(to_linear(UPRIGHT[orientation](djpeg(data))), 51, 39, window))
    made = thumbnail(data, [Target(51, 39, quality=98, window=window)], linear=True).results[0].data
    assert psnr(luma(djpeg(made)), luma(want)) > 38


def test_grey_and_several_sizes() -> None:
    data = cjpeg(640, 480, "-grayscale")
    light = to_linear(djpeg(data))
    made = thumbnail(data, [Target(w, w * 3 // 4, output="planes") for w in (320, 80)], linear=True, placeholder=True)
    for result in made.results:
        found = np.frombuffer(result.data, np.uint8).reshape(result.height, result.width)
        assert psnr(found, from_linear(lanczos(light, result.width, result.height))) > 45
    assert made.color and made.thumbhash
