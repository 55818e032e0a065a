"""The PROXY header: the same result in any split, and an end to whatever is not one."""

import socket
import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.core.proxy_protocol import MAX_V1, MAX_V2, Proxied, ProxyError, ProxyHeader

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
ONE = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n"


def two(source: str, destination: str, ports: tuple[int, int] = (56324, 443), tail: bytes = b"", command: int = 0x21) -> bytes:
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    body = socket.inet_pton(family, source) + socket.inet_pton(family, destination) + struct.pack("!HH", *ports) + tail
    return SIGNATURE + bytes([command, 0x21 if ":" in source else 0x11]) + struct.pack("!H", len(body)) + body


WHOLE = {
    ONE: ("203.0.113.7", 56324),
    b"PROXY TCP6 2001:db8::7 2001:db8::1 0 65535\r\n": ("2001:db8::7", 0),
    b"PROXY TCP6 ::ffff:203.0.113.7 ::1 1 2\r\n": ("203.0.113.7", 1),
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n": None,
    two("203.0.113.7", "192.0.2.1"): ("203.0.113.7", 56324),
    two("2001:db8::7", "2001:db8::1", tail=b"\x04\x00\x03abc"): ("2001:db8::7", 56324),
    two("203.0.113.7", "192.0.2.1", command=0x20): None,
    SIGNATURE + b"\x20\x00\x00\x00": None,
    SIGNATURE + b"\x21\x00\x00\x00": None,
    SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216): None,
}


@given(st.sampled_from(list(WHOLE)), st.binary(max_size=40), st.lists(st.integers(1, 60), max_size=300))
def test_any_split_gives_the_same(header: bytes, rest: bytes, sizes: list[int]) -> None:
    data = header + rest
    wanted = WHOLE[header]
    machine = ProxyHeader()
    for size in [*sizes, len(data)]:
        piece, data = data[:size], data[size:]
        found = machine.feed(piece)
        if found is not None:
            assert found.source == (None if wanted is None else (ip_address(wanted[0]), wanted[1]))
            assert found.rest + data == rest
            return
    raise AssertionError("the header was whole")


def test_destination_is_read_too() -> None:
    found = ProxyHeader().feed(ONE)
    assert found == Proxied((ip_address("203.0.113.7"), 56324), (ip_address("192.0.2.1"), 443), b"")


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXYTCP4 1.1.1.1 2.2.2.2 1 2\r\n",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 -1 2\r\n",
        b"PROXY TCP4 1.1.1.1  2.2.2.2 1 2\r\n",
        b"PROXY TCP4 ::1 ::2 1 2\r\n",
        b"PROXY TCP4 1.1.1.\xff 2.2.2.2 1 2\r\n",
        b"PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n",
        b"PROXY UNKNOWN " + b"x" * MAX_V1,
        SIGNATURE + b"\x31",
        SIGNATURE + b"\x22",
        SIGNATURE + b"\x21\x11" + struct.pack("!H", MAX_V2),
        SIGNATURE + b"\x21\x11\x00\x0b" + bytes(11),
        SIGNATURE[:-1] + b"\r",
    ],
)
def test_anything_else_ends_the_connection(data: bytes) -> None:
    with pytest.raises(ProxyError):
        ProxyHeader().feed(data)
    machine = ProxyHeader()
    with pytest.raises(ProxyError):
        [machine.feed(data[at : at + 1]) for at in range(len(data))]


@given(st.binary(max_size=300))
def test_no_bytes_break_it(data: bytes) -> None:
    for head in (b"", b"PROXY ", SIGNATURE):
        machine = ProxyHeader()
        try:
            machine.feed(head + data)
        except ProxyError:
            continue
