"""The PROXY kernel says what its oracle says, about whole headers, pieces of them and whatever else."""

import socket
import struct
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from nova.core.proxy_protocol import Proxied, ProxyError, ProxyHeader
from nova.ext import proxy_header
from tests.exact import exact

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def two(source: str, destination: str, tail: bytes = b"", command: int = 0x21) -> bytes:
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    body = socket.inet_pton(family, source) + socket.inet_pton(family, destination) + struct.pack("!HH", 56324, 443) + tail
    return SIGNATURE + bytes([command, 0x21 if ":" in source else 0x11]) + struct.pack("!H", len(body)) + body


HEADERS = [
    b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n",
    b"PROXY TCP6 2001:db8::7 2001:db8::1 0 65535\r\n",
    b"PROXY TCP6 ::ffff:203.0.113.7 ::1 1 2\r\n",
    b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
    b"PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 01 65536\r\n",
    b"PROXY TCP6 fe80::1%1 ::1 1 2\r\n",
    b"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
    two("203.0.113.7", "192.0.2.1"),
    two("2001:db8::7", "2001:db8::1", tail=b"\x04\x00\x03abc"),
    two("203.0.113.7", "192.0.2.1", command=0x20),
    SIGNATURE + b"\x21\x11\x00\x04abcd",
    SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216),
    SIGNATURE + b"\x21\x11\xff\xff",
]
WORDS = [b"PROXY", b"TCP4", b"TCP6", b"UNKNOWN", b" ", b"1.2.3.4", b"::1", b"80", b"\r\n", b"\n", b"\0"]


def said(data: bytes) -> object:
    """The kernel's answer as the oracle would put it."""
    try:
        size, source = proxy_header.parse(exact(data))
    except ValueError:
        return "bad"
    return size, source


def wanted(data: bytes) -> object:
    try:
        found: Proxied | None = ProxyHeader().feed(data)
    except ProxyError:
        return "bad"
    if found is None:
        return 0, None
    if found.source is None:
        return len(data) - len(found.rest), None
    address, port = found.source
    packed = bytes(10) + b"\xff\xff" + address.packed if isinstance(address, IPv4Address) else address.packed
    return len(data) - len(found.rest), (packed, port)


@given(st.sampled_from(HEADERS), st.binary(max_size=40), st.integers(0, 200))
def test_any_piece_of_a_header_is_read_as_the_oracle_does(header: bytes, rest: bytes, size: int) -> None:
    data = (header + rest)[:size]
    assert said(data) == wanted(data)


@given(st.sampled_from(HEADERS), st.integers(0, 120), st.binary(min_size=1, max_size=4))
def test_a_header_with_other_bytes_in_it_is_read_as_the_oracle_does(header: bytes, at: int, other: bytes) -> None:
    data = header[:at] + other + header[at + len(other) :]
    assert said(data) == wanted(data)


@given(st.lists(st.sampled_from(WORDS)).map(b"".join))
def test_words_in_any_order_are_read_as_the_oracle_does(data: bytes) -> None:
    assert said(data) == wanted(data)


def test_line_of_107_bytes_is_the_longest() -> None:
    for size in (106, 107, 108):
        line = b"PROXY UNKNOWN " + b"x" * (size - 16) + b"\r\n"
        assert said(line) == wanted(line) == ((size, None) if size <= 107 else "bad")
