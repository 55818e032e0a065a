"""One contract for all who follow a channel: sockets of I/O threads in both subprotocols, and tasks of trio."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from secrets import token_hex
from typing import Any, Protocol

import pytest
import trio

from nova.core.reactor import Channel, ChannelRules, Reader, SlowReader
from nova.ext import pushes
from tests.core.reactor.served import until
from tests.core.reactor.talking import JSON, MSGPACK, Closed, House, Talker, house, talk


class Follower(Protocol):
    """Somebody who follows `public:a`."""

    async def item(self) -> dict[str, Any]:
        """The next push. Raises SlowReader, or Closed."""

    async def stall(self) -> None:
        """Take nothing more until `resume`."""


class Socket:
    """stall: it reads nothing while the test publishes enough to fill every buffer on the way."""

    def __init__(self, house: House, talker: Talker) -> None:
        self.house, self.talker = house, talker

    async def item(self) -> dict[str, Any]:
        found = await self.talker.item()
        if isinstance(found, Closed):
            raise found
        assert isinstance(found, dict)
        return found

    async def stall(self) -> None:
        """Fill the socket: a publication larger than its buffers, of which it reads nothing."""
        self.house.hub.publish("public:a", token_hex(1_500_000))  # deflates to half at best
        await until(lambda: self.house.stats["ws_sends"] >= 1)


class Task:
    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    async def item(self) -> dict[str, Any]:
        with trio.fail_after(10):
            found = json.loads((await anext(self.reader)).push)
        assert isinstance(found, dict)
        return found

    async def stall(self) -> None:
        """A task that asks for nothing gets nothing."""


Make = Callable[[House], Awaitable[Follower]]


@pytest.fixture(params=["json", "msgpack", "deflate", "task"])
async def follow(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    """Makes followers of `public:a` of one kind."""
    async with AsyncExitStack() as stack:

        async def make(h: House) -> Follower:
            if request.param == "task":
                return Task(await stack.enter_async_context(h.hub.channel("public:a").reader()))
            form = MSGPACK if request.param == "msgpack" else JSON
            talker = await stack.enter_async_context(talk(h.address, form=form, deflate=request.param == "deflate", window=4096))
            await talker.join("public:a")
            return Socket(h, talker)

        yield make


@asynccontextmanager
async def room(**rules: Any) -> AsyncIterator[House]:
    from nova.core.reactor import WsRules

    async with house(channel=ChannelRules(**{"window_bytes": 8 << 20, **rules}), rules=WsRules(deflate=True)) as made:
        yield made


async def test_every_item_once_and_in_order(follow: Make) -> None:
    async with room() as h:
        one, two = await follow(h), await follow(h)
        for n in range(300):
            h.hub.publish("public:a", n)
        for follower in (one, two):
            assert [(await follower.item())["pub"]["data"] for _ in range(300)] == list(range(300))


async def test_a_follower_begins_at_the_next_publication(follow: Make) -> None:
    async with room() as h:
        h.hub.publish("public:a", "before")
        follower = await follow(h)
        h.hub.publish("public:a", "after")
        item = (await follower.item())["pub"]
        assert (item["data"], item["offset"]) == ("after", 2)


async def test_info_and_pushes_come_as_they_were_given(follow: Make) -> None:
    async with room() as h:
        follower = await follow(h)
        h.hub.publish("public:a", {"text": "hi"}, info=b'{"user":"ada"}')
        h.hub.channel("public:a").push(pushes.join(JSON, False, b"public:a", None, b"c"))
        said = {"channel": "public:a", "offset": 1, "data": {"text": "hi"}, "at": 1000, "info": {"user": "ada"}}
        assert (await follower.item())["pub"] == said
        assert await follower.item() == {"leave": {"channel": "public:a", "user": None, "client": "c"}}


async def test_who_falls_out_of_the_window_is_told_of_the_gap(follow: Make) -> None:
    async with room(window_items=10) as h:
        follower = await follow(h)
        await follower.stall()
        first = h.hub.channel("public:a").offset + 1
        for n in range(first, first + 50):
            h.hub.publish("public:a", n)
        await until(lambda: h.hub.channel("public:a").offset == first + 49)
        item = await follower.item()
        if "pub" in item and item["pub"]["data"] != first:  # what filled the socket
            item = await follower.item()
        gap = item["gap"]
        assert gap == {"channel": "public:a", "epoch": "e1", "from": gap["from"], "to": first + 39}
        assert gap["from"] == first
        assert [(await follower.item())["pub"]["offset"] for _ in range(10)] == list(range(first + 40, first + 50))
        h.hub.publish("public:a", "on")
        assert (await follower.item())["pub"]["data"] == "on"


async def test_conflating_skips_what_is_replaced(follow: Make) -> None:
    async with room(policy="conflate") as h:
        follower = await follow(h)
        await follower.stall()
        for n in range(100):
            h.hub.publish("public:a", {"viewers": n}, key="viewers")
            h.hub.publish("public:a", {"likes": n}, key="likes")
        h.hub.publish("public:a", "last")
        found: list[Any] = []
        while not found or found[-1] != "last":
            item = await follower.item()
            assert "gap" not in item
            if isinstance(item["pub"]["data"], str) and len(item["pub"]["data"]) > 10:
                continue  # what filled the socket
            found.append(item["pub"]["data"])
        assert found[-3:] == [{"viewers": 99}, {"likes": 99}, "last"]
        assert len(found) < 200


async def test_a_conflated_window_tells_only_of_what_nothing_replaced(follow: Make) -> None:
    async with room(policy="conflate", window_items=8) as h:
        follower = await follow(h)
        await follower.stall()
        start = h.hub.channel("public:a").offset
        h.hub.publish("public:a", "lost")
        for n in range(50):
            h.hub.publish("public:a", n, key="n")
        item = await follower.item()
        if "pub" in item and start:
            item = await follower.item()
        assert item["gap"] == {"channel": "public:a", "epoch": "e1", "from": start + 1, "to": start + 1}
        assert (await follower.item())["pub"]["data"] == 49


async def test_disconnect_ends_who_is_too_slow(follow: Make) -> None:
    async with room(policy="disconnect", window_items=10) as h:
        follower = await follow(h)
        await follower.stall()
        for n in range(50):
            h.hub.publish("public:a", n)
        with pytest.raises((SlowReader, Closed)) as end:
            while True:
                await follower.item()
        if isinstance(end.value, Closed):
            assert (end.value.code, end.value.reason) == (4005, "slow_reader")
            assert h.stats["ws_slow"] == 1


async def test_the_end_of_a_channel_comes_behind_its_last_item(follow: Make) -> None:
    async with room() as h:
        follower = await follow(h)
        channel = h.hub.channel("public:a")
        await until(lambda: channel.subscribers == 1)
        for n in range(100):
            h.hub.publish("public:a", n)
        channel.close(4306, "not_found")
        assert [(await follower.item())["pub"]["data"] for _ in range(100)] == list(range(100))
        assert await follower.item() == {"unsub": {"channel": "public:a", "code": 4306, "reason": "not_found"}}
        await until(lambda: channel.subscribers == 0)


# -- the channel itself -----------------------------------------------------------------------------------------------


def publish(channel: Channel, *data: int) -> None:
    for n in data:
        channel.publish(n, b"%d" % n, 1)


async def test_a_reader_resumes_behind_an_offset() -> None:
    channel = Channel("public:a", "e")
    publish(channel, 1, 2, 3)
    async with channel.reader(after=1) as reader:
        assert [(await anext(reader)).offset for _ in range(2)] == [2, 3]


async def test_a_reader_that_resumes_too_late_hears_of_the_gap() -> None:
    channel = Channel("public:a", "e", window_items=2)
    publish(channel, 1, 2, 3, 4, 5)
    async with channel.reader(after=1) as reader:
        gap, first = await anext(reader), await anext(reader)
        assert json.loads(gap.push)["gap"] == {"channel": "public:a", "epoch": "e", "from": 2, "to": 3}
        assert (gap.kind, gap.offset, first.offset) == ("gap", 3, 4)


def test_offsets_ascend_and_may_have_holes() -> None:
    channel = Channel("public:a", "e")
    publish(channel, 1, 5)
    for offset in (5, 4, 0):
        with pytest.raises(ValueError, match="ascend"):
            channel.publish(offset, b"1", 1)
    assert channel.offset == 5


@pytest.mark.parametrize("data", [b"", b"{", b"1 2", b'"\xff"', b"NaN"])
def test_data_is_one_json_value(data: bytes) -> None:
    with pytest.raises(ValueError, match="JSON"):
        Channel("public:a", "e").publish(1, data, 1)


@pytest.mark.parametrize(("name", "epoch"), [("a", "e"), ("a:b", ""), ("a:b", "x" * 17), ("A:b", "e"), ("a:b", "a b")])
def test_names_and_epochs_are_checked(name: str, epoch: str) -> None:
    with pytest.raises(ValueError, match=r"name|epoch"):
        Channel(name, epoch)


def test_a_closed_channel_takes_nothing() -> None:
    channel = Channel("public:a", "e")
    channel.close(4306, "x")
    channel.close(4306, "x")
    with pytest.raises(ValueError, match="closed"):
        publish(channel, 1)
