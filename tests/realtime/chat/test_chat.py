"""The chat of a stream, over the hub."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from nova.core.errors import Forbidden, NotFound, RateLimited
from nova.core.ids import Ids
from nova.realtime.chat.model import Mode, Said
from nova.realtime.chat.service import Chat
from nova.realtime.chat.store_memory import MemoryStore
from nova.realtime.ports import StreamFacts
from nova.realtime.seam import Who
from tests.realtime.talk import STREAM, Node, node

ROOM = f"stream:{STREAM}"


@asynccontextmanager
async def chat(*lines: str, words: tuple[str, ...] = ()) -> AsyncIterator[tuple[Node, Chat]]:
    async with node("stream channel_rate=off rate=off", *lines) as here:
        found = Chat(here.hub, MemoryStore(), here.streams, here.clock, Ids(here.clock).new, words=words)
        here.hub.attach(found)
        yield here, found


def who(user: str, scopes: int = 1) -> Who:
    return Who("", user, scopes, b"", "", "127.0.0.1", "", 0)


async def test_comment_is_stored_shown_and_replayed() -> None:
    async with chat() as (here, chats):
        alice, bob = await here.client("alice"), await here.client("bob")
        await alice.ask(1, subscribe={"channel": ROOM})
        done = await bob.ask(1, publish={"channel": ROOM, "data": {"text": " hi  there "}})
        assert done["durable"] and done["offset"] == 1
        pub = (await alice.next("pub"))["pub"]
        assert pub["data"] == {"text": "hi  there"} and pub["info"] == {"user": "bob", "name": "Bob", "badges": []}
        found, more = await chats.comments(who("bob"), STREAM, None, 10)
        assert [(each.public_id, each.text, each.name) for each in found] == [(f"{done['epoch']}.1", "hi  there", "Bob")] and more is None
        late = await (await here.client()).ask(1, subscribe={"channel": ROOM})
        assert [each["data"] for each in late["publications"]] == [{"text": "hi  there"}]
        owner = await alice.ask(2, publish={"channel": ROOM, "data": {"text": "welcome"}})
        assert owner["offset"] == 2 and (await alice.next("pub"))["pub"]["info"]["badges"] == ["owner"]


@pytest.mark.parametrize(
    "data", [{}, {"text": ""}, {"text": "x" * 501}, {"text": 1}, {"type": "delete", "id": "e.1"}, {"text": "x", "type": "mode"}, 1, "x", [],
             {"text": "x", "reaction": "x"}, {"reaction": "x" * 17}, {"text": "\u202e"}],
)  # fmt: skip
async def test_what_is_no_comment_is_refused(data: object) -> None:
    async with chat() as (here, _):
        bob = await here.client("bob")
        assert (await bob.ask(1, publish={"channel": ROOM, "data": data}))["code"] in ("bad_request", "invalid_field", "unknown_field",
                                                                                      "missing_field")  # fmt: skip


async def test_reactions_are_seen_and_not_kept() -> None:
    async with chat() as (here, _):
        bob = await here.client("bob")
        await bob.ask(1, subscribe={"channel": ROOM})
        assert not (await bob.ask(2, publish={"channel": ROOM, "data": {"reaction": "\u2764"}}))["durable"]
        assert (await bob.next("pub"))["pub"]["data"] == {"reaction": "\u2764"}
        assert (await bob.ask(3, history={"channel": ROOM}))["publications"] == []


async def test_hidden_chat_sends_everybody_away_and_lets_in_who_may() -> None:
    async with chat() as (here, chats):
        alice, bob = await here.client("alice"), await here.client("bob")
        await alice.ask(1, subscribe={"channel": ROOM})
        first = await bob.ask(1, subscribe={"channel": ROOM})
        await bob.ask(2, publish={"channel": ROOM, "data": {"text": "one"}})
        here.streams.hidden = True
        await chats.hide(STREAM, None)
        for client in (alice, bob):
            told = (await client.next("unsub"))["unsub"]
            assert told == {"channel": ROOM, "code": 4000, "reason": "hidden"}
        place = {"offset": 0, "epoch": first["epoch"]}
        assert (await bob.ask(3, subscribe={"channel": ROOM, "recover": place}))["code"] == "not_found"
        back = await alice.ask(3, subscribe={"channel": ROOM, "recover": place})
        assert back["recovered"] and [each["data"] for each in back["publications"]] == [{"text": "one"}]
        assert (await alice.ask(4, presence={"channel": ROOM}))["count"] == 1
        said = len(bob.said)
        assert (await alice.ask(5, publish={"channel": ROOM, "data": {"text": "two"}}))["offset"] == 2
        assert (await alice.next(lambda item: item.get("pub", {}).get("data") == {"text": "two"}))["pub"]["offset"] == 2
        assert len(bob.said) == said


async def test_who_subscribes_while_a_chat_is_hidden_is_asked_about_again() -> None:
    async with chat() as (here, chats):
        bob = await here.client("bob")
        asked, go_on = trio.Event(), trio.Event()
        facts = here.streams.facts

        async def slow(stream: str, user: str | None, *, operator: bool) -> StreamFacts:
            found = await facts(stream, user, operator=operator)  # of before
            asked.set()
            await go_on.wait()
            return found

        here.streams.facts = slow  # type: ignore[method-assign]
        await bob.say(id=1, subscribe={"channel": ROOM})
        await asked.wait()
        here.streams.hidden = True
        await chats.hide(STREAM, None)
        go_on.set()
        assert (await bob.next(lambda item: item.get("id") == 1))["error"]["code"] == "not_found"


async def test_deleted_stream_leaves_neither_readers_nor_history() -> None:
    async with chat() as (here, chats):
        alice = await here.client("alice")
        await alice.ask(1, subscribe={"channel": ROOM})
        await alice.ask(2, publish={"channel": ROOM, "data": {"text": "one"}})
        await chats.forget(STREAM)
        assert (await alice.next("unsub"))["unsub"] == {"channel": ROOM, "code": 4306, "reason": "not_found"}
        room = here.hub.rooms.get(ROOM)
        assert room is not None and room.channel.subscribers == 0 and len(room.history) == len(room.members) == 0


async def test_comment_that_another_deletes_at_the_same_time_is_told_once() -> None:
    async with chat() as (here, chats):
        alice = await here.client("alice")
        await alice.ask(1, subscribe={"channel": ROOM})
        done = await alice.ask(2, publish={"channel": ROOM, "data": {"text": "one"}})
        refused: list[NotFound] = []

        async def delete() -> None:
            try:
                await chats.delete(who("alice"), STREAM, f"{done['epoch']}.{done['offset']}")
            except NotFound as error:
                refused.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(delete)
            nursery.start_soon(delete)
        assert len(refused) == 1
        page = await alice.ask(3, history={"channel": ROOM})
        assert [each["data"]["type"] for each in page["publications"]] == ["delete"]


async def test_moderators_delete_and_authors_too() -> None:
    async with chat() as (here, chats):
        bob = await here.client("bob")
        epoch = (await bob.ask(1, subscribe={"channel": ROOM}))["epoch"]
        for _ in range(3):
            await bob.ask(2, publish={"channel": ROOM, "data": {"text": "x"}})
        with pytest.raises(Forbidden):
            await chats.delete(who("eve"), STREAM, f"{epoch}.1")
        await chats.delete(who("bob"), STREAM, f"{epoch}.1")
        await chats.appoint(who("alice"), STREAM, "mod")
        await chats.delete(who("mod"), STREAM, f"{epoch}.2")
        with pytest.raises(NotFound):
            await chats.delete(who("mod"), STREAM, f"{epoch}.2")
        pushed = await bob.next(lambda item: "type" in item.get("pub", {}).get("data", {}))
        assert pushed["pub"]["data"] == {"type": "delete", "id": f"{epoch}.1"} and "info" not in pushed["pub"]
        kept = (await bob.ask(3, history={"channel": ROOM}))["publications"]
        assert [each["offset"] for each in kept if "text" in each["data"]] == [3]


async def test_banned_user_may_not_write_and_what_they_wrote_is_gone() -> None:
    async with chat() as (here, chats):
        bob = await here.client("bob")
        await bob.ask(1, subscribe={"channel": ROOM})
        await bob.ask(2, publish={"channel": ROOM, "data": {"text": "spam"}})
        with pytest.raises(Forbidden):
            await chats.ban(who("bob"), STREAM, "eve", None, "")
        with pytest.raises(Forbidden):
            await chats.ban(who("admin", 5), STREAM, "alice", None, "")
        await chats.ban(who("alice"), STREAM, "bob", 60, "spam")
        cleared = await bob.next(lambda item: "type" in item.get("pub", {}).get("data", {}))
        assert cleared["pub"]["data"] == {"type": "clear", "user": "bob"}
        refused = await bob.ask(3, publish={"channel": ROOM, "data": {"text": "again"}})
        assert refused["code"] == "banned" and refused["retry_ms"] == 60_000
        assert await chats.comments(who("alice"), STREAM, None, 9) == ([], None)
        here.clock.advance(60)
        assert (await bob.ask(4, publish={"channel": ROOM, "data": {"text": "sorry"}}))["durable"]
        await chats.ban(who("alice"), STREAM, "bob", None, "")
        await chats.unban(who("alice"), STREAM, "bob")
        assert (await bob.ask(5, publish={"channel": ROOM, "data": {"text": "thanks"}}))["durable"]


async def test_mode_is_told_and_holds() -> None:
    async with chat() as (here, chats):
        bob, guest, alice = await here.client("bob"), await here.client("guest_x"), await here.client("alice")
        await bob.ask(1, subscribe={"channel": ROOM})
        await chats.set_mode(who("alice"), STREAM, Mode(True, 30, False))
        assert (await bob.next("pub"))["pub"]["data"] == {"type": "mode", "enabled": True, "slow_mode_s": 30, "guests": False}
        assert (await bob.ask(2, publish={"channel": ROOM, "data": {"text": "1"}}))["durable"]
        refused = await bob.ask(2, publish={"channel": ROOM, "data": {"text": "2"}})
        assert refused["code"] == "slow_mode" and refused["retry_ms"] == 30_000
        assert (await guest.ask(1, publish={"channel": ROOM, "data": {"text": "2"}}))["code"] == "guests_forbidden"
        for _ in range(2):  # the owner is not slowed down
            assert (await alice.ask(1, publish={"channel": ROOM, "data": {"text": "2"}}))["durable"]
        await chats.set_mode(who("alice"), STREAM, Mode(enabled=False))
        assert (await bob.ask(3, publish={"channel": ROOM, "data": {"text": "2"}}))["code"] == "chat_disabled"


async def test_slow_mode_is_about_comments_that_were_made() -> None:
    async with chat(words=("spam",)) as (here, chats):
        await chats.set_mode(who("alice"), STREAM, Mode(slow_mode_s=30))
        for said, code in (
            ({"text": "spam"}, "text_refused"), ({"reaction": "x"}, None), ({"text": "1"}, None), ({"reaction": "x"}, None),
            ({"text": "2"}, "slow_mode"),
        ):  # fmt: skip
            bob = await here.client("bob")
            assert (await bob.ask(1, publish={"channel": ROOM, "data": said})).get("code") == code


async def test_slow_mode_goes_on_behind_a_restart() -> None:
    store = MemoryStore()
    async with node("stream rate=off") as here:

        def start() -> Chat:
            return Chat(here.hub, store, here.streams, here.clock, Ids(here.clock).new)

        chats = start()
        here.hub.attach(chats)
        await chats.comment(who("bob"), STREAM, "before it was slow")
        await chats.set_mode(who("alice"), STREAM, Mode(slow_mode_s=30))
        here.clock.advance(0.1)
        await chats.comment(who("bob"), STREAM, "since it is slow")
        for wait in (20, 10):
            here.clock.advance(10)
            chats = start()
            with pytest.raises(RateLimited) as caught:
                await chats.comment(who("bob"), STREAM, "too soon")
            assert caught.value.code == "slow_mode" and caught.value.retry_after == pytest.approx(wait)
        here.clock.advance(10)
        results = []

        async def at_once(text: str) -> None:
            try:
                await chats.comment(who("bob"), STREAM, text)
                results.append("said")
            except RateLimited:
                results.append("refused")

        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(at_once, str(number))
        assert sorted(results) == ["refused"] * 4 + ["said"]
        [said], _ = await chats.comments(who("bob"), STREAM, None, 1)
        here.clock.advance(1)
        chats = start()
        await chats.comment(who("bob"), STREAM, said.text, key="k")  # the answer was lost with the node: the bus knows whether it was said


async def test_words_that_are_not_wanted_are_refused() -> None:
    async with chat(words=("Spam",)) as (here, _):
        bob = await here.client("bob")
        assert (await bob.ask(1, publish={"channel": ROOM, "data": {"text": "buy SPAM now"}}))["code"] == "text_refused"


async def test_viewers_and_states_are_told_and_superseded(autojump_clock: trio.testing.MockClock) -> None:
    async with chat() as (here, chats):
        bob = await here.client("bob")
        await bob.ask(1, subscribe={"channel": ROOM})
        here.nursery.start_soon(chats.run)
        for count in (3, 4):
            here.streams.watching = count
            told = await bob.next(lambda item, count=count: item.get("pub", {}).get("data", {}).get("count") == count)
            assert told["pub"]["data"] == {"type": "viewers", "count": count}
        chats.status(STREAM, "live")
        await bob.next(lambda item: item.get("pub", {}).get("data") == {"type": "status", "status": "live"})
        late = await (await here.client()).ask(1, subscribe={"channel": ROOM})
        assert [each["data"]["type"] for each in late["publications"]] == ["viewers", "status"]


async def test_concurrent_comments_keep_one_order() -> None:
    async with chat() as (here, chats):
        bob = await here.client("bob")
        await bob.ask(1, subscribe={"channel": ROOM})
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(chats.publish, who(f"u{number}"), STREAM, json.dumps({"text": str(number)}).encode())
        seen = [(await bob.next("pub"))["pub"]["offset"] for _ in range(50)]
        assert seen == list(range(1, 51))


async def test_comment_whose_writer_leaves_meanwhile_has_its_place() -> None:
    async with chat() as (here, chats):
        alice = await here.client("alice")
        await alice.ask(1, subscribe={"channel": ROOM})
        with trio.CancelScope() as writer:
            writer.cancel()
            await chats.say(who("bob"), STREAM, Said("gone", ""))
        found, _ = await chats.comments(who("bob"), STREAM, None, 10)
        for comment in found:  # not said at all, or said whole: what is seen can be deleted
            assert comment.public_id
            await chats.delete(who("alice"), STREAM, comment.public_id)
        assert (await chats.comments(who("bob"), STREAM, None, 10))[0] == []
