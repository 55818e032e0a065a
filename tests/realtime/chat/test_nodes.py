"""The chat of a stream on a node that does not keep it: over the bus in memory, and over Redis."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
import trio.testing

from nova.core.bus import Bus, MemoryBus
from nova.core.bus.calls import Calls
from nova.core.bus.shared import RedisBus
from nova.core.clock import FakeClock
from nova.core.errors import BadRequest, Forbidden, NotFound, RateLimited, Unauthenticated, Unavailable
from nova.core.secret import SecretUrl
from nova.core.values import Seconds
from nova.realtime.chat import nodes as nodes_
from nova.realtime.chat.model import Comment, Mode
from nova.realtime.chat.nodes import KEEPERS, ChatNodes
from nova.realtime.chat.ports import Chats, ChatStore
from nova.realtime.chat.store_memory import MemoryStore
from nova.realtime.seam import Who
from tests.core.bus.redis_server import RedisServer
from tests.realtime.chat.test_chat import who
from tests.realtime.talk import PRIVATE, STREAM, Node, node

ROOM = f"stream:{STREAM}"


@asynccontextmanager
async def two(buses: tuple[Bus, Bus], store: ChatStore | None = None) -> AsyncIterator[tuple[Node, Node, ChatNodes]]:
    """The keeper of the streams, another node, and the chats as that one sees them."""
    async with node("stream rate=off channel_rate=off", shared_by=buses[0], store=store) as keeper, \
            node("stream rate=off channel_rate=off", shared_by=buses[1], kept=()) as other:  # fmt: skip
        assert other.chats is not None
        yield keeper, other, other.chats


async def test_who_is_on_another_node_reads_and_writes(buses: tuple[Bus, Bus]) -> None:
    async with two(buses) as (keeper, other, _):
        alice, bob = await keeper.client("alice"), await other.client("bob")
        first = await alice.ask(1, subscribe={"channel": ROOM})
        assert (await bob.ask(1, subscribe={"channel": ROOM}))["epoch"] == first["epoch"]
        done = await bob.ask(2, publish={"channel": ROOM, "data": {"text": "from afar"}})
        assert done == {"offset": 1, "epoch": first["epoch"], "durable": True}
        for client in (alice, bob):
            pub = (await client.next("pub"))["pub"]
            assert pub["data"] == {"text": "from afar"} and pub["info"] == {"user": "bob", "name": "Bob", "badges": []}
        assert not (await bob.ask(3, publish={"channel": ROOM, "data": {"reaction": "x"}}))["durable"]
        kept = (await bob.ask(4, history={"channel": ROOM}))["publications"]
        assert [each["data"] for each in kept] == [{"text": "from afar"}]
        assert (await bob.ask(5, presence={"channel": ROOM}))["count"] == 2


async def test_what_is_said_from_afar_is_one_question(buses: tuple[Bus, Bus]) -> None:
    async with two(buses) as (keeper, other, _):
        assert keeper.chats is not None
        asked, work = [], keeper.chats._work

        async def heard(ticket: str, what: str, *more: Any) -> Any:
            asked.append(what)
            return await work(ticket, what, *more)

        keeper.chats._work = heard  # type: ignore[method-assign]
        bob, eve = await other.client("bob"), await other.client("eve/none")
        assert "offset" in await bob.ask(1, publish={"channel": ROOM, "data": {"text": "from afar"}})
        assert asked == ["publish"]
        hidden = f"stream:{PRIVATE}"
        assert (await bob.ask(2, publish={"channel": hidden, "data": {"text": "x"}}))["code"] == "not_found"
        assert (await eve.ask(3, publish={"channel": hidden, "data": {"text": "x"}}))["code"] == "not_found"
        assert (await eve.ask(4, publish={"channel": ROOM, "data": {"text": "x"}}))["code"] == "missing_scope"


async def test_comments_and_what_moderators_do_is_the_keepers(buses: tuple[Bus, Bus]) -> None:
    async with two(buses) as (keeper, other, chats):
        bob = await other.client("bob")
        await bob.ask(1, subscribe={"channel": ROOM})
        said = [await chats.comment(who("bob"), STREAM, f"number {at}") for at in range(3)]
        assert [each.place and each.place.offset for each in said] == [1, 2, 3]
        page, more = await chats.comments(who("eve"), STREAM, None, 2)
        rest, over = await chats.comments(who("eve"), STREAM, more, 2)
        assert [each.text for each in (*page, *rest)] == ["number 2", "number 1", "number 0"] and over is None
        assert page[0] == said[2] == (await keeper.own.comments(who("eve"), STREAM, None, 1))[0][0]
        assert await chats.get(who("eve"), STREAM, said[0].public_id) == said[0]
        with pytest.raises(Forbidden):
            await chats.delete(who("eve"), STREAM, said[0].public_id)
        await chats.appoint(who("alice"), STREAM, "mod")
        await chats.delete(who("mod"), STREAM, said[0].public_id)
        told = await bob.next(lambda item: "type" in item.get("pub", {}).get("data", {}))
        assert told["pub"]["data"] == {"type": "delete", "id": said[0].public_id}
        await chats.dismiss(who("alice"), STREAM, "mod")
        with pytest.raises(Forbidden):
            await chats.require_moderator(who("mod"), STREAM)
        await chats.set_mode(who("alice"), STREAM, Mode(slow_mode_s=30))
        assert await chats.mode(who("eve"), STREAM) == Mode(slow_mode_s=30)
        assert (await bob.ask(2, publish={"channel": ROOM, "data": {"text": "1"}}))["durable"]
        here = await keeper.client("bob")  # the same user by the other door: one rule for both
        refused = await here.ask(3, publish={"channel": ROOM, "data": {"text": "2"}})
        assert refused["code"] == "slow_mode" and refused["retry_ms"] == 30_000
        await chats.ban(who("alice"), STREAM, "bob", 60, "enough")
        refused = await bob.ask(4, publish={"channel": ROOM, "data": {"text": "3"}})
        assert refused["code"] == "banned" and refused["retry_ms"] == 60_000
        assert await chats.comments(who("eve"), STREAM, None, 9) == ([], None)
        await chats.unban(who("alice"), STREAM, "bob")
        with pytest.raises(NotFound):
            await chats.unban(who("alice"), STREAM, "bob")


async def test_rates_of_a_chat_hold_over_all_nodes(buses: tuple[Bus, Bus]) -> None:
    rules = "stream rate=4/min channel_rate=6/min"
    async with node(rules, shared_by=buses[0]) as keeper, node(rules, shared_by=buses[1], kept=()) as other:
        assert other.chats is not None and keeper.chats is not None
        here, there = await keeper.client("bob"), await other.client("bob")
        for at in (1, 2):
            for client in (here, there):
                assert "epoch" in await client.ask(at, publish={"channel": ROOM, "data": {"text": "x"}})
        for at, client in enumerate((here, there)):
            refused = await client.ask(9 + at, publish={"channel": ROOM, "data": {"text": "one too many"}})
            assert refused["code"] == "rate_limited" and 0 < refused["retry_ms"] <= 15_000
        for chats in (keeper.chats, other.chats):
            await chats.comment(who("eve"), STREAM, "the channel's own")
            with pytest.raises(RateLimited) as over:
                await chats.comment(who("bob"), STREAM, "one too many")
            assert over.value.code == "rate_limited"
        with pytest.raises(RateLimited) as over:
            await other.chats.comment(who("ann"), STREAM, "one too many")
        assert "to this channel" in over.value.detail and "sender" not in over.value.detail
        assert len((await other.chats.comments(who("eve"), STREAM, None, 9))[0]) == 6


async def test_refusals_are_the_same_as_on_the_keeper(buses: tuple[Bus, Bus]) -> None:
    async with two(buses) as (keeper, other, chats):
        for each in (keeper.own, chats):
            with pytest.raises(BadRequest) as wrong:
                await each.comment(who("bob"), STREAM, " ")
            assert wrong.value.fields[0].pointer == "/text" and wrong.value.code == "invalid_field"
            with pytest.raises(Unauthenticated):
                await each.appoint(Who("", None, 0, b"", "", "", "", 0), STREAM, "eve")
            for stream in (PRIVATE, "01890000-0000-7000-8000-000000000009"):
                with pytest.raises(NotFound):
                    await each.comments(who("bob"), stream, None, 9)
        assert await chats.comments(who("alice"), PRIVATE, None, 9) == ([], None)
        bob, alice = await other.client("bob"), await other.client("alice")
        assert (await bob.ask(1, subscribe={"channel": f"stream:{PRIVATE}"}))["code"] == "not_found"
        assert (await alice.ask(1, subscribe={"channel": f"stream:{PRIVATE}"}))["recovered"] is False


async def test_same_idempotency_key_writes_once_on_whatever_node(buses: tuple[Bus, Bus]) -> None:
    async with two(buses) as (keeper, other, chats):
        here, there = await keeper.client("bob"), await other.client("bob")
        publish = {"channel": ROOM, "data": {"text": "once"}, "idempotency_key": "k"}
        assert await there.ask(1, publish=publish) == await here.ask(1, publish=publish) == await there.ask(2, publish=publish)
        assert len((await chats.comments(who("bob"), STREAM, None, 9))[0]) == 1


async def test_long_pages_come_in_pieces(buses: tuple[Bus, Bus]) -> None:
    async with two(buses) as (keeper, _, chats):
        for _at in range(150):
            await keeper.own.comment(who("bob"), STREAM, "\U0001f600" * 500)
        found, more = await chats.comments(who("eve"), STREAM, None, 140)
        assert len({each.id for each in found}) == 140 and more == found[-1].id


async def test_hidden_and_deleted_streams_send_readers_of_other_nodes_away(buses: tuple[Bus, Bus]) -> None:
    async with two(buses) as (keeper, other, chats):
        bob = await other.client("bob")
        await bob.ask(1, subscribe={"channel": ROOM})
        keeper.streams.hidden = True
        await keeper.own.hide(STREAM, None)
        assert (await bob.next("unsub"))["unsub"]["code"] == 4000
        assert (await bob.ask(2, subscribe={"channel": ROOM}))["code"] == "not_found"
        keeper.streams.hidden = False
        assert (await bob.ask(3, subscribe={"channel": ROOM}))["epoch"]
        keeper.streams.kept = ()
        await keeper.own.forget(STREAM)
        assert keeper.chats is not None
        await keeper.chats.deleted(STREAM)
        assert (await bob.next("unsub"))["unsub"]["code"] == 4306
        with pytest.raises(NotFound):
            await chats.mode(who("bob"), STREAM)


async def test_new_stream_is_known_to_other_nodes_at_once(buses: tuple[Bus, Bus]) -> None:
    async with two(buses) as (keeper, _, chats):
        fresh = "01890000-0000-7000-8000-000000000003"
        assert keeper.chats is not None
        keeper.streams.kept += (fresh,)
        await keeper.chats.created(fresh)
        assert await chats.comments(who("alice"), fresh, None, 9) == ([], None)


async def test_keeper_that_is_gone_is_told_from_a_stream_that_is_none(buses: tuple[Bus, Bus]) -> None:
    async with node(shared_by=buses[1], kept=()) as other:
        assert other.chats is not None
        async with node(shared_by=buses[0]) as keeper:
            await other.chats.comment(who("bob"), STREAM, "still here")
            del keeper
        bob = await other.client("bob")
        refused = await bob.ask(1, subscribe={"channel": ROOM})
        assert refused["code"] == "node_unavailable" and refused["retry_ms"] == 1000
        with pytest.raises(Unavailable) as away:
            await other.chats.comments(who("bob"), STREAM, None, 9)
        assert away.value.code == "node_unavailable" and away.value.retry_after == 1.0
        with pytest.raises(NotFound):
            await other.chats.comments(who("bob"), "01890000-0000-7000-8000-000000000009", None, 9)
        async with node(shared_by=buses[0]):  # as another process, with the same store
            assert (await bob.ask(2, subscribe={"channel": ROOM}))["epoch"]


async def test_keeper_that_says_nothing_is_not_waited_for_for_ever(buses: tuple[Bus, Bus], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes_, "PATIENCE", Seconds(0.05))
    async with buses[0].subscribe([f"{nodes_.TOPIC}.frozen"]), node(shared_by=buses[1], kept=()) as other:
        await buses[0].put(KEEPERS, {STREAM: b"frozen"})
        assert other.chats is not None
        with pytest.raises(Unavailable) as away:
            await other.chats.mode(who("bob"), STREAM)
        assert away.value.code == "node_unavailable"


async def test_question_without_a_ticket_changes_nothing(buses: tuple[Bus, Bus]) -> None:
    async with two(buses) as (keeper, _, chats), buses[0].subscribe([f"{nodes_.TOPIC}.late"]) as answers:
        for what, *more in (("comment", "late", ""), ("ban", "bob", 60, ""), ("set_mode", {"enabled": False})):
            asked = json.dumps([what, ["root", "Root", True], STREAM, *more])
            await buses[1].publish(f"{nodes_.TOPIC}.{keeper.sockets.node}", b"? late 1 " + asked.encode())
            answer = json.loads((await anext(aiter(answers))).data.split(b" ", 3)[3])
            assert answer["error"][0] == "node_unavailable"
        assert await chats.comments(who("bob"), STREAM, None, 9) == ([], None) and await chats.mode(who("bob"), STREAM) == Mode()
        await chats.comment(who("bob"), STREAM, "not banned")


async def test_keeper_that_lost_its_lease_takes_it_again_before_it_decides(buses: tuple[Bus, Bus], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes_, "BEAT", 1000.0)  # nobody notices by itself
    async with two(buses) as (keeper, _, chats):
        assert await chats.mode(who("bob"), STREAM) == Mode()
        assert keeper.chats is not None and keeper.chats._lease is not None
        await buses[0].drop(KEEPERS, [STREAM])
        await buses[0].release(before := keeper.chats._lease)
        assert await chats.mode(who("bob"), STREAM) == Mode()  # this changes nothing
        with pytest.raises(Unavailable) as away:
            await chats.comment(who("bob"), STREAM, "too early")
        assert away.value.code == "node_unavailable" and away.value.retry_after == 1.0
        with trio.fail_after(30):
            while await buses[1].row(KEEPERS, STREAM) is None:
                await trio.sleep(0.02)
        assert keeper.chats._lease is not None and keeper.chats._lease.token > before.token
        said = await chats.comment(who("bob"), STREAM, "again")
        assert await chats.comments(who("bob"), STREAM, None, 9) == ([said], None)


async def test_keepers_write_their_rows_again_when_the_bus_has_lost_them(buses: tuple[Bus, Bus], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes_, "BEAT", 0.02)
    async with two(buses) as (keeper, _other, chats):
        assert await chats.mode(who("bob"), STREAM) == Mode()
        await buses[0].drop(KEEPERS, [STREAM, PRIVATE])
        assert await chats.mode(who("bob"), STREAM) == Mode()  # who is known is asked
        assert keeper.chats is not None and keeper.chats._lease is not None
        await buses[0].release(keeper.chats._lease)  # what a Redis that was emptied looks like
        with trio.fail_after(30):
            while await buses[1].row(KEEPERS, STREAM) is None:
                await trio.sleep(0.02)
        assert await chats.mode(who("bob"), STREAM) == Mode()


async def test_readers_of_other_nodes_hear_how_many_watch(autojump_clock: trio.testing.MockClock) -> None:
    bus = MemoryBus(FakeClock())
    async with two((bus, bus)) as (keeper, other, _):
        for each in (keeper, other):
            each.nursery.start_soon(each.own.run)
        bob = await other.client("bob")
        await bob.ask(1, subscribe={"channel": ROOM})
        for count in (3, 4):
            keeper.streams.watching = count
            told = await bob.next(lambda item: "type" in item.get("pub", {}).get("data", {}))
            assert told["pub"]["data"] == {"type": "viewers", "count": count}  # and nobody says that nobody watches


async def test_redis_that_is_away_is_told(server: RedisServer) -> None:
    bus, other_bus = RedisBus(SecretUrl(server.url)), RedisBus(SecretUrl(server.url))
    async with bus.opened(), other_bus.opened(), two((bus, other_bus)) as (_, _other, chats):
        await chats.comment(who("bob"), STREAM, "before")
        server.kill()
        try:
            with pytest.raises(Unavailable):
                await chats.comment(who("bob"), STREAM, "meanwhile")
        finally:
            server.start()
        with trio.fail_after(60):
            while True:
                try:
                    await chats.comment(who("bob"), STREAM, "after")
                    break
                except Unavailable:
                    await trio.sleep(0.05)
        found, _more = await chats.comments(who("bob"), STREAM, None, 9)
        assert {each.text for each in found} >= {"before", "after"}


NONE = "01890000-0000-7000-8000-000000000009"


def viewers(item: dict[str, Any]) -> bool:
    return item.get("pub", {}).get("data", {}).get("type") == "viewers"


async def test_nothing_of_a_token_is_told_to_the_keeper(buses: tuple[Bus, Bus]) -> None:
    async with two(buses) as (keeper, _, chats), buses[0].subscribe([f"{nodes_.TOPIC}.{keeper.sockets.node}"]) as asked:
        claims = json.dumps({"sub": "mod", "name": "Mo", "jti": "secret", "email": "secret"}).encode()
        asks = Who("secret", "mod", 5, claims, "other", "192.0.2.7", "", 0)
        assert (await chats.comment(asks, STREAM, "hello")).name == "Mo"
        message = await anext(aiter(asked))
        assert json.loads(message.data.split(b" ", 3)[3]) == ["comment", ["mod", "Mo", True], STREAM, "hello", ""]
        await chats.set_mode(asks, STREAM, Mode(slow_mode_s=1))  # as an operator
        with pytest.raises(Forbidden):
            await chats.set_mode(who("mod", 3), STREAM, Mode())  # a service's scope is none of an operator


async def test_keeper_that_comes_back_as_another_process_tells_those_who_stayed(autojump_clock: trio.testing.MockClock) -> None:
    bus = MemoryBus(FakeClock())
    async with node(shared_by=bus, kept=()) as other:
        async with node(shared_by=bus) as keeper:
            bob = await other.client("bob")
            await bob.ask(1, subscribe={"channel": ROOM})
            other.nursery.start_soon(other.own.run)
            keeper.nursery.start_soon(keeper.own.run)
            keeper.streams.watching = 3
            assert (await bob.next(viewers))["pub"]["data"]["count"] == 3
        async with node(shared_by=bus) as keeper:
            keeper.nursery.start_soon(keeper.own.run)
            keeper.streams.watching = 4
            assert (await bob.next(viewers))["pub"]["data"]["count"] == 4


async def test_operators_on_other_nodes_hear_the_keepers_count_and_no_other(autojump_clock: trio.testing.MockClock) -> None:
    bus = MemoryBus(FakeClock())
    async with two((bus, bus)) as (keeper, other, _):
        keeper.streams.watching = 3
        root = await other.client("root/admin")  # nobody is asked whether they may
        await root.ask(1, subscribe={"channel": ROOM})
        for each in (other, keeper):
            each.nursery.start_soon(each.own.run)
        told = [(await root.next(viewers))["pub"]["data"]["count"]]
        keeper.streams.watching = 4
        told.append((await root.next(viewers))["pub"]["data"]["count"])
        assert told == [3, 4]


async def test_table_that_was_lost_is_told_from_a_stream_that_is_none(buses: tuple[Bus, Bus], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes_, "BEAT", 30.0)  # nobody notices by itself
    async with two(buses) as (keeper, _other, chats):
        assert keeper.chats is not None and keeper.chats._lease is not None and chats._lease is not None
        with pytest.raises(NotFound):
            await chats.mode(who("bob"), NONE)
        await buses[0].drop(KEEPERS, [STREAM, PRIVATE])
        for each in (keeper.chats, chats):
            assert each._lease is not None
            await buses[0].release(each._lease)
        for _ in range(2):  # also when this node has noticed, and the keeper has not
            with pytest.raises(Unavailable) as away:
                await chats.mode(who("bob"), STREAM)
            assert away.value.code == "node_unavailable" and away.value.retry_after
            await chats._hold()
        await keeper.chats._hold()
        assert await chats.mode(who("bob"), STREAM) == Mode()
        chats._settled = 0.0
        with pytest.raises(NotFound):
            await chats.mode(who("bob"), NONE)


async def found_again(chats: ChatNodes) -> None:
    """Away for a while, and never NotFound."""
    with trio.fail_after(60):
        while True:
            with suppress(Unavailable):
                assert await chats.mode(who("bob"), STREAM) == Mode()
                return
            await trio.sleep(0.05)


async def test_emptied_redis_makes_no_stream_one_that_is_none(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes_, "BEAT", 0.05)
    one, other_bus = RedisBus(SecretUrl(server.url)), RedisBus(SecretUrl(server.url))
    async with one.opened(), other_bus.opened(), two((one, other_bus)) as (_, _other, chats):
        server.kill()
        server.forget()
        server.start()
        await found_again(chats)


@pytest.mark.parametrize("answer", [b"{", b"[]", b"null", b'{"error": 1}', b'{"error": ["slow_mode"]}', b'{"said": {"new": 1}}', b"\xff"])
async def test_answer_of_another_version_is_told_as_a_keeper_that_is_away(answer: bytes) -> None:
    bus = MemoryBus(FakeClock())

    async def say(question: bytes, ticket: str) -> bytes:
        return answer

    async with node(shared_by=bus, kept=()) as other:
        other.nursery.start_soon(Calls(bus, nodes_.TOPIC, "new", say).run)
        await trio.testing.wait_all_tasks_blocked()
        await bus.put(KEEPERS, {STREAM: b"new"})
        assert other.chats is not None
        with pytest.raises(Unavailable) as away:
            await other.chats.mode(who("bob"), STREAM)
        assert away.value.code == "node_unavailable"


async def test_half_of_a_surrogate_pair_is_taken_as_on_the_keeper(buses: tuple[Bus, Bus]) -> None:
    async with two(buses) as (keeper, _, chats):
        assert (await keeper.own.comment(who("bob"), STREAM, "a\ud800b")).text == "ab"
        assert (await chats.comment(who("bob"), STREAM, "a\ud800b")).text == "ab"


async def test_same_key_at_the_same_time_writes_once(buses: tuple[Bus, Bus]) -> None:
    async with two(buses) as (keeper, _, chats):
        said: list[Comment] = []

        async def say(where: Chats) -> None:
            said.append(await where.comment(who("bob"), STREAM, "once", key="k"))

        async with trio.open_nursery() as nursery:
            for where in (chats, keeper.own, chats, keeper.own):
                nursery.start_soon(say, where)
        assert len(set(said)) == 1 and await chats.comments(who("bob"), STREAM, None, 9) == (said[:1], None)
        assert (await chats.comment(who("bob"), STREAM, "another text", key="k")).text == "another text"
        assert (await chats.comment(who("eve"), STREAM, "once", key="k")).user == "eve"


async def test_same_key_after_a_restart_of_the_keeper_writes_once(buses: tuple[Bus, Bus]) -> None:
    store = MemoryStore()
    async with two(buses, store) as (_, _, chats):
        first = await chats.comment(who("bob"), STREAM, "once", key="k")
    async with two(buses, store) as (_, _, chats):
        assert await chats.comment(who("bob"), STREAM, "once", key="k") == first
        assert await chats.comments(who("bob"), STREAM, None, 9) == ([first], None)


async def test_comment_whose_place_was_lost_with_the_bus_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = MemoryBus(FakeClock())
    add = bus.add

    async def lost(*args: Any, **more: Any) -> Any:
        await add(*args, **more)
        raise Unavailable("unavailable", "it was added, and nobody knows")

    async with two((bus, bus)) as (keeper, _, chats):
        await keeper.own.set_mode(who("alice"), STREAM, Mode(slow_mode_s=600))
        monkeypatch.setattr(bus, "add", lost)
        with pytest.raises(Unavailable):
            await chats.comment(who("bob"), STREAM, "once", key="k")
        monkeypatch.setattr(bus, "add", add)
        said = await chats.comment(who("bob"), STREAM, "once", key="k")  # nor is it too early for them
        assert await chats.comments(who("bob"), STREAM, None, 9) == ([said], None)
        reader = await keeper.client("eve")
        seen = (await reader.ask(1, history={"channel": ROOM}))["publications"]
        assert [each["data"].get("text") for each in seen] == [None, "once"]


async def test_deletion_that_could_not_be_told_is_told_when_it_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = MemoryBus(FakeClock())
    add = bus.add

    async def away(*args: Any, **more: Any) -> Any:
        raise Unavailable("unavailable", "it is away")

    async with two((bus, bus)) as (_keeper, other, chats):
        one, _ = [await chats.comment(who("bob"), STREAM, text) for text in ("one", "two")]
        eve = await other.client("eve")
        await eve.ask(1, subscribe={"channel": ROOM})
        monkeypatch.setattr(bus, "add", away)
        with pytest.raises(Unavailable):
            await chats.delete(who("alice"), STREAM, one.public_id)
        with pytest.raises(Unavailable):
            await chats.ban(who("alice"), STREAM, "bob", None, "")
        monkeypatch.setattr(bus, "add", add)
        await chats.delete(who("alice"), STREAM, one.public_id)
        assert (await eve.next("pub"))["pub"]["data"] == {"type": "delete", "id": one.public_id}
        await chats.ban(who("alice"), STREAM, "bob", None, "")
        assert (await eve.next("pub"))["pub"]["data"] == {"type": "clear", "user": "bob"}
        assert await chats.comments(who("eve"), STREAM, None, 9) == ([], None)
        with trio.fail_after(30):  # what is told to the other nodes arrives by itself
            while any(each["data"].get("text") for each in (await eve.ask(9, history={"channel": ROOM}))["publications"]):
                await trio.lowlevel.checkpoint()


async def test_what_the_table_could_not_be_told_it_is_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = MemoryBus(FakeClock())
    put, drop = bus.put, bus.drop

    async def away(*args: Any) -> None:
        raise Unavailable("unavailable", "it is away")

    async with two((bus, bus)) as (keeper, _, _):
        assert keeper.chats is not None
        for name in ("put", "drop"):
            monkeypatch.setattr(bus, name, away)
        await keeper.chats.created("new")
        await keeper.chats.deleted(STREAM)
        keeper.streams.kept = (PRIVATE, "new")
        monkeypatch.setattr(bus, "put", put)
        monkeypatch.setattr(bus, "drop", drop)
        with trio.CancelScope() as left:
            left.cancel()
            await keeper.chats.created("newer")  # its maker left
        await keeper.chats._hold()
        assert set(await bus.rows(KEEPERS)) == {PRIVATE, "new", "newer"}


async def test_readers_are_looked_at_when_their_node_may_not_have_heard_that_the_stream_was_hidden(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes_, "BEAT", 0.05)
    one, other_bus = RedisBus(SecretUrl(server.url)), RedisBus(SecretUrl(server.url))
    async with one.opened(), other_bus.opened(), two((one, other_bus)) as (keeper, other, _):
        bob, alice = await other.client("bob"), await other.client("alice")
        for client in (bob, alice):
            await client.ask(1, subscribe={"channel": ROOM})
        keeper.streams.hidden = True  # and the other node does not hear of it
        server.kill()
        server.start()
        for client in (bob, alice):
            assert (await client.next("unsub"))["unsub"]["code"] == 4000
        for client, wanted in ((alice, None), (bob, "not_found")):
            with trio.fail_after(60):
                while (said := await client.ask(2, subscribe={"channel": ROOM})).get("code") in ("unavailable", "node_unavailable"):
                    await trio.sleep(0.05)
            assert said.get("code") == wanted


async def test_rows_that_a_restart_of_redis_has_lost_are_written_again_though_leases_were_kept(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes_, "BEAT", 0.05)
    one, other_bus = RedisBus(SecretUrl(server.url)), RedisBus(SecretUrl(server.url))
    async with one.opened(), other_bus.opened(), two((one, other_bus)) as (_, _other, chats):
        await one.drop(KEEPERS, [STREAM, PRIVATE])  # as a replica is that was behind
        server.kill()
        server.start()
        await found_again(chats)


async def test_states_and_counts_that_could_not_be_told_are_told_later(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = MemoryBus(FakeClock())
    add, tried = bus.add, trio.Event()

    async def away(*args: Any, **more: Any) -> Any:
        tried.set()
        raise Unavailable("unavailable", "it is away")

    async with two((bus, bus)) as (keeper, other, _):
        bob = await other.client("bob")
        await bob.ask(1, subscribe={"channel": ROOM})
        monkeypatch.setattr(bus, "add", away)
        keeper.streams.watching = 3
        keeper.nursery.start_soon(keeper.own.run)
        await tried.wait()
        for status in ("live", "ended"):
            keeper.own.status(STREAM, status)
        await trio.sleep(10)  # of the clock that jumps
        monkeypatch.setattr(bus, "add", add)
        told = [(await bob.next("pub"))["pub"]["data"] for _ in range(3)]
        assert told == [{"type": "status", "status": "live"}, {"type": "status", "status": "ended"}, {"type": "viewers", "count": 3}]
