"""Resizing in linear light against the same in floating point."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from nova.ext.jpeg import JpegError, Target, encode, resize_linear, thumbnail
from tests.ext.jpeg_files import UPRIGHT, cjpeg, djpeg, from_linear, lanczos, luma, needs_cjpeg, oriented, psnr, to_linear


@needs_cjpeg
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


@needs_cjpeg
@pytest.mark.parametrize("orientation", [2, 4, 5, 7])
def test_orientation_and_windows_hold_there_too(orientation: int) -> None:
    data = oriented(cjpeg(301, 203, "-sample", "2x2"), orientation)
    window = (20.0, 30.0, 101.0, 77.0)
    want = from_linear(lanczos(to_linear(UPRIGHT[orientation](djpeg(data))), 51, 39, window))
    made = thumbnail(data, [Target(51, 39, quality=98, window=window)], linear=True).results[0].data
    assert psnr(luma(djpeg(made)), luma(want)) > 38


@needs_cjpeg
def test_grey_and_several_sizes() -> None:
    data = cjpeg(640, 480, "-grayscale")
    light = to_linear(djpeg(data))
    made = thumbnail(data, [Target(w, w * 3 // 4, output="planes") for w in (320, 80)], linear=True, placeholder=True)
    for result in made.results:
        found = np.frombuffer(result.data, np.uint8).reshape(result.height, result.width)
        assert psnr(found, from_linear(lanczos(light, result.width, result.height))) > 45
    assert made.color and made.thumbhash


Window = tuple[float, float, float, float]


def lit(samples: npt.NDArray[np.uint8], width: int, height: int, window: Window | None) -> npt.NDArray[np.floating]:
    """The same in floating point: light is weighed by alpha, alpha as it is."""
    light = to_linear(samples[..., :3] if samples.shape[2] == 4 else samples)
    if samples.shape[2] < 4:
        return from_linear(lanczos(light, width, height, window))
    alpha = samples[..., 3:] / 255
    thick = np.clip(lanczos(alpha, width, height, window), 1e-9, None)
    colour = from_linear(np.clip(lanczos(light * alpha, width, height, window) / thick, 0, 1))
    return np.concatenate([colour, np.clip(thick, 0, 1) * 255], -1)


@pytest.mark.parametrize("window", [None, (20.0, 30.5, 101.0, 77.0)])
@pytest.mark.parametrize(("width", "height"), [(40, 31), (300, 200), (1, 1), (640, 411)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_packed_samples_are_weighed_by_their_light(channels: int, width: int, height: int, window: Window | None) -> None:
    random = np.random.default_rng(channels)
    y, x = np.mgrid[0:203, 0:301]
    waves = [np.sin(x / (9 + c)) * 60 + np.cos(y / (13 - c)) * 50 + 128 + random.normal(0, 6, x.shape) for c in range(channels)]
    samples = np.clip(np.stack(waves, -1), 0, 255).astype(np.uint8)
    if channels == 4:
        samples[..., 3] = np.clip(samples[..., 3], 40, 255)
    made = [resize_linear(samples.tobytes(), 301, 203, channels, width, height, window=window, kernels=k) for k in ("scalar", "")]
    assert made[0] == made[1]
    found = np.frombuffer(made[0], np.uint8).reshape(height, width, channels)
    assert psnr(found, lit(samples, width, height, window)) > 45


def test_what_shines_through_lends_no_colour() -> None:
    samples = np.zeros((64, 64, 4), np.uint8)
    samples[:, :32] = (0, 0, 255, 255)
    samples[:, 32:] = (255, 0, 0, 0)
    made = np.frombuffer(resize_linear(samples.tobytes(), 64, 64, 4, 16, 16), np.uint8).reshape(16, 16, 4)
    assert made[..., 0].max() == 0
    assert made[8, 0].tolist() == [0, 0, 255, 255]
    assert made[8, 15, 3] == 0


def test_packed_samples_are_as_many_as_was_said() -> None:
    for data, channels, size in ((bytes(11), 3, (2, 2)), (bytes(12), 2, (2, 2)), (bytes(12), 3, (0, 2)), (bytes(12), 3, (70_000, 2))):
        with pytest.raises(ValueError, match=r"bytes|channels|side"):
            resize_linear(data, 2, 2, channels, *size)
    with pytest.raises(ValueError, match="window"):
        resize_linear(bytes(12), 2, 2, 3, 2, 2, window=(0, 0, 0, 1))
    with pytest.raises(JpegError):
        resize_linear(bytes(12), 2, 2, 3, 2, 2, memory=16)
