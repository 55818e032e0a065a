"""What is wrong with a file has one answer each, before memory or time are spent on it; nothing crashes, and nothing is half a picture."""

from __future__ import annotations

import random
import re
import struct
import time

import pytest

from nova.ext.jpeg import CODES, JpegError, Target, probe, thumbnail
from tests.exact import exact
from tests.ext.jpeg_files import cjpeg, needs_cjpeg, oriented, segment

pytestmark = needs_cjpeg

LITTLE = 8 << 20  # bytes: a budget that none of the files here needs


def code(data: bytes, *targets: Target, memory: int = 64 << 20, **options: object) -> str:
    try:
        thumbnail(exact(data), targets or [Target(32, 32)], memory=memory, **options)  # type: ignore[arg-type]
    except JpegError as error:
        return CODES[CODES.index(error.code)]
    return "ok"


def frame(data: bytes) -> int:
    """Where the frame header's payload begins."""
    found = re.search(rb"\xff[\xc0\xc2]\x00\x11\x08", data)
    assert found
    return found.start() + 4


def resized(data: bytes, width: int, height: int) -> bytes:
    at = frame(data)
    return data[: at + 1] + struct.pack(">HH", height, width) + data[at + 5 :]


def scans(data: bytes) -> list[int]:
    return [match.start() for match in re.finditer(rb"\xff\xda", data)]


@pytest.mark.parametrize(
    "options", [(), ("-progressive",), ("-restart", "1B"), ("-progressive", "-restart", "2B"), ("-grayscale",)], ids=" ".join
)
def test_every_truncation_is_an_error(options: tuple[str, ...]) -> None:
    data = cjpeg(64, 48, "-sample", "2x2", *options)
    whole = thumbnail(data, [Target(64, 48)]).results[0].data
    for size in range(0, len(data) - 2, 7 if len(data) > 2000 else 3):
        assert code(data[:size]) in ("truncated", "corrupt", "not_jpeg"), size
    if "-progressive" not in options:  # the last marker says nothing that is not known
        assert thumbnail(data[:-2], [Target(64, 48)]).results[0].data == whole


@pytest.mark.parametrize("options", [(), ("-progressive",), ("-restart", "1B"), ("-progressive", "-restart", "2B")], ids=" ".join)
def test_flipped_bits_are_an_error_or_another_picture(options: tuple[str, ...]) -> None:
    data = cjpeg(64, 48, "-sample", "2x2", *options)
    rng = random.Random(1)
    seen = set()
    for _ in range(600):
        broken = bytearray(data)
        for _ in range(rng.choice((1, 1, 3, 10))):
            broken[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        targets = [Target(20, 15), Target(64, 48, output="rgb")]
        answers = {code(bytes(broken), *targets, kernels=kernels, max_pixels=1 << 20) for kernels in ("scalar", "")}
        assert len(answers) == 1
        seen |= answers
    assert {"ok", "corrupt"} <= seen


@pytest.mark.parametrize(
    "junk", [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xd9", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\0" * 100]
)
def test_what_is_no_jpeg_is_said_to_be_none(junk: bytes) -> None:
    assert code(junk) in ("not_jpeg", "truncated", "corrupt")


@pytest.mark.parametrize(
    ("options", "reason"),
    [(("-arithmetic",), "arithmetic"), (("-arithmetic", "-progressive"), "arithmetic"), (("-rgb",), "rgb")],
)
def test_right_files_of_other_kinds_are_for_the_slow_path(options: tuple[str, ...], reason: str) -> None:
    data = cjpeg(64, 48, *options)
    said = probe(data)
    assert (said.supported, said.reason, said.width, said.height) == (False, reason, 64, 48)
    with pytest.raises(JpegError) as caught:
        thumbnail(data, [Target(10, 10)])
    assert (caught.value.code, caught.value.detail) == ("unsupported", reason)


def test_frames_of_other_kinds_are_for_the_slow_path() -> None:
    data = cjpeg(64, 48)
    at = frame(data)
    deep = data[:at] + b"\x0c" + data[at + 1 :]
    assert probe(deep).reason == "precision"
    for marker, reason in ((0xC3, "lossless"), (0xC5, "hierarchical"), (0xCA, "arithmetic")):
        assert probe(data[: at - 3] + bytes([marker]) + data[at - 2 :]).reason == reason
    four = segment(0xC0, data[at : at + 5] + b"\x04" + bytes(byte for i in range(4) for byte in (i + 1, 0x11, 0)))
    scan = segment(0xDA, b"\x04" + bytes(byte for i in range(4) for byte in (i + 1, 0)) + b"\0\x3f\0")
    cmyk = data[:2] + segment(0xEE, b"Adobe\0\x64\0\0\0\0\x02") + four + scan
    assert (probe(cmyk).components, probe(cmyk).reason, code(cmyk)) == (4, "cmyk", "unsupported")


@pytest.mark.parametrize(("width", "height"), [(65535, 65535), (50_001, 1000), (8000, 8000)])
def test_pixel_bombs_end_at_the_header(width: int, height: int) -> None:
    for options in ((), ("-progressive",)):
        bomb = resized(cjpeg(64, 48, *options), width, height)
        assert code(bomb) == "too_large"
        with pytest.raises(JpegError) as caught:
            probe(bomb)
        assert caught.value.code == "too_large"


@pytest.mark.parametrize(("width", "height"), [(65535, 1), (1, 65535), (65535, 760), (700, 65535), (7000, 7000)])
@pytest.mark.parametrize("options", [(), ("-progressive",), ("-grayscale",)], ids=" ".join)
def test_a_large_size_with_little_behind_it_is_an_error(width: int, height: int, options: tuple[str, ...]) -> None:
    data = cjpeg(64, 48, *options)
    found = re.search(rb"\xff[\xc0\xc2]\x00[\x11\x0b]\x08", data)
    assert found
    at = found.start() + 5
    bomb = data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]
    assert code(bomb, Target(320, 320), memory=512 << 20) in ("truncated", "corrupt")


def test_a_strip_of_the_longest_side_is_a_picture() -> None:
    data = cjpeg(65500, 9)
    assert code(data, Target(320, 1), memory=LITTLE) == "ok"
    assert code(cjpeg(9, 65500, "-progressive"), Target(1, 320), memory=LITTLE) == "ok"


@pytest.mark.parametrize(("width", "height"), [(0, 48), (64, 0), (0, 0)])
def test_no_size_is_corrupt(width: int, height: int) -> None:
    assert code(resized(cjpeg(64, 48), width, height)) == "corrupt"


def test_a_scan_that_says_nothing_new_ends_the_file() -> None:
    data = cjpeg(200, 200, "-progressive")
    last = data[scans(data)[-1] : -2]
    assert code(data[:-2] + last * 80 + data[-2:]) == "corrupt"
    plain = cjpeg(200, 200)
    assert code(data) == code(plain) == "ok"


def test_more_scans_than_allowed_are_refused() -> None:
    data = cjpeg(64, 48, "-progressive")
    count = len(scans(data))
    assert code(data, max_scans=count) == "ok"
    assert code(data, max_scans=count - 1) == "too_many_scans"


def test_large_pictures_have_fewer_scans() -> None:
    """One coefficient a scan and nothing in it: correct, and a few kilobytes that would cost a second at 50 MP."""
    table = segment(0xC4, b"\x00\x01" + bytes(15) + b"\x00") + segment(0xC4, b"\x10\x01" + bytes(15) + b"\xe0")
    head = b"\xff\xd8" + segment(0xDB, b"\0" + b"\1" * 64) + segment(0xC2, struct.pack(">BHHB", 8, 7000, 7000, 1) + b"\1\x11\0") + table
    first = segment(0xDA, b"\1\1\0\0\0\0") + bytes(875 * 875 // 8 + 9)
    rest = b"".join(segment(0xDA, bytes((1, 1, 0, k, k, 0))) + bytes(100) for k in range(1, 64))
    assert code(head + first + rest + b"\xff\xd9", memory=128 << 20) == "too_many_scans"


def test_more_segments_than_anybody_needs_are_refused() -> None:
    data = cjpeg(64, 48)
    assert code(data[:2] + segment(0xFE, b"") * 500 + data[2:]) == "ok"
    assert code(data[:2] + segment(0xFE, b"") * 2000 + data[2:]) == "too_many_segments"


def test_file_above_its_limit_is_not_read() -> None:
    data = cjpeg(64, 48)
    assert code(data, max_file=len(data)) == "ok"
    assert code(data, max_file=len(data) - 1) == "file_too_large"


def test_deadline_that_has_passed_stops_the_job() -> None:
    for options in ((), ("-progressive",)):
        data = cjpeg(64, 48, *options)
        assert code(data, deadline=time.monotonic() - 1) == "deadline"
        assert code(data, deadline=time.monotonic() + 3600) == "ok"


def test_memory_is_counted_before_it_is_taken() -> None:
    for options in ((), ("-progressive",)):
        data = cjpeg(640, 480, *options)
        answers = [code(data, Target(300, 200), memory=size << 10) for size in (1, 50, 200, 600, 100_000)]
        assert answers[0] == "memory" and answers[-1] == "ok" and set(answers) == {"memory", "ok"}
    # A progressive file keeps its coefficients: of those that a thumbnail needs, a few of 64.
    assert code(cjpeg(640, 480, "-progressive"), Target(60, 40), memory=2 << 20) == "ok"


@pytest.mark.parametrize("window", [(-1.0, 0.0, 10.0, 10.0), (0.0, 0.0, 65.0, 48.0), (60.0, 0.0, 10.0, 10.0), (0.0, 0.0, 1e-9, 1e-9)])
def test_a_window_beside_the_picture_is_a_bad_target(window: tuple[float, float, float, float]) -> None:
    assert code(cjpeg(64, 48), Target(10, 10, window=window)) == "bad_target"


def test_a_window_is_upright() -> None:
    data = oriented(cjpeg(64, 48), 6)
    assert code(data, Target(10, 10, window=(0, 0, 48, 64))) == "ok"
    assert code(data, Target(10, 10, window=(0, 0, 64, 48))) == "bad_target"


def test_number_of_targets_is_bounded() -> None:
    data = cjpeg(64, 48)
    assert code(data, *[Target(8, 8)] * 32) == "ok"
    assert code(data, *[Target(8, 8)] * 33) == "bad_target"
    with pytest.raises(JpegError):
        thumbnail(data, [])


def tables(data: bytes, replace: bytes) -> bytes:
    """The file with its first Huffman table's counts replaced."""
    at = data.index(b"\xff\xc4") + 5
    return data[:at] + replace + data[at + 16 :]


def test_code_tables_that_are_none_are_corrupt() -> None:
    data = cjpeg(64, 48)
    assert code(tables(data, b"\xff" * 16)) == "corrupt"
    assert code(tables(data, b"\x03" + bytes(15))) == "corrupt"
    for marker in (b"\xff\xc4", b"\xff\xdb"):
        at = data.index(marker)
        (length,) = struct.unpack_from(">H", data, at + 2)
        assert code(data[:at] + data[at + 2 + length :]) == "corrupt"


def test_wrong_restart_markers_are_corrupt() -> None:
    data = cjpeg(64, 48, "-restart", "1B")
    assert code(data.replace(b"\xff\xd1", b"\xff\xd5", 1)) == "corrupt"
    assert code(data.replace(b"\xff\xd1", b"", 1)) == "corrupt"


def test_an_error_says_no_content() -> None:
    error = JpegError("corrupt")
    assert (str(error), error.code, error.detail) == ("corrupt", "corrupt", "")
    assert str(JpegError("unsupported", "cmyk")) == "unsupported: cmyk"
