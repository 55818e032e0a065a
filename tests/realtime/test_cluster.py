"""Channels that two nodes serve together: over the bus in memory, and over Redis."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio
import trio.testing

from nova.core.bus import NOTHING_SEEN, Bus, Keep, MemoryBus, Seen, Tail
from nova.core.bus.port import ONCE
from nova.core.bus.shared import RedisBus
from nova.core.clock import FakeClock
from nova.core.errors import Unavailable
from nova.core.secret import SecretUrl
from nova.core.values import Seconds
from nova.realtime import cluster as cluster_
from nova.realtime.cluster import _packed
from nova.realtime.ports import Note
from tests.core.bus.redis_server import RedisServer
from tests.realtime.talk import Client, Node, node

LOBBY = "public:lobby"


@pytest.fixture
async def nodes(buses: tuple[Bus, Bus]) -> AsyncIterator[tuple[Node, Node]]:
    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(node("public history=50", shared_by=bus)) for bus in buses]
        yield found[0], found[1]


class Held(MemoryBus):
    """A bus whose `what` waits until `go`, and tells of it by `reached`."""

    def __init__(self) -> None:
        super().__init__(FakeClock())
        self.what = ""
        self.reached, self.go = trio.Event(), trio.Event()

    async def _hold(self, what: str) -> None:
        if what == self.what:
            self.reached.set()
            await self.go.wait()

    async def tail(self, log: str, keep: Keep, *, seen: Seen = NOTHING_SEEN) -> Tail:
        await self._hold("tail")
        return await super().tail(log, keep, seen=seen)

    async def put(self, table: str, rows: Mapping[str, bytes]) -> None:
        await self._hold(f"put {table}")
        await super().put(table, rows)

    async def drop(self, table: str, rows: Collection[str], *, saying: bytes | None = None) -> None:
        await self._hold(f"drop {table}")
        await super().drop(table, rows, saying=saying)


async def settled(*clients: Client) -> None:
    for client in clients:
        await client.ask(99, ping={})


async def test_publications_reach_both_nodes_in_order_and_once(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    alice, bob = await one.client("alice"), await two.client("bob")
    first = await alice.ask(1, subscribe={"channel": LOBBY})
    second = await bob.ask(1, subscribe={"channel": LOBBY})
    assert first["epoch"] == second["epoch"]
    for number in range(1, 41):
        client = alice if number % 2 else bob
        assert (await client.ask(2, publish={"channel": LOBBY, "data": number}))["offset"] == number
    for client in (alice, bob):
        client.used = 0
        assert [(await client.next("pub"))["pub"]["data"] for _ in range(40)] == list(range(1, 41))
        await settled(client)
        assert sum("pub" in item for item in client.said) == 40


async def test_recovery_works_on_the_other_node(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    alice = await one.client("alice")
    epoch = (await alice.ask(1, subscribe={"channel": LOBBY}))["epoch"]
    for number in range(1, 11):
        await alice.ask(2, publish={"channel": LOBBY, "data": number})
    bob = await two.client("bob")
    found = await bob.ask(1, subscribe={"channel": LOBBY, "recover": {"offset": 4, "epoch": epoch}})
    assert found["recovered"] and [each["data"] for each in found["publications"]] == [5, 6, 7, 8, 9, 10]
    page = await bob.ask(2, history={"channel": LOBBY, "limit": 2})
    assert [each["offset"] for each in page["publications"]] == [1, 2] and page["more"]


async def test_same_idempotency_key_publishes_once_on_whatever_node(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    here, there = await one.client("alice"), await two.client("alice")
    publish = {"channel": LOBBY, "data": 1, "idempotency_key": "k"}
    assert await here.ask(1, publish=publish) == await there.ask(1, publish=publish)


async def test_keys_are_forgotten_everywhere_at_the_same_time() -> None:
    clock = FakeClock()
    bus = MemoryBus(clock)
    async with node(shared_by=bus, clock=clock) as one, node(shared_by=bus, clock=clock) as two:
        here, there = await one.client("alice"), await two.client("alice")
        publish = {"channel": LOBBY, "data": 1, "idempotency_key": "k"}
        assert (await here.ask(1, publish=publish))["offset"] == 1
        clock.advance(ONCE - 1)
        assert (await there.ask(1, publish=publish))["offset"] == 1
        clock.advance(2)
        assert (await there.ask(2, publish=publish))["offset"] == 2  # though it was told of it a moment ago
        assert (await here.ask(2, publish=publish))["offset"] == 2
        said = [await each.hub.say(LOBBY, b"3", once="k", by=by) for each, by in ((one, "a"), (two, "a"), (two, "b"))]
        assert [each.place.offset for each in said] == [3, 3, 4]  # a key is of one service


async def test_rates_hold_over_all_nodes(buses: tuple[Bus, Bus]) -> None:
    rules = "public rate=3/min channel_rate=5/min"
    async with node(rules, shared_by=buses[0]) as one, node(rules, shared_by=buses[1]) as two:
        here, there, eve = await one.client("alice"), await two.client("alice"), await two.client("eve")
        again = {"channel": LOBBY, "data": 1, "idempotency_key": "k"}
        assert await here.ask(1, publish=again) == await there.ask(1, publish=again)  # which is one
        for client in (here, there):
            assert "offset" in await client.ask(1, publish={"channel": LOBBY, "data": 1})
        refused = [await here.ask(1, publish={"channel": LOBBY, "data": 1})]
        assert [(await eve.ask(1, publish={"channel": LOBBY, "data": 1}))["offset"] for _ in range(2)] == [4, 5]
        refused.append(await (await one.client("ann")).ask(1, publish={"channel": LOBBY, "data": 1}))
        for said, what in zip(refused, ("of one sender to this channel", "to this channel"), strict=True):
            assert (said["code"], said["message"]) == ("rate_limited", f"too many messages {what}") and said["retry_ms"] > 0
        for name in ("a", "b"):  # a channel's is its own
            assert "offset" in await here.ask(1, publish={"channel": f"public:{name}", "data": 1})
        assert (await one.hub.say(LOBBY, b"1")).place.offset == 6  # services are not counted


async def test_members_of_both_nodes_are_seen_on_both(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    alice, bob = await one.client("alice"), await two.client("bob")
    await alice.ask(1, subscribe={"channel": LOBBY})
    await bob.ask(1, subscribe={"channel": LOBBY})
    assert (await alice.next("join"))["join"]["user"] == "bob"
    late = await one.client("carol")
    await late.ask(1, subscribe={"channel": LOBBY})
    assert (await bob.next(lambda item: item.get("join", {}).get("user") == "carol"))["join"]
    for client in (alice, bob):
        found = await client.ask(2, presence={"channel": LOBBY})
        assert found["count"] == 3 and {each["user"] for each in found["members"]} == {"alice", "bob", "carol"}
    bob.send_in.close()
    assert (await alice.next("leave"))["leave"]["user"] == "bob"


async def test_services_reach_a_user_on_the_other_node(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    bob = await two.client("bob")
    await bob.ask(1, subscribe={"channel": LOBBY})
    await one.hub.unsubscribe("bob", LOBBY, 4301, "forbidden")
    assert (await bob.next("unsub"))["unsub"]["code"] == 4301
    await one.hub.disconnect("bob", 4312, "disconnected")
    assert await bob.ended() == (4312, "disconnected")


async def test_node_that_dies_leaves_no_ghosts(buses: tuple[Bus, Bus], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_, "BEAT", 0.05)
    monkeypatch.setattr(cluster_, "DEAD", 0.3)
    first, second = buses
    async with node(shared_by=first) as one:
        alice = await one.client("alice")
        await alice.ask(1, subscribe={"channel": LOBBY})
        # What a node that was killed has left behind.
        await second.put("realtime:nodes", {"dead": b""})
        await second.put("realtime:node:dead", {LOBBY: b""})
        await second.put(f"realtime:members:{LOBBY}", {"dead-1": b'["ghost",5]'})
        await second.note(LOBBY, b'{"in":[["ghost","dead-1",5]],"out":[]}')
        assert (await alice.next("join"))["join"]["client"] == "dead-1"
        assert (await alice.next("leave"))["leave"]["client"] == "dead-1"
        assert (await alice.ask(2, presence={"channel": LOBBY}))["count"] == 1
        assert await second.rows(f"realtime:members:{LOBBY}") == {alice_row: data async for alice_row, data in _rows(second)}
    assert await second.rows(f"realtime:members:{LOBBY}") == {}


async def _rows(bus: Bus) -> AsyncIterator[tuple[str, bytes]]:
    for row, data in (await bus.rows(f"realtime:members:{LOBBY}")).items():
        assert not row.startswith("dead")
        yield row, data


async def test_ghosts_do_not_outlive_the_lease_of_their_node(autojump_clock: trio.testing.MockClock) -> None:
    class Virtual(FakeClock):
        def monotonic(self) -> float:
            return trio.current_time()

    bus = MemoryBus(Virtual())
    async with node(shared_by=bus):
        await trio.sleep(cluster_.BEAT / 6)  # its last sign of life comes between two looks of the other node
        assert await bus.acquire(cluster_.node_lease("dead"), "dead", cluster_.DEAD) is not None
        await bus.put("realtime:node:dead", {LOBBY: b""})
        await bus.put(f"realtime:members:{LOBBY}", {"dead-1": b'["ghost", 1]'})
        await bus.put(cluster_.NODES, {"dead": b"{}"})
        died = trio.current_time()
        with trio.fail_after(10 * cluster_.DEAD):
            while await bus.rows(f"realtime:members:{LOBBY}"):
                await trio.sleep(0.01)
        assert cluster_.DEAD <= trio.current_time() - died < cluster_.DEAD + 0.1


async def test_redis_killed_under_load_loses_and_doubles_nothing_that_was_acknowledged(server: RedisServer) -> None:
    bus, other = RedisBus(SecretUrl(server.url)), RedisBus(SecretUrl(server.url))
    room = "public:load"
    async with AsyncExitStack() as stack:
        for each in (bus, other):
            await stack.enter_async_context(each.opened())
        async with node("public history=5000", shared_by=bus) as one, node("public history=5000", shared_by=other) as two:
            writer, reader = await one.client("alice"), await two.client("bob")
            await reader.ask(1, subscribe={"channel": room})
            acknowledged: list[int] = []
            refused = 0
            for number in range(600):
                if number == 200:
                    server.kill()
                key = f"n{number}"
                while True:
                    done = await writer.ask(2, publish={"channel": room, "data": number, "idempotency_key": key})
                    if "offset" in done:
                        acknowledged.append(done["offset"])
                        break
                    assert done["code"] == "unavailable" and done["retry_ms"] > 0
                    refused += 1
                    if refused == 3:
                        # Who is subscribed stays so, and what is kept can be read; a new channel cannot be opened.
                        assert (await reader.ask(3, history={"channel": room, "limit": 1}))["publications"][0]["data"] == 0
                        assert (await reader.ask(4, subscribe={"channel": "public:other"}))["code"] == "unavailable"
                        server.start()
            assert refused >= 3 and acknowledged == sorted(set(acknowledged)) and len(acknowledged) == 600
            reader.used = 0
            seen = [(await reader.next("pub"))["pub"] for _ in range(600)]
            assert [each["data"] for each in seen] == list(range(600)) and [each["offset"] for each in seen] == acknowledged
            assert (await reader.ask(5, subscribe={"channel": "public:other"}))["offset"] == 0


async def test_redis_that_forgot_everything_begins_a_new_epoch(server: RedisServer) -> None:
    bus = RedisBus(SecretUrl(server.url))
    async with bus.opened(), node(shared_by=bus) as one:
        alice = await one.client("alice")
        epoch = (await alice.ask(1, subscribe={"channel": "public:new"}))["epoch"]
        await alice.ask(2, publish={"channel": "public:new", "data": 1})
        await alice.next("pub")
        server.kill()
        server.forget()
        server.start()
        unsub = (await alice.next("unsub"))["unsub"]
        assert 4000 <= unsub["code"] < 4200
        again = await alice.ask(3, subscribe={"channel": "public:new", "recover": {"offset": 1, "epoch": epoch}})
        assert not again["recovered"] and again["epoch"] != epoch
        assert (await alice.ask(4, publish={"channel": "public:new", "data": 2}))["offset"] == 1
        assert (await alice.next("pub"))["pub"]["data"] == 2


@pytest.mark.parametrize("said_before_anybody_looked", [0, 1, 8])
async def test_redis_that_went_back_begins_a_new_epoch_and_hides_nothing(
    server: RedisServer, tmp_path: Path, said_before_anybody_looked: int
) -> None:
    """Its numbers are given a second time: in the old epoch nobody would hear what comes now, and who recovers would learn of no loss."""
    bus, other, room = RedisBus(SecretUrl(server.url)), RedisBus(SecretUrl(server.url)), f"public:back{said_before_anybody_looked}"
    async with bus.opened(), node("public history=50 replay=0", shared_by=bus) as one:
        alice = await one.client("alice")
        epoch = (await alice.ask(1, subscribe={"channel": room}))["epoch"]
        for number in range(3):
            await alice.ask(2, publish={"channel": room, "data": number})
        server.copy(tmp_path / "then")
        for number in range(3, 8):
            await alice.ask(2, publish={"channel": room, "data": number})
        await alice.next(lambda item: "pub" in item and item["pub"]["data"] == 7)
        server.kill()
        server.go_back(tmp_path / "then")
        server.start()
        async with other.opened():  # a node without readers of the channel is quicker
            for number in range(said_before_anybody_looked):
                note = Note(b"%d" % (100 + number), int(one.clock.wall() * 1000), None, "", keep=True)
                await other.add(room, _packed(note), Keep(50, Seconds(3600)))
        assert (await alice.next("unsub"))["unsub"]["code"] == 4000
        again = await alice.ask(3, subscribe={"channel": room, "recover": {"offset": 8, "epoch": epoch}})
        assert not again["recovered"] and again["epoch"] != epoch
        kept = await alice.ask(4, history={"channel": room})
        assert [each["data"] for each in kept["publications"]] == [0, 1, 2, *range(100, 100 + said_before_anybody_looked)]
        done = await alice.ask(5, publish={"channel": room, "data": "now"})
        assert done["epoch"] == again["epoch"]
        assert (await alice.next("pub"))["pub"]["data"] == "now"


async def test_who_publishes_to_a_redis_that_went_back_is_answered_in_the_new_epoch(server: RedisServer, tmp_path: Path) -> None:
    bus, room = RedisBus(SecretUrl(server.url)), "public:returned"
    async with bus.opened(), node("public history=50", shared_by=bus) as one:
        alice = await one.client("alice")
        await alice.ask(1, subscribe={"channel": room})
        await alice.ask(2, publish={"channel": room, "data": 0})
        server.copy(tmp_path / "then")
        old = await alice.ask(2, publish={"channel": room, "data": 1})
        server.kill()
        server.go_back(tmp_path / "then")
        server.start()
        while (done := await alice.ask(3, publish={"channel": room, "data": 2})).get("code") == "unavailable":
            await trio.sleep(0.05)
        assert done["epoch"] != old["epoch"] and (await alice.next("unsub"))["unsub"]["code"] == 4000
        await alice.ask(4, subscribe={"channel": room})
        await alice.ask(5, publish={"channel": room, "data": 3})
        await alice.next(lambda item: "pub" in item and item["pub"]["data"] == 3)
        now = await alice.ask(6, history={"channel": room})
        assert now["epoch"] == done["epoch"] and [each["data"] for each in now["publications"]] == [0, 2, 3]


async def test_redis_that_went_back_brings_nobody_back_who_has_left(server: RedisServer, tmp_path: Path) -> None:
    bus, other, room = RedisBus(SecretUrl(server.url)), RedisBus(SecretUrl(server.url)), "public:ghosts"
    async with bus.opened(), other.opened(), node(shared_by=bus) as one, node(shared_by=other) as two:
        alice, bob, eve = await one.client("alice"), await one.client("bob"), await two.client("eve")
        for client in (alice, bob, eve):
            await client.ask(1, subscribe={"channel": room})

        async def there(client: Client, *users: str) -> None:
            with trio.fail_after(30):
                while sorted(each["user"] for each in (await client.ask(2, presence={"channel": room}))["members"]) != list(users):
                    await trio.sleep(0.01)

        for client in (alice, eve):
            await there(client, "alice", "bob", "eve")
        server.copy(tmp_path / "then")
        await bob.ask(3, unsubscribe={"channel": room})
        await there(eve, "alice", "eve")
        server.kill()
        server.go_back(tmp_path / "then")
        server.start()
        with trio.fail_after(30):
            while len(await rows_of(bus, room)) != 2:
                await trio.sleep(0.01)
        for client in (alice, eve):
            await there(client, "alice", "eve")


async def rows_of(bus: Bus, room: str) -> Mapping[str, bytes]:
    try:
        return await bus.rows(f"realtime:members:{room}")
    except Unavailable:
        return {}


async def test_later_node_does_not_see_what_was_deleted(buses: tuple[Bus, Bus]) -> None:
    from nova.core.ids import Ids
    from nova.realtime.chat.service import Chat
    from nova.realtime.chat.store_memory import MemoryStore
    from nova.realtime.seam import Who
    from tests.realtime.talk import STREAM

    first, second = buses
    room = f"stream:{STREAM}"
    async with node("stream rate=off", shared_by=first) as one:
        chat = Chat(one.hub, MemoryStore(), one.streams, one.clock, Ids(one.clock).new)
        one.hub.attach(chat)
        bob = await one.client("bob")
        done = [await bob.ask(1, publish={"channel": room, "data": {"text": str(at)}}) for at in range(3)]
        await chat.delete(Who("", "bob", 1, b"", "", "", "", 0), STREAM, f"{done[1]['epoch']}.{done[1]['offset']}")
        async with node(shared_by=second) as two:
            found = await (await two.client("eve")).ask(1, subscribe={"channel": room})
            assert [each["data"].get("text") for each in found["publications"]] == ["0", "2", None]


async def test_services_see_the_channels_and_numbers_of_every_node(buses: tuple[Bus, Bus], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_, "BEAT", 0.05)
    async with node(shared_by=buses[0]) as one, node(shared_by=buses[1]) as two:
        alice, bob, eve = await one.client("alice"), await two.client("bob"), await two.client("eve")
        for client in (alice, bob, eve):
            await client.ask(1, subscribe={"channel": LOBBY})
        await bob.ask(2, subscribe={"channel": "public:two"})
        with trio.fail_after(30):
            while await one.hub.occupied("public:") != [("public:lobby", 3), ("public:two", 1)]:
                await trio.sleep(0.02)
            while await two.hub.occupied("public:l") != [("public:lobby", 3)]:
                await trio.sleep(0.02)
            info = await one.hub.info()
        assert (info["node"], info["readers"]) == (one.sockets.node, 1)
        assert [(each["node"], each["readers"]) for each in info["others"]] == [(two.sockets.node, 3)]


async def test_hidden_channel_sends_away_the_readers_of_every_node(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    alice, bob = await one.client("alice"), await two.client("bob")
    first = await alice.ask(1, subscribe={"channel": LOBBY})
    await bob.ask(1, subscribe={"channel": LOBBY})
    await alice.ask(2, publish={"channel": LOBBY, "data": 1})
    await one.hub.close(LOBBY, 4000, "hidden")
    for client in (alice, bob):
        assert (await client.next("unsub"))["unsub"] == {"channel": LOBBY, "code": 4000, "reason": "hidden"}
    back = await bob.ask(3, subscribe={"channel": LOBBY, "recover": {"offset": 0, "epoch": first["epoch"]}})
    assert back["recovered"] and [each["data"] for each in back["publications"]] == [1]
    await alice.ask(3, publish={"channel": LOBBY, "data": 2})
    assert (await bob.next(lambda item: item.get("pub", {}).get("data") == 2))["pub"]["offset"] == 2
    said = len(alice.said)
    await settled(alice)
    assert not any("pub" in item for item in alice.said[said:])


async def test_who_gives_up_while_a_channel_is_opened_spoils_it_for_nobody() -> None:
    bus = Held()
    async with node(shared_by=bus) as one:
        space, rest = one.hub.rules.of(LOBBY)
        bus.what, first = "tail", trio.CancelScope()

        async def give_up() -> None:
            with first:
                await one.hub.open(LOBBY, space, rest)

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(give_up)
                await bus.reached.wait()
                nursery.start_soon(one.hub.open, LOBBY, space, rest)
                await trio.testing.wait_all_tasks_blocked()
                first.cancel()
                await trio.testing.wait_all_tasks_blocked()
                bus.go.set()
        assert first.cancelled_caught
        alice = await one.client("alice")
        assert "offset" in await alice.ask(1, subscribe={"channel": LOBBY})
        async with node(shared_by=bus) as two:
            await (await two.client("bob")).ask(1, publish={"channel": LOBBY, "data": 1})
        assert (await alice.next("pub"))["pub"]["data"] == 1


async def test_who_left_right_before_its_node_ended_is_gone() -> None:
    bus = Held()
    members = f"realtime:members:{LOBBY}"
    async with node(shared_by=bus) as one:
        alice, bob, name = await one.client("alice"), await one.client("bob"), one.sockets.node
        for client in (alice, bob):
            await client.ask(1, subscribe={"channel": LOBBY})
        with trio.fail_after(30):
            while len(await bus.rows(members)) < 2:
                await trio.testing.wait_all_tasks_blocked()
        bus.what = f"drop {members}"
        alice.send_in.close()
        with trio.fail_after(30):
            await bus.reached.wait()  # its leaving is being told
        bus.what = ""
    assert await bus.rows(members) == {}
    assert await bus.rows(f"realtime:node:{name}") == {}
    assert name not in await bus.rows("realtime:nodes")


async def test_more_comings_and_goings_than_can_wait_are_all_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_, "CHANGES", 2)
    bus = Held()
    members = f"realtime:members:{LOBBY}"
    async with node(shared_by=bus) as one:
        early = [await one.client(f"early{number}") for number in range(4)]
        for client in early:
            await client.ask(1, subscribe={"channel": LOBBY})
        with trio.fail_after(30):
            while len(await bus.rows(members)) < 4:
                await trio.testing.wait_all_tasks_blocked()
        bus.what = f"put {members}"
        late = [await one.client(f"late{number}") for number in range(4)]
        for client in late:
            await client.ask(1, subscribe={"channel": LOBBY})
        for client in early[:3]:
            client.send_in.close()
        with trio.fail_after(30):
            await bus.reached.wait()
            while len(one.hub.rooms.get(LOBBY).members) != 5:  # type: ignore[union-attr]
                await trio.testing.wait_all_tasks_blocked()
            bus.go.set()
            wanted = {"early3", "late0", "late1", "late2", "late3"}
            while {row.split(b'"')[1].decode() for row in (await bus.rows(members)).values()} != wanted:
                await trio.testing.wait_all_tasks_blocked()
