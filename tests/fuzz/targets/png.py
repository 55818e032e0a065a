"""PNG: chunks and rows of damaged files; plain C and the best kernels of this machine give the same answer, in any split."""

import zlib

import numpy as np

from nova.ext.png import File, PngError, Shrinker
from tests.exact import exact
from tests.ext.png_files import chunk, png
from tests.fuzz.registry import target

SAMPLES = np.arange(9 * 14 * 4, dtype=np.uint32).reshape(9, 14, 4) * 2654435761 >> 7
FILES = [png((SAMPLES[..., :channels] & 255).astype(np.uint8), piece=piece) for channels in (1, 2, 3, 4) for piece in (20, 9999)]


@target(
    "png-chunks",
    seeds=FILES,
    words=[b"IDAT", b"IEND", b"\0\0\0\0IDAT", chunk(b"tIME"), chunk(b"IDAT", b"abc"), b"\xff\xff\xff\xff", b"\0\0\0\x01"],
)
def png_chunks(data: bytes) -> object:
    try:
        file = File(bytes(data))
    except PngError as error:
        return error.code
    assert all(8 <= at < end <= len(data) for _, at, end in file.chunks)
    most, found = len(data) % 13 + 1, b""
    while piece := file.read(most):
        assert len(piece) <= most
        found += piece
    assert File(bytes(data)).read(len(data)) == found
    try:
        return file.odd, len(file.chunks), len(zlib.decompressobj().decompress(found, 5000)) > 100
    except zlib.error:
        return file.odd, len(file.chunks), "damaged"


def _rows(data: bytes, shape: tuple[int, int, int], palette: bytes, step: int, kernels: str) -> object:
    width, height, channels = shape
    part = (width / 5 - 1, height / 9, width / 2 + 0.5, height / 3 + 0.5)
    targets = [(7, 5, 0, 0, width, height), (3, 11, *part), (1, 1, 0, 0, width, height)]
    machine = Shrinker(width, height, channels, targets, palette=palette, memory=4 << 20, kernels=kernels)
    try:
        for at in range(0, len(data), step):
            machine.feed(exact(data[at : at + step]))
    except PngError as error:
        return error.code, machine.rows
    return machine.results() if machine.done else machine.rows, machine.opaque


@target(
    "png-rows",
    seeds=[bytes([*shape, 0, 3]) + bytes(range(251)) * 9 for shape in ((20, 9, 1), (33, 5, 2), (47, 3, 3), (40, 7, 0))],
    words=[b"\0", b"\x01", b"\x02", b"\x03", b"\x04", b"\xff"],
)
def png_rows(data: bytes) -> object:
    if len(data) < 5:
        return "short"
    width, height, channels = data[0] % 70 + 1, data[1] % 24 + 1, data[2] % 4 + 1
    palette = bytes(range(256)) * 4 if channels > 2 and data[3] % 2 else b""
    rest, shape = data[5:], (width, height, channels)
    plain = _rows(rest, shape, palette, len(rest) + 1, "scalar")
    assert plain == _rows(rest, shape, palette, data[4] % 200 + 1, "")
    return channels, bool(palette), plain[0] if isinstance(plain, tuple) and isinstance(plain[0], str) else "rows"
