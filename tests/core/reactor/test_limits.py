"""What one peer may take: time for heads and bodies, size of heads, number of connections; and floods that harm nobody else."""

from __future__ import annotations

import os
import resource
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import trio

from nova.core.reactor import Reactor
from nova.core.reactor.exchange import ClientDisconnected
from nova.ext.buffer import pinned_bytes
from tests.core.reactor.served import Client, Clock, connect, dial, http, reactor, until
from tests.core.reactor.test_exchange import answer, echo, whole_body


@asynccontextmanager
async def limited(app: Any = echo, threads: int = 1, **limits: int) -> AsyncIterator[tuple[Reactor, Clock, tuple[str, int]]]:
    async with reactor(http(app, **limits), threads=threads) as (made, [address]):
        yield made, Clock(made), address


def connections(made: Reactor) -> int:
    found: int = made.engine.stats()["connections"]
    return found


async def arrived(made: Reactor, size: int) -> None:
    """The reactor has read so many bytes in all."""
    await until(lambda: made.engine.stats()["bytes_in"] >= size)


async def test_accepted_sockets_have_the_options_of_their_listener() -> None:
    async with limited() as (made, _, address):
        with socket.create_connection(address) as client:
            await until(lambda: connections(made) == 1)
            fds = Path("/proc/self/fd")
            for name in [path.name for path in fds.iterdir() if path.is_symlink() and os.readlink(path).startswith("socket:")]:
                with suppress(OSError), socket.socket(fileno=os.dup(int(name))) as each:
                    if each.type == socket.SOCK_STREAM and each.getpeername() == client.getsockname():
                        assert each.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                        assert each.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                        break
            else:
                raise AssertionError("it is not here")


async def test_connection_that_says_nothing_is_gone_within_the_head_time() -> None:
    async with limited(head_ms=10_000) as (made, clock, address), connect(address) as client:
        await until(lambda: connections(made) == 1)
        await clock.advance(9.9)
        assert connections(made) == 1
        await clock.advance(0.2)
        assert await client.to_end() == b""


async def test_slow_head_is_answered_408_ten_seconds_after_its_first_byte() -> None:
    async with limited(head_ms=10_000) as (made, clock, address), connect(address) as client:
        await client.send(b"GET / HTTP/1.1\r\n")
        await arrived(made, 16)
        for i in range(9):  # a trickle does not move the deadline
            await clock.advance(1)
            await client.send(b"X: y\r\n")
            await arrived(made, 16 + 6 * (i + 1))
        await clock.advance(1.1)
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (408, "close")
        assert await client.to_end() == b""


async def test_slow_head_after_requests_has_the_same_time() -> None:
    async with limited(head_ms=10_000, idle_ms=75_000) as (made, clock, address), connect(address) as client:
        made.objects.put(b"/hot", b"", [b"hot"])
        assert (await client.get("/"))[0] == 200
        assert (await client.get("/hot"))[2] == b"hot"
        await clock.advance(60)
        before = made.engine.stats()["bytes_in"]
        await client.send(b"GET /hot HTTP/1.1\r\n")
        await arrived(made, before + 19)
        await clock.advance(10.1)
        assert (await client.answer())[0] == 408


async def test_tiny_pipelined_requests_do_not_stretch_the_time_of_a_head() -> None:
    async with limited(head_ms=10_000) as (made, clock, address), connect(address) as client:
        made.objects.put(b"/", b"", [b"x"])
        total = 0
        for _ in range(5):  # each write ends one head and begins the next
            data = (b"" if total == 0 else b"Host: h\r\n\r\n") + b"GET / HTTP/1.1\r\n"
            await client.send(data)
            total += len(data)
            await arrived(made, total)
            await clock.advance(6)
        assert made.engine.stats()["hot"] == 4
        await clock.advance(4.1)
        for _ in range(4):
            assert (await client.answer())[2] == b"x"
        assert (await client.answer())[0] == 408


async def test_idle_connection_is_closed_without_a_word() -> None:
    async with limited(idle_ms=75_000) as (made, clock, address), connect(address) as client:
        assert (await client.get("/"))[0] == 200
        await clock.advance(74.8)
        assert connections(made) == 1
        await clock.advance(0.3)
        assert await client.to_end() == b""


async def test_deadline_that_was_cleared_is_not_late_the_next_time() -> None:
    """An idle connection stands far away on the wheel; a body that stalls then must not wait for that."""
    async with limited(body_ms=10_000, idle_ms=75_000) as (made, clock, address), connect(address) as client:
        assert (await client.get("/"))[0] == 200
        before = made.engine.stats()["bytes_in"]
        head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n"
        await client.send(head)
        await arrived(made, before + len(head))
        await until(lambda: made.engine.stats()["handed_up"] == 2)
        await trio.testing.wait_all_tasks_blocked(0.05)  # the application waits for the body
        await clock.advance(10.1)
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (408, "close")


async def test_stalled_body_is_told_to_both_sides() -> None:
    heard: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await whole_body(receive)
        except ClientDisconnected:
            heard.append("gone")
            with pytest.raises(ClientDisconnected):
                await answer(send, b"too late")

    async with limited(app, body_ms=10_000) as (made, clock, address), connect(address) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n" + bytes(50))
        await until(lambda: made.engine.stats()["handed_up"] == 1)
        await trio.testing.wait_all_tasks_blocked(0.05)
        await clock.advance(10.1)
        assert (await client.answer())[0] == 408
        assert await client.to_end() == b""
        await until(lambda: heard)
    assert heard == ["gone"]


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_body_below_the_least_rate_is_refused_and_one_above_it_is_not(framing: str) -> None:
    async with limited(body_ms=10_000, min_rate=100) as (made, clock, address):
        async def post(piece: int) -> tuple[int, bytes]:
            async with connect(address) as client:
                field = b"Content-Length: %d" % (8 * piece) if framing == "length" else b"Transfer-Encoding: chunked"
                before, handed = made.engine.stats()["bytes_in"], made.engine.stats()["handed_up"]
                head = b"POST / HTTP/1.1\r\nHost: h\r\n" + field + b"\r\n\r\n"
                await client.send(head)
                await until(lambda: made.engine.stats()["handed_up"] == handed + 1)
                await trio.testing.wait_all_tasks_blocked(0.05)
                size = before + len(head)
                for _ in range(8):
                    data = bytes(piece) if framing == "length" else b"%x\r\n%s\r\n" % (piece, bytes(piece))
                    try:
                        await client.send(data)
                    except trio.BrokenResourceError:
                        break
                    size += len(data)
                    if made.engine.stats()["refused"]:
                        break
                    await arrived(made, size)
                    await clock.advance(4)
                else:
                    if framing == "chunked":
                        await client.send(b"0\r\n\r\n")
                status, _, body = await client.answer()
                return status, body

        assert await post(500) == (200, bytes(4000))
        assert (await post(50))[0] == 408


async def test_slow_application_costs_no_client_its_connection() -> None:
    go = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await answer(send, await whole_body(receive))

    async with limited(app, body_ms=10_000, head_ms=10_000, idle_ms=10_000) as (made, clock, address), connect(address) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
        await until(lambda: made.engine.stats()["handed_up"] == 1)
        await clock.advance(1000)
        assert connections(made) == 1
        go.set()
        assert (await client.answer())[2] == b"hello"


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
async def test_head_above_the_limit_is_431_and_one_below_it_is_not(end: bytes) -> None:
    async with limited(max_head=2048) as (_, _, address):
        async with connect(address) as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"y" * 2000 + b"\r\n\r\n")
            assert (await client.answer())[0] == 200
        async with connect(address) as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"y" * 2100 + end)
            status, headers, _ = await client.answer()
            assert (status, headers["connection"]) == (431, "close")
            assert await client.to_end() == b""


async def test_bytes_sent_ahead_are_bounded_while_an_answer_is_awaited() -> None:
    go = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await answer(send, b"done")

    async with limited(app) as (made, _, address), connect(address, window=65536) as client, trio.open_nursery() as nursery:
        ahead = 40_000  # requests, 2.4 MB
        nursery.start_soon(client.send, b"GET / HTTP/1.1\r\nHost: h\r\nX: yyyyyyyyyyyyyyyyyyyy\r\n\r\n" * ahead)
        await until(lambda: made.engine.stats()["bytes_in"] > 0)
        await trio.testing.wait_all_tasks_blocked(0.1)
        assert made.engine.stats()["bytes_in"] < 200_000
        nursery.cancel_scope.cancel()


async def test_connections_above_the_limit_are_turned_away_and_make_room_when_they_end() -> None:
    async with limited(max_conns=8) as (made, _, address):
        held = [await dial(address) for _ in range(8)]
        await until(lambda: connections(made) == 8)
        for _ in range(50):
            extra = await dial(address)
            with trio.fail_after(30):
                with suppress(trio.BrokenResourceError):
                    assert await extra.receive_some(1) == b""
            await extra.aclose()
        assert made.engine.listener_stats(0)["refused"] == 50
        assert (await Client(held[0]).get("/"))[0] == 200
        for stream in held:
            await stream.aclose()
        await until(lambda: connections(made) == 0)
        async with connect(address) as client:
            assert (await client.get("/"))[0] == 200


async def test_clients_that_vanish_leave_nothing_behind() -> None:
    """Resets at every point of a request, by the hundred, on two threads; the ids of those who come after are their own."""
    seen: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["nova"]["conn"])
        await answer(send, await whole_body(receive) or b"x" * 100_000)

    get = b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n"
    request = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody" + get % b"/hot" + get % b"/park" + b"GET"
    async with limited(app, threads=2) as (made, _, address):
        made.objects.put(b"/hot", b"", [bytes(500_000)])
        made.objects.expect(b"/park")

        async def vanish(size: int) -> None:
            stream = await dial(address)
            await stream.send_all(request[:size])
            if size % 3 == 0:
                with trio.move_on_after(0.01):
                    await stream.receive_some(1000)
            if size % 2:
                stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.socket.close()

        async with trio.open_nursery() as nursery:
            for size in range(len(request) + 1):
                for _ in range(3):
                    nursery.start_soon(vanish, size)
        await until(lambda: connections(made) == 0)
        assert made.engine.stats()["parked_now"] == 0
        async with connect(address) as client:
            await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nmine")
            assert (await client.answer())[2] == b"mine"
    assert len(set(seen)) == len(seen)  # slots and descriptors were used again, ids were not


async def test_half_open_peers_are_looked_for_by_the_kernel() -> None:
    """A peer that is gone without a word: nothing but probes and unacknowledged bytes can tell."""
    async with limited() as (_made, _, address), connect(address) as client:
        assert (await client.get("/"))[0] == 200
        assert isinstance(client.stream, trio.SocketStream)
        with server_side(client.stream.socket.getsockname()) as sock:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert 0 < sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 60_000


@contextmanager
def server_side(client: tuple[str, int]) -> Iterator[socket.socket]:
    """The reactor's socket of that client, found among the descriptors of this process; still the reactor's afterwards."""
    for name in os.listdir("/proc/self/fd"):
        try:
            sock = socket.socket(fileno=int(name))
        except OSError:
            continue
        try:
            if sock.getpeername() == client:
                yield sock
                return
        except OSError:
            pass
        finally:
            sock.detach()
    raise AssertionError(f"nobody is connected to {client}")


async def test_machine_without_descriptors_serves_whom_it_has_and_goes_on_later() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with limited() as (made, clock, address), connect(address) as client:
        assert (await client.get("/"))[0] == 200
        soon = [trio.socket.socket() for _ in range(3)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # no further descriptor for anybody
        try:
            for sock in soon:
                await sock.connect(address)
            turns = made.engine.stats()["turns"]
            assert (await client.get("/"))[0] == 200
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert made.engine.stats()["turns"] - turns < 200  # a listener that cannot be served does not spin the thread
            assert connections(made) == 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await clock.advance(0.2)
        for sock in soon:
            late = Client(trio.SocketStream(sock))
            assert (await late.get("/"))[0] == 200
            await late.stream.aclose()


async def test_one_address_has_so_many_connections_and_another_is_not_turned_away() -> None:
    async with limited(threads=2) as (made, _, address):
        made.bound(connections_per_address=5, exempt=[ip_network("127.0.0.2/32")], pinned_bytes=1 << 40)
        held = [await dial(address) for _ in range(5)]
        await until(lambda: connections(made) == 5)
        for _ in range(20):
            with pytest.raises((EOFError, trio.BrokenResourceError)):
                async with connect(address) as client:
                    await client.get("/")
        assert made.engine.stats()["crowded"] == made.engine.peers.refused == 20
        for source in ("127.0.0.2", "127.0.0.3"):
            streams = [await trio.open_tcp_stream(*address, local_address=source) for _ in range(8)]
            for stream in streams[:5]:
                assert (await Client(stream).get("/"))[0] == 200
            assert len(made.engine.peers) == (1 if source == "127.0.0.2" else 2)  # the exempt one takes no place
            for stream in streams:
                await stream.aclose()
        await held.pop().aclose()
        await until(lambda: connections(made) == 4)
        async with connect(address) as client:
            assert (await client.get("/"))[0] == 200
        for stream in held:
            await stream.aclose()
        await until(lambda: connections(made) == 0)
        assert len(made.engine.peers) == 0


async def test_slow_readers_of_what_is_gone_are_cut_before_they_hold_too_much() -> None:
    """The table has moved on: what they still have to take is in no other place. Who reads what is in the table is left alone."""
    size = 12_000_000
    async with limited(body_ms=10_000) as (made, clock, address):
        made.bound(connections_per_address=0, exempt=[], pinned_bytes=3 * size + 1000)
        made.objects.put(b"/here", b"", [bytes(size)])
        begun = []
        for number in range(6):
            made.objects.put(b"/x", b"", [bytes(size)])
            client = Client(await dial(address, 32768))
            begun.append(client)
            await client.send(b"GET /%s HTTP/1.1\r\nHost: h\r\n\r\n" % (b"here" if number == 0 else b"x"))
            await client.until(b"\r\n\r\n")
            await clock.advance(0.1)  # backlogs have ages
        made.objects.remove(b"/x")
        # Five bodies are pinned and three may be: the two that began first go.
        await until(lambda: made.engine.stats()["shed"] == 2)
        await clock.advance(1)
        assert made.engine.stats()["shed"] == 2
        assert pinned_bytes() == 3 * size
        for number, client in enumerate(begun):
            if number in (1, 2):
                with pytest.raises((EOFError, trio.BrokenResourceError)):
                    await client.exactly(size)
            else:
                await client.exactly(size)
            await client.stream.aclose()
        await until(lambda: pinned_bytes() == 0)
