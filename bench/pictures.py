"""Pictures for the benchmarks, made here: hills of every size under a camera's noise; and what they are measured with."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

KEPT = Path("build/bench/pictures")
Floats = npt.NDArray[np.float64]


def scene(width: int, height: int, seed: int) -> npt.NDArray[np.uint8]:
    """Noise of every wavelength from 256 pixels down, mostly without colour, then a sensor's."""
    rng = np.random.default_rng(seed)
    out = np.full((height, width, 3), 118, np.float32)
    wavelength, strength = 256, 50.0
    while wavelength >= 2:
        grid = rng.standard_normal((height // wavelength + 3, width // wavelength + 3, 3)).astype(np.float32)
        grid = grid.mean(2, keepdims=True) * 0.85 + grid * 0.3
        box = (0.5, 0.5, 0.5 + width / wavelength, 0.5 + height / wavelength)
        for c in range(3):
            layer = Image.fromarray(grid[..., c]).resize((width, height), Image.Resampling.BICUBIC, box=box)
            out[..., c] += np.asarray(layer) * strength
        strength *= 0.62
        wavelength //= 2
    out += (
        rng.standard_normal((height, width, 3)).astype(np.float32) * 3.6 + rng.standard_normal((height, width, 1)).astype(np.float32) * 3.6
    )
    return np.clip(out, 0, 255).astype(np.uint8)


@cache
def photo(width: int, height: int, *, progressive: bool = False, seed: int = 7) -> bytes:
    """A JPEG of quality 90, 4:2:0."""
    path = KEPT / f"{width}x{height}-{seed}{'-progressive' if progressive else ''}.jpg"
    if not path.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        Image.fromarray(scene(width, height, seed)).save(buffer, "JPEG", quality=90, subsampling="4:2:0", progressive=progressive)
        path.write_bytes(buffer.getvalue())
    return path.read_bytes()


@cache
def clear(width: int, height: int, *, seed: int = 7) -> bytes:
    """A PNG of RGBA, opaque in a disc with a soft edge."""
    path = KEPT / f"{width}x{height}-{seed}-clear.png"
    if not path.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        y, x = np.mgrid[0:height, 0:width]
        far = np.hypot(x - width / 2, y - height / 2) / (min(width, height) / 2)
        alpha = np.clip((1 - far) * 900 + 128, 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(np.dstack([scene(width, height, seed), alpha]), "RGBA").save(buffer, "PNG")
        path.write_bytes(buffer.getvalue())
    return path.read_bytes()


def fit(width: int, height: int, longest: int) -> tuple[int, int]:
    scale = longest / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def luma(data: bytes) -> Floats:
    """Y as it is stored."""
    image = Image.open(io.BytesIO(data))
    image.draft("L", image.size)
    return np.asarray(image.convert("L"), np.float64)


def _weights(size: int, out: int) -> Floats:
    step = size / out
    x = (np.arange(size)[None, :] + 0.5 - (np.arange(out)[:, None] + 0.5) * step) / max(step, 1.0)
    w = np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)
    return np.asarray(w / w.sum(axis=1, keepdims=True), np.float64)


@cache
def reference(data: bytes, width: int, height: int) -> Floats:
    """The whole picture, then Lanczos3 in floating point."""
    whole = luma(data)
    return np.asarray(_weights(whole.shape[0], height) @ whole @ _weights(whole.shape[1], width).T, np.float64)


def psnr(made: bytes, source: bytes) -> float:
    """Of luma against the reference, dB."""
    found = luma(made)
    return float(10 * np.log10(255**2 / np.mean((found - reference(source, found.shape[1], found.shape[0])) ** 2)))


def weighed(data: bytes) -> Floats:
    """Colours by their alpha, and alpha: what is not seen does not count."""
    samples = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"), np.float64)
    samples[..., :3] *= samples[..., 3:] / 255
    return samples


@cache
def reference_clear(data: bytes, width: int, height: int) -> Floats:
    """The whole picture, weighed by its alpha, then Lanczos3 in floating point."""
    whole = weighed(data)
    lines = np.einsum("ab,bcd->acd", _weights(whole.shape[0], height), whole, optimize=True)
    return np.clip(np.einsum("ab,cbd->cad", _weights(whole.shape[1], width), lines, optimize=True), 0, 255)


def psnr_clear(made: bytes, source: bytes) -> float:
    """Of what is seen of a picture with alpha against the reference, dB."""
    found = weighed(made)
    return float(10 * np.log10(255**2 / np.mean((found - reference_clear(source, found.shape[1], found.shape[0])) ** 2)))
