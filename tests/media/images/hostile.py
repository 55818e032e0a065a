"""Files that are wrong, each with its refusal: the tests ask for the code, bench_pool.py for what it costs."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

from PIL import Image

from nova.media.images.options import parse
from tests.media.images import material
from tests.media.images.material import STILL

LARGE = "image_too_large"
BAD = "bad_image"
NONE = "unsupported_image"
ANY = ""  # a code or a picture: what is flipped may be what nobody looks at
OPTIONS = parse("rs:inside:320:320")[0]


def cases(width: int = 400, height: int = 300) -> Iterator[tuple[str, bytes, str]]:
    """(name, file, code). Files are real, and so large, up to where they are wrong."""
    whole = material.photo(width, height)
    for format_ in STILL:
        data = material.saved(whole, format_)
        yield f"{format_}_cut_short", data[: len(data) * 2 // 3], BAD
        rng = random.Random(format_)
        flipped = bytearray(data)
        for _ in range(20):
            flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        yield f"{format_}_flipped", bytes(flipped), ANY
    yield "progressive_cut_short", material.saved(whole, "jpeg", progressive=True)[: width * height // 20], BAD
    yield "pixel_bomb_png", material.png_of(30_000, 30_000), LARGE
    yield "pixel_bomb_gif", b"GIF89a\xff\xff\xff\xff\0\0\0," + bytes(4) + b"\xff\xff\xff\xff\0\x08\0;", LARGE
    yield "pixel_bomb_webp", b"RIFF\0\0\0\0WEBPVP8X" + bytes([10, 0, 0, 0, 0, 0, 0, 0]) + b"\xff" * 6, LARGE
    yield "scan_bomb", material.scan_bomb(500), LARGE
    yield "scan_bomb_within", scans(90, width, height), ANY
    yield "strip", material.png_of(65_535, 8), ANY
    yield "high_strip", material.saved(Image.new("L", (4, 65_000)), "jpeg"), ANY
    yield "endless_gif", endless(), LARGE
    exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\0\x03\0\0\0\x01\0\x63\0\0" * 5000
    yield "absurd_exif", material.saved(whole, "jpeg", exif=exif), ANY
    yield "zero_size_png", material.png_of(0, 5), BAD
    yield "zero_size_jpeg", b"\xff\xd8\xff\xc0\0\x11\x08\0\0\0\0\x03" + bytes(9) + b"\xff\xda\0\x02", BAD
    yield "chunk_of_4_gib", b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", 0xFFFFFFFF, b"IHDR") + bytes(100), BAD
    yield "wrong_extension", b"<html><script>alert(1)</script>", NONE
    yield "svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", NONE
    yield "empty", b"", NONE


def scans(count: int, width: int, height: int) -> bytes:
    """A progressive JPEG with as many scans as are allowed, all of them real."""
    data = material.saved(Image.effect_noise((width, height), 50), "jpeg", progressive=True)
    last = data.rfind(b"\xff\xda")
    scan = data[last:-2]
    return data[:-2] + scan * (count - data.count(b"\xff\xda")) + data[-2:]


def endless() -> bytes:
    data = material.animation("gif", frames=30)
    return data[:-1] + data[data.index(b"!\xf9", 400) : -1] * 400 + b";"
