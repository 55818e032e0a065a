"""PNG files for the tests, chunk by chunk and filter by filter, and their rows in a few lines (PNG, third edition, 9)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.uint8]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}  # colour type by the number of channels


def chunk(name: bytes, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))


def ihdr(width: int, height: int, colour: int, depth: int = 8, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


def paeth(a: int, b: int, c: int) -> int:
    guess = a + b - c
    return min((abs(guess - a), 0, a), (abs(guess - b), 1, b), (abs(guess - c), 2, c))[2]


def filtered(rows: Sequence[bytes], bpp: int, types: Iterable[int]) -> bytes:
    """What is compressed: each row behind the type of its filter."""
    out, above = bytearray(), bytes(len(rows[0]))
    for row, kind in zip(rows, types, strict=False):
        out.append(kind)
        for i, value in enumerate(row):
            left, upper_left = (row[i - bpp], above[i - bpp]) if i >= bpp else (0, 0)
            guess = (0, left, above[i], (left + above[i]) // 2, paeth(left, above[i], upper_left))[kind]
            out.append((value - guess) & 255)
        above = row
    return bytes(out)


def rows_of(samples: Samples) -> list[bytes]:
    return [row.tobytes() for row in samples]


def png(
    samples: Samples, *, types: Sequence[int] = (0, 1, 2, 3, 4), before: bytes = b"", after: bytes = b"", piece: int = 1 << 30
) -> bytes:
    """Height x width x channels (1 to 4) as a file; its filters in turn, its compressed bytes in IDATs of `piece` bytes."""
    height, width, channels = samples.shape
    data = zlib.compress(filtered(rows_of(samples), channels, [types[y % len(types)] for y in range(height)]))
    idats = b"".join(chunk(b"IDAT", data[at : at + piece]) for at in range(0, len(data), piece))
    return SIGNATURE + ihdr(width, height, COLOURS[channels]) + before + idats + after + chunk(b"IEND")
