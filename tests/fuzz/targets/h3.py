"""What strangers send to the UDP port, and what peers send on the streams of HTTP/3."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from aioquic.h3.connection import FrameType, encode_frame
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import StreamDataReceived

from nova.core.clock import SystemClock
from nova.core.limits import Networks
from nova.surface.h3 import quic
from nova.surface.h3.connection import Connection, Limits
from nova.surface.h3.front import Front
from nova.surface.identity import certificates
from tests.fuzz.registry import target

MAX_HEAD = 2048


@cache
def _configuration() -> quic.Configuration:
    with tempfile.TemporaryDirectory() as folder:
        made = certificates.ensure(Path(folder), SystemClock(), ("localhost",))
        return quic.configuration(str(made.cert), str(made.key), idle=30, datagram=1350, window=1 << 16, stream_window=1 << 14)


def _hello() -> bytes:
    client = QuicConnection(configuration=QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name="localhost"))
    client.connect(("192.0.2.1", 443), 0.0)
    return client.datagrams_to_send(0.0)[0][0]


@target(
    "h3-strangers", seeds=[_hello(), b"\x40" + bytes(30)], words=[b"\xc0\0\0\0\1", b"\x6b\x33\x43\xcf", bytes(1200), b"\x08" + bytes(8)]
)
def h3_strangers(data: bytes) -> object:
    front = Front(_configuration(), Limits(), most=4, per_address=4, exempt=Networks(()), retry=True)
    found = front.find(data, ("192.0.2.2", 1234), 100.0)
    assert not isinstance(found, Connection)  # not before its address is proven
    assert found is None or len(found) <= 3 * len(data)  # RFC 9000, 8.1
    assert len(front) == 0
    return None if found is None else found[0] & 0xF0


@target(
    "h3-frames",
    seeds=[
        b"\x09" + b"\0\4\0" + b"\x07\1\0" + encode_frame(FrameType.HEADERS, b"\0\0\xd1\xd7\x50\x09localhost\xc1"),
        b"\x05\0\4\2\6\x20\1\x21\0\0\x05hello\1\3\0\0\xc0",
    ],
    words=[b"\0\4", b"\1", b"\0", b"\2\1\0", b"\x40\x41", b"\xc0\0\0\0\0\0\0\1", b"\0\0\xd1\xd7\xc1", b"\x5f\x50\x09localhost"],
)
def h3_frames(data: bytes) -> object:
    """The first byte says where the control stream's bytes end and the request's begin."""
    connection = quic.Quic(_configuration(), window=1 << 16, stream_window=1 << 14, streams=8, original_cid=bytes(8), retry_cid=None)
    http = quic.H3(connection, MAX_HEAD)
    cut = 1 + (data[0] if data else 0)
    heads = 0
    for stream, part in ((2, data[1:cut]), (0, data[cut:])):
        connection._get_or_create_stream(0x08, stream)
        for at in range(0, max(1, len(part)), 7):
            end = stream == 0 and at + 7 >= len(part)
            for event in http.handle_event(StreamDataReceived(part[at : at + 7], end, stream)):
                if isinstance(event, HeadersReceived):
                    heads += 1
                    assert sum(len(name) + len(value) for name, value in event.headers) <= MAX_HEAD or 0 in http.oversized
            http.check_held(stream)
            held = http._stream.get(stream)
            assert held is None or len(held.buffer) <= max(MAX_HEAD, quic.CONTROL_BYTES) + 16
    return (heads, connection.ending)
