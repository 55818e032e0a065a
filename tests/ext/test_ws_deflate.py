"""permessage-deflate against Python's zlib: any stream that RFC 7692 allows, damaged ones, bombs."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.ext.ws import FrameError
from nova.ext.ws_deflate import Zip, window_holds
from tests.exact import exact

TAIL = b"\x00\x00\xff\xff"
ZIP = Zip()

messages = st.binary(max_size=300) | st.builds(lambda part, times: part * times, st.binary(max_size=20), st.integers(0, 400))


def deflated(data: bytes, level: int = 6, bits: int = 15, flush: int = zlib.Z_SYNC_FLUSH, step: int = 0) -> bytes:
    """As a client would send it. step: flush after so many bytes, which makes several blocks."""
    stream = zlib.compressobj(level, zlib.DEFLATED, -bits)
    parts = [data[at : at + step] for at in range(0, len(data), step)] if step else [data]
    out = b"".join(stream.compress(part) + stream.flush(zlib.Z_SYNC_FLUSH) for part in parts[:-1])
    out += stream.compress(parts[-1]) if parts else b""
    out += stream.flush(flush)
    return out[:-4] if flush != zlib.Z_FINISH else out + b"\x00"


def refused(data: bytes, max_message: int = 1 << 20, *, text: bool = False) -> str:
    with pytest.raises(FrameError) as caught:
        ZIP.inflate(exact(data), max_message=max_message, text=text)
    return caught.value.code


def attempt(data: bytes, max_message: int) -> bytes | None:
    try:
        return ZIP.inflate(exact(data), max_message=max_message)
    except FrameError:
        return None


@given(messages)
def test_what_is_deflated_is_smaller_and_inflates_to_itself(data: bytes) -> None:
    out = ZIP.deflate(exact(data))
    if out is None:
        assert len(deflated(data, 1)) + 8 >= len(data)
        return
    assert len(out) < len(data)
    assert zlib.decompressobj(-15).decompress(out + TAIL) == data
    assert ZIP.inflate(exact(out), max_message=len(data)) == data


@given(messages, st.integers(0, 9), st.sampled_from([9, 12, 15]), st.sampled_from([zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_FINISH]),
       st.sampled_from([0, 0, 7, 100]))  # fmt: skip
def test_every_form_of_a_message_is_inflated(data: bytes, level: int, bits: int, flush: int, step: int) -> None:
    assert ZIP.inflate(exact(deflated(data, level, bits, flush, step)), max_message=len(data)) == data


def test_examples_of_the_specification() -> None:
    for hexed in (
        "f2 48 cd c9 c9 07 00",  # 7.2.3.1
        "00 05 00 fa ff 48 65 6c 6c 6f 00",  # 7.2.3.3, a block that is not compressed
        "f3 48 cd c9 c9 07 00 00",  # 7.2.3.4, a block marked as the last one
        "f3 48 cd c9 c9 07 00",  # the same as encoders without the extra byte send it
        "f2 48 05 00 00 00 ff ff ca c9 c9 07 00",  # 7.2.3.5, two blocks in one message
    ):
        assert ZIP.inflate(bytes.fromhex(hexed), max_message=5) == b"Hello"
    assert ZIP.inflate(b"\x00", max_message=0) == b""  # 7.2.3.6
    assert ZIP.inflate(b"", max_message=0) == b""


def test_a_message_that_refers_to_an_earlier_one_is_refused() -> None:
    stream = zlib.compressobj(6, zlib.DEFLATED, -15)
    first = stream.compress(b"abcdefgh" * 4) + stream.flush(zlib.Z_SYNC_FLUSH)
    second = stream.compress(b"abcdefgh" * 4) + stream.flush(zlib.Z_SYNC_FLUSH)
    assert ZIP.inflate(first[:-4], max_message=100) == b"abcdefgh" * 4
    assert refused(second[:-4]) == "ws_inflate"


@pytest.mark.parametrize("size", [1, 100, 16383, 16384, 16385, 65536])
def test_cap_is_on_what_comes_out(size: int) -> None:
    data = deflated(b"x" * size)
    assert len(ZIP.inflate(data, max_message=size)) == size
    assert refused(data, size - 1) == "ws_size"


def test_a_bomb_stops_at_the_cap() -> None:
    bomb = deflated(bytes(64 << 20))
    assert len(bomb) < 70_000
    assert refused(bomb, 65536) == "ws_size"
    once_more = deflated(bomb)
    assert len(ZIP.inflate(once_more, max_message=70_000)) == len(bomb)


@given(messages, st.integers(0, 300))
def test_what_is_cut_short_is_refused(data: bytes, cut: int) -> None:
    out = deflated(data)
    shorter = out[: cut % len(out)]
    inflated = attempt(shorter, len(data))
    assert inflated is None or data.startswith(inflated)  # it was cut between two blocks


@given(messages, st.integers(0, 300), st.integers(0, 255))
def test_damaged_data_never_passes_the_cap(data: bytes, at: int, byte: int) -> None:
    out = bytearray(deflated(data))
    out[at % len(out)] = byte
    assert len(attempt(bytes(out), 500) or b"") <= 500


@given(st.text(), st.sampled_from([b"", b"\xff", b"\xe2\x82"]), st.integers(0, 20_000))
def test_text_is_checked_after_inflating(text: str, end: bytes, fill: int) -> None:
    data = b"." * fill + text.encode() + end
    if end:
        assert refused(deflated(data), text=True) == "ws_utf8"
    else:
        assert ZIP.inflate(deflated(data), max_message=len(data), text=True) == data


@given(st.sampled_from([9, 10, 12, 15]), st.integers(0, 5000))
def test_small_windows_hold_messages_that_are_not_longer(bits: int, size: int) -> None:
    data = (b"abcdefghijklmnopqrstuvwxyz0123456789" * 200)[:size]
    out = ZIP.deflate(data)
    if out is not None and window_holds(bits, size):
        assert zlib.decompressobj(-bits).decompress(out + TAIL) == data
