"""The connection as a machine: two of them and a network that loses, doubles and mixes up, on a clock that only we move."""

from __future__ import annotations

import random
from typing import Any

import pytest
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, StreamReset

from nova.surface.h3 import quic
from nova.surface.h3.connection import PIECE, Body, Connection, Event, Gone, Limits, Request
from nova.surface.identity.certificates import Certificate

US, THEM = ("192.0.2.1", 443), ("192.0.2.2", 50_000)


class Wire:
    """A client of aioquic, our connection, and what lies between them. mangle: what becomes of the datagrams of one direction."""

    def __init__(self, certificate: Certificate, limits: Limits | None = None, seed: int | None = None) -> None:
        limits = limits or Limits()
        self.now = 1000.0
        configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name="localhost")
        configuration.load_verify_locations(str(certificate.cert))
        self.client = QuicConnection(configuration=configuration)
        self.server = Connection(
            quic.configuration(
                str(certificate.cert),
                str(certificate.key),
                idle=30.0,
                datagram=1350,
                window=limits.window,
                stream_window=limits.stream_window,
            ),
            limits,
            THEM,
            self.now,
            original_cid=self.client.original_destination_connection_id,
            retry_cid=None,
        )
        self.random = None if seed is None else random.Random(seed)
        self.events: list[Event] = []
        self.theirs: list[Any] = []
        self.client.connect(US, self.now)
        self.http: H3Connection | None = None

    def _mangled(self, datagrams: list[bytes]) -> list[bytes]:
        if self.random is None:
            return datagrams
        out = [each for each in datagrams if self.random.random() > 0.1]
        out += [each for each in out if self.random.random() < 0.1]
        self.random.shuffle(out)
        return out

    def turn(self) -> bool:
        """Everything that both have to say now; whether that was anything."""
        up = [data for data, _ in self.client.datagrams_to_send(self.now)]
        down = []
        for data in self._mangled(up):
            self.server.receive(data, THEM, self.now)
        while self.server.busy:
            self.server.work(self.now)
        if up or self.server.established or self.server.deadline() is not None:
            down = [data for data, _ in self.server.datagrams(self.now)]
        self.events += self.server.events()
        for data in self._mangled(down):
            self.client.receive_datagram(data, US, self.now)
        if self.http is None and self.client._handshake_complete:
            self.http = H3Connection(self.client)
        while (event := self.client.next_event()) is not None:
            self.theirs.append(event)
            if self.http is not None:
                self.theirs += self.http.handle_event(event)
        return bool(up or down)

    def run(self, what: Any = lambda: False, seconds: float = 60.0) -> None:
        """Until `what()`, or until both are silent for good."""
        end = self.now + seconds
        while not what():
            while self.turn():
                if what():
                    return
            timers = [at for at in (self.client.get_timer(), self.server.deadline()) if at is not None]
            if not timers or min(timers) > end:
                self.now = end
                return
            self.now = max(self.now + 1e-4, min(timers))
            if (at := self.client.get_timer()) is not None and at <= self.now:
                self.client.handle_timer(self.now)
            if (at := self.server.deadline()) is not None and at <= self.now:
                self.server.tick(self.now)

    def ask(self, *, end: bool = True) -> int:
        assert self.http is not None
        stream = self.client.get_next_available_stream_id()
        head = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", b"/")]
        self.http.send_headers(stream, head, end_stream=end)
        return stream

    def send_behind(self, stream: int, data: bytes) -> None:
        """`data` without its first byte, which was lost on its way."""
        sender = self.client._streams[stream].sender
        start = sender._buffer_stop
        self.client.send_stream_data(stream, data, end_stream=True)
        sender._pending.subtract(start, start + 1)

    def requests(self) -> list[int]:
        return [event.stream for event in self.events if isinstance(event, Request)]


def _ready(wire: Wire) -> Wire:
    wire.run(lambda: wire.http is not None and wire.server.established)
    assert wire.http is not None
    return wire


@pytest.mark.parametrize("seed", range(8))
def test_requests_bodies_and_answers_survive_a_bad_network(certificate: Certificate, seed: int) -> None:
    wire = _ready(Wire(certificate, seed=seed))
    assert wire.http is not None
    sent = bytes(range(256)) * 64
    streams = [wire.ask(end=False) for _ in range(20)]
    for stream in streams:
        wire.http.send_data(stream, sent, True)
    answered: set[int] = set()

    def whole() -> bool:
        for stream in streams:
            ended = any(isinstance(event, Body) and event.stream == stream and event.ended for event in wire.events)
            if ended and stream not in answered:
                answered.add(stream)
                wire.server.head(stream, 200, [])
                wire.server.data(stream, sent, end=True)
        return len([event for event in wire.theirs if isinstance(event, DataReceived) and event.stream_ended]) == len(streams)

    wire.run(whole, seconds=600)
    assert sorted(wire.requests()) == streams  # each once, in whatever order
    for stream in streams:
        assert b"".join(event.data for event in wire.events if isinstance(event, Body) and event.stream == stream) == sent
        assert b"".join(event.data for event in wire.theirs if isinstance(event, DataReceived) and event.stream_id == stream) == sent
    wire.run(seconds=5)
    assert wire.server.requests == 0
    assert not wire.server._quic._unread
    assert not wire.server._quic._delivered


def test_what_is_unread_bounds_what_comes(certificate: Certificate) -> None:
    limits = Limits(stream_window=32_768)
    wire = _ready(Wire(certificate, limits))
    assert wire.http is not None
    stream = wire.ask(end=False)
    wire.http.send_data(stream, bytes(1 << 20), True)
    wire.run(seconds=5)
    held = sum(len(event.data) for event in wire.events if isinstance(event, Body))
    assert 0 < held <= 32_768
    wire.server.consumed(stream, held)
    wire.run(seconds=5)
    assert held < sum(len(event.data) for event in wire.events if isinstance(event, Body)) <= held + 32_768


def test_credit_comes_back_for_what_is_thrown_away(certificate: Certificate) -> None:
    wire = _ready(Wire(certificate, Limits(stream_window=32_768, window=65_536)))
    assert wire.http is not None
    for number in range(20):  # more than the window in all
        stream = wire.ask(end=False)
        wire.http.send_data(stream, bytes(16_384), False)
        wire.run(seconds=1)
        if number % 2:
            wire.server.reset(stream)
        else:
            wire.client.reset_stream(stream, 0x10C)
        wire.run(seconds=1)
    assert len(wire.requests()) == 20
    assert len([event for event in wire.events if isinstance(event, Gone)]) == 20
    assert wire.server.requests == 0


def test_answer_stays_within_its_room_until_it_is_acknowledged(certificate: Certificate) -> None:
    wire = _ready(Wire(certificate, Limits(stream_unsent=65_536, unsent=100_000)))
    first, second = wire.ask(), wire.ask()
    wire.run(lambda: len(wire.requests()) == 2)
    for stream in (first, second):
        wire.server.head(stream, 200, [])
    wire.server.data(first, bytes(65_536))
    assert not wire.server.has_room(first)
    assert wire.server.has_room(second)
    wire.server.data(second, bytes(50_000))
    assert not wire.server.has_room(second)  # the connection is full
    wire.run(seconds=5)
    assert wire.server.has_room(first)
    assert wire.server.has_room(second)


def test_peer_that_vanishes_is_heard_of_in_time(certificate: Certificate) -> None:
    wire = _ready(Wire(certificate))
    stream = wire.ask()
    wire.run(lambda: bool(wire.requests()))
    while not wire.server.expired:
        at = wire.server.deadline()
        assert at is not None
        wire.now = at
        wire.server.tick(wire.now)
        wire.server.datagrams(wire.now)
    assert [event for event in wire.server.events() if isinstance(event, Gone)] == [Gone(stream)]


def test_handshake_that_never_ends_is_given_up(certificate: Certificate) -> None:
    wire = Wire(certificate, Limits(handshake=3.0))
    for data, _ in wire.client.datagrams_to_send(wire.now):
        wire.server.receive(data, THEM, wire.now)
    began = wire.now
    while not wire.server.ended:
        wire.server.datagrams(wire.now)
        at = wire.server.deadline()
        assert at is not None
        wire.now = max(wire.now + 1e-4, at)
        wire.server.tick(wire.now)
    assert wire.now - began < 4.0


def test_idle_connection_is_closed_though_its_peer_pings(certificate: Certificate) -> None:
    wire = _ready(Wire(certificate, Limits(idle=5.0)))
    for number in range(20):
        wire.client.send_ping(number)
        wire.run(seconds=0.5)
    assert wire.server.ended
    assert any(isinstance(event, ConnectionTerminated) for event in wire.theirs) or wire.client._close_event is not None


def test_requests_behind_the_last_goaway_are_refused(certificate: Certificate) -> None:
    wire = _ready(Wire(certificate))
    first = wire.ask()
    wire.run(lambda: bool(wire.requests()))
    wire.server.goaway(last=False)
    wire.run(seconds=0.1)
    second = wire.ask()
    wire.run(seconds=0.1)
    wire.server.goaway(last=True)
    third = wire.ask()
    wire.run(seconds=1)
    assert wire.requests() == [first, second]
    assert [event.error_code for event in wire.theirs if isinstance(event, StreamReset) and event.stream_id == third] == [0x10B]


def test_endless_settings_are_not_kept(certificate: Certificate) -> None:
    wire = Wire(certificate)
    wire.run(lambda: wire.client._handshake_complete)
    control = wire.client.get_next_available_stream_id(is_unidirectional=True)
    wire.client.send_stream_data(control, b"\0\4\x80\x10\0\0" + bytes(100_000))  # a control stream, and SETTINGS of a mebibyte
    wire.run(lambda: wire.server.ended, seconds=5)
    assert wire.server.ended


def test_head_with_too_many_fields_is_told_and_not_looked_at(certificate: Certificate) -> None:
    wire = _ready(Wire(certificate))
    assert wire.http is not None
    stream = wire.client.get_next_available_stream_id()
    head = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", b"/")]
    wire.http.send_headers(stream, head + [(b"BAD", b"")] * 200, end_stream=True)  # malformed, if somebody looked
    wire.run(lambda: bool(wire.requests()))
    assert [event for event in wire.events if isinstance(event, Request)] == [Request(stream, head, True, True)]
    wire.server.head(stream, 431, [], end=True)
    wire.run(seconds=1)
    assert [dict(event.headers)[b":status"] for event in wire.theirs if isinstance(event, HeadersReceived)] == [b"431"]


def test_stream_in_single_bytes_is_too_many_holes(certificate: Certificate) -> None:
    """Each frame is compared with all holes: 60 seconds for 350 datagrams."""
    wire = _ready(Wire(certificate))
    sender = wire.client._streams[wire.ask(end=False)].sender
    wire.run(lambda: sender.buffer_is_empty)
    start = sender._buffer_stop
    sender.write(bytes(2 * quic.HOLES + 20))
    for at in range(start, sender._buffer_stop, 2):
        sender._pending.subtract(at, at + 1)
    wire.run(lambda: wire.server.ended)
    assert wire.server._quic.ending == (0x1, False)
    assert [event for event in wire.events if isinstance(event, Gone)]


def test_what_waited_for_a_lost_datagram_is_looked_at_in_pieces(certificate: Certificate) -> None:
    """A stream's window of frames of one byte each takes a third of a second, in which nobody else would be served."""
    wire = _ready(Wire(certificate))
    stream = wire.ask(end=False)
    wire.run(lambda: wire.requests() == [stream])
    body = bytes(range(200)) * 100
    wire.send_behind(stream, b"".join(b"\0\1" + body[at : at + 1] for at in range(len(body))))
    wire.run(seconds=0.01)
    assert not [event for event in wire.events if isinstance(event, Body)]
    sender = wire.client._streams[stream].sender
    sender._pending.add(sender._acked[0].start - 1, sender._acked[0].start)
    sender.buffer_is_empty = False
    sizes = []
    while not sizes or wire.server.busy:
        for data, _ in wire.client.datagrams_to_send(wire.now):
            wire.server.receive(data, THEM, wire.now)
        wire.server.work(wire.now)
        came = [event for event in wire.server.events() if isinstance(event, Body)]
        sizes.append(sum(len(event.data) for event in came))
        wire.events += came
    assert max(sizes) <= 4 * PIECE / 3
    bodies = [event for event in wire.events if isinstance(event, Body)]
    assert b"".join(event.data for event in bodies) == body
    assert [event.ended for event in bodies[-2:]] == [False, True]
