"""Channels of a running server, over real sockets: WebSocket on HTTP/1.1 and on HTTP/2, server-sent events, HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import zlib
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket as plain_socket
from threading import Thread
from typing import Any

import pytest
import trio

from nova.ext import ws
from nova.realtime.client.socket import Socket, SocketClosed, open_socket
from nova.realtime.close_codes import TABLE
from tests.core.reactor.talking import talk as deflated
from tests.realtime.roads import OVER, OVER_TIME, H2Socket, Talk, ask, events, h2_connect, talk, token
from tests.serving import Served, serve
from tests.surface.h3.client import connect as h3_connect

LOBBY = "public:lobby"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("nova") / "data") as server:
        yield server


@pytest.fixture(scope="module")
def tokens(server: Served) -> dict[str, str]:
    scopes = {"alice": (), "bob": (), "svc": ("service",), "root": ("admin",)}
    return {name: token(server, name, *wanted) for name, wanted in scopes.items()}


@OVER
async def test_publications_cross_from_every_road_to_every_other(server: Served, tokens: dict[str, str], over: str) -> None:
    channel = f"public:roads-{over[-1]}"
    async with talk(server, tokens["alice"], over=over) as alice, talk(server) as guest:
        hello = await guest.ask(1, connect={"name": "Guest"})
        assert hello["user"] is None and hello["ping_s"] == 25
        first = await alice.ask(1, subscribe={"channel": channel})
        await guest.ask(2, subscribe={"channel": channel})
        assert (await alice.next("join"))["user"] is None
        assert (await alice.ask(2, publish={"channel": channel, "data": {"n": 1}}))["offset"] == 1
        sent = await trio.to_thread.run_sync(ask, server, "POST", f"/v1/channels/{channel}/publish", {"data": {"n": 2}})
        assert sent["epoch"] == first["epoch"] and sent["offset"] == 2
        for client in (alice, guest):
            assert [(await client.next("pub"))["data"]["n"] for _ in range(2)] == [1, 2]
        members = await guest.ask(3, presence={"channel": channel})
        assert members["count"] == 2
        found = await guest.ask(4, history={"channel": channel, "since": {"offset": 1, "epoch": first["epoch"]}})
        assert [each["offset"] for each in found["publications"]] == [2]
        again = await guest.ask(5, subscribe={"channel": channel, "recover": {"offset": 1, "epoch": first["epoch"]}})
        assert again["recovered"] and [each["data"] for each in again["publications"]] == [{"n": 2}]
    left = await trio.to_thread.run_sync(ask, server, "GET", f"/v1/channels/{channel}/presence")
    assert left["count"] <= 2


@OVER
async def test_what_is_published_in_the_frame_of_its_subscription_comes(server: Served, tokens: dict[str, str], over: str) -> None:
    channel = f"public:together-{over[-1]}"
    for number in range(5):  # from the second one on, the channel has had a reader who left
        async with talk(server, tokens["alice"], over=over) as alice:
            await alice.say({"id": 1, "subscribe": {"channel": channel}}, {"id": 2, "publish": {"channel": channel, "data": number}})
            assert (await alice.next("pub"))["data"] == number


@OVER
async def test_a_refusal_names_what_is_wrong(server: Served, tokens: dict[str, str], over: str) -> None:
    async with talk(server, tokens["bob"], over=over) as bob:
        assert (await bob.ask(1, publish={"channel": "public:a"}))["message"] == "A required field is missing: data"
        said = await bob.ask(2, publish={"channel": "public:a", "data": 1, "idempotency_key": "a b"})
        assert said["message"] == "A field has a value that is not allowed: idempotency_key"
        said = await bob.ask(3, history={"channel": "public:a", "since": {"offset": 1}})
        assert said["code"] in ("missing_field", "invalid_field") and not said["message"].endswith(": ")


@OVER
async def test_replies_keep_their_order_whatever_must_wait(server: Served, tokens: dict[str, str], over: str) -> None:
    stream = (await trio.to_thread.run_sync(ask, server, "POST", "/v1/streams", {"title": "T"}, tokens["alice"]))["id"]
    async with talk(server, tokens["bob"], over=over) as bob:
        room = f"stream:{stream}"
        await bob.say(
            {"id": 1, "subscribe": {"channel": room}}, {"id": 2, "ping": {}},
            {"id": 3, "publish": {"channel": room, "data": {"text": "hi"}}}, {"id": 4, "history": {"channel": room}},
            {"id": 5, "nonsense": {}}, {"id": 6, "ping": {}},
        )  # fmt: skip
        for name in ("subscribe", "ping"):
            await bob.next(name)
        await bob.next("publish")
        assert [each["data"] for each in (await bob.next("history"))["publications"]] == [{"text": "hi"}]
        assert (await bob.next("error"))["code"] == "unknown_command"
        await bob.next("ping")


async def test_client_over_h2_that_pings_and_takes_nothing_is_answered_once(server: Served, tokens: dict[str, str]) -> None:
    async with h2_connect(server) as stream:
        socket = H2Socket(stream, f"/v1/ws?access_token={tokens['bob']}", window=0)
        await socket.open("localhost")
        assert socket.status == "200"
        await socket.raw(b"".join(ws.frame(ws.PING, b"%0125d" % number, key=b"1234") for number in range(400)))
        assert await socket.get(3, "/healthz") == "200"  # the pings are read, and hold up nobody else
        pongs = await socket.pongs_until(b"%0125d" % 399)
        assert len(pongs) < 10


async def test_client_over_h2_that_takes_nothing_is_reset_when_its_connection_is_to_end(server: Served, tokens: dict[str, str]) -> None:
    async with talk(server, tokens["bob"], over="h2") as bob:
        await bob.ask(1, subscribe={"channel": "public:stalled"})
        bob._socket.takes = False
        for number in range(6):
            body = {"channel": "public:stalled", "data": f"{number}" * 30_000}
            await trio.to_thread.run_sync(ask, server, "POST", "/v1/realtime/publish", body, tokens["svc"])
        await trio.to_thread.run_sync(ask, server, "POST", "/v1/realtime/disconnect", {"user": "bob"}, tokens["svc"])
        with trio.fail_after(30):
            await bob._socket.cut()
        info = await trio.to_thread.run_sync(ask, server, "GET", "/v1/realtime/channels?prefix=public:stalled", None, tokens["svc"])
        assert info["items"] == []


@pytest.mark.slow
@pytest.mark.parametrize("over", ["h2", "h3"])
def test_silent_client_is_reset_and_one_that_answers_pings_is_not(tmp_path: Path, over: str) -> None:
    async def talks(server: Served) -> None:
        async with talk(server, over=over) as quiet, talk(server, over=over) as silent:
            quiet._socket.pongs = True
            for each in (quiet, silent):
                await each.ask(1, connect={})
            async with trio.open_nursery() as nursery:
                nursery.start_soon(quiet._socket.receive)  # answers, and says nothing by itself
                with trio.fail_after(60):
                    await silent._socket.cut()
                nursery.cancel_scope.cancel()
            assert await quiet.ask(2, ping={}) == {}

    with serve(tmp_path / "data", realtime__ping="1s", realtime__silence="6s") as server:
        trio.run(talks, server)


async def test_chat_is_the_same_over_http_and_websocket(server: Served, tokens: dict[str, str]) -> None:
    stream = (await trio.to_thread.run_sync(ask, server, "POST", "/v1/streams", {"title": "T"}, tokens["alice"]))["id"]
    comments, room = f"/v1/streams/{stream}/comments", f"stream:{stream}"
    async with talk(server) as viewer, talk(server, tokens["bob"]) as bob:
        await viewer.ask(1, connect={})
        await viewer.ask(2, subscribe={"channel": room})
        assert (await viewer.ask(3, publish={"channel": room, "data": {"text": "x"}}))["code"] == "unauthenticated"
        done = await bob.ask(1, publish={"channel": room, "data": {"text": "over ws"}})
        made = await trio.to_thread.run_sync(ask, server, "POST", comments, {"text": "over http"}, tokens["alice"])
        told = [await viewer.next("pub") for _ in range(2)]
        while any("type" in each["data"] for each in told):
            told = [each for each in told if "type" not in each["data"]] + [await viewer.next("pub")]
        assert [(each["data"]["text"], each["info"]["user"], each["info"]["badges"]) for each in told] == [
            ("over ws", "bob", []), ("over http", "alice", ["owner"]),
        ]  # fmt: skip
        listed = (await trio.to_thread.run_sync(ask, server, "GET", comments))["items"]
        assert [each["id"] for each in listed] == [made["id"], f"{done['epoch']}.{done['offset']}"]
        await trio.to_thread.run_sync(ask, server, "PUT", f"/v1/streams/{stream}/bans/bob", {"seconds": 60}, tokens["alice"])
        assert (await bob.ask(2, publish={"channel": room, "data": {"text": "again"}}))["code"] == "banned"


@OVER
async def test_channel_of_a_private_stream_is_for_those_who_may_see_it(server: Served, tokens: dict[str, str], over: str) -> None:
    async def call(method: str, path: str, body: Any = None) -> Any:
        return await trio.to_thread.run_sync(ask, server, method, f"/v1/streams{path}", body, tokens["alice"])

    stream = (await call("POST", "", {"title": "T", "visibility": "private"}))["id"]
    room = f"stream:{stream}"
    async with talk(server, tokens["alice"], over=over) as alice, talk(server, tokens["bob"], over=over) as bob, \
            talk(server, over=over) as guest:  # fmt: skip
        await guest.ask(1, connect={})
        begun = await alice.ask(1, subscribe={"channel": room})
        for client in (bob, guest):
            for command in ("subscribe", "history", "presence"):
                assert (await client.ask(2, **{command: {"channel": room}}))["code"] == "not_found"
            assert (await client.ask(3, publish={"channel": room, "data": {"text": "x"}}))["code"] == "not_found"
        assert (await alice.ask(2, presence={"channel": room}))["count"] == 1
        await call("PUT", f"/{stream}/grants/bob")
        assert (await bob.ask(4, subscribe={"channel": room}))["epoch"] == begun["epoch"]
        assert (await bob.ask(5, publish={"channel": room, "data": {"text": "granted"}}))["durable"]
        told = await alice.next("pub")
        while "type" in told["data"]:
            told = await alice.next("pub")
        assert told["data"] == {"text": "granted"}
        await call("DELETE", f"/{stream}/grants/bob")
        assert (await bob.next("unsub"))["code"] == 4000
        assert (await bob.ask(6, subscribe={"channel": room}))["code"] == "not_found"
        assert (await guest.ask(4, subscribe={"channel": room}))["code"] == "not_found"


def test_who_comes_while_many_come_is_told_the_same_on_every_road(tmp_path: Path) -> None:
    async def talks(server: Served) -> None:
        async with talk(server) as first:
            await first.ask(1, connect={})
            with pytest.raises(SocketClosed):
                async with talk(server):
                    pass
            for over in ("h2", "h3"):  # the one that trio may take was an answer of events
                assert await refused_over(server, over) == (503, "overloaded", True)

    with serve(tmp_path / "data", realtime__connect_rate="1/1h", limits__exempt="[]") as server:
        host, port = server.address("http")
        url = f"http://{host}:{port}/v1/events?channels={LOBBY}"
        with urllib.request.urlopen(url, timeout=30):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(url, timeout=30)
            with refused.value as answer:
                assert answer.code == 503 and int(answer.headers["Retry-After"]) > 0
                assert json.load(answer)["code"] == "overloaded"
            trio.run(talks, server)


async def refused_over(server: Served, over: str, path: str = "/v1/ws", protocol: str = "nova.json.v1") -> tuple[int, str, bool]:
    """Status, code of the problem, and whether it says when to come again."""
    if over == "h3":
        async with h3_connect(server.address("h3"), server.data / "tls" / "cert.pem") as client:
            answer = await client.websocket(path, protocol)[1].whole()
            return answer.status, json.loads(answer.body)["code"], b"retry-after" in answer.headers
    async with h2_connect(server) as stream:
        socket = H2Socket(stream, path, protocol)
        await socket.open("localhost:{}".format(server.address("https")[1]))
        return int(socket.status), json.loads(await socket.answer())["code"], "retry-after" in socket.headers


@pytest.mark.parametrize("over", ["h2", "h3"])
async def test_what_is_refused_before_it_is_a_websocket_says_why(server: Served, over: str) -> None:
    assert await refused_over(server, over, "/v1/nothing") == (404, "not_found", False)
    assert await refused_over(server, over, protocol="mqtt") == (400, "bad_request", False)


@OVER
async def test_tokens_that_do_not_hold_are_told_by_the_close_code(server: Served, over: str) -> None:
    async with talk(server, "nonsense", over=over) as client:
        assert await client.ended() == 4201


@OVER
async def test_events_go_on_behind_the_last_one_on_every_road(server: Served, tokens: dict[str, str], over: str) -> None:
    names = [f"public:sse-{over[-1]}-{number}" for number in range(2)]

    async def say(channel: str, data: object) -> None:
        await trio.to_thread.run_sync(ask, server, "POST", f"/v1/channels/{channel}/publish", {"data": data})

    async with events(server, ",".join(names), over=over) as until:
        await until(b": ready\n\n")
        await say(names[0], "one")
        await until(b"event: pub\nid: ")
        last = (await until(b"\n")).decode().strip()
        assert b'"one"' in await until(b"\n\n")
    await say(names[1], "two")
    await say(names[0], "three")
    async with events(server, ",".join(names), over=over, last=last) as until:
        missed = await until(b": ready\n\n")
        assert missed.count(b"event: pub\n") == 2 and b'"two"' in missed and b'"three"' in missed and b"event: gap" not in missed
    async with events(server, f"user:bob,{names[0]}", over=over, token=tokens["bob"]) as until:
        await until(b": ready\n\n")
        await trio.to_thread.run_sync(ask, server, "POST", "/v1/realtime/disconnect", {"user": "bob", "code": 4009}, tokens["svc"])
        assert b'"code":4009,"reason":"asked_to_reconnect"' in (await until(b"event: bye\n") + await until(b"\n\n")).replace(b" ", b"")


@OVER
async def test_events_of_another_epoch_begin_with_a_gap_also_where_nothing_is(server: Served, over: str) -> None:
    name = f"public:anew-{over[-1]}"

    async def first(place: list[Any]) -> Any:
        last = urlsafe_b64encode(json.dumps({name: place}).encode()).decode()
        async with events(server, name, over=over, last=last) as until:
            said = (await until(b": ready\n\n")).decode()
        return json.loads(said.partition("data: ")[2].partition("\n")[0])["gap"] if "event: gap" in said else None

    gap = await first(["old", 7])
    epoch = gap["epoch"]
    assert gap == {"channel": name, "epoch": epoch, "from": 1, "to": 0}  # what it missed had numbers of the old epoch
    assert await first([epoch, 0]) is None
    await trio.to_thread.run_sync(ask, server, "POST", f"/v1/channels/{name}/publish", {"data": 1})
    assert await first([epoch, 0]) is None
    for place in (["old", 7], [epoch, 9]):
        assert await first(place) == {"channel": name, "epoch": epoch, "from": 1, "to": 1}


def test_client_that_asks_for_much_at_once_and_reads_nothing_takes_no_memory(tmp_path: Path) -> None:
    async def talks(server: Served) -> None:
        def resident() -> int:
            return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * 4096

        async with talk(server) as writer:
            await writer.ask(1, connect={})
            for _ in range(20):
                await writer.ask(2, publish={"channel": "public:much", "data": "x" * 50_000})
            before = resident()
            async with talk(server) as client, talk(server) as other:
                await client.say({"id": 1, "connect": {}}, *({"id": at, "history": {"channel": "public:much"}} for at in range(2, 129)))
                await other.ask(1, connect={})
                for at in range(2, 200):  # the server has heard both for long
                    await other.ask(at, ping={})
                assert resident() - before < 40_000_000  # of 120 MB
                for at in range(2, 129):
                    assert len((await client.next("history"))["publications"]) == 20, at

    with serve(tmp_path / "data") as server:
        trio.run(talks, server)


@OVER_TIME
async def test_token_that_expires_ends_and_one_that_is_refreshed_goes_on(server: Served, over: str) -> None:
    long, short = [await trio.to_thread.run_sync(token, server, f"brief{over[-1]}", "--ttl", ttl) for ttl in ("1h", "3s")]
    async with talk(server, short, over=over) as ends, talk(server, short, over=over) as stays:
        for client in (ends, stays):
            assert "offset" in await client.ask(1, subscribe={"channel": f"user:brief{over[-1]}"})
        assert 3000 < (await stays.ask(2, refresh={"token": long}))["expires_in"] <= 3600
        assert await ends.ended() == 4202
        assert await stays.ask(3, ping={}) == {}
        assert (await stays.ask(4, publish={"channel": f"user:brief{over[-1]}", "data": 1}))["offset"] == 1
        assert (await stays.next("pub"))["data"] == 1


@OVER
async def test_every_connection_of_a_user_is_a_member(server: Served, tokens: dict[str, str], over: str) -> None:
    channel = f"public:many-{over[-1]}"
    async with talk(server, tokens["alice"]) as watcher:
        await watcher.ask(1, subscribe={"channel": channel})
        async with talk(server, tokens["bob"], over=over) as one, talk(server, tokens["bob"], over=over) as two:
            for each in (one, two):
                await each.ask(1, subscribe={"channel": channel})
                await each.ask(2, subscribe={"channel": channel})  # again: it is one member all the same
            joined = [(await watcher.next("join"))["client"] for _ in range(2)]
            found = await watcher.ask(2, presence={"channel": channel})
            assert found["count"] == 3 and [each["user"] for each in found["members"]] == ["alice", "bob", "bob"]
            assert len({each["client"] for each in found["members"]}) == 3
            await one.ask(3, unsubscribe={"channel": channel})
            assert (await watcher.next("leave"))["client"] == joined[0]
            page = await trio.to_thread.run_sync(ask, server, "GET", f"/v1/channels/{channel}/presence?limit=1")
            assert page["count"] == 2 and page["more"] and len(page["members"]) == 1
            rest = await trio.to_thread.run_sync(ask, server, "GET", f"/v1/channels/{channel}/presence?cursor={page['cursor']}")
            assert [each["client"] for each in rest["members"]] == joined[1:]


async def test_same_key_at_the_same_time_publishes_once_over_http(server: Served, tokens: dict[str, str]) -> None:
    path, answers = "/v1/channels/public:parallel/publish", []

    def publish() -> None:
        host, port = server.address("http")
        headers = {"Content-Type": "application/json", "Idempotency-Key": "k", "Authorization": f"Bearer {tokens['alice']}"}
        request = urllib.request.Request(f"http://{host}:{port}{path}", method="POST", data=b'{"data":1}', headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                answers.append((200, json.loads(answer.read())["offset"]))
        except urllib.error.HTTPError as refused:
            with refused:
                answers.append((refused.code, json.loads(refused.read())["code"]))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(trio.to_thread.run_sync, publish)
    await trio.to_thread.run_sync(publish)
    assert answers[-1] == (200, 1) and set(answers) <= {(200, 1), (409, "request_in_progress")}
    assert (await trio.to_thread.run_sync(ask, server, "GET", "/v1/channels/public:parallel/history"))["offset"] == 1


MASK = b"1234"
BROKEN = {
    "utf8": (ws.frame(ws.TEXT, b'{"id":1,"ping":{},"\xff', key=MASK), 1007),
    "reserved": (b"\xc1\x80" + MASK, 1002),
    "unmasked": (ws.frame(ws.TEXT, b"{}"), 1002),
    "opcode": (b"\x83\x80" + MASK, 1002),
    "continuation": (b"\x80\x80" + MASK, 1002),
    "control": (b"\x89\xfe\x00\x7e" + MASK, 1002),
    "close": (b"\x88\x81" + MASK + b"x", 1002),
    "close code": (b"\x88\x82" + MASK + bytes((0x03 ^ MASK[0], 0xED ^ MASK[1])), 1002),  # 1005
    "kind": (ws.frame(ws.BINARY, b"{}", key=MASK), 1003),
    "large": (ws.frame(ws.TEXT, b"x" * 65_537, key=MASK)[:1000], 1009),
    "endless": (
        ws.frame(ws.TEXT, b"x" * 20_000, fin=False, key=MASK) + 2 * ws.frame(0, b"x" * 20_000, fin=False, key=MASK)
        + ws.frame(0, b"x" * 20_000, fin=False, key=MASK)[:100], 1009,
    ),
    "empty": (b"\x01\x80" + MASK + 70 * (b"\x00\x80" + MASK), 1008),
    "no commands": (ws.frame(ws.TEXT, b"[]", key=MASK), 4300),
    "no json": (ws.frame(ws.TEXT, b"hello", key=MASK), 4300),
    "its own": (ws.close_frame(3000, b"bye", key=MASK), 3000),
}


@OVER
@pytest.mark.parametrize("broken", BROKEN)
async def test_what_breaks_the_rules_is_told_by_its_code_and_hurts_nobody_else(server: Served, over: str, broken: str) -> None:
    data, code = BROKEN[broken]
    async with talk(server) as other, talk(server, over=over) as client:
        await other.ask(1, connect={})
        await client.ask(1, connect={})
        await (client._socket._stream.send_all if over == "http/1.1" else client._socket.raw)(data)
        assert await client.ended() == code
        assert await other.ask(2, ping={}) == {}


@OVER_TIME
async def test_services_end_a_connection_with_every_code_of_the_table(server: Served, tokens: dict[str, str], over: str) -> None:
    reason = "\U0001f44b" * 60  # more than a close frame has room for
    for code in [each for each in TABLE if each >= 4000]:
        async with talk(server, tokens["bob"], over=over) as client:
            await client.ask(1, ping={})
            body = {"user": "bob", "code": code, **({"reason": reason} if code == 4000 else {})}
            await trio.to_thread.run_sync(ask, server, "POST", "/v1/realtime/disconnect", body, tokens["svc"])
            assert await client.ended() == code
            assert client.reason == (reason[:30] if code == 4000 else TABLE[code].name)


@OVER
async def test_revocation_and_services_close_what_is_open(server: Served, tokens: dict[str, str], over: str) -> None:
    user = f"carol{over[-1]}"
    fresh = await trio.to_thread.run_sync(token, server, user)
    async with talk(server, fresh, over=over) as carol:
        await carol.ask(1, subscribe={"channel": f"user:{user}"})
        body = {"channels": [f"user:{user}"], "data": {"type": "hello"}}
        await trio.to_thread.run_sync(ask, server, "POST", "/v1/realtime/broadcast", body, tokens["svc"])
        assert (await carol.next("pub"))["data"] == {"type": "hello"}
        unsubscribe = {"user": user, "channel": f"user:{user}"}
        await trio.to_thread.run_sync(ask, server, "POST", "/v1/realtime/unsubscribe", unsubscribe, tokens["svc"])
        assert (await carol.next("unsub"))["code"] == 4301
        await trio.to_thread.run_sync(ask, server, "POST", "/v1/tokens/revocations", {"user": user}, tokens["root"])
        assert await carol.ended() == 4203
    async with talk(server, tokens["bob"], over=over) as bob:
        await bob.ask(1, ping={})
        await trio.to_thread.run_sync(ask, server, "POST", "/v1/realtime/disconnect", {"user": "bob"}, tokens["svc"])
        assert await bob.ended() == 4312


@pytest.mark.parametrize("over", ["h2", "h3"])
async def test_clients_that_end_their_stream_without_a_word_have_left(server: Served, tokens: dict[str, str], over: str) -> None:
    channel = f"public:ends-{over}"
    async with talk(server, tokens["alice"]) as alice, talk(server, tokens["bob"], over=over) as bob:
        await alice.ask(1, subscribe={"channel": channel})
        await bob.ask(1, subscribe={"channel": channel})
        assert (await alice.next("join"))["user"] == "bob"
        await bob._socket.end()
        assert (await alice.next("leave"))["user"] == "bob"


async def test_cut_connections_leave_no_members(server: Served, tokens: dict[str, str]) -> None:
    async with talk(server, tokens["alice"]) as alice:
        await alice.ask(1, subscribe={"channel": "public:cut"})
        host, port = server.address("http")
        other: Socket = await open_socket(f"ws://{host}:{port}/v1/ws?access_token={tokens['bob']}")
        bob = Talk(other)
        await bob.ask(1, subscribe={"channel": "public:cut"})
        assert (await alice.next("join"))["user"] == "bob"
        await other._stream.aclose()  # without a word
        assert (await alice.next("leave"))["user"] == "bob"
        assert (await alice.ask(2, presence={"channel": "public:cut"}))["count"] == 1


@pytest.mark.parametrize("politely", [True, False])
async def test_clients_that_leave_right_behind_their_subscription_are_no_members(
    server: Served, tokens: dict[str, str], politely: bool
) -> None:
    channel = f"public:hurry-{politely}"
    host, port = server.address("http")
    async with talk(server, tokens["alice"]) as alice:
        await alice.ask(1, subscribe={"channel": channel})
        for _ in range(20):
            other = await open_socket(f"ws://{host}:{port}/v1/ws?access_token={tokens['bob']}")
            text = json.dumps({"id": 1, "subscribe": {"channel": channel}}).encode()
            await other._stream.send_all(ws.frame(ws.TEXT, text, key=b"1234") + (ws.close_frame(1000, key=b"1234") if politely else b""))
            await other._stream.aclose()
            joined = await alice.next("join")
            assert (await alice.next("leave"))["client"] == joined["client"]
        assert (await alice.ask(2, presence={"channel": channel}))["count"] == 1


@OVER
async def test_subscription_is_taken_back_in_its_own_frame(server: Served, tokens: dict[str, str], over: str) -> None:
    channel = f"public:back-{over[-1]}"
    async with talk(server, tokens["alice"], over=over) as alice:
        await alice.say({"id": 1, "subscribe": {"channel": channel}}, {"id": 2, "unsubscribe": {"channel": channel}})
        assert await alice.next("unsubscribe") == {}
        assert (await alice.ask(3, presence={"channel": channel}))["count"] == 0
        assert (await alice.ask(4, publish={"channel": channel, "data": 1}))["offset"] == 1
        assert await alice.ask(5, ping={}) == {} and not any("pub" in item for item in alice.waiting)


@OVER
async def test_connect_may_follow_a_token_in_the_url_and_be_tried_again(server: Served, tokens: dict[str, str], over: str) -> None:
    async with talk(server, tokens["alice"], over=over) as alice:
        assert (await alice.ask(1, connect={"token": tokens["bob"]}))["code"] == "bad_token"
        hello = await alice.ask(2, connect={"name": "Al"})
        assert hello["user"] == "alice" and hello["expires_in"] > 3000
        assert (await alice.ask(3, connect={}))["code"] == "conflict"
    async with talk(server, over=over) as guest:
        await guest.say({"id": 1, "connect": {"token": "nonsense"}}, {"id": 2, "history": {"channel": LOBBY}})
        assert [(await guest.next("error"))["code"] for _ in range(2)] == ["bad_token", "unauthenticated"]
        assert (await guest.ask(3, connect={"token": tokens["bob"]}))["user"] == "bob"


@OVER_TIME
def test_drain_says_when_to_come_back(tmp_path: Path, over: str) -> None:
    async def follow(server: Served) -> tuple[Any, int]:
        async with talk(server, over=over) as client:
            await client.ask(1, connect={})
            await client.ask(2, subscribe={"channel": LOBBY})
            server.process.terminate()
            return await client.next("bye"), await client.ended()

    with serve(tmp_path / "data") as server:
        bye, code = trio.run(follow, server)
        assert bye["code"] == code == 4002 and 0 <= bye["reconnect_after_ms"] <= 5000
        assert server.process.wait(30) == 0


@pytest.mark.parametrize("fallback", ["deny", "allow"])
def test_backend_that_is_away_is_what_the_settings_say(tmp_path: Path, fallback: str) -> None:
    async def talks(server: Served) -> None:
        ada = await trio.to_thread.run_sync(token, server, "ada")
        for over in ("http/1.1", "h2", "h3"):
            for known in ("", ada):
                async with talk(server, known, over=over) as client:
                    if fallback == "allow":
                        if not known:
                            assert (await client.ask(1, connect={}))["user"] is None
                        assert "offset" in await client.ask(2, publish={"channel": "public:away", "data": 1})
                        continue
                    first = {"id": 1, "connect": {}} if not known else {"id": 1, "ping": {}}
                    await client.say(first, {"id": 2, "publish": {"channel": "public:away", "data": 1}})
                    assert await client.ended() == 4001
        if fallback == "deny":
            assert (await trio.to_thread.run_sync(ask, server, "GET", "/v1/channels/public:away/history"))["offset"] == 0

    with plain_socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        with serve(
            tmp_path / "data", realtime__hook_url=f"http://127.0.0.1:{nobody.getsockname()[1]}/hook", realtime__hook_asks='["connect"]',
            realtime__hook_secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", realtime__hook_fallback=fallback,
        ) as server:  # fmt: skip
            trio.run(talks, server)


def test_users_addresses_and_channels_have_their_limits(tmp_path: Path) -> None:
    async def refused_at(client: Talk, id: int, most: int, **command: Any) -> Any:
        for number in range(most):
            answer = await client.ask(id + number, **command)
            if "code" in answer:
                assert answer["code"] == "rate_limited" and answer["retry_ms"] > 0
                return number, answer["message"]
        return None

    async def talks(server: Served) -> None:
        ada, bob = [await trio.to_thread.run_sync(token, server, user) for user in ("ada", "bob")]

        def publish(channel: str) -> dict[str, Any]:
            return {"publish": {"channel": channel, "data": 1}}

        for over in ("http/1.1", "h2", "h3"):
            room = over[-1]
            async with talk(server, ada, over=over) as one, talk(server, ada) as two, talk(server, bob) as three:
                number, why = await refused_at(one, 1, 10, **publish(f"user-rate:{room}"))
                assert number == 3 and "of one sender" in why
                assert (await two.ask(1, **publish(f"user-rate:{room}")))["code"] == "rate_limited"  # the same user
                assert "offset" in await three.ask(1, **publish(f"user-rate:{room}"))
                number, why = await refused_at(one, 20, 10, **publish(f"channel-rate:{room}"))
                assert number == 2 and "to this channel" in why
                assert (await three.ask(2, **publish(f"channel-rate:{room}")))["code"] == "rate_limited"
                assert "offset" in await three.ask(3, **publish(f"channel-rate:{room}-other"))
        async with talk(server, ada) as one, talk(server, bob) as two:
            number, why = await refused_at(one, 1, 30, **publish("free:a"))
            assert number is not None and "from this address" in why
            assert (await two.ask(1, **publish("free:b")))["code"] == "rate_limited"  # the same address
            found = await refused_at(two, 2, 100, history={"channel": "free:a"})
            assert found is not None and "commands" in found[1]
            assert await two.ask(200, ping={}) == {}

    spaces = ["user-rate rate=3/1h channel_rate=off", "channel-rate rate=off channel_rate=2/1h", "free rate=off channel_rate=off"]
    with serve(
        tmp_path / "data", realtime__namespaces=json.dumps(spaces), realtime__address_rate="40/1h", realtime__command_rate="90/1h",
        limits__exempt="[]",
    ) as server:  # fmt: skip
        trio.run(talks, server)


async def test_what_happened_is_measured(server: Served, tokens: dict[str, str]) -> None:
    def metrics() -> dict[str, float]:
        host, port = server.address("http")
        with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line.startswith("nova_realtime{"))}

    before = await trio.to_thread.run_sync(metrics)
    async with talk(server, tokens["alice"]) as alice:
        place = await alice.ask(1, publish={"channel": "public:measured", "data": 1})
        await alice.ask(2, subscribe={"channel": "public:measured", "recover": {"offset": 1, "epoch": place["epoch"]}})
        await alice.ask(3, subscribe={"channel": "public:measured", "recover": {"offset": 1, "epoch": "other"}})
        await alice.ask(4, subscribe={"channel": "user:bob"})
    after = await trio.to_thread.run_sync(metrics)
    grown = {name.partition('"')[2].rstrip('"}'): after[name] - before[name] for name in after}
    assert all(grown[name] == 1 for name in ("publications", "recovered", "not_recovered", "refused"))
    assert {"gaps", "dropped", "slow", "unadmitted"} <= grown.keys()


def test_compression_is_agreed_where_it_is_wanted_and_a_bomb_is_told_by_its_size(tmp_path: Path) -> None:
    async def talks(server: Served) -> None:
        async with deflated(server.address("http"), deflate=True) as client:
            await client.join("public:deflated")
            await client.send({"id": 9, "publish": {"channel": "public:deflated", "data": "x" * 2000}})
            assert await client.publications(1) == ["x" * 2000] and client.packed
            bomb = zlib.compressobj(wbits=-15)
            data = bomb.compress(b" " * 50_000_000) + bomb.flush(zlib.Z_SYNC_FLUSH)
            await client.raw(ws.frame(ws.TEXT, data[:-4], rsv1=True, key=b"1234"))
            assert (await client.closed()).code == 1009

    with serve(tmp_path / "data", realtime__deflate="true") as server:
        trio.run(talks, server)


def test_backend_decides_who_comes_in_and_what_is_said(tmp_path: Path) -> None:
    asked: list[Any] = []

    class Backend(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked.append(question["type"])
            said = question["data"].get("data")
            refused = question["data"].get("name") == "Eve" or question["data"]["user"] == "eve" or said == {"text": "rude"}
            answer = (
                {"error": {"code": "forbidden", "message": "no"}}
                if refused
                else {"data": {"text": "***"}}
                if said == {"text": "odd"}
                else {}
            )
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Nothing to see."""

    async def talks(server: Served) -> None:
        eve = await trio.to_thread.run_sync(token, server, "eve")
        ada = await trio.to_thread.run_sync(token, server, "ada")
        for over in ("http/1.1", "h2"):
            async with talk(server, eve, over=over) as client:
                assert await client.ended() == 4301
            async with talk(server, over=over) as client:
                await client.say({"id": 1, "connect": {"name": "Eve"}}, {"id": 2, "publish": {"channel": "public:eve", "data": 1}})
                assert await client.next("error") == {"code": "forbidden", "message": "no"}
                assert await client.ended() == 4301
            async with talk(server, eve, over=over) as client:
                await client.say({"id": 2, "publish": {"channel": "public:eve", "data": 1}})
                assert await client.ended() == 4301
            async with events(server, LOBBY, over=over, token=ada) as until:
                await until(b": ready\n\n")
            async with talk(server, over=over) as client:
                hello = await client.ask(1, connect={"token": ada})
                assert hello["user"] == "ada" and hello["expires_in"] > 3000
                assert (await client.ask(2, publish={"channel": LOBBY, "data": 1}))["offset"] > 0
        assert (await trio.to_thread.run_sync(ask, server, "GET", "/v1/channels/public:eve/history"))["offset"] == 0
        await trio.to_thread.run_sync(comments, server, ada)
        with pytest.raises(urllib.error.HTTPError) as caught:  # events are a connection, too
            await trio.to_thread.run_sync(ask, server, "GET", f"/v1/events?channels={LOBBY}", None, eve)
        with caught.value as answer:
            assert answer.code == 403

    def comments(server: Served, ada: str) -> None:
        """Over HTTP the same backend is asked."""
        stream = ask(server, "POST", "/v1/streams", {"title": "T"}, ada)["id"]
        path = f"/v1/streams/{stream}/comments"
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask(server, "POST", path, {"text": "rude"}, ada)
        with caught.value as answer:
            assert answer.code == 403
        assert ask(server, "POST", path, {"text": "odd"}, ada)["text"] == "***"
        assert [each["text"] for each in ask(server, "GET", path)["items"]] == ["***"]

    backend = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    Thread(target=backend.serve_forever, daemon=True).start()
    try:
        settings = {
            "realtime__hook_url": f"http://127.0.0.1:{backend.server_port}/hook", "realtime__hook_asks": '["connect", "publish"]',
            "realtime__hook_secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "realtime__hook_timeout": "20s",
        }  # fmt: skip
        with serve(tmp_path / "data", **settings) as server:
            trio.run(talks, server)
        assert asked.count("realtime.connect") == 11 and asked.count("realtime.publish") == 4
    finally:
        backend.shutdown()
        backend.server_close()
