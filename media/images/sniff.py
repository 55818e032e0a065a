"""What a file says of itself, from its first bytes: format, size, frames. Pure, without a decoder.

The name and the declared type are not looked at. Limits hold here, before a decoder sees a byte. Sources: ITU-T T.81 B.1 (JPEG), PNG 3
(5.2, 11.2.1), GIF89a, RFC 9649 (WebP), ISO/IEC 14496-12 and 23008-12 (AVIF, HEIC), TIFF 6.0.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from nova.core.errors import TooLarge, Unprocessable, UnsupportedType

MAX_BOXES: Final = 256  # of an AVIF or HEIC header; real ones have some twenty
MAX_ENTRIES: Final = 4096  # of a TIFF directory
_SOF: Final = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_BRANDS: Final = {
    b"avif": "avif", b"avis": "avif",
    b"heic": "heic", b"heix": "heic", b"hevc": "heic", b"heim": "heic", b"heis": "heic", b"mif1": "heic", b"msf1": "heic",
}  # fmt: skip
TYPES: Final = {
    "jpeg": "image/jpeg", "png": "image/png", "gif": "image/gif", "webp": "image/webp", "avif": "image/avif", "tiff": "image/tiff",
    "heic": "image/heic",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what is decoded.

    total_pixels: of all frames together. scans: of a JPEG; each is a pass over every pixel.
    """

    file_bytes: int = 32 << 20
    pixels: int = 50_000_000
    side: int = 65_535
    frames: int = 500
    total_pixels: int = 200_000_000
    scans: int = 100


@dataclass(frozen=True, slots=True)
class Header:
    """format: a key of TYPES. width, height: as stored, before any orientation. frames: 1 for a still picture."""

    format: str
    width: int
    height: int
    frames: int = 1


def kind(data: bytes | memoryview) -> str | None:
    """The format by the first 32 bytes; None: none that we read."""
    head = bytes(data[:32])
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:4] in (b"II*\0", b"MM\0*"):
        return "tiff"
    if head[4:8] == b"ftyp":
        if head[8:12] == b"mif1" and b"avif" in head:
            return "avif"
        return _BRANDS.get(head[8:12])
    return None


def look(data: memoryview, limits: Limits) -> Header:
    """The header of a picture that is within `limits`.

    Raises UnsupportedType `unsupported_image`; TooLarge `image_too_large`; Unprocessable `bad_image`: it begins as a picture and
    goes on as none.
    """
    found = kind(data)
    if found is None:
        raise UnsupportedType("unsupported_image", f"these are no bytes of {', '.join(TYPES)}")
    if len(data) > limits.file_bytes:
        raise TooLarge("image_too_large", f"a picture has at most {limits.file_bytes} bytes")
    try:
        header = _READERS[found](data, limits)
    except (struct.error, IndexError):
        raise Unprocessable("bad_image", f"the {found} ends within its header") from None
    if header.width < 1 or header.height < 1:
        raise Unprocessable("bad_image", f"the {found} has no pixels")
    check(header, limits)
    return header


def check(header: Header, limits: Limits) -> None:
    """Raises TooLarge `image_too_large`."""
    if max(header.width, header.height) > limits.side:
        raise TooLarge("image_too_large", f"a side has at most {limits.side} pixels, this one has {max(header.width, header.height)}")
    pixels = header.width * header.height
    if pixels > limits.pixels:
        raise TooLarge("image_too_large", f"a picture has at most {limits.pixels} pixels, this one has {pixels}")
    if header.frames > limits.frames:
        raise TooLarge("image_too_large", f"an animation has at most {limits.frames} frames")
    if header.frames > 1 and pixels * header.frames > limits.total_pixels:
        raise TooLarge("image_too_large", f"an animation has at most {limits.total_pixels} pixels in all its frames")


def _jpeg(data: memoryview, limits: Limits) -> Header:
    at, size = 2, len(data)
    width = height = 0
    while True:
        if data[at] != 0xFF:
            raise Unprocessable("bad_image", "the jpeg has no marker where one must be")
        while data[at] == 0xFF:
            at += 1
        marker = data[at]
        at += 1
        if marker in (0x01, *range(0xD0, 0xD8)):
            continue
        if marker == 0xD9 or marker == 0x00:
            raise Unprocessable("bad_image", "the jpeg ends before its picture")
        (length,) = struct.unpack_from(">H", data, at)
        if marker in _SOF:
            height, width = struct.unpack_from(">HH", data, at + 3)
        elif marker == 0xDA:
            break
        at += length
        if length < 2 or at > size:
            raise Unprocessable("bad_image", "a segment of the jpeg ends behind the file")
    if not width or not height:
        raise Unprocessable("bad_image", "the jpeg has no frame header, or one without a size")
    # FF is stuffed within a scan, so FF DA begins one; two more may stand in a thumbnail of the EXIF data.
    if bytes(data).count(b"\xff\xda") > limits.scans + 2:
        raise TooLarge("image_too_large", f"a jpeg has at most {limits.scans} scans")
    return Header("jpeg", width, height)


def _png(data: memoryview, limits: Limits) -> Header:
    length, name, width, height = struct.unpack_from(">I4sII", data, 8)
    if name != b"IHDR" or length != 13 or width > 0x7FFFFFFF or height > 0x7FFFFFFF:
        raise Unprocessable("bad_image", "the png does not begin with its header")
    return Header("png", width, height)


def _gif(data: memoryview, limits: Limits) -> Header:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    frames = 0
    while at < len(data) and frames <= limits.frames:
        mark = data[at]
        at += 1
        if mark == 0x21:
            at += 1
        elif mark == 0x2C:
            left, top, wide, high, flags = struct.unpack_from("<HHHHB", data, at)
            width, height = max(width, left + wide), max(height, top + high)
            at += 10 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
            frames += 1
        else:
            break  # the trailer, or what no decoder goes past
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
    if not frames:
        raise Unprocessable("bad_image", "the gif has no picture")
    return Header("gif", width, height, frames)


def _webp(data: memoryview, limits: Limits) -> Header:
    name = bytes(data[12:16])
    if name == b"VP8 ":
        if bytes(data[23:26]) != b"\x9d\x01\x2a":
            raise Unprocessable("bad_image", "the webp has no key frame")
        width, height = struct.unpack_from("<HH", data, 26)
        return Header("webp", width & 0x3FFF, height & 0x3FFF)
    if name == b"VP8L":
        mark, bits = struct.unpack_from("<BI", data, 20)
        if mark != 0x2F:
            raise Unprocessable("bad_image", "the webp has no lossless header")
        return Header("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if name != b"VP8X":
        raise Unprocessable("bad_image", "the webp does not begin with a picture")
    flags = data[20]
    width = 1 + int.from_bytes(data[24:27], "little")
    height = 1 + int.from_bytes(data[27:30], "little")
    if len(data) < 30:
        raise IndexError
    frames = 0
    at = 12
    while flags & 0x02 and at + 8 <= len(data) and frames <= limits.frames:
        chunk, length = struct.unpack_from("<4sI", data, at)
        frames += chunk == b"ANMF"
        at += 8 + length + (length & 1)
    return Header("webp", width, height, max(1, frames))


def _boxes(data: memoryview, start: int, end: int) -> list[tuple[bytes, int, int]]:
    """(type, first byte, end) of the boxes of a container that are whole."""
    found: list[tuple[bytes, int, int]] = []
    at = start
    while at + 8 <= end and len(found) < MAX_BOXES:
        size, name = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        elif size == 0:
            size = end - at
        if size < head:
            raise Unprocessable("bad_image", "a box of the picture is shorter than its header")
        found.append((name, at + head, min(at + size, end)))
        at += size
    return found


def _heif(data: memoryview, limits: Limits) -> Header:
    """The largest image item: a grid of tiles is no smaller than one of them."""
    width = height = 0
    for name, start, end in _boxes(data, 0, len(data)):
        if name != b"meta":
            continue
        for inner, first, last in _boxes(data, start + 4, end):
            if inner != b"iprp":
                continue
            for kind_, a, b in _boxes(data, first, last):
                if kind_ == b"ipco":
                    for each, at, _ in _boxes(data, a, b):
                        if each == b"ispe":
                            wide, high = struct.unpack_from(">II", data, at + 4)
                            if wide * high > width * height:
                                width, height = wide, high
    if not width:
        raise Unprocessable("bad_image", "the picture does not say how large it is")
    return Header(kind(data) or "avif", width, height)


def _tiff(data: memoryview, limits: Limits) -> Header:
    order = "<" if data[0] == 0x49 else ">"
    (at,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, at)
    if count > MAX_ENTRIES:
        raise Unprocessable("bad_image", "the directory of the tiff is too long")
    sides = {256: 0, 257: 0}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, type_, _ = struct.unpack_from(order + "HHI", data, entry)
        if tag in sides:
            (sides[tag],) = struct.unpack_from(order + ("H" if type_ == 3 else "I"), data, entry + 8)
    return Header("tiff", sides[256], sides[257])


_READERS: Final = {"jpeg": _jpeg, "png": _png, "gif": _gif, "webp": _webp, "avif": _heif, "heic": _heif, "tiff": _tiff}
