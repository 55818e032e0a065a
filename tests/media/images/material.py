"""Pictures for tests: every format that is read, with orientations, places, profiles, alpha and frames; and files that are wrong."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import pillow_avif  # noqa: F401 - registers AVIF
from PIL import Image, ImageCms

STILL = ("jpeg", "png", "webp", "avif", "tiff", "gif")
ORIENTED = ("jpeg", "png", "webp", "avif", "tiff")  # those whose files can say how they lie
CORNERS = ((220, 30, 30), (30, 200, 30), (30, 30, 220), (220, 200, 30))  # upper left, upper right, lower left, lower right
_SAVE = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP", "avif": "AVIF", "tiff": "TIFF", "gif": "GIF"}
_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
}  # fmt: skip


def corners(width: int = 96, height: int = 64) -> Image.Image:
    """Four plain quarters: which way up it is can be seen in any size."""
    image = Image.new("RGB", (width, height))
    for at, colour in enumerate(CORNERS):
        image.paste(colour, (at % 2 * width // 2, at // 2 * height // 2, (at % 2 + 1) * width // 2, (at // 2 + 1) * height // 2))
    return image


def photo(width: int, height: int, seed: int = 1) -> Image.Image:
    """A picture with large shapes and camera-like noise."""
    import numpy

    random = numpy.random.default_rng(seed)
    y, x = numpy.mgrid[0:height, 0:width]
    planes = []
    for channel in range(3):
        wave = numpy.sin(x / (30 + 11 * channel)) * 50 + numpy.cos(y / (41 - 7 * channel)) * 40 + numpy.sin((x + y) / 97) * 30
        planes.append(wave + 128 + random.normal(0, 5, (height, width)))
    return Image.fromarray(numpy.clip(numpy.stack(planes, -1), 0, 255).astype("uint8"), "RGB")


def saved(image: Image.Image, format: str, **more: Any) -> bytes:
    target = io.BytesIO()
    if format in ("jpeg", "webp", "avif"):
        more.setdefault("quality", 92)
    image.save(target, _SAVE[format], **more)
    return target.getvalue()


def stored(image: Image.Image, orientation: int) -> Image.Image:
    """The upright `image` as a file of that orientation has it."""
    return image.transpose(_BACK[orientation]) if orientation in _BACK else image


def with_exif(image: Image.Image, format: str, orientation: int = 1) -> bytes:
    """The upright `image`, stored so that its EXIF orientation makes it upright again; with a place on Earth in it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x8298] = "(c) Ada"
    gps = exif.get_ifd(0x8825)
    gps[1], gps[2] = "N", (48.0, 12.0, 30.0)
    gps[3], gps[4] = "E", (16.0, 22.0, 15.0)
    gps[29] = "2026:01:01"
    return saved(stored(image, orientation), format, exif=exif.tobytes() if format != "tiff" else exif)


def p3_profile() -> bytes:
    """A profile that is not sRGB: its red and green are exchanged, which no eye misses."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = bytearray(profile)
    offsets = {}
    for at in range(struct.unpack_from(">I", data, 128)[0]):
        name, offset, size = struct.unpack_from(">4sII", data, 132 + 12 * at)
        offsets[name] = (offset, size)
    red, green = offsets[b"rXYZ"], offsets[b"gXYZ"]
    first, second = bytes(data[red[0] : sum(red)]), bytes(data[green[0] : sum(green)])
    data[red[0] : sum(red)], data[green[0] : sum(green)] = second, first
    at = offsets[b"desc"][0]
    data[at + 8 : sum(offsets[b"desc"])] = bytes(data[at + 8 : sum(offsets[b"desc"])]).replace(b"\0s\0R\0G\0B", b"\0s\0w\0a\0p")
    return bytes(data)


def animation(format: str, frames: int = 5, width: int = 60, height: int = 40) -> bytes:
    pictures = [Image.new("RGB", (width, height), (40 * at % 256, 90, 200)) for at in range(frames)]
    for at, picture in enumerate(pictures):
        picture.paste((250, 250, 0), (at, at, at + 8, at + 8))
    return saved(pictures[0], format, save_all=True, append_images=pictures[1:], duration=80, loop=0)


def png_of(width: int, height: int, rows: bytes = b"") -> bytes:
    """A 1-bit PNG of any size, its pixels all black: a few bytes for each million."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    packed = rows or zlib.compress(bytes((width + 7) // 8 + 1) * min(height, 30_000), 9)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def scan_bomb(scans: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = saved(Image.effect_noise((96, 96), 50), "jpeg", progressive=True)
    last = data.rfind(b"\xff\xda")
    scan = data[last:-2]
    return data[:-2] + scan * scans + data[-2:]


def no_place_in(data: bytes) -> None:
    """Neither EXIF nor XMP, and so no place, in a result."""
    for mark in (b"Exif", b"EXIF", b"eXIf", b"xmpmeta", b"XMP ", b"GPS", b"2026:01:01", b"(c) Ada"):
        assert mark not in data, mark
    image = Image.open(io.BytesIO(data))
    assert dict(image.getexif()) in ({}, {0x0112: 1})
    assert not image.getexif().get_ifd(0x8825)
