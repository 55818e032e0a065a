"""The server on a real socket, with a client of our own."""

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from aioquic.h3.connection import ErrorCode

from nova.core.limits import Networks
from nova.ext import ws
from nova.surface.h3.connection import Limits
from nova.surface.h3.server import H3Server
from nova.surface.h3.stream import Patience
from tests.surface.h3.client import Answer, connect
from tests.surface.h3.conftest import Application, Start


async def test_request_is_answered(server: H3Server, app: Application, ca: Path) -> None:
    async with connect(server.address, ca) as client:
        answer = await client.get("/hello?a=b", fields=[(b"cookie", b"a=1"), (b"x-y", b"z"), (b"cookie", b"b=2")])
    assert (answer.status, bytes(answer.body)) == (200, b"hello")
    assert answer.headers[b"content-type"] == b"text/plain"
    assert answer.headers[b"content-length"] == b"5"
    assert b"date" in answer.headers
    scope = app.scopes[0]
    assert (scope["http_version"], scope["method"], scope["scheme"], scope["path"]) == ("3", "GET", "https", "/hello")
    assert scope["query_string"] == b"a=b"
    assert scope["client"][0] == "127.0.0.1"
    assert scope["server"] == server.address
    assert dict(scope["headers"]) == {b"host": b"localhost", b"x-y": b"z", b"cookie": b"a=1; b=2"}


async def test_head_of_an_answer_comes_without_its_body(server: H3Server, ca: Path) -> None:
    async with connect(server.address, ca) as client:
        answer = await client.get("/hello", method="HEAD")
    assert (answer.status, bytes(answer.body), answer.headers[b"content-length"]) == (200, b"", b"5")


async def test_stranger_proves_its_address_by_a_retry(server: H3Server, ca: Path) -> None:
    async with connect(server.address, ca) as client:
        assert client.quic._retry_count == 1
        assert (await client.get("/hello")).status == 200


async def test_retry_can_be_left_out(start: Start, ca: Path) -> None:
    async with start(retry=False) as server, connect(server.address, ca) as client:
        assert client.quic._retry_count == 0
        assert (await client.get("/hello")).status == 200


async def test_many_requests_share_a_connection(server: H3Server, ca: Path) -> None:
    async with connect(server.address, ca) as client:
        for _ in range(3):  # more than the streams that are open at once
            answers = [client.ask("/hello")[1] for _ in range(90)]
            for answer in answers:
                assert bytes((await answer.whole()).body) == b"hello"
    assert server.requests == 270


async def test_timers_do_not_pile_up(server: H3Server, ca: Path) -> None:
    async with connect(server.address, ca) as client:
        for _ in range(200):
            assert (await client.get("/hello")).status == 200
        assert len(server._timers) < 20


async def test_body_is_read_at_the_pace_of_the_application(server: H3Server, app: Application, ca: Path) -> None:
    async with connect(server.address, ca) as client:
        body = bytes(range(256)) * 8192
        stream, answer = client.ask("/echo", method="POST", end=False)
        client.send(stream, body, end=True)
        assert bytes((await answer.whole()).body) == body


async def test_body_that_nobody_reads_stays_with_its_sender(start: Start, app: Application, ca: Path) -> None:
    async with start(limits=Limits(stream_window=65536)) as server, connect(server.address, ca) as client:
        stream, _ = client.ask("/unread", method="POST", end=False)
        client.send(stream, bytes(1 << 20))
        await app.until(lambda: "asked" in app.seen)
        assert (await client.get("/hello")).status == 200  # the connection goes on
        assert client.quic._streams[stream].sender.highest_offset <= 65536


async def test_answer_before_the_end_of_a_body_stops_the_rest(server: H3Server, ca: Path) -> None:
    async with connect(server.address, ca) as client:
        _, answer = client.ask("/refuse", method="POST", end=False)
        await answer.until(lambda a: a.ended and a.stopped is not None)
        assert (answer.status, answer.stopped) == (403, ErrorCode.H3_NO_ERROR)
        assert (await client.get("/hello")).status == 200


async def test_continue_is_said_when_the_body_is_asked_for(server: H3Server, ca: Path) -> None:
    async with connect(server.address, ca) as client:
        stream, answer = client.ask("/echo", method="POST", fields=[(b"expect", b"100-continue")], end=False)
        await answer.until(lambda a: a.interim)
        client.send(stream, b"body", end=True)
        assert bytes((await answer.whole()).body) == b"body"
    assert answer.interim == [b"100"]


async def test_bug_of_the_application_is_500_or_a_broken_end(server: H3Server, ca: Path) -> None:
    async with connect(server.address, ca) as client:
        answer = await client.get("/broken")
        assert (answer.status, answer.headers[b"content-type"]) == (500, b"application/problem+json")
        answer = await client.get("/half")
        assert (answer.status, answer.ended, answer.reset) == (200, False, ErrorCode.H3_INTERNAL_ERROR)


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"path": "nowhere"}, 400),
        ({"path": "/a#b"}, 400),
        ({"path": "/hello", "fields": [(b"host", b"other")]}, 400),
        ({"path": "/hello", "protocol": "websocket"}, 400),
        ({"path": "", "method": "CONNECT", "scheme": ""}, 405),
        ({"path": "/hello", "method": "CONNECT", "protocol": "connect-udp"}, 501),
        ({"path": "/ws", "method": "CONNECT", "protocol": "websocket"}, 400),
        ({"path": "/hello", "fields": [(b"x-%d" % n, b"") for n in range(101)]}, 431),
        ({"path": "/hello", "fields": [(b"x-long", b"y" * 33_000)]}, 431),
        ({"path": "/hello", "fields": [(b"x-random", bytes(range(33, 127)) * 500)]}, 431),
    ],
)
async def test_bad_head_is_refused_and_the_connection_goes_on(server: H3Server, ca: Path, given: dict[str, Any], status: int) -> None:
    async with connect(server.address, ca) as client:
        assert (await client.get(**given)).status == status
        assert (await client.get("/hello")).status == 200


HEAD = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", b"/echo")]


@pytest.mark.parametrize(
    "fields",
    [
        [*HEAD, (b"X-Upper", b"1")],
        [*HEAD, (b"connection", b"close")],
        [*HEAD, (b"transfer-encoding", b"chunked")],
        [*HEAD, (b"x", b"a\nb")],
        [*HEAD, (b":path", b"/other")],
        [*HEAD[:3], (b"x", b"y"), HEAD[3]],
        [*HEAD, (b":unknown", b"1")],
        [*HEAD[:2], HEAD[3]],
        [*HEAD, (b"content-length", b"2")],
        [*HEAD, (b"content-length", b"3"), (b"content-length", b"4")],
        [*HEAD, (b"content-length", b"+4")],
        [*HEAD, (b"content-length", b"0_4")],
    ],
)
@pytest.mark.parametrize("pieces", [1, 2])
async def test_malformed_request_ends_alone(
    server: H3Server, app: Application, ca: Path, fields: list[tuple[bytes, bytes]], pieces: int
) -> None:
    """RFC 9114, 4.1.2: an error of the stream. Others, as of another person behind the same proxy, go on."""
    async with connect(server.address, ca) as client:
        _, other = client.ask("/silent")
        await app.until(lambda: "asked" in app.seen)
        for _ in range(2):
            stream = client.quic.get_next_available_stream_id()
            answer = client.answers[stream] = Answer()
            client.http.send_headers(stream, fields)
            if pieces > 1:
                client.kick()
                await trio.testing.wait_all_tasks_blocked()
            if answer.stopped is None:
                client.send(stream, b"body", end=True)
            assert (await answer.whole()).reset == ErrorCode.H3_MESSAGE_ERROR
        assert (await client.get("/hello")).status == 200
        assert other.reset is None
        connection = server._front.connections[0]
        assert connection._h3 is not None
        while connection._h3.malformed or {0, 4} & connection._h3._stream.keys() != {0}:  # what is silent is the first
            await trio.lowlevel.checkpoint()


async def test_host_stands_for_an_authority(server: H3Server, app: Application, ca: Path) -> None:
    """RFC 9114, 4.3.1: one of the two."""
    async with connect(server.address, ca) as client:
        answer = await client.get("/hello", authority="", fields=[(b"host", b"there")])
    assert answer.status == 200
    assert dict(app.scopes[0]["headers"])[b"host"] == b"there"


async def test_oversized_head_with_a_body_is_refused(server: H3Server, ca: Path) -> None:
    async with connect(server.address, ca) as client:
        stream, answer = client.ask("/hello", method="POST", fields=[(b"x-random", bytes(range(33, 127)) * 500)], end=False)
        client.send(stream, b"body", end=True)
        assert (await answer.whole()).status == 431
        assert (await client.get("/hello")).status == 200


# -- every end ends the task ---------------------------------------------------------------------------------------------


async def _gone(server: H3Server, app: Application) -> None:
    await app.until(lambda: app.running == 0)
    while server.tasks:
        await trio.lowlevel.checkpoint()


async def test_stop_sending_ends_a_streaming_answer(server: H3Server, app: Application, ca: Path) -> None:
    async with connect(server.address, ca) as client:
        stream, answer = client.ask("/endless")
        await answer.until(lambda a: a.body)
        client.quic.stop_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
        client.kick()
        await _gone(server, app)
        assert (await client.get("/hello")).status == 200
    assert any(isinstance(each, OSError) for each in app.seen)


async def test_reset_ends_a_request_whose_body_is_under_way(server: H3Server, app: Application, ca: Path) -> None:
    async with connect(server.address, ca) as client:
        stream, _ = client.ask("/silent", method="POST", end=False)
        client.send(stream, b"begin")
        await app.until(lambda: "asked" in app.seen)
        client.quic.reset_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
        client.kick()
        await _gone(server, app)
    assert "http.disconnect" in app.seen


async def test_end_of_the_connection_ends_every_request(server: H3Server, app: Application, ca: Path) -> None:
    async with connect(server.address, ca) as client:
        for path in ("/endless", "/silent", "/silent"):
            client.ask(path)
        client.websocket("/ws")
        await app.until(lambda: app.running == 4)
        client.close()
        await _gone(server, app)
    assert app.seen.count("http.disconnect") == 2
    assert ("disconnect", 1006) in app.seen


async def test_peer_that_falls_silent_is_given_up(start: Start, app: Application, ca: Path) -> None:
    async with start(patience=Patience(0.3, 4096)) as server, connect(server.address, ca) as client:
        _, answer = client.ask("/endless")
        await answer.until(lambda a: a.body)
        client.deaf = True
        await _gone(server, app)


async def test_slow_reader_holds_no_more_than_its_window(server: H3Server, app: Application, ca: Path) -> None:
    async with connect(server.address, ca, max_stream_data=65536, max_data=1 << 20) as client:
        client.quic._write_stream_limits = lambda **_: None  # type: ignore[method-assign]
        _, answer = client.ask("/endless")
        await answer.until(lambda a: len(a.body) >= 60_000)
        assert (await client.get("/hello")).status == 200  # who does not read one answer gets others
        assert app.sent <= (1 << 18) + 65536 + 65536


async def test_reader_below_the_least_rate_is_cut(start: Start, app: Application, ca: Path) -> None:
    async with start(patience=Patience(0.2, 4096)) as server, connect(server.address, ca, max_stream_data=65536) as client:
        client.quic._write_stream_limits = lambda **_: None  # type: ignore[method-assign]
        _, answer = client.ask("/endless")
        await answer.until(lambda a: a.reset is not None)
        assert answer.reset == ErrorCode.H3_EXCESSIVE_LOAD
        await _gone(server, app)
        assert server.slow == 1


# -- WebSocket -----------------------------------------------------------------------------------------------------------


def _frame(opcode: int, payload: bytes) -> bytes:
    return ws.frame(opcode, payload, key=b"abcd")


def _messages(answer: Any) -> list[tuple[int, bytes, int]]:
    return [each[:3] for each in ws.FrameReader(client=True, max_message=1 << 20).feed(bytes(answer.body))]


async def test_websocket_is_opened_and_echoes(server: H3Server, app: Application, ca: Path) -> None:
    async with connect(server.address, ca) as client:
        stream, answer = client.websocket("/ws?x=1", "nova.json.v1", "other")
        await answer.until(lambda a: a.headers)
        assert client.websockets
        assert (answer.status, answer.headers[b"sec-websocket-protocol"]) == (200, b"nova.json.v1")
        client.send(stream, _frame(1, "grüß".encode()) + _frame(2, b"\0\1") + _frame(9, b"ping"))
        await answer.until(lambda a: len(_messages(a)) == 3)
        assert sorted(_messages(answer)) == [(1, "grüß".encode(), 0), (2, b"\0\1", 0), (10, b"ping", 0)]
    scope = app.scopes[0]
    assert (scope["type"], scope["scheme"], scope["query_string"]) == ("websocket", "wss", b"x=1")
    assert scope["subprotocols"] == ["nova.json.v1", "other"]


async def test_close_by_the_client_ends_both_halves(server: H3Server, app: Application, ca: Path) -> None:
    async with connect(server.address, ca) as client:
        stream, answer = client.websocket("/ws")
        client.send(stream, _frame(8, b"\x0f\xa2bye"))
        await answer.whole()
        assert _messages(answer) == [(8, b"bye", 4002)]
        await _gone(server, app)
    assert ("disconnect", 4002) in app.seen


async def test_close_by_the_application_waits_for_the_client(server: H3Server, app: Application, ca: Path) -> None:
    async with connect(server.address, ca) as client:
        stream, answer = client.websocket("/ws")
        client.send(stream, _frame(1, b"bye"))
        await answer.until(lambda a: _messages(a))
        assert _messages(answer) == [(8, b"as asked", 4002)]
        client.send(stream, _frame(8, b"\x0f\xa2"))
        await answer.whole()
        await _gone(server, app)
    assert ("disconnect", 4002) in app.seen


@pytest.mark.parametrize(
    ("bad", "code", "name"),
    [
        (b"\x81\x01a", 1002, b"ws_mask"),
        (_frame(1, b"\xff"), 1007, b"ws_utf8"),
        (_frame(2, b"")[:1] + b"\xff" + (1 << 20).to_bytes(8, "big"), 1009, b"ws_size"),
    ],
)
async def test_frame_that_breaks_the_rules_ends_the_websocket(
    server: H3Server, app: Application, ca: Path, bad: bytes, code: int, name: bytes
) -> None:
    async with connect(server.address, ca) as client:
        stream, answer = client.websocket("/ws")
        client.send(stream, bad)
        await answer.whole()
        assert _messages(answer) == [(8, name, code)]
        await _gone(server, app)


@pytest.mark.parametrize("how", ["reset", "stop", "fin"])
async def test_stream_that_ends_without_a_close_frame_ends_the_websocket(server: H3Server, app: Application, ca: Path, how: str) -> None:
    async with connect(server.address, ca) as client:
        stream, answer = client.websocket("/ws")
        await answer.until(lambda a: a.headers)
        if how == "reset":
            client.quic.reset_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
        elif how == "stop":
            client.quic.stop_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
        else:
            client.send(stream, b"", end=True)
        client.kick()
        await _gone(server, app)
    assert ("disconnect", 1006) in app.seen


async def test_websocket_that_is_flooded_waits_for_its_reader(server: H3Server, app: Application, ca: Path) -> None:
    async with connect(server.address, ca, max_stream_data=65536) as client:
        client.quic._write_stream_limits = lambda **_: None  # type: ignore[method-assign]
        stream, answer = client.websocket("/ws")
        client.send(stream, _frame(1, b"flood"))
        await answer.until(lambda a: len(a.body) >= 60_000)
        assert (await client.get("/hello")).status == 200
        assert app.sent <= 1 << 19
        client.quic.reset_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
        client.kick()
        await _gone(server, app)


async def test_downloads_that_nobody_reads_hold_up_no_websocket(
    start: Start, app: Application, ca: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They fill what may lie unacknowledged on the connection, which they share with the chat."""
    limits, patience = Limits(unsent=1 << 18, stream_unsent=1 << 17), Patience(30.0, 4096)
    async with start(limits=limits, patience=patience) as server, connect(server.address, ca, max_stream_data=1 << 14) as client:
        stream, answer = client.websocket("/ws")
        await answer.until(lambda a: a.headers)
        monkeypatch.setattr(client.quic, "_write_stream_limits", lambda **_: None)  # no more credit
        for _ in range(4):
            client.ask("/endless")
        connection = server._front.connections[0]
        while connection._quic.all_unsent < 1 << 18:
            await trio.lowlevel.checkpoint()
        client.send(stream, _frame(1, b"still there"))
        await answer.until(lambda a: a.body or a.reset is not None)
        assert _messages(answer) == [(1, b"still there", 0)]


async def test_of_many_pings_the_newest_is_answered(server: H3Server, ca: Path) -> None:
    """RFC 6455, 5.5.3. A window full of pings, answered one by one, kept everybody else waiting for a tenth of a second."""
    async with connect(server.address, ca) as client:
        stream, answer = client.websocket("/ws")
        await answer.until(lambda a: a.headers)
        client.send(stream, b"".join(ws.frame(ws.PING, b"%d" % number, key=b"abcd") for number in range(20_000)))
        client.send(stream, ws.frame(ws.TEXT, b"last", key=b"abcd"))
        await answer.until(lambda a: a.body.endswith(b"last"))
        found = [(opcode, payload) for opcode, payload, _, _ in ws.FrameReader(client=True, max_message=1 << 20).feed(bytes(answer.body))]
        assert found[-2:] == [(ws.PONG, b"19999"), (ws.TEXT, b"last")]
        assert len(found) < 1000


async def test_body_behind_a_lost_datagram_arrives_whole(server: H3Server, ca: Path) -> None:
    async with connect(server.address, ca) as client:
        stream, answer = client.ask("/echo", method="POST", end=False)
        body = bytes(range(256)) * 500
        sender = client.quic._streams[stream].sender
        start = sender._buffer_stop
        client.send(stream, body, end=True)
        sender._pending.subtract(start, start + 1)
        await trio.testing.wait_all_tasks_blocked(0.05)
        sender._pending.add(start, start + 1)
        sender.buffer_is_empty = False
        client.kick()
        assert bytes((await answer.whole()).body) == body


async def test_refused_websocket_is_403(server: H3Server, app: Application, ca: Path) -> None:
    async with connect(server.address, ca) as client:
        _, answer = client.websocket("/ws/no")
        assert (await answer.whole()).status == 403
        await _gone(server, app)


# -- limits and the end --------------------------------------------------------------------------------------------------


async def test_connections_of_one_address_are_counted(start: Start, ca: Path) -> None:
    async with start(per_address=1) as server, connect(server.address, ca) as first:
        async with connect(server.address, ca) as second:
            assert second.ended is not None
            assert second.ended.error_code == 2  # CONNECTION_REFUSED
            assert server.refused
        assert (await first.get("/hello")).status == 200


async def test_exempt_networks_are_not_counted(start: Start, ca: Path) -> None:
    from nova.core.values import parse_cidr

    async with start(per_address=1, exempt=Networks([parse_cidr("127.0.0.0/8")])) as server, connect(server.address, ca) as first:
        async with connect(server.address, ca) as second:
            assert (await second.get("/hello")).status == 200
        assert (await first.get("/hello")).status == 200


async def test_idle_connection_is_closed(start: Start, ca: Path) -> None:
    async with start(limits=Limits(idle=0.3)) as server, connect(server.address, ca) as client:
        assert (await client.get("/hello")).status == 200
        await client.over.wait()
        assert client.ended is not None
        assert client.ended.error_code == ErrorCode.H3_NO_ERROR


async def test_client_that_only_cancels_is_sent_away(server: H3Server, app: Application, ca: Path) -> None:
    async with connect(server.address, ca) as client:
        while client.ended is None:
            stream, answer = client.ask("/unread")
            await trio.lowlevel.checkpoint()
            client.quic.stop_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
            client.kick()
            await answer.whole()
        await client.over.wait()
        assert client.ended is not None
        assert client.ended.error_code == ErrorCode.H3_EXCESSIVE_LOAD


async def test_drain_says_goaway_and_lets_answers_end(server: H3Server, app: Application, ca: Path) -> None:
    async with connect(server.address, ca) as client, trio.open_nursery() as nursery:
        _, answer = client.ask("/late")
        await app.until(lambda: "asked" in app.seen)
        nursery.start_soon(server.drain)
        while len(client.http.goaways) < 2:
            await trio.lowlevel.checkpoint()
        refused = await client.get("/hello")
        assert (refused.status, refused.reset) == (0, ErrorCode.H3_REQUEST_REJECTED)
        await app.tell("go on")
        assert bytes((await answer.whole()).body) == b"hello"
        await client.over.wait()
        assert client.ended is not None
        assert client.ended.error_code == ErrorCode.H3_NO_ERROR


async def test_new_connection_is_refused_while_draining(server: H3Server, ca: Path) -> None:
    await server.drain()
    async with connect(server.address, ca) as client:
        assert client.ended is not None


async def test_peer_may_move(server: H3Server, ca: Path) -> None:
    async with connect(server.address, ca) as client:
        assert (await client.get("/hello")).status == 200
        await client.move()
        assert (await client.get("/hello")).status == 200
    assert server.connections <= 1


async def test_bug_that_a_datagram_finds_ends_one_connection(
    server: H3Server, app: Application, ca: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect(server.address, ca) as bad, connect(server.address, ca) as good:
        bad.ask("/silent")
        await app.until(lambda: app.running == 1)
        broken = next(link.connection for link in server._links.values() if link.streams)

        def fail(*_: object) -> None:
            raise AssertionError("aioquic meant that this could not be")

        monkeypatch.setattr(broken._quic, "receive_datagram", fail)
        bad.quic.send_ping(1)
        bad.kick()
        await _gone(server, app)
        assert (await good.get("/hello")).status == 200
        assert server.connections == 1
    assert "http.disconnect" in app.seen


@pytest.mark.slow
async def test_connections_dropped_in_the_middle_leave_no_task_behind(start: Start, app: Application, ca: Path) -> None:
    async def drop(server: H3Server, number: int, places: trio.Semaphore) -> None:
        async with places, connect(server.address, ca) as client:
            for path in ("/endless", "/silent"):
                client.ask(path)
            _, answer = client.websocket("/ws")
            await answer.until(lambda a: a.headers or a.reset)
            client.deaf = number % 4 == 0  # gone without a word; the others close

    async with start(most=2000, per_address=2000, patience=Patience(1.0, 4096), limits=Limits(idle=2.0), within=400) as server:
        places = trio.Semaphore(8)
        async with trio.open_nursery() as nursery:
            for number in range(1000):
                nursery.start_soon(drop, server, number, places)
        await _gone(server, app)
        assert server.tasks == 0
