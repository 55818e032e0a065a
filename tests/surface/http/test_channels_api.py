"""Channels over HTTP: publish, history, presence, server-sent events, and the services' side."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from tests.surface.http.conftest import Site

LOBBY = "/v1/channels/public:lobby"


async def test_publish_history_and_presence_answer_as_on_the_websocket(site: Site) -> None:
    first = (await site.ask("POST", f"{LOBBY}/publish", {"data": {"n": 1}})).json
    assert first == {"offset": 1, "epoch": first["epoch"], "durable": False}
    assert (await site.ask("POST", f"{LOBBY}/publish", {"data": None}, user="bob")).json["offset"] == 2
    found = (await site.ask("GET", f"{LOBBY}/history?since=1&epoch={first['epoch']}")).json
    assert [(each["offset"], each["data"]) for each in found["publications"]] == [(2, None)] and not found["more"] and found["offset"] == 2
    assert len((await site.ask("GET", f"{LOBBY}/history?since=1")).json["publications"]) == 1
    assert (await site.ask("GET", f"{LOBBY}/history?limit=0")).status == 400
    assert len((await site.ask("GET", f"{LOBBY}/history?since=1&epoch=other")).json["publications"]) == 2
    assert (await site.ask("GET", f"{LOBBY}/history?limit=0")).status == 400
    assert (await site.ask("GET", f"{LOBBY}/presence")).json == {"count": 0, "members": [], "more": False, "cursor": None}


async def test_same_idempotency_key_publishes_once(site: Site) -> None:
    key = {"Idempotency-Key": "k"}
    first = await site.ask("POST", f"{LOBBY}/publish", {"data": 1}, user="bob", headers=key)
    again = await site.ask("POST", f"{LOBBY}/publish", {"data": 1}, user="bob", headers=key)
    assert first.json == again.json and again["idempotency-replayed"] == "true"


@pytest.mark.parametrize("site", [["http.listen=0.0.0.0:0"]], indirect=True)
async def test_strangers_only_read_where_the_server_is_open_to_the_world(site: Site) -> None:
    assert (await site.ask("POST", f"{LOBBY}/publish", {"data": 1})).status == 401
    assert (await site.ask("POST", f"{LOBBY}/publish", {"data": 1}, user="bob")).status == 200
    assert (await site.ask("GET", f"{LOBBY}/history")).status == 200


async def test_names_data_and_rights_are_checked(site: Site) -> None:
    for name, status in (("nope", 400), ("public:a%20b", 400), ("nobody:knows", 404), ("user:alice", 403)):
        assert (await site.ask("POST", f"/v1/channels/{name}/publish", {"data": 1}, user="bob")).status == status, name
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    site.clock.advance(5)
    assert (await site.ask("POST", f"{LOBBY}/publish", {"data": deep}, user="bob")).status == 400
    assert (await site.ask("POST", f"{LOBBY}/publish", {}, user="bob")).json["errors"][0]["code"] == "missing_field"
    assert (await site.ask("POST", f"{LOBBY}/publish", body=b'{"data": "\\ud800"}', user="bob")).status == 400
    site.clock.advance(5)
    assert (await site.ask("POST", f"{LOBBY}/publish", body=b'{"data": [1e999]}', user="bob")).json["code"] == "invalid_field"
    for number in (b"NaN", b"Infinity", b"-Infinity"):
        site.clock.advance(5)
        assert (await site.ask("POST", f"{LOBBY}/publish", body=b'{"data": [%s]}' % number, user="bob")).status == 400


@pytest.mark.parametrize("key", ["", " k", "a b", "\u00e4" * 128, "k" * 129])
async def test_a_key_of_states_is_what_it_is_on_the_websocket(site: Site, key: str) -> None:
    """Characters of two bytes were numbered and kept, and then told to nobody."""
    told = await site.ask("POST", f"{LOBBY}/publish", {"data": 1, "conflate_key": key}, user="bob")
    assert told.json["errors"][0]["pointer"] == "/conflate_key"
    assert (await site.ask("POST", f"{LOBBY}/publish", {"data": 2, "conflate_key": "!~" * 64}, user="bob")).json["offset"] == 1


class Events:
    """What an EventSource would see."""

    def __init__(self) -> None:
        self.status = 0
        self.text = b""
        self.over = False
        self.news = trio.lowlevel.ParkingLot()
        self.headers: dict[str, str] = {}

    def events(self) -> list[tuple[str, Any, str]]:
        """Name, data, id."""
        found = []
        for block in self.text.decode().split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and not line.startswith(":"))
            if "event" in lines:
                found.append((lines["event"], json.loads(lines["data"]), lines.get("id", "")))
        return found

    async def until(self, count: int) -> list[tuple[str, Any, str]]:
        with trio.fail_after(30):
            while len(self.events()) < count:
                assert not self.over
                await self.news.park()
        return self.events()


def _scope(site: Site, target: str, *, token: str = "", **headers: str) -> dict[str, Any]:
    path, _, query = target.partition("?")
    sent = {"host": "nova.test:8080", **({"authorization": f"Bearer {token}"} if token else {}), **headers}
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http", "path": path,
        "raw_path": path.encode(), "query_string": query.encode(), "root_path": "", "extensions": {}, "server": ("127.0.0.1", 80),
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in sent.items()], "client": ("127.0.0.1", 4),
    }  # fmt: skip


def _asked(left: trio.Event | None = None) -> Callable[[], Awaitable[dict[str, Any]]]:
    """`receive` of a request without a body whose client stays until `left`."""
    over, first = trio.Event() if left is None else left, [True]

    async def receive() -> dict[str, Any]:
        if first.pop() if first else False:
            return {"type": "http.request", "body": b"", "more_body": False}
        await over.wait()
        return {"type": "http.disconnect"}

    return receive


@asynccontextmanager
async def follow(site: Site, target: str, *, token: str = "", **headers: str) -> AsyncIterator[Events]:
    seen, left = Events(), trio.Event()

    async def send(message: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        if message["type"] == "http.response.start":
            seen.status = message["status"]
            seen.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            seen.text += message.get("body", b"")
            seen.over = not message.get("more_body", False)
        seen.news.unpark_all()

    async def run() -> None:
        await site.app(_scope(site, target, token=token, **headers), _asked(left), send)
        seen.over = True
        seen.news.unpark_all()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        yield seen
        left.set()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


async def test_events_follow_channels_and_go_on_where_they_were_cut(site: Site) -> None:
    target = "/v1/events?channels=public:a,public:b"
    async with follow(site, target) as events:
        assert events.status == 200 and events.headers["content-type"].startswith("text/event-stream")
        assert events.headers["cache-control"] == "no-store" and "content-length" not in events.headers
        await site.ask("POST", "/v1/channels/public:a/publish", {"data": 1})
        await site.ask("POST", "/v1/channels/public:b/publish", {"data": "x\ny"})
        found = await events.until(2)
        assert [(name, data["pub"]["channel"], data["pub"]["data"]) for name, data, _ in found] == [
            ("pub", "public:a", 1), ("pub", "public:b", "x\ny"),
        ]  # fmt: skip
    assert await site.realtime.hub.occupied() == []
    await site.ask("POST", "/v1/channels/public:a/publish", {"data": 2})
    async with follow(site, target, last_event_id=found[0][2]) as events:
        again = await events.until(2)
        assert [(data["pub"]["channel"], data["pub"]["data"]) for _, data, _ in again] == [("public:a", 2), ("public:b", "x\ny")]
    async with follow(site, target, last_event_id="nonsense") as events:
        assert events.status == 400


@pytest.mark.parametrize("site", [['realtime.namespaces=["public history=2"]']], indirect=True)
async def test_events_say_what_cannot_be_recovered(site: Site) -> None:
    async with follow(site, "/v1/events?channels=public:a") as events:
        await site.ask("POST", "/v1/channels/public:a/publish", {"data": 0})
        last = (await events.until(1))[0][2]
    for number in range(1, 5):
        site.clock.advance(1)
        await site.ask("POST", "/v1/channels/public:a/publish", {"data": number})
    async with follow(site, "/v1/events?channels=public:a", last_event_id=last) as events:
        gap, *pubs = await events.until(3)
        assert gap[0] == "gap" and (gap[1]["gap"]["from"], gap[1]["gap"]["to"]) == (2, 3)
        assert [data["pub"]["data"] for _, data, _ in pubs] == [3, 4]


async def test_events_end_with_the_token(site: Site) -> None:
    async with follow(site, "/v1/events?channels=user:alice", token=await site.token("alice")) as events:
        site.realtime.sockets.revoke(user="alice", before_ms=2**60)
        name, data, _ = (await events.until(1))[0]
        assert (name, data["bye"]["code"], data["bye"]["reason"]) == ("bye", 4203, "token_revoked")
    async with follow(site, "/v1/events?channels=user:alice") as events:
        assert events.status == 401
    async with follow(site, "/v1/events?channels=") as events:
        assert events.status == 400


async def test_cursor_of_as_many_channels_with_as_long_names_as_there_may_be_is_taken_back(site: Site) -> None:
    target = "/v1/events?channels=" + ",".join(f"public:{number:0128}" for number in range(32))
    async with follow(site, target) as events:
        await site.ask("POST", f"/v1/channels/public:{31:0128}/publish", {"data": 1})
        last = (await events.until(1))[0][2]
    await site.ask("POST", f"/v1/channels/public:{31:0128}/publish", {"data": 2})
    async with follow(site, target, last_event_id=last) as events:
        assert (await events.until(1))[0][1]["pub"]["data"] == 2


@pytest.mark.parametrize("site", [["realtime.lifetime=1h"]], indirect=True)
async def test_events_reach_a_greatest_age(site: Site, autojump_clock: trio.testing.MockClock) -> None:
    async with follow(site, "/v1/events?channels=public:a") as events:
        await trio.sleep(3601)
        name, data, _ = events.events()[-1]
        assert (name, data["bye"]["code"], data["bye"]["reason"]) == ("bye", 4007, "lifetime") and events.over


async def test_what_slow_readers_of_events_miss_is_counted(site: Site) -> None:
    token, gate = await site.token("svc", "service"), trio.Event()
    told: list[bytes] = []

    async def stuck(message: dict[str, Any]) -> None:
        told.append(message.get("body", b""))
        if b"pub" in told[-1]:
            await gate.wait()
        await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(site.app, _scope(site, "/v1/events?channels=public:a"), _asked(), stuck)
        await trio.testing.wait_all_tasks_blocked()
        for number in range(1200):
            body = {"channel": "public:a", "data": number}
            assert (await site.ask("POST", "/v1/realtime/publish", body, token=token)).status == 200
        gate.set()
        while not any(b"event: gap" in each for each in told):
            await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    counts = site.realtime.sockets.counts
    assert counts["gaps"] == 1 and counts["dropped"] > 100


async def test_events_end_for_a_client_that_takes_none(site: Site, autojump_clock: trio.testing.MockClock) -> None:
    cut: list[str] = []

    async def stuck(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:

        async def run(token: str) -> None:
            with trio.fail_after(60), pytest.raises(Exception) as caught:
                await site.app(_scope(site, "/v1/events?channels=user:alice", token=token), _asked(), stuck)
            cut.append(str(caught.getrepr()))

        nursery.start_soon(run, await site.token("alice"))
        await trio.sleep(1)
        site.realtime.sockets.revoke(user="alice", before_ms=2**60)
    assert "Abandoned" in cut[0] and len(site.realtime.sockets) == 0


async def test_user_who_is_taken_out_of_a_channel_reads_no_more_of_it(site: Site) -> None:
    token = await site.token("svc", "service")
    async with follow(site, "/v1/events?channels=public:a,public:b", token=await site.token("bob")) as events:
        for channel in ("public:a", "public:c"):
            body = {"user": "bob", "channel": channel}
            assert (await site.ask("POST", "/v1/realtime/unsubscribe", body, token=token)).status == 204
        for channel in ("public:a", "public:b"):
            await site.ask("POST", f"/v1/channels/{channel}/publish", {"data": channel})
        told = await events.until(2)
        assert sorted((name, data[name]["channel"]) for name, data, _ in told) == [("pub", "public:b"), ("unsub", "public:a")]
        assert next(data for name, data, _ in told if name == "unsub")["unsub"]["code"] == 4301


async def test_chat_of_a_stream_that_becomes_private_is_not_told_to_strangers(site: Site) -> None:
    made = await site.stream()
    room, path = f"stream:{made['id']}", f"/v1/streams/{made['id']}"
    target = f"/v1/events?channels={room},public:a"
    tokens = [await site.token(user) for user in ("bob", "alice")]
    async with follow(site, target, token=tokens[0]) as stranger, follow(site, target, token=tokens[1]) as owner:

        async def say(text: str) -> None:
            assert (await site.ask("POST", f"{path}/comments", {"text": text}, user="alice")).status == 201

        await say("to all")
        for each in (stranger, owner):
            assert (await each.until(1))[0][1]["pub"]["data"] == {"text": "to all"}
        assert (await site.ask("PATCH", path, {"visibility": "private"}, user="alice")).status == 200
        unsub = (await stranger.until(2))[1][1]["unsub"]
        assert (unsub["channel"], unsub["code"], unsub["reason"]) == (room, 4306, "not_found")
        await say("to few")
        name, data, _ = (await owner.until(2))[1]
        assert (name, data["pub"]["offset"], data["pub"]["data"]) == ("pub", 2, {"text": "to few"})
        await site.ask("POST", "/v1/channels/public:a/publish", {"data": 1})
        assert [name for name, _, _ in await stranger.until(3)] == ["pub", "unsub", "pub"]

        assert (await site.ask("PUT", f"{path}/grants/bob", user="alice")).status in (200, 201, 204)
        async with follow(site, target, token=tokens[0]) as guest:
            await say("to bob")
            assert (await guest.until(3))[2][1]["pub"]["data"] == {"text": "to bob"}
            assert (await site.ask("DELETE", f"{path}/grants/bob", user="alice")).status == 204
            assert (await guest.until(4))[3][1]["unsub"]["code"] == 4306
            assert not any(name == "unsub" for name, _, _ in owner.events())
        assert (await site.ask("DELETE", path, user="alice")).status == 204
        assert [data["unsub"]["code"] for name, data, _ in await owner.until(5) if name == "unsub"] == [4306]


async def test_drain_says_when_to_come_back(site: Site) -> None:
    async with follow(site, "/v1/events?channels=public:a") as events:
        with trio.fail_after(30):
            await site.realtime.sockets.drain(4002, "shutting_down", spread_ms=100)
        bye = (await events.until(1))[0][1]["bye"]
        assert bye["code"] == 4002 and 0 <= bye["reconnect_after_ms"] <= 5000


@pytest.mark.parametrize("site", [["realtime.connect_rate=1/s", "limits.exempt=[]"]], indirect=True)
async def test_followers_above_the_rate_are_told_when_to_come_again(site: Site) -> None:
    async with follow(site, "/v1/events?channels=public:lobby") as first, follow(site, "/v1/events?channels=public:lobby") as second:
        assert (first.status, second.status, second.headers["retry-after"]) == (200, 503, "1")
    site.clock.advance(1)
    async with follow(site, "/v1/events?channels=public:lobby") as third:
        assert third.status == 200


async def test_a_quiet_stream_has_a_comment_every_fifteen_seconds(site: Site, autojump_clock: trio.testing.MockClock) -> None:
    async with follow(site, "/v1/events?channels=public:a") as events:
        await trio.sleep(46)
        assert events.text.count(b"\n: \n") + events.text.count(b"\n\n: \n\n") >= 3


async def test_services_publish_broadcast_and_end_connections(site: Site) -> None:
    token = await site.token("svc", "service")
    assert (await site.ask("POST", "/v1/realtime/publish", {"channel": "public:a", "data": 1}, user="bob")).json["code"] == "missing_scope"
    made = await site.stream()
    room = f"stream:{made['id']}"
    body = {"channels": ["public:a", "user:bob", room, "nobody:x"], "data": {"type": "note"}}
    done = (await site.ask("POST", "/v1/realtime/broadcast", body, token=token)).json["results"]
    assert [(each["channel"], each.get("offset"), each.get("code")) for each in done] == [
        ("public:a", 1, None), ("user:bob", 1, None), (room, 1, None), ("nobody:x", None, "not_found"),
    ]  # fmt: skip
    async with follow(site, "/v1/events?channels=public:a", token=await site.token("bob")) as events:
        occupied = (await site.ask("GET", "/v1/realtime/channels?prefix=public:", token=token)).json
        assert occupied == {"items": [{"channel": "public:a", "readers": 1}], "total": 1}
        info = (await site.ask("GET", "/v1/realtime/info", token=token)).json
        assert info["readers"] == 1 and info["publications"] == 3 and info["others"] == []
        assert (await site.ask("POST", "/v1/realtime/disconnect", {"user": "bob"}, token=token)).status == 204
        assert (await events.until(1))[0][1]["bye"]["code"] == 4312
