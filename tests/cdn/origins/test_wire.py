"""Connections that are tried before they are waited for, over real sockets."""

import socket

import pytest
import trio
import trio.testing

from nova.cdn.origins.wire import Call, Wire


def pair() -> tuple[Wire, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    ours.setblocking(False)
    return Wire(ours), theirs


async def test_what_the_socket_has_no_room_for_waits_for_the_peer() -> None:
    wire, theirs = pair()
    data = bytes(range(256)) * 65_536
    with theirs:
        sent = wire.send_now(data)
        while more := wire.send_now(data[sent:]):
            sent += more
        assert sent < len(data)
        got = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.send_all, data[sent:])
            while len(got) < len(data):
                got += await trio.to_thread.run_sync(theirs.recv, 1 << 20)
        assert bytes(got) == data
    await wire.aclose()


async def test_a_silent_peer_is_quiet_and_one_that_spoke_or_left_is_not() -> None:
    wire, theirs = pair()
    assert wire.quiet()
    theirs.sendall(b"hi")
    await trio.lowlevel.wait_readable(wire._sock)
    assert not wire.quiet()
    assert await wire.receive_some() == b"hi"  # a look takes nothing
    assert wire.quiet()
    theirs.close()
    assert await wire.receive_some() == b""
    assert not wire.quiet()
    wire.close_now()
    assert not wire.quiet()
    wire.close_now()  # twice is once


async def test_a_closed_connection_says_so_also_to_one_who_waits() -> None:
    wire, theirs = pair()
    with theirs:
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await wire.receive_some()

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            wire.close_now()
        with pytest.raises(trio.ClosedResourceError):
            wire.send_now(b"x")
        with pytest.raises(trio.ClosedResourceError):
            await wire.send_all(b"x")
        with pytest.raises(trio.ClosedResourceError):
            await wire.receive_some()


async def test_a_reset_is_a_broken_connection() -> None:
    wire, theirs = pair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    with pytest.raises(trio.BrokenResourceError):
        await wire.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        wire.send_now(b"x")
    await wire.aclose()


async def test_a_peer_that_listens_is_there_and_one_that_does_not_refuses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        call = Call(*address)
        await call.wait()
        wire = call.wire()
        theirs, _ = listener.accept()
    with theirs:
        wire.send_now(b"x")
        assert theirs.recv(1) == b"x"
    wire.close_now()
    with pytest.raises(ConnectionRefusedError):
        await Call(*address).wait()
