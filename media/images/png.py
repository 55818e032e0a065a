"""The compiled PNG path, behind one door: nova.ext.png for rows, ISA-L for inflating; nothing where the first is not built.

It takes 8-bit PNGs that are not interlaced and not animated, in blocks of rows: what a file inflates to is never there as a whole. All
else, and whatever is built unlike it should be, goes the slow way, which also judges it. Data that is damaged or cut short does not: that
is an answer.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from isal import igzip_lib

from nova.core.errors import TooLarge, Unprocessable
from nova.media.images import codec
from nova.media.images.codec import Opened, Pixels
from nova.media.images.geometry import Size, Window
from nova.media.images.sniff import Header, Limits

try:
    from nova.ext import png as _png
except ImportError:  # a machine without it: everything goes the slow way
    _png = None  # type: ignore[assignment]

SIDE: Final = 16_384  # pixels of a result
MEMORY: Final = 48 << 20  # bytes of rows; a picture that is so wide, and made so small, goes the slow way
RESULTS: Final = 16 << 20  # pixels of all results together, which are there at once
TALLER: Final = 4  # times: rows are summed up before columns, so that each row of a result costs the width of its window
PIECE: Final = 32 << 10  # compressed bytes at once
BLOCK: Final = 64 << 10  # inflated bytes at once; the deadline is looked at after each
_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of colour types (11.2.1)
_MODES: Final = {1: "L", 2: "RGBA", 3: "RGB", 4: "RGBA"}
_STREAM_ERROR: Final[type[Exception]] = igzip_lib.IsalError  # type: ignore[assignment]  # its stub speaks of an instance
_OWN: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IEND"})  # all others are Pillow's


def present() -> bool:
    """Whether the compiled path is built."""
    return _png is not None


@dataclass(slots=True)
class Source:
    """A PNG whose pixels are not decoded yet. channels: of what it becomes. palette: 256 times RGBA, or nothing."""

    opened: Opened
    channels: int
    palette: bytes
    file: Any = field(repr=False)

    @property
    def alpha(self) -> bool:
        return self.channels in (2, 4)


def look(data: bytes, header: Header, limits: Limits) -> Source | None:
    """None: not a file for this path. Raises as codec.open_picture; TooLarge `image_too_large`: more chunks than any picture has."""
    try:
        file = _png.File(data)
    except _png.PngError:
        raise TooLarge("image_too_large", "the png has too many chunks") from None
    names = [name for name, _, _ in file.chunks]
    if file.odd or file.animated or file.before < 1 or names[0] != b"IHDR" or names.count(b"IHDR") > 1 or b"DDAT" in names:
        return None  # DDAT: for Pillow an IDAT
    own = [_payload(data, at, end) for name, at, end in file.chunks[: file.before] if name in _OWN]
    late = {b"PLTE", b"tRNS"} & set(names[file.before :])
    if late or None in own or names.count(b"PLTE") > 1 or names.count(b"tRNS") > 1:
        return None
    found = dict(zip([name for name in names[: file.before] if name in _OWN], own, strict=True))
    width, height, *kind = struct.unpack(">IIBBBBB", found[b"IHDR"] or b"")
    depth, colour, compression, filtering, interlace = kind
    if depth != 8 or colour not in _CHANNELS or compression or filtering or interlace:
        return None
    channels, palette = _CHANNELS[colour], b""
    clear = found.get(b"tRNS")
    if colour == 3:
        entries = found.get(b"PLTE")
        if not entries or len(entries) % 3 or len(entries) > 768 or len(clear or b"") > 256:
            return None
        palette = _palette(entries, clear or b"")
        channels = 3 if clear is None else 4
    elif clear is not None:
        return None
    opened = codec.open_picture(_without_pixels(data, file), header, limits)
    return Source(replace(opened, size=(width, height)), channels, palette, file)


def _payload(data: bytes, at: int, end: int) -> bytes | None:
    """Of a chunk whose CRC holds. IHDR: of its size only."""
    inner = data[at + 8 : end - 4]
    if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
        return None
    return inner if data[at + 4 : at + 8] != b"IHDR" or len(inner) == 13 else None


def _palette(entries: bytes, clear: bytes) -> bytes:
    """What is behind the last entry is black, as Pillow has it."""
    made = bytearray()
    for at in range(256):
        colour = entries[3 * at : 3 * at + 3] or b"\0\0\0"
        made += colour + (clear[at : at + 1] or b"\xff")
    return bytes(made)


def _without_pixels(data: bytes, file: Any) -> bytes:
    """A PNG of one grey pixel with all that this one tells beside its pixels: for Pillow, so that both ways read it alike."""
    before, after = (
        [data[at:end] for name, at, end in part if name not in _OWN] for part in (file.chunks[: file.before], file.chunks[file.before :])
    )
    header, pixel = _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)), _chunk(b"IDAT", zlib.compress(b"\0\0"))
    return b"".join([b"\x89PNG\r\n\x1a\n", header, *before, pixel, *after, _chunk(b"IEND", b"")])


def _chunk(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))


def shrink(source: Source, wanted: Sequence[tuple[Size, Window]], deadline: float) -> tuple[list[Pixels], bool] | None:
    """The picture as stored in each of these sizes, of these windows of it; and whether nothing shines through it. Once for a source.

    deadline: CLOCK_MONOTONIC seconds. None: it takes more memory or more work than this path may.
    Raises Unprocessable `bad_image`, `image_too_costly`.
    """
    width, height = source.opened.size
    if any(max(size) > SIDE or size[1] > TALLER * window[3] for size, window in wanted):
        return None
    if sum(size[0] * size[1] for size, _ in wanted) > RESULTS:
        return None
    targets = list(dict.fromkeys((*size, *window) for size, window in wanted))  # one in two formats is resized once
    try:
        rows = _png.Shrinker(width, height, source.channels, targets, palette=source.palette, memory=MEMORY)
    except _png.PngError:
        return None
    try:
        _inflate(source.file, rows, deadline)
    except (_png.PngError, _STREAM_ERROR):
        raise Unprocessable("bad_image", "the png is damaged") from None
    if not rows.done:
        raise Unprocessable("bad_image", "the png is cut short")
    mode, made = _MODES[source.channels], dict(zip(targets, rows.results(), strict=True))
    return [codec.from_packed(mode, size, made[(*size, *window)]) for size, window in wanted], rows.opaque


def _inflate(file: Any, rows: Any, deadline: float) -> None:
    """All of the picture into `rows`, and what is behind it as far as the stream's checksum, which is looked at."""
    stream = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_ZLIB)
    while not stream.eof:
        hungry = stream.needs_input
        piece = file.read(PIECE) if hungry else b""
        if hungry and not piece:
            return
        block = stream.decompress(piece, 1 if rows.done else BLOCK)
        if not (block or hungry or stream.needs_input):  # it has room, and neither gives nor asks: nothing would ever change
            return
        if rows.done and block:  # more than the picture has: nobody looks at it
            return
        rows.feed(block)
        if time.monotonic() > deadline:
            raise Unprocessable("image_too_costly", "the png takes more time than it may")
