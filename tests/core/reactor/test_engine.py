"""The engine without trio: full rings, a stop that comes late, and what nobody carries out any more."""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nova.ext.buffer import Buffer, resident_bytes
from nova.ext.engine import BODY, CLOSED, END, RENDER, REQUEST, Engine
from nova.ext.sequence import Sequence

LEAST = 262_144


def listening() -> socket.socket:
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


@contextmanager
def running(engine: Engine) -> Iterator[None]:
    threads = [threading.Thread(target=engine.run, args=(i,)) for i in range(engine.count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        engine.stop()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
        engine.shut()


def until(engine: Engine, name: str, value: int) -> None:
    end = time.monotonic() + 10
    while engine.stats()[name] < value:
        assert time.monotonic() < end, engine.stats()
        time.sleep(0.001)


def test_rings_have_a_size_that_works() -> None:
    for size in (0, 4096, LEAST - 1, LEAST + 8, 3 * LEAST):
        with pytest.raises(ValueError, match="power of two"):
            Engine(1, size, LEAST)
    engine, sock = Engine(1, LEAST, LEAST), listening()
    with sock, pytest.raises(ValueError, match="larger event ring"):
        engine.listen(sock.fileno(), "http", max_head=1 << 18)


def test_full_event_ring_stops_reading_without_spinning_and_loses_nothing() -> None:
    engine = Engine(1, LEAST, LEAST)
    sock = listening()
    address = sock.getsockname()
    engine.listen(sock.detach(), "http")
    body = bytes(20_000)
    with running(engine):
        clients = [socket.create_connection(address) for _ in range(60)]
        for client in clients:
            client.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 20000\r\nX: " + b"y" * 8000 + b"\r\n\r\n" + body)
        end = time.monotonic() + 10
        while engine.stats()["bytes_in"] < 60 * 28_000 or engine.stats()["handed_up"] == 0:
            assert time.monotonic() < end
            time.sleep(0.001)
        turns = engine.stats()["turns"]
        threading.Event().wait(0.2)  # nobody takes events: nothing can happen, and nothing may be tried again and again
        assert engine.stats()["turns"] - turns < 50
        assert engine.stats()["handed_up"] < 60
        requests: dict[int, int] = {}
        while sum(1 for size in requests.values() if size == len(body)) < 60:
            assert time.monotonic() < end
            for event in engine.events(0):
                if event[0] == REQUEST:
                    requests[event[1]] = 0
                    engine.credit(event[1], 65536)
                elif event[0] == BODY:
                    requests[event[1]] += len(event[2])
            time.sleep(0.001)
        for conn in requests:
            engine.send(conn, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", END)
        for client in clients:
            assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
            client.close()


def test_time_in_which_the_ring_was_full_is_not_the_clients() -> None:
    engine, base = Engine(1, LEAST, LEAST), int(time.monotonic() * 1000)
    sock = listening()
    address = sock.getsockname()
    engine.listen(sock.detach(), "http", body_ms=10_000, min_rate=10_000)
    engine.set_clock(ms=base)
    body = bytes(60_000)
    with running(engine):
        clients = [socket.create_connection(address) for _ in range(20)]
        for client in clients:
            client.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n" + body)
        until(engine, "handed_up", 20)
        got = {event[1]: 0 for event in engine.events(0)}
        for conn in got:
            engine.credit(conn, 65536)
        turns = engine.stats()["turns"]
        until(engine, "turns", turns + 10)  # a few bodies fill the ring, the others wait
        engine.set_clock(ms=base + 60_000)
        until(engine, "turns", turns + 30)
        end = time.monotonic() + 10
        while set(got.values()) != {60_000}:
            assert time.monotonic() < end
            for event in engine.events(0):
                assert event[0] == BODY
                got[event[1]] += len(event[2])
        assert engine.stats()["timeouts"] == 0
        for client in clients:
            client.close()


def test_rendering_that_nobody_could_be_asked_for_is_asked_for_when_there_is_room() -> None:
    engine = Engine(1, LEAST, LEAST)
    sock = listening()
    address = sock.getsockname()
    engine.listen(sock.detach(), "http")
    with running(engine):
        clients = [socket.create_connection(address) for _ in range(30)]
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"y" * 8000 + b"\r\n\r\n")
        until(engine, "bytes_in", 30 * 8000)
        engine.objects.advance(b"/list", 5 << 16)
        before = engine.stats()["bytes_in"]
        with socket.create_connection(address) as viewer:
            request = b"GET /list HTTP/1.1\r\nHost: h\r\n\r\n"
            viewer.sendall(request)
            until(engine, "bytes_in", before + len(request))
            end = time.monotonic() + 10
            asked = 0
            while asked == 0:
                assert time.monotonic() < end
                asked = sum(event[0] == RENDER for event in engine.events(0))
            engine.objects.put(b"/list", b"", [b"rendered"], version=5 << 16)
            assert viewer.recv(1000).endswith(b"rendered")
        for client in clients:
            client.close()


def test_ends_of_connections_wait_for_room_and_are_told_in_full() -> None:
    engine = Engine(1, LEAST, LEAST)
    sock = listening()
    address = sock.getsockname()
    engine.listen(sock.detach(), "http")
    with running(engine):
        clients = [socket.create_connection(address) for _ in range(40)]
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"y" * 8000 + b"\r\n\r\n")
        until(engine, "handed_up", 5)
        for client in clients:
            client.close()
        told: dict[int, list[int]] = {}
        end = time.monotonic() + 10
        done = False
        while not done:
            assert time.monotonic() < end
            done = engine.stats()["connections"] == 0  # then every end is in the ring
            for event in engine.events(0):
                told.setdefault(event[1], []).append(event[0])
    assert told
    assert all(kinds == [REQUEST, CLOSED] for kinds in told.values())


def test_engine_stops_though_its_command_ring_is_full() -> None:
    engine = Engine(1, LEAST, LEAST)
    for _ in range(100):
        engine.send(12345, bytes(20_000))
    assert engine.congested(12345)
    with running(engine):
        pass


def test_commands_without_room_are_carried_out_in_their_order() -> None:
    engine = Engine(1, LEAST, LEAST)
    sock = listening()
    address = sock.getsockname()
    engine.listen(sock.detach(), "http")
    with running(engine), socket.create_connection(address) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        until(engine, "handed_up", 1)
        conn = engine.events(0)[0][1]
        pieces = [bytes([i]) * 30_000 for i in range(200)]
        engine.send(conn, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (200 * 30_000))
        for i, piece in enumerate(pieces):
            engine.send(conn, Buffer(piece) if i % 3 == 0 else piece, END if i == 199 else 0)
        got = b""
        client.setblocking(False)
        end = time.monotonic() + 10
        while not got.endswith(pieces[-1]):
            assert time.monotonic() < end
            engine.events(0)  # takes note of room for commands, as trio does at every bell
            try:
                got += client.recv(1 << 20)
            except BlockingIOError:
                time.sleep(0.001)
        assert got.partition(b"\r\n\r\n")[2] == b"".join(pieces)


def test_commands_that_nobody_carries_out_give_their_bytes_back() -> None:
    gc.collect()
    before = resident_bytes()
    engine = Engine(1, LEAST, LEAST)
    sequence = Sequence(10, 1 << 20)
    sequence.append(bytes(50_000), True)
    for _ in range(8000):  # more than the ring takes: some wait outside
        engine.send(12345, Buffer(bytes(1000)))
    engine.follow(12345, sequence)
    assert engine.congested(12345)
    assert resident_bytes() - before > 8_000_000
    del engine, sequence
    gc.collect()
    assert resident_bytes() == before


def test_connections_end_with_their_thread() -> None:
    engine = Engine(2, LEAST, LEAST)
    sock = listening()
    address = sock.getsockname()
    engine.listen(sock.detach(), "http")
    with running(engine):
        clients = [socket.create_connection(address) for _ in range(10)]
        until(engine, "connections", 10)
    for client in clients:
        client.settimeout(5)
        assert client.recv(1) == b""
        client.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(address, timeout=1)


def test_message_for_a_connection_that_is_gone_reaches_nobody() -> None:
    engine = Engine(1, LEAST, LEAST)
    sock = listening()
    address = sock.getsockname()
    engine.listen(sock.detach(), "http")
    with running(engine):
        ids = []
        for _ in range(50):  # each gets the descriptor and the slot of the one before
            with socket.create_connection(address) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
                until(engine, "handed_up", len(ids) + 1)
                ids += [event[1] for event in engine.events(0) if event[0] == REQUEST]
                for stale in ids[:-1]:
                    engine.send(stale, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong", END)
                    engine.close(stale)
                engine.send(ids[-1], b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright", END)
                assert client.recv(1000).endswith(b"right")
            until(engine, "closed", len(ids))
    assert len(set(ids)) == 50
    assert len({conn & 0xFFFFFF for conn in ids}) < 10  # the slots were used again
