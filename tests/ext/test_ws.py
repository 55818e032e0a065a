"""The WebSocket framing kernel against its oracle, in any split, and at its limits. RFC 6455's own cases: tests/conformance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.ext import ws
from nova.ext.ws import FrameError, FrameReader
from tests.exact import exact
from tests.ext import ws_oracle as oracle
from tests.ext.ws_oracle import Message, frame

KEY = b"\x37\xfa\x21\x3d"

texts = st.text(max_size=40).map(str.encode)
broken = st.sampled_from([b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90", b"\xe2\x82", b"\xf0\x9f\x98", b"\x80", b"\xe2\x82\xac"])
payloads = st.one_of(texts, broken, st.binary(max_size=40), st.binary(min_size=120, max_size=140), st.just(bytes(70_000)))
closes = st.one_of(
    st.just(b""), st.just(b"\x03"), st.builds(lambda code, text: code.to_bytes(2, "big") + text, st.integers(0, 5500), texts | broken)
)
frames = st.one_of(
    st.builds(frame, st.sampled_from([1, 1, 1, 2, 0, 0, 0]), payloads, fin=st.booleans(), rsv=st.sampled_from([0, 0, 0, 0, 4, 2])),
    st.builds(frame, st.sampled_from([9, 10]), st.binary(max_size=30)),
    st.builds(frame, st.just(8), closes),
    st.builds(frame, st.integers(0, 15), payloads, fin=st.booleans(), key=st.sampled_from([None, KEY, b"\x00\x00\x00\x00"])),
    st.sampled_from([b"\x81\xfe\x00\x05", b"\x82\xff" + bytes(8), b"\x82\xff\x80" + bytes(7), b"\x82\xff\x00\x00\x00\x00\x7f\xff\xff\xff"]),
)
streams = st.lists(frames, max_size=6).map(b"".join)
options = st.fixed_dictionaries(
    {},
    optional={"client": st.booleans(), "deflate": st.booleans(), "binary": st.just(False), "max_message": st.sampled_from([0, 10, 80_000])},
)


def read(data: bytes, cuts: list[int], **given: object) -> tuple[list[Message], str | None]:
    reader = FrameReader(**given)  # type: ignore[arg-type]
    messages: list[Message] = []
    for at, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        try:
            messages += reader.feed(exact(data[at:end]))
        except FrameError as error:
            assert reader.closed
            return [*messages, *error.messages], error.code
        assert reader.closed or reader.memory_bytes <= 2 * (at + end) + 512
    return messages, None


def wanted(data: bytes, **given: object) -> tuple[list[Message], str | None]:
    reader = oracle.Reader(**given)  # type: ignore[arg-type]
    error = reader.read(data)
    return reader.messages, error


@given(streams, options)
def test_frames_mean_what_the_oracle_says(data: bytes, given: dict[str, object]) -> None:
    assert read(data, [], **given) == wanted(data, **given)


@given(streams, st.lists(st.integers(0, 400), max_size=8), options)
def test_any_split_gives_the_same_messages(data: bytes, cuts: list[int], given: dict[str, object]) -> None:
    assert read(data, sorted(min(cut, len(data)) for cut in cuts), **given) == read(data, [], **given)


@given(streams, st.integers(0, 300), st.integers(0, 255))
def test_damaged_frames_mean_what_the_oracle_says(data: bytes, at: int, byte: int) -> None:
    if data:
        at %= len(data)
        data = data[:at] + bytes([byte]) + data[at + 1 :]
    assert read(data, []) == wanted(data)


@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 9, 10]), texts.filter(lambda text: len(text) < 126)), max_size=6),
    st.sampled_from([None, KEY]),
)
def test_what_is_written_is_read_back(messages: list[tuple[int, bytes]], key: bytes | None) -> None:
    data = b"".join(ws.frame(opcode, payload, key=key) for opcode, payload in messages)
    assert data == b"".join(frame(opcode, payload, key=key) for opcode, payload in messages)
    assert read(data, [], client=key is None)[0] == [(opcode, payload, 0, False) for opcode, payload in messages]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_lengths_at_their_borders(size: int) -> None:
    data = ws.frame(2, bytes(size), key=KEY)
    assert data == frame(2, bytes(size))
    assert read(data, [], max_message=size) == ([(2, bytes(size), 0, False)], None)
    assert read(data, [3], max_message=size) == ([(2, bytes(size), 0, False)], None)
    if size:
        assert read(data, [], max_message=size - 1) == ([], "ws_size")


@given(st.binary(max_size=100), st.binary(min_size=4, max_size=4))
def test_masking_is_the_plain_exclusive_or(data: bytes, key: bytes) -> None:
    assert ws.mask(data, key) == oracle.xor(data, key)
    assert ws.mask(ws.mask(data, key), key) == data


def test_size_limit_counts_over_fragments_and_is_told_at_the_head() -> None:
    reader = FrameReader(max_message=10)
    reader.feed(frame(2, bytes(6), fin=False))
    reader.feed(frame(9, bytes(100)))  # control frames do not count
    with pytest.raises(FrameError) as caught:
        reader.feed(frame(0, bytes(5))[:2])  # the head's length is enough
    assert (caught.value.code, caught.value.close_code) == ("ws_size", 1009)


def test_endless_empty_frames_end() -> None:
    reader = FrameReader()
    reader.feed(frame(1, fin=False) + frame(0, fin=False) * 63)
    with pytest.raises(FrameError, match="ws_empty_frames"):
        reader.feed(frame(0, fin=False))


def test_utf8_fails_at_the_first_wrong_octet() -> None:
    text = "κόσμε".encode()
    reader = FrameReader()
    data = frame(1, text + b"\xf4\x90\x80\x80" + bytes(50))
    head = len(data) - len(text) - 54
    assert reader.feed(data[: head + len(text) + 1]) == []
    with pytest.raises(FrameError, match="ws_utf8"):
        reader.feed(data[head + len(text) + 1 : head + len(text) + 2])


def test_text_that_ends_inside_a_character_is_refused() -> None:
    assert read(frame(1, b"\xe2\x82", fin=False) + frame(0, b"\xac"), []) == ([(1, "€".encode(), 0, False)], None)
    assert read(frame(1, b"\xe2\x82", fin=False) + frame(0, b""), []) == ([], "ws_utf8")


def test_control_frames_between_fragments_keep_their_own_bytes() -> None:
    data = frame(2, b"ab", fin=False) + frame(9, b"ping") + frame(0, b"cd", fin=False) + frame(10) + frame(0, b"ef")
    expected = [(9, b"ping", 0, False), (10, b"", 0, False), (2, b"abcdef", 0, False)]
    for cut in range(len(data)):
        assert read(data, [cut]) == (expected, None)


def test_an_idle_reader_takes_no_memory_beside_itself() -> None:
    assert ws.READER_BYTES < 64
    reader = FrameReader()
    data = frame(2, b"ab", fin=False) + frame(0, b"cd")
    reader.feed(data[:9])
    assert reader.memory_bytes > 0
    assert reader.feed(data[9:]) == [(2, b"abcd", 0, False)]
    assert reader.memory_bytes == 0
    reader.feed(frame(2, bytes(60_000))[:100])
    assert reader.memory_bytes < 1024  # as its bytes come, not as its head promises


def test_deflated_messages_are_marked_for_the_next_step() -> None:
    data = frame(1, b"\xff\xff", rsv=4, fin=False) + frame(0, b"\xff")
    assert read(data, [], deflate=True) == ([(1, b"\xff\xff\xff", 0, True)], None)
    assert read(data, []) == ([], "ws_reserved_bits")


def test_after_our_close_frame_only_the_peers_counts() -> None:
    reader = FrameReader()
    reader.feed(frame(2, b"ab", fin=False))
    reader.close_sent()
    assert reader.memory_bytes == 0
    assert reader.feed(frame(9, b"x") + frame(0, bytes(1000)) + frame(1, b"\xc0"[:0])) == []
    assert reader.feed(frame(8, b"\x03\xe8")) == [(8, b"", 1000, False)]
    assert reader.closed
    assert reader.feed(b"\xff\xff\xff") == []  # whatever comes after it


def test_a_close_frame_fits_whatever_the_reason() -> None:
    assert ws.close_frame() == b"\x88\x00"
    assert ws.close_frame(4003, b"slow") == b"\x88\x06\x0f\xa3slow"
    long = ws.close_frame(1000, "é".encode() * 100)
    assert len(long) == 2 + 2 + 122  # an odd byte more would be half a character
    assert read(frame(8, long[2:]), [])[0] == [(8, "é".encode() * 61, 1000, False)]
    for code in (0x10000 - 1, 1004, 1005, 1006, 1015, 999, 2999, 5000):
        with pytest.raises(ValueError, match="not for the wire"):
            ws.close_frame(code)


@given(st.binary(max_size=80) | st.text().map(str.encode), st.integers(0, 80))
def test_utf8_is_checked_as_python_does_in_any_split(data: bytes, cut: int) -> None:
    try:
        data.decode()
        valid = True
    except UnicodeDecodeError:
        valid = False
    assert (ws.utf8(0, exact(data)) == 0) == valid
    assert ws.utf8(ws.utf8(0, exact(data[:cut])), exact(data[cut:])) == ws.utf8(0, data)


def test_utf8_of_every_character_and_its_neighbours() -> None:
    for code in [*range(0x80, 0x900), *range(0xD700, 0xE100), 0xFFFF, 0x10000, 0x10FFFF]:
        text = chr(code).encode("utf-8", "surrogatepass")
        assert ws.utf8(0, b"ab" + text + b"cdef") == (1 if 0xD800 <= code <= 0xDFFF else 0)
