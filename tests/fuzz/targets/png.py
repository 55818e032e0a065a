"""PNG: chunks and rows of damaged files; plain C and the best kernels of this machine give the same answer, in any split."""

import contextlib
import zlib

import numpy as np

from nova.ext.png import File, PngError, Shrinker
from nova.media.images import png as images
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


class _Stream:
    """Compressed bytes as a File gives them."""

    def __init__(self, data: bytes) -> None:
        self.left = data

    def read(self, most: int) -> bytes:
        piece, self.left = self.left[:most], self.left[most:]
        return piece


class _Rows:
    """Takes blocks as a Shrinker does."""

    def __init__(self, most: int) -> None:
        self.data, self.most = b"", most

    @property
    def done(self) -> bool:
        return len(self.data) >= self.most

    def feed(self, block: bytes) -> None:
        self.data += block


def _streams() -> list[bytes]:
    made = []
    for data in (bytes(range(256)) * 3, b"abcabcabd" * 40, bytes(2000), b"", b"x"):
        for level, strategy in ((0, zlib.Z_DEFAULT_STRATEGY), (6, zlib.Z_DEFAULT_STRATEGY), (6, zlib.Z_FIXED), (6, zlib.Z_HUFFMAN_ONLY)):
            packer = zlib.compressobj(level, strategy=strategy)
            made.append(packer.compress(data) + packer.flush())
    return made


@target("png-stream", seeds=_streams(), words=[b"\0\0\xff\xff", b"\x78\x9c"])
def png_stream(data: bytes) -> object:
    """A stream that zlib reads to its end inflates to the same; one that it does not read comes to an end, too."""
    rows, inflater, wanted = _Rows(1 << 16), zlib.decompressobj(), b""
    with contextlib.suppress(zlib.error):
        wanted = inflater.decompress(data, rows.most + 1)
    whole = inflater.eof and len(wanted) <= rows.most
    try:
        images._inflate(_Stream(data), rows, float("inf"))
    except images._STREAM_ERROR:
        assert not whole
        return "damaged", inflater.eof
    assert not whole or rows.data == wanted
    return inflater.eof, len(rows.data).bit_length()
