"""JPEG files for the tests, by libjpeg-turbo's programs; a decoder that is not ours; and pictures measured in floating point."""

from __future__ import annotations

import shutil
import struct
import subprocess
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

Samples = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

needs_cjpeg = pytest.mark.skipif(
    shutil.which("cjpeg") is None, reason="libjpeg-turbo's programs (Debian: libjpeg-turbo-progs) are not here"
)


@cache
def picture(width: int, height: int, seed: int = 1) -> Samples:
    """Smooth hills, an edge and a camera's noise, in colour."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    phase = rng.uniform(0, 6, (3, 4))
    out = np.empty((height, width, 3))
    for c in range(3):
        out[..., c] = 120 + 50 * np.sin(x / 37 + phase[c, 0]) * np.cos(y / 29 + phase[c, 1]) + 20 * np.sin((x + 2 * y) / 7 + phase[0, 2])
    out[(x - width / 3) ** 2 + (y - height / 2) ** 2 < (min(width, height) / 4) ** 2] += (60, -40, 20)
    out += rng.normal(0, 5, (height, width, 1)) + rng.normal(0, 2, (height, width, 3))
    return np.clip(out, 0, 255).astype(np.uint8)


def _run(command: list[str], data: bytes) -> bytes:
    return subprocess.run(command, input=data, check=True, capture_output=True, timeout=60).stdout


@cache
def _cjpeg(width: int, height: int, seed: int, options: tuple[str, ...]) -> bytes:
    return _run(["cjpeg", *options], b"P6 %d %d 255\n" % (width, height) + picture(width, height, seed).tobytes())


def cjpeg(width: int, height: int, *options: str, seed: int = 1, quality: int = 90) -> bytes:
    """`picture` as a file."""
    return _cjpeg(width, height, seed, ("-quality", str(quality), *options))


def djpeg(data: bytes, *options: str) -> Samples:
    """Height x width x 3 samples, or height x width of a grey file: by libjpeg-turbo."""
    kind, size, _, rest = _run(["djpeg", "-dct", "float", *options], data).split(b"\n", 3)
    width, height = (int(value) for value in size.split())
    shape = (height, width, 3) if kind == b"P6" else (height, width)
    return np.frombuffer(rest, np.uint8).reshape(shape)


def luma(rgb: npt.NDArray[np.generic]) -> Floats:
    return np.asarray(rgb, np.float64) @ np.array([0.299, 0.587, 0.114])


def psnr(a: npt.NDArray[np.generic], b: npt.NDArray[np.generic]) -> float:
    error = float(np.mean((np.asarray(a, np.float64) - np.asarray(b, np.float64)) ** 2))
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))


def _lanczos(x: Floats) -> Floats:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


def _weights(size: int, out: int, start: float, length: float) -> Floats:
    step = length / out
    wide = max(step, 1.0)
    center = start + (np.arange(out)[:, None] + 0.5) * step
    w = _lanczos((np.arange(size)[None, :] + 0.5 - center) / wide)
    return np.asarray(w / w.sum(axis=1, keepdims=True), np.float64)


def lanczos(plane: npt.NDArray[np.generic], width: int, height: int, window: tuple[float, float, float, float] | None = None) -> Floats:
    """Lanczos3 of a plane (or of each channel) in floating point: what every other answer is held against."""
    x, y, w, h = window or (0, 0, plane.shape[1], plane.shape[0])
    down = _weights(plane.shape[0], height, y, h)
    across = _weights(plane.shape[1], width, x, w)
    return np.asarray(np.einsum("ab,bc...,dc->ad...", down, np.asarray(plane, np.float64), across, optimize=True), np.float64)


UPRIGHT = {  # EXIF 2.3, 4.6.4.A: stored samples to the upright picture
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def exif(entries: list[tuple[int, int, int, bytes]], order: str = ">", tail: bytes = b"") -> bytes:
    """An APP1 segment of (tag, type, count, four bytes of value or offset) in one directory; `tail` follows it at offset 14 + 12 n."""
    head = (b"MM" if order == ">" else b"II") + struct.pack(order + "HIH", 42, 8, len(entries))
    body = b"".join(struct.pack(order + "HHI", tag, kind, count) + value for tag, kind, count, value in entries)
    return segment(0xE1, b"Exif\0\0" + head + body + bytes(4) + tail)


def oriented(data: bytes, orientation: int, order: str = ">") -> bytes:
    return data[:2] + exif([(0x0112, 3, 1, struct.pack(order + "HH", orientation, 0))], order) + data[2:]


def segments(data: bytes) -> list[tuple[int, bytes]]:
    """(marker, payload) up to the first scan."""
    found, at = [], 2
    while data[at + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, at + 2)
        found.append((data[at + 1], data[at + 4 : at + 2 + length]))
        at += 2 + length
    return found


def to_linear(samples: npt.NDArray[np.generic]) -> Floats:
    """sRGB samples to linear light, 0 to 1 (IEC 61966-2-1)."""
    v = np.asarray(samples, np.float64) / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def from_linear(light: Floats) -> Floats:
    v = np.clip(light, 0, 1)
    return np.asarray(255 * np.where(v <= 0.0031308, v * 12.92, 1.055 * v ** (1 / 2.4) - 0.055), np.float64)
