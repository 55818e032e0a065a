"""The commands of the contract, as clients see them."""

import json

import pytest
import trio
import trio.testing

from nova.ext.values import JSON, MSGPACK
from nova.realtime.seam import Command, Who
from tests.realtime.talk import PRIVATE, STREAM, Client, node

LOBBY = "public:lobby"


class Taking:
    """A client's end of `Sockets` that takes one reply when told to."""

    node = "n"

    def __init__(self) -> None:
        self.replies = 0
        self._lot = trio.lowlevel.ParkingLot()

    def reply(self, conn: int, item: bytes) -> None:
        self.replies += 1

    async def taken(self, conn: int) -> None:
        await self._lot.park()

    def takes(self) -> None:
        self._lot.unpark_all()


async def test_publisher_and_readers_get_publications_in_order() -> None:
    async with node() as here:
        alice, guest = await here.client("alice"), await here.client()
        first = await guest.ask(1, subscribe={"channel": LOBBY})
        assert first == {"offset": 0, "epoch": first["epoch"], "recovered": False, "publications": []} and 0 < len(first["epoch"]) <= 16
        await alice.ask(1, subscribe={"channel": LOBBY})
        for number in range(1, 4):
            done = await alice.ask(2, publish={"channel": LOBBY, "data": {"n": number}})
            assert done == {"offset": number, "epoch": first["epoch"], "durable": False}
        for client in (alice, guest):
            client.used = 0
            found = [(await client.next("pub"))["pub"] for _ in range(3)]
            assert [(each["channel"], each["offset"], each["data"]) for each in found] == [(LOBBY, n, {"n": n}) for n in range(1, 4)]
            assert found[0]["at"] == int(here.clock.wall() * 1000) and "info" not in found[0]


async def test_batch_is_answered_in_order_in_one_frame() -> None:
    async with node() as here:
        client = await here.client("alice")
        await trio.testing.wait_all_tasks_blocked()
        frames = client.frames
        batch = [
            {"id": 1, "subscribe": {"channel": LOBBY}}, {"id": 2, "publish": {"channel": "public:other", "data": 1}}, {"id": 3, "ping": {}},
            {"id": 4, "nonsense": {}}, {"id": 5, "history": {"channel": LOBBY}}, {"id": 6, "publish": {"channel": "Bad", "data": 1}},
            {"id": 7, "subscribe": {"channel": "nobody:knows"}},
        ]  # fmt: skip
        await client.send_in.send(json.dumps(batch).encode())
        await client.next(lambda item: item.get("id") == 7)
        assert [item["id"] for item in client.said if "id" in item] == [1, 2, 3, 4, 5, 6, 7] and client.frames == frames + 1
        errors = {item["id"]: item["error"]["code"] for item in client.said if "error" in item}
        assert errors == {4: "unknown_command", 6: "invalid_field", 7: "not_found"}


async def test_ids_are_free_again_after_their_reply_and_not_before() -> None:
    async with node() as here:
        client = await here.client("alice")
        assert await client.ask(1, ping={}) == {} and await client.ask(1, ping={}) == {}
        await client.send_in.send(json.dumps([{"id": 5, "subscribe": {"channel": f"stream:{STREAM}"}}, {"id": 5, "ping": {}}]).encode())
        assert (await client.next(lambda item: item.get("id") == 5))["error"]["code"] == "id_in_use"
        assert "subscribe" in await client.next(lambda item: item.get("id") == 5)


async def test_client_recovers_what_it_missed_and_learns_what_it_cannot() -> None:
    async with node("public history=3") as here:
        alice, reader = await here.client("alice"), await here.client()
        epoch = (await reader.ask(1, subscribe={"channel": LOBBY}))["epoch"]
        await reader.ask(2, unsubscribe={"channel": LOBBY})
        for number in range(1, 4):
            await alice.ask(1, publish={"channel": LOBBY, "data": number})
        found = await reader.ask(3, subscribe={"channel": LOBBY, "recover": {"offset": 1, "epoch": epoch}})
        assert found["recovered"] and [(each["offset"], each["data"]) for each in found["publications"]] == [(2, 2), (3, 3)]
        await alice.ask(1, publish={"channel": LOBBY, "data": 4})
        assert (await reader.next("pub"))["pub"]["offset"] == 4
        for place in ({"offset": 0, "epoch": epoch}, {"offset": 4, "epoch": "other"}):
            assert not (await reader.ask(4, subscribe={"channel": LOBBY, "recover": place}))["recovered"]
        assert here.hub.counts["recovered"] == 1 and here.hub.counts["not_recovered"] == 2


async def test_history_is_read_by_pages() -> None:
    async with node() as here:
        client = await here.client("alice")
        for number in range(1, 6):
            await client.ask(1, publish={"channel": LOBBY, "data": number})
        page = await client.ask(1, history={"channel": LOBBY, "limit": 2})
        assert [each["offset"] for each in page["publications"]] == [1, 2] and page["more"] and page["offset"] == 5
        page = await client.ask(1, history={"channel": LOBBY, "since": {"offset": 2, "epoch": page["epoch"]}})
        assert [each["offset"] for each in page["publications"]] == [3, 4, 5] and not page["more"]


async def test_same_idempotency_key_publishes_once() -> None:
    async with node() as here:
        alice, bob = await here.client("alice"), await here.client("bob")
        publish = {"channel": LOBBY, "data": 1, "idempotency_key": "k"}
        first = await alice.ask(1, publish=publish)
        assert await alice.ask(2, publish=publish) == first
        assert (await bob.ask(1, publish=publish))["offset"] == 2


async def test_members_come_and_leave_and_leave_no_ghosts() -> None:
    async with node() as here:
        alice, guest = await here.client("alice"), await here.client()
        await alice.ask(1, subscribe={"channel": LOBBY})
        await guest.ask(1, subscribe={"channel": LOBBY})
        joined = (await alice.next("join"))["join"]
        assert joined["channel"] == LOBBY and joined["user"] is None
        found = await alice.ask(2, presence={"channel": LOBBY})
        assert found["count"] == 2 and not found["more"] and [each["user"] for each in found["members"]] == ["alice", None]
        assert not any("join" in item for item in guest.said)  # nobody joins twice for himself
        guest.send_in.close()  # cut
        assert (await alice.next("leave"))["leave"] == {**joined}
        assert (await alice.ask(3, presence={"channel": LOBBY}))["count"] == 1
        await alice.ask(4, unsubscribe={"channel": LOBBY})
        assert (await alice.ask(5, presence={"channel": LOBBY}))["count"] == 0


async def test_rules_say_who_may_do_what() -> None:
    async with node("staff subscribe=service publish=service", public=False) as here:
        alice, nobody, poor = await here.client("alice"), await here.client(), await here.client("bob/none")
        service = await here.client("chat/service")
        assert (await alice.ask(1, subscribe={"channel": "user:alice"}))["offset"] == 0
        assert (await alice.ask(1, subscribe={"channel": "user:bob"}))["code"] == "forbidden"
        assert (await nobody.ask(1, subscribe={"channel": "user:bob"}))["code"] == "unauthenticated"
        assert (await nobody.ask(1, publish={"channel": LOBBY, "data": 1}))["code"] == "unauthenticated"
        assert (await nobody.ask(1, subscribe={"channel": LOBBY}))["offset"] == 0
        assert (await alice.ask(1, subscribe={"channel": "staff:a"}))["code"] == "forbidden"
        assert (await service.ask(1, publish={"channel": "staff:a", "data": 1}))["offset"] == 1
        assert (await nobody.ask(1, subscribe={"channel": f"stream:{STREAM}"}))["offset"] == 0
        assert (await nobody.ask(1, subscribe={"channel": f"stream:{PRIVATE}"}))["code"] == "not_found"
        assert (await poor.ask(1, publish={"channel": f"stream:{STREAM}", "data": {"text": "x"}}))["code"] == "missing_scope"
        assert (await nobody.ask(1, publish={"channel": f"stream:{STREAM}", "data": {"text": "x"}}))["code"] == "unauthenticated"


async def test_limits_of_size_rate_and_channels_answer_with_their_code() -> None:
    async with node("public rate=2/s size=100B") as here:
        client = await here.client("alice")
        assert (await client.ask(1, publish={"channel": LOBBY, "data": "x" * 100}))["code"] == "too_large"
        assert (await client.ask(1, publish={"channel": LOBBY, "data": 1}))["offset"] == 1
        refused = await client.ask(1, publish={"channel": LOBBY, "data": 1})
        assert refused["code"] == "rate_limited" and 0 < refused["retry_ms"] <= 1000
        here.clock.advance(1)
        assert (await client.ask(1, publish={"channel": LOBBY, "data": 1}))["offset"] == 2
        for number in range(128):
            assert "offset" in await client.ask(1, subscribe={"channel": f"public:{number}"})
        assert (await client.ask(1, subscribe={"channel": "public:more"}))["code"] == "quota_exceeded"


async def test_token_comes_with_connect_and_again_with_refresh() -> None:
    async with node() as here:
        client = await here.client("alice")
        assert (await client.ask(1, connect={"token": "bob"}))["code"] == "bad_token"  # the URL has said who it is
        assert (await client.ask(1, connect={"name": "Al"}))["user"] == "alice"
        assert (await client.ask(1, connect={}))["code"] == "conflict"
        assert (await client.ask(1, refresh={"token": "bob"}))["code"] == "bad_token"
        assert (await client.ask(1, refresh={"token": "alice"}))["expires_in"] > 0
        send, come = trio.open_memory_channel[bytes](9)
        other = await here.client()
        del send, come
        assert (await other.ask(1, refresh={"token": "alice"}))["code"] == "bad_token"


async def test_revocation_and_a_service_close_connections() -> None:
    async with node() as here:
        alice, bob = await here.client("alice"), await here.client("bob")
        await alice.ask(1, subscribe={"channel": LOBBY})
        here.sockets.revoke(jti="jti-alice")
        assert await alice.ended() == (4203, "token_revoked")
        await here.hub.disconnect("bob", 4312, "disconnected")
        assert await bob.ended() == (4312, "disconnected")
        await trio.testing.wait_all_tasks_blocked()
        assert len(here.sockets) == 0 and await here.hub.occupied() == []


@pytest.mark.parametrize("how", ["jti", "user", "service"])
async def test_what_waits_for_its_turn_when_the_token_is_revoked_is_not_done(how: str) -> None:
    async with node() as here:
        claims = (await here.verify("alice")).claims
        commands = [
            Command(at, "publish", f"stream:{STREAM}", b'{"text":"%d"}' % at, "", "", None, 0, False, None) for at in range(1, 11)
        ]  # fmt: skip
        for conn, user in ((1, "alice"), (2, "bob")):
            who = Who(f"c{conn}", user, 1, claims.replace(b"alice", user.encode()), "", "127.0.0.1", "", JSON)
            here.hub.commands(conn, who, commands)
        if how == "jti":
            here.hub.revoke(jti="jti-alice")
        elif how == "user":
            here.hub.revoke(user="alice", before_ms=int(here.clock.wall() * 1000))
        else:
            await here.hub.disconnect("alice", 4312, "disconnected")
        await trio.testing.wait_all_tasks_blocked()
        said = [json.loads(each.info or b"")["user"] for each in here.hub.rooms.get(f"stream:{STREAM}").history.last(99)]  # type: ignore[union-attr]
        assert said.count("alice") <= 1 and said.count("bob") == 10
        here.hub.revoke(user="bob", before_ms=int(here.clock.wall() * 1000) - 1)


async def test_long_replies_wait_until_those_before_have_been_taken() -> None:
    async with node("public history=100 channel_rate=off rate=off") as here:
        for _ in range(90):
            await here.hub.say(LOBBY, json.dumps("x" * 10_000).encode())
        inner, sockets = Taking(), here.hub.sockets
        here.hub.sockets = inner  # type: ignore[assignment]
        commands = [Command(at, "history", LOBBY, b"", "", "", None, 0, False, None) for at in range(1, 21)]
        who = Who("c1", "alice", 1, b"", "", "127.0.0.1", "", JSON)
        here.hub.commands(1, who, commands[:10])
        here.hub.commands(1, who, commands[10:])
        await trio.testing.wait_all_tasks_blocked()
        assert inner.replies == 1
        for number in range(2, 21):
            inner.takes()
            await trio.testing.wait_all_tasks_blocked()
            assert inner.replies == number
        inner.takes()
        await trio.testing.wait_all_tasks_blocked()
        here.hub.commands(1, who, commands[:1])
        assert inner.replies == 21  # at once again
        here.hub.gone(1, who, "closed", [])
        inner.takes()
        here.hub.sockets = sockets


async def test_who_publishes_again_what_was_acknowledged_is_not_told_that_it_is_too_much() -> None:
    async with node("public rate=2/min channel_rate=3/min", "stream rate=1/min") as here:
        alice = await here.client("alice")
        for channel, data, rate in ((LOBBY, 1, 2), (f"stream:{STREAM}", {"text": "hello"}, 1)):
            first = [
                await alice.ask(at, publish={"channel": channel, "data": data, "idempotency_key": f"k{at}"}) for at in range(1, rate + 1)
            ]  # fmt: skip
            assert all("offset" in each for each in first)
            for at, done in enumerate(first, 1):
                assert await alice.ask(at, publish={"channel": channel, "data": data, "idempotency_key": f"k{at}"}) == done
            assert (await alice.ask(9, publish={"channel": channel, "data": data, "idempotency_key": "new"}))["code"] == "rate_limited"


async def test_who_reads_nothing_and_is_closed_for_it_is_counted() -> None:
    async with node("public history=100 channel_rate=off rate=off") as here:
        client = await here.client("alice")
        client.stuck = trio.Event()
        await trio.testing.wait_all_tasks_blocked()
        for conn in list(here.sockets._conns):
            for _ in range(10):
                here.sockets.push(conn, b'{"x":"' + b"x" * 2**20 + b'"}')
        assert here.sockets.counts["slow"] == 1
        client.stuck.set()
        assert await client.ended() == (4005, "slow_reader")
        assert here.sockets.counts["slow"] == 1


async def test_service_takes_a_user_out_of_a_channel() -> None:
    async with node() as here:
        alice = await here.client("alice")
        await alice.ask(1, subscribe={"channel": LOBBY})
        await here.hub.unsubscribe("alice", LOBBY, 4301, "forbidden")
        assert (await alice.next("unsub"))["unsub"] == {"channel": LOBBY, "code": 4301, "reason": "forbidden"}
        assert (await alice.ask(2, presence={"channel": LOBBY}))["count"] == 0


async def test_slow_reader_gets_a_gap_and_recovers_from_it() -> None:
    async with node("public history=5000 bytes=9MiB channel_rate=off rate=off") as here:
        alice, slow = await here.client("alice"), await here.client()
        await slow.ask(1, subscribe={"channel": LOBBY})
        slow.stuck = trio.Event()
        for number in range(2000):
            await here.hub.say(LOBBY, json.dumps({"n": number, "pad": "x" * 100}).encode())
        await trio.testing.wait_all_tasks_blocked()
        slow.stuck.set()
        gap = (await slow.next("gap"))["gap"]
        assert (await slow.next("pub"))["pub"]["offset"] == gap["to"] + 1
        missed = await alice.ask(1, history={"channel": LOBBY, "since": {"offset": gap["from"] - 1, "epoch": gap["epoch"]}, "limit": 1})
        assert missed["publications"][0]["offset"] == gap["from"]


async def test_conflating_channel_skips_what_a_newer_state_replaced() -> None:
    async with node("state policy=conflate") as here:
        slow = await here.client("alice")
        await slow.ask(1, subscribe={"channel": "state:x"})
        slow.stuck = trio.Event()
        for number in range(1500):
            await here.hub.say("state:x", json.dumps({"n": number, "pad": "x" * 100}).encode(), conflate_key="n")
        await trio.testing.wait_all_tasks_blocked()
        slow.stuck.set()
        last = await slow.next(lambda item: item.get("pub", {}).get("offset") == 1500)
        assert last["pub"]["data"]["n"] == 1499 and len(slow.said) < 1000


async def test_disconnecting_channel_closes_who_is_too_slow() -> None:
    async with node("strict policy=disconnect") as here:
        slow = await here.client("alice")
        await slow.ask(1, subscribe={"channel": "strict:x"})
        slow.stuck = trio.Event()
        for number in range(2000):
            await here.hub.say("strict:x", json.dumps({"n": number, "pad": "x" * 100}).encode())
        await trio.testing.wait_all_tasks_blocked()
        slow.stuck.set()
        assert await slow.ended() == (4005, "slow_reader")


async def test_frames_that_hold_no_commands_end_the_connection() -> None:
    async with node() as here:
        client = await here.client("alice")
        await client.send_in.send(b"[")
        assert (await client.ended())[0] == 4300


async def test_channels_and_their_bytes_are_bounded() -> None:
    async with node(most_channels=3, most_bytes=3000) as here:
        client = await here.client("alice")
        await client.ask(1, subscribe={"channel": "public:kept"})
        for number in range(20):
            assert "offset" in await client.ask(1, publish={"channel": f"public:{number}", "data": "x" * 500})
        assert len(here.hub.rooms) <= 3 and sum(room.kept for room in here.hub.rooms) <= 3000
        for number in range(2):
            await client.ask(1, subscribe={"channel": f"public:also{number}"})
        assert (await client.ask(1, subscribe={"channel": "public:toomany"}))["code"] == "overloaded"


async def test_idle_channels_are_forgotten() -> None:
    async with node("public ttl=10s") as here:
        client = await here.client("alice")
        await client.ask(1, publish={"channel": LOBBY, "data": 1})
        here.clock.advance(100)
        assert list(here.hub.rooms.sweep(here.clock.monotonic(), int(here.clock.wall() * 1000))) == [1] and len(here.hub.rooms) == 0


async def test_msgpack_clients_see_the_same() -> None:
    import msgpack

    from nova.realtime.session import Session

    session = Session(MSGPACK, connected=True, channels=128)
    found = list(session.feed(msgpack.packb({"id": 1, "publish": {"channel": LOBBY, "data": {"a": [1, None]}}}), set()))
    assert found[0].name == "publish" and json.loads(found[0].data) == {"a": [1, None]}  # type: ignore[union-attr]


async def test_client_that_asks_faster_than_it_is_answered_waits(autojump_clock: trio.testing.MockClock) -> None:
    async with node() as here:
        client = await here.client("alice")
        room = f"stream:{STREAM}"
        for start in (1, 129, 257):
            batch = [{"id": start + at, "history": {"channel": room}} for at in range(128)]
            await client.send_in.send(json.dumps(batch).encode())
        await client.next(lambda item: item.get("id") == 384)
        assert [item["id"] for item in client.said if "id" in item] == list(range(1, 385))


async def test_connection_ends_with_its_token_and_its_age(autojump_clock: trio.testing.MockClock) -> None:
    async with node() as here:
        client, guest = await here.client("alice"), await here.client()
        await trio.sleep(3601)
        assert client.closed == (4202, "token_expired") and guest.closed is None
        await trio.sleep(86_400)
        assert guest.said[-1]["bye"]["code"] == 4007 and guest.closed == (4007, "lifetime")
        ages = [here.sockets.age() for _ in range(100)]
        assert all(0.9 * 86_400 <= age <= 86_400 for age in ages) and len(set(ages)) > 1


async def test_connection_that_is_to_end_ends_though_its_client_takes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with node() as here:
        client = await here.client("alice")
        client.stuck = trio.Event()
        await client.say(id=1, ping={})
        await trio.testing.wait_all_tasks_blocked()
        here.sockets.revoke(jti="jti-alice")
        assert (await client.ended())[0] == 1006 and len(here.sockets) == 0


async def test_subscriptions_that_wait_for_room_all_go_on() -> None:
    async with node("public history=0 channel_rate=off rate=off") as here:
        slow = await here.client("alice")
        names = [f"public:{number}" for number in range(3)]
        for name in names:
            await slow.ask(1, subscribe={"channel": name})
        slow.stuck = trio.Event()
        for number in range(100):
            for name in names:
                await here.hub.say(name, json.dumps({"n": number, "pad": "x" * 1000}).encode())
            await trio.testing.wait_all_tasks_blocked()
        slow.stuck.set()
        missing = set(names)
        while missing:
            told = (await slow.next(lambda item: item.get("pub", {}).get("data", {}).get("n") == 99))["pub"]
            missing.remove(told["channel"])


async def test_client_that_recovers_much_at_once_is_no_slow_reader() -> None:
    async with node("public history=100 channel_rate=off rate=off", most_bytes=2**24) as here:
        names = [f"public:{number}" for number in range(6)]
        for name in names:
            for _ in range(90):
                await here.hub.say(name, json.dumps("x" * 10_000).encode())
        client = await here.client("alice")
        frames = client.frames
        batch = [
            {"id": at, "subscribe": {"channel": name, "recover": {"offset": 1, "epoch": here.hub.rooms.get(name).history.epoch}}}  # type: ignore[union-attr]
            for at, name in enumerate(names, 1)
        ]
        await client.send_in.send(json.dumps(batch).encode())
        await client.next(lambda item: item.get("id") == len(names))
        replies = [item["subscribe"] for item in client.said if "subscribe" in item]
        assert [(each["recovered"], len(each["publications"])) for each in replies] == [(True, 89)] * len(names)
        assert client.frames == frames + len(names)  # each is longer than a frame should be


async def test_client_that_asks_and_reads_nothing_is_bounded() -> None:
    async with node("public history=100 channel_rate=off rate=off") as here:
        for _ in range(90):
            await here.hub.say(LOBBY, json.dumps("x" * 10_000).encode())
        client = await here.client("alice")
        client.stuck = trio.Event()
        batch = [{"id": at, "history": {"channel": LOBBY}} for at in range(1, 129)]
        await client.send_in.send(json.dumps(batch).encode())
        await trio.testing.wait_all_tasks_blocked()
        waiting = sum(conn.size for conn in here.sockets._conns.values())
        assert waiting < 3_000_000
        client.stuck.set()
        await client.next(lambda item: item.get("id") == 128)


async def test_channels_of_a_connection_are_counted_while_they_are_asked_for() -> None:
    async with node() as here:
        client = await here.client("alice")
        for start in (0, 100):
            batch = [{"id": start + at + 1, "subscribe": {"channel": f"public:{start + at}"}} for at in range(100)]
            await client.send_in.send(json.dumps(batch).encode())
        await client.next(lambda item: item.get("id") == 200)
        refused = [item["id"] for item in client.said if "error" in item]
        assert refused == list(range(129, 201))


async def test_stream_whose_chat_is_open_to_more_is_still_a_chat() -> None:
    async with node("stream publish=user") as here:
        poor = await here.client("bob/none")
        done = await poor.ask(1, publish={"channel": f"stream:{STREAM}", "data": {"text": "hi"}})
        assert done["durable"] and done["offset"] == 1


async def test_drain_is_told_over_a_time_and_spreads_those_who_come_back(autojump_clock: trio.testing.MockClock) -> None:
    async with node() as here, trio.open_nursery() as nursery:
        clients = [await here.client(f"user{number}") for number in range(20)]
        heard: list[tuple[float, int]] = []

        async def hear(client: Client) -> None:
            bye = (await client.next("bye"))["bye"]
            heard.append((trio.current_time(), bye["reconnect_after_ms"]))
            assert await client.ended() == (4002, "shutting_down")

        for client in clients:
            nursery.start_soon(hear, client)
        await trio.testing.wait_all_tasks_blocked()
        begun = trio.current_time()
        await here.sockets.drain(4002, "shutting_down", spread_ms=2000)
        assert len({round(at - begun, 2) for at, _ in heard}) == 20 and all(at - begun < 2 for at, _ in heard)
        assert all(0 <= after <= 5000 for _, after in heard) and len({after for _, after in heard}) > 5
        late = await here.client("late")
        assert (await late.next("bye"))["bye"]["code"] == 4002 and await late.ended() == (4002, "shutting_down")
