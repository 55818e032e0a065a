"""Channels over WebSockets, on sockets: identity, commands, order, fan-out, ends."""

from __future__ import annotations

import json
import time
from ipaddress import ip_network

import jwt
import pytest
import trio

from nova.core.reactor import ChannelRules, WsRules
from nova.ext import pushes
from nova.ext.jws_key import JwsKey
from nova.ext.token import TokenTable
from nova.ext.ws import TEXT, close_frame, frame
from tests.core.reactor.served import Clock, until
from tests.core.reactor.talking import JSON, KEY, MSGPACK, house, talk

FORMS = pytest.mark.parametrize("form", [JSON, MSGPACK], ids=["json", "msgpack"])


# -- commands ---------------------------------------------------------------------------------------------------------


@FORMS
async def test_connect_answers_who_the_client_is(form: int) -> None:
    async with house() as h, talk(h.address, form=form, connect=False) as c:
        reply = await c.ask(connect={"name": "Ada"})
        assert reply["connect"]["user"] is None
        assert reply["connect"]["ping_s"] == 25
        assert reply["connect"]["client"].startswith(h.reactor.websockets.node + "-")
        assert not h.hub.seen  # trio has not heard of it
        await c.ask(subscribe={"channel": "public:a"})
        _, who, commands = h.hub.seen[0]
        assert (who.client, who.user, who.name) == (reply["connect"]["client"], None, "Ada")
        assert [command.name for command in commands] == ["subscribe"]


@FORMS
async def test_a_publication_reaches_every_member_once(form: int) -> None:
    async with house() as h, talk(h.address, form=form) as a, talk(h.address) as b, talk(h.address) as stranger:
        await a.join("public:a")
        await b.join("public:a")
        reply = await a.ask(publish={"channel": "public:a", "data": {"x": [1, "é", None, 2.5]}})
        assert reply["publish"] == {"offset": 1, "epoch": "e1", "durable": False}
        item = (await b.item())["pub"]
        assert item == {"channel": "public:a", "offset": 1, "data": {"x": [1, "é", None, 2.5]}, "at": 1000}
        assert (await stranger.ask(ping={})) == {"id": stranger.ids, "ping": {}}
        assert not stranger.ready


async def test_publisher_receives_its_own() -> None:
    async with house() as h, talk(h.address) as c:
        await c.join("public:a")
        await c.send({"id": 9, "publish": {"channel": "public:a", "data": 1}})
        found = [await c.item(), await c.item()]
        assert {"pub" if "pub" in item else "publish" for item in found} == {"pub", "publish"}


async def test_replies_keep_the_order_of_commands() -> None:
    """A ping could be answered at once, but not before the publish that trio has not answered."""
    async with house() as h, talk(h.address) as c:
        h.hub.hold = True
        publish = {"channel": "public:a", "data": 1}
        await c.send({"id": 10, "ping": {}}, {"id": 11, "publish": publish}, {"id": 12, "ping": {}}, {"id": 13, "nonsense": {}})
        assert (await c.item())["id"] == 10
        await until(lambda: h.hub.seen)
        await c.send({"id": 14, "ping": {}})
        await until(lambda: len(h.hub.seen) == 2)
        for conn, _, commands in h.hub.seen:
            for command in commands:
                h.hub.answer(conn, command)
        found = [await c.item() for _ in range(4)]
        assert [item["id"] for item in found] == [11, 12, 13, 14]
        assert found[2]["error"]["code"] == "unknown_command"


async def test_an_id_is_free_again_after_its_reply() -> None:
    async with house() as h, talk(h.address) as c:
        h.hub.hold = True
        await c.send({"id": 5, "publish": {"channel": "public:a", "data": 1}})
        await until(lambda: h.hub.seen)
        await c.send({"id": 5, "ping": {}})
        await until(lambda: len(h.hub.seen) == 2)
        for conn, _, commands in h.hub.seen:
            h.hub.answer(conn, commands[0])
        assert "publish" in await c.item()
        assert (await c.item())["error"]["code"] == "id_in_use"
        h.hub.hold = False
        await c.send({"id": 5, "ping": {}})
        assert await c.item() == {"id": 5, "ping": {}}


@pytest.mark.parametrize("form", [JSON, MSGPACK], ids=["json", "msgpack"])
async def test_a_batch_of_commands_gets_its_replies_in_one_frame(form: int) -> None:
    async with house() as h, talk(h.address, form=form) as c:
        before = c.frames
        await c.send(*({"id": n, "ping": {}} for n in range(1, 51)))
        assert [(await c.item())["id"] for _ in range(50)] == list(range(1, 51))
        assert c.frames == before + 1


async def test_what_is_no_frame_of_commands_closes_with_4300() -> None:
    async with house() as h, talk(h.address) as c:
        await c.raw(frame(TEXT, b"{nonsense", key=KEY))
        end = await c.closed()
        assert (end.code, end.reason) == (4300, "frame_syntax")


async def test_a_large_message_is_1009() -> None:
    async with house() as h, talk(h.address) as c:
        assert "publish" in await c.ask(publish={"channel": "public:a", "data": "x" * 65_000})
        await c.raw(frame(TEXT, b"x" * 65_537, key=KEY))
        assert (await c.closed()).code == 1009


async def test_unsubscribed_gets_nothing_more() -> None:
    async with house() as h, talk(h.address) as c:
        await c.join("public:a")
        await c.join("public:b")
        await c.ask(unsubscribe={"channel": "public:a"})
        h.hub.publish("public:a", 1)
        h.hub.publish("public:b", 2)
        assert await c.publications(1) == [2]
        assert h.hub.channel("public:a").members == 0


async def test_channels_are_limited() -> None:
    async with house(rules=WsRules(max_channels=2)) as h, talk(h.address) as c:
        await c.join("public:a")
        await c.join("public:b")
        await c.join("public:b")  # it is in there already
        assert (await c.ask(subscribe={"channel": "public:c"}))["error"]["code"] == "quota_exceeded"


async def test_a_subscription_counts_once_while_others_wait() -> None:
    async with house(rules=WsRules(max_channels=8)) as h, talk(h.address) as c:
        h.hub.hold = True
        await c.send(*({"id": n, "subscribe": {"channel": f"public:{n}"}} for n in range(1, 7)))
        await until(lambda: len(h.hub.seen) == 1)
        conn, _, commands = h.hub.seen[0]
        for command in commands[:4]:
            h.hub.answer(conn, command)
        for _ in range(4):
            assert "subscribe" in await c.item()
        await c.send(*({"id": n, "subscribe": {"channel": f"public:{n}"}} for n in range(7, 10)))  # two are asked for, four are there
        await until(lambda: len(h.hub.seen) == 2)
        for command in [*commands[4:], *h.hub.seen[1][2]]:
            h.hub.answer(conn, command)
        said = [await c.item() for _ in range(5)]
        assert ["subscribe" in item for item in said] == [True] * 4 + [False] and said[-1]["error"]["code"] == "quota_exceeded"


async def test_who_ended_before_it_became_a_member_is_told_of_again() -> None:
    async with house(channel=ChannelRules(watched=True)) as h, talk(h.address) as c:
        h.hub.hold = True
        await c.send({"id": 9, "subscribe": {"channel": "public:a"}})
        await until(lambda: len(h.hub.seen) == 1)
        await c.leave()
        await until(lambda: len(h.hub.ended) == 1)
        conn, who, commands = h.hub.seen[0]
        h.hub.answer(conn, commands[0])
        await until(lambda: len(h.hub.ended) == 2)
        assert [(each[0], each[1].client, each[3]) for each in h.hub.ended] == [(conn, who.client, []), (conn, who.client, ["public:a"])]
        assert h.hub.channel("public:a").members == 0


async def test_reading_stops_while_replies_are_owed() -> None:
    """128 commands may be unanswered; what comes behind them waits in the socket."""
    async with house() as h, talk(h.address) as c:
        h.hub.hold = True
        for n in range(1, 201):
            await c.send({"id": n, "publish": {"channel": "public:a", "data": n}})
        await until(lambda: len(h.hub.seen) == 128)
        h.hub.hold = False
        for conn, _, commands in list(h.hub.seen):
            h.hub.answer(conn, commands[0])
        assert [(await c.item())["id"] for _ in range(200)] == list(range(1, 201))


# -- identity ---------------------------------------------------------------------------------------------------------

SECRET = b"0123456789abcdef0123456789abcdef"


def table() -> TokenTable:
    made = TokenTable(scopes=["chat", "admin"])
    made.add("k", JwsKey.from_secret(SECRET), issuer="nova", audience="nova")
    return made


def token(user: str = "ada", *, ttl: int = 600, **claims: object) -> str:
    now = int(time.time())
    said = {"iss": "nova", "aud": "nova", "sub": user, "iat": now, "exp": now + ttl, **claims}
    return jwt.encode(said, SECRET, algorithm="HS256", headers={"kid": "k"})


@pytest.mark.parametrize("where", ["query", "field", "connect"])
async def test_a_token_says_who_asks(where: str) -> None:
    word = token(scope="chat", jti="j1")
    async with house(tokens=table()) as h:
        fields = [f"Authorization: Bearer {word}"] if where == "field" else []
        query = f"?access_token={word}" if where == "query" else ""
        async with talk(h.address, *fields, query=query, connect=False) as c:
            reply = await c.ask(connect={"token": word} if where == "connect" else {})
            assert reply["connect"]["user"] == "ada"
            assert 590 <= reply["connect"]["expires_in"] <= 600
            await c.join("public:a")
            who = h.hub.seen[0][1]
            assert (who.user, who.scopes) == ("ada", 1)
            assert json.loads(who.claims)["jti"] == "j1"


async def test_with_a_token_in_the_url_connect_is_not_needed() -> None:
    async with house(tokens=table()) as h, talk(h.address, query=f"?access_token={token()}", connect=False) as c:
        await c.join("public:a")
        assert h.hub.seen[0][1].user == "ada"


async def test_without_one_connect_comes_first() -> None:
    async with house(tokens=table()) as h, talk(h.address, connect=False) as c:
        assert (await c.ask(subscribe={"channel": "public:a"}))["error"]["code"] == "unauthenticated"
        assert "connect" in await c.ask(connect={})
        assert (await c.ask(connect={}))["error"]["code"] == "conflict"


@pytest.mark.parametrize(("ttl", "code"), [(-100, 4202), (600, 4201)])
async def test_a_bad_token_is_told_by_a_close_code(ttl: int, code: int) -> None:
    word = token(ttl=ttl)
    async with house(tokens=table()) as h:
        async with talk(h.address, query=f"?access_token={word if ttl < 0 else word[:-4]}", connect=False) as c:
            assert (await c.closed()).code == code
        async with talk(h.address, connect=False) as c:
            reply = await c.ask(connect={"token": word if ttl < 0 else word[:-4]})
            assert reply["error"]["code"] == {4202: "token_expired", 4201: "bad_token"}[code]
            assert "connect" in await c.ask(connect={"token": token()})


async def test_an_expired_token_closes_unless_it_is_refreshed() -> None:
    async with house(tokens=table(), rules=WsRules(silent_ms=0)) as h:
        clock = Clock(h.reactor)
        start = int(time.time())
        word = token(ttl=100)
        async with (
            talk(h.address, query=f"?access_token={word}", connect=False) as a,
            talk(h.address, query=f"?access_token={word}", connect=False) as b,
        ):
            assert (await a.ask(refresh={"token": token(user="eve")}))["error"]["code"] == "bad_token"
            refreshed = (await a.ask(refresh={"token": token(ttl=1000)}))["refresh"]
            assert 900 < refreshed.pop("expires_in") <= 1000 and not refreshed
            h.reactor.engine.set_clock(ms=clock.ms + 200_000, unix=start + 200)
            assert (await b.closed()).code == 4202
            assert await a.ask(ping={}) == {"id": 3, "ping": {}}


async def test_revoked_tokens_close_their_connections() -> None:
    async with (
        house(tokens=table()) as h,
        talk(h.address, query=f"?access_token={token(jti='j1')}", connect=False) as a,
        talk(h.address, query=f"?access_token={token(jti='j2')}", connect=False) as b,
    ):
        await a.ask(ping={})
        await b.ask(ping={})
        h.reactor.websockets.revoke(jti="j1")
        assert (await a.closed()).code == 4203
        await b.ask(ping={})
        h.reactor.websockets.revoke(user="eve")
        h.reactor.websockets.revoke(user="ada", before_ms=1)
        await b.ask(ping={})
        h.reactor.websockets.revoke(user="ada")
        assert (await b.closed()).code == 4203


async def test_a_user_is_disconnected_or_unsubscribed_everywhere() -> None:
    async with (
        house(tokens=table(), threads=2) as h,
        talk(h.address, query=f"?access_token={token()}", connect=False) as a,
        talk(h.address, query=f"?access_token={token(user='eve')}", connect=False) as b,
    ):
        await a.join("public:a")
        await b.join("public:a")
        h.reactor.websockets.unsubscribe_user("ada", h.hub.channel("public:a"), 4301, "forbidden")
        assert await a.item() == {"unsub": {"channel": "public:a", "code": 4301, "reason": "forbidden"}}
        h.hub.publish("public:a", 1)
        assert await b.publications(1) == [1]
        assert h.hub.channel("public:a").members == 1
        h.reactor.websockets.disconnect_user("ada", 4312, "disconnected")
        assert (await a.closed()).code == 4312
        await b.ask(ping={})


COOKIE = "nova_session"


@pytest.mark.parametrize(
    ("fields", "user"),
    [
        (["Origin: http://127.0.0.1"], "ada"),
        (["Origin: https://app.example"], "ada"),
        (["Origin: https://evil.example"], None),
        ([], None),
    ],
    ids=["own", "listed", "foreign", "none"],
)
async def test_a_cookie_needs_an_allowed_origin(fields: list[str], user: str | None) -> None:
    async with house(tokens=table(), rules=WsRules(origins=["https://app.example"])) as h:
        fields = [*fields, f"Cookie: a=b; {COOKIE}={token()}"]
        if user is None:
            with pytest.raises(ConnectionRefusedError, match=r"(?s) 403 .*bad_origin"):
                async with talk(h.address, *fields):
                    pass
            return
        async with talk(h.address, *fields, connect=False) as c:
            assert (await c.ask(connect={}))["connect"]["user"] == user


async def test_a_cookie_under_a_strange_host_is_nobodys() -> None:
    async with (
        house(tokens=table(), rules=WsRules(hosts=["nova.example"], hosts_open=False)) as h,
        talk(h.address, f"Cookie: {COOKIE}={token()}", connect=False) as c,
    ):
        assert (await c.ask(connect={}))["connect"]["user"] is None


async def test_connect_can_be_decided_in_trio() -> None:
    async with house(tokens=table(), rules=WsRules(ask_connect=True)) as h:
        async with talk(h.address, query=f"?access_token={token()}", connect=False):
            await until(lambda: h.hub.seen)
            assert [(c.id, c.name, c.reply) for c in h.hub.seen[0][2]] == [(0, "connect", None)]
        async with talk(h.address, connect=False) as c:
            assert (await c.ask(connect={}))["error"]["code"] == "not_yet"  # what this hub says


async def test_unknown_subprotocols_are_400_and_none_is_json() -> None:
    async with house() as h:
        with pytest.raises(ConnectionRefusedError, match=" 400 "):
            async with talk(h.address, protocol="graphql-ws, chat"):
                pass
        async with talk(h.address, protocol="") as c:
            assert await c.ask(ping={}) == {"id": 2, "ping": {}}


# -- time and ends ----------------------------------------------------------------------------------------------------


async def test_who_does_not_connect_is_closed_with_4008() -> None:
    async with house() as h:
        clock = Clock(h.reactor)
        async with talk(h.address, connect=False) as c:
            await clock.advance(9.9)
            assert h.stats["ws_closed"] == 0
            await clock.advance(0.2)
            assert (await c.closed()).code == 4008


async def test_pings_come_every_25_s_and_silence_ends_it() -> None:
    async with house() as h:
        clock = Clock(h.reactor)
        async with talk(h.address) as c, talk(h.address) as silent:
            for n in range(1, 4):
                await clock.advance(25.1)
                while c.pings < n:
                    await c.more()
                await c.ask(ping={})
            silent.reader = type(silent.reader)(client=True, max_message=1 << 20)
            assert (await silent.closed()).code == 4006
            await c.ask(ping={})


async def test_a_lifetime_ends_with_4007() -> None:
    async with house(rules=WsRules(lifetime_s=100, lifetime_jitter=0.1, silent_ms=0, reconnect_ms=3000)) as h:
        clock = Clock(h.reactor)
        async with talk(h.address) as c:
            await clock.advance(89)
            assert "ping" in await c.ask(ping={})
            await clock.advance(12)
            bye = (await c.item())["bye"]
            assert (bye["code"], bye["reason"]) == (4007, "lifetime") and 0 <= bye["reconnect_after_ms"] <= 3000
            assert (await c.closed()).code == 4007


async def test_trio_hears_of_the_end_of_those_it_knows() -> None:
    async with house(channel=ChannelRules(watched=True)) as h:
        async with talk(h.address) as stranger:
            async with talk(h.address) as c:
                await c.join("public:a")
                await c.join("public:b")
            await until(lambda: h.hub.ended)
            assert sorted(h.hub.ended[0][3]) == ["public:a", "public:b"]
            assert h.hub.ended[0][0] == h.hub.seen[0][0]
            await stranger.leave()
        await until(lambda: h.stats["ws_closed"] == 2)
        assert len(h.hub.ended) == 1
        assert h.hub.channel("public:a").members == 0


async def test_disconnect_with_bye() -> None:
    async with house() as h, talk(h.address) as c:
        await c.join("public:a")
        h.reactor.websockets.disconnect(h.hub.seen[0][0], 4009, "asked_to_reconnect", reconnect_after_ms=1500)
        assert await c.item() == {"bye": {"code": 4009, "reason": "asked_to_reconnect", "reconnect_after_ms": 1500}}
        assert (await c.closed()).code == 4009


async def test_a_drain_says_bye_to_everybody() -> None:
    async with (
        house(rules=WsRules(spread_ms=300, reconnect_ms=5000)) as h,
        talk(h.address) as a,
        talk(h.address, form=MSGPACK) as b,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(h.reactor.drain)
        for c in (a, b):
            bye = (await c.item())["bye"]
            assert bye["code"] == 4002
            assert 0 <= bye["reconnect_after_ms"] < 5000
            assert (await c.closed()).code == 4002
            await c.raw(close_frame(4002, key=KEY))
            await c.stream.aclose()


async def test_a_closed_channel_tells_its_members() -> None:
    async with house() as h, talk(h.address) as a, talk(h.address, form=MSGPACK) as b:
        for c in (a, b):
            await c.join("public:a")
        h.hub.publish("public:a", 1)
        h.hub.channel("public:a").close(4306, "not_found")
        for c in (a, b):
            assert await c.publications(1) == [1]
            assert await c.item() == {"unsub": {"channel": "public:a", "code": 4306, "reason": "not_found"}}
        await until(lambda: h.hub.channel("public:a").members == 0)  # told behind the pushes
        await a.ask(ping={})


async def test_pushes_keep_their_place_among_publications() -> None:
    async with house() as h, talk(h.address) as c:
        await c.join("public:a")
        h.hub.publish("public:a", 1)
        h.hub.channel("public:a").push(pushes.join(JSON, True, b"public:a", b"ada", b"c-1"))
        h.hub.publish("public:a", 2)
        found = [await c.item() for _ in range(3)]
        assert [next(iter(item)) for item in found] == ["pub", "join", "pub"]
        assert found[1]["join"] == {"channel": "public:a", "user": "ada", "client": "c-1"}


async def test_sockets_cut_in_the_middle_of_a_frame_trouble_nobody() -> None:
    async with house() as h, talk(h.address) as c:
        await c.join("public:a")
        for cut in range(1, 20, 3):
            async with talk(h.address) as other:
                await other.join("public:a")
                await other.raw(frame(TEXT, b'{"id":7,"ping":{}}', key=KEY)[:cut])
        await until(lambda: h.hub.channel("public:a").members == 1)
        h.hub.publish("public:a", 1)
        assert await c.publications(1) == [1]


async def test_storm_of_upgrades_is_told_to_come_later() -> None:
    async with house() as h:
        clock = Clock(h.reactor)
        h.reactor.admit_websockets(2, 1.0, [])
        async with talk(h.address) as a, talk(h.address) as b:
            with pytest.raises(ConnectionRefusedError, match=r"(?s) 503 .*Retry-After: 1\r\n.*unavailable"):
                async with talk(h.address):
                    pass
            assert await a.ask(ping={}) and await b.ask(ping={})  # those who are in stay
            assert h.reactor.websockets.stats()["ws_unadmitted"] == 1
            h.reactor.engine.set_clock(ms=clock.ms + 500)
            async with talk(h.address) as c:
                assert await c.ask(ping={})
        h.reactor.admit_websockets(1, 1000.0, [ip_network("127.0.0.0/8")])
        for _ in range(3):
            async with talk(h.address):
                pass
