"""Four servers on one Redis with several hundred clients: one server is killed and one restarted while all of them publish."""

import json
from collections import defaultdict
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trio

from nova.realtime.client.socket import Socket, SocketClosed, open_socket
from tests.core.bus.redis_server import RedisServer, redis_server
from tests.serving import Served, serve

pytestmark = pytest.mark.slow
ALL, FEW = "public:all", "short:all"
READERS = 320
NODES = 4
PAUSE = 0.05  # seconds between two publications of one publisher: a load, not a flood
PATIENCE = 120  # seconds for what must come


class Site:
    """The nodes that are up, by place."""

    def __init__(self, folder: Path, redis: RedisServer) -> None:
        self._folder, self._redis = folder, redis
        self._stack = ExitStack()
        self.nodes: list[Served | None] = [None] * NODES

    def start(self, place: int) -> None:
        folder = self._folder / f"node{place}"
        folder.mkdir(exist_ok=True)
        rules = json.dumps(["public history=20000 bytes=16MiB", "short history=20 subscribe=everyone publish=everyone rate=off"])
        self.nodes[place] = self._stack.enter_context(serve(folder / "data", bus__url=self._redis.url, realtime__namespaces=rules))

    def kill(self, place: int) -> None:
        gone, self.nodes[place] = self.nodes[place], None
        assert gone is not None
        gone.process.kill()
        gone.process.wait()
        gone.process.returncode = 0  # it did not end by itself, and was not to

    def restart(self, place: int) -> None:
        gone, self.nodes[place] = self.nodes[place], None
        assert gone is not None and gone.stop() == 0
        self.start(place)

    def stop(self) -> None:
        self._stack.close()

    def near(self, place: int) -> str:
        """The node at `place`, or the next one that is up."""
        found = next(each for at in range(NODES) if (each := self.nodes[(place + at) % NODES]) is not None)
        host, port = found.address("http")
        return f"ws://{host}:{port}/v1/ws"


class Talk:
    """A client without a token, on one node. Raises SocketClosed when that ends."""

    def __init__(self, socket: Socket) -> None:
        self.socket, self._ids = socket, count(1)
        self.waiting: list[Any] = []

    async def next(self) -> Any:
        while not self.waiting:
            for text in await self.socket.receive():
                found = json.loads(text)
                self.waiting += found if isinstance(found, list) else [found]
        return self.waiting.pop(0)

    async def ask(self, **command: Any) -> Any:
        """The reply; for a client that reads nothing else meanwhile."""
        id = next(self._ids)
        await self.socket.send(json.dumps({"id": id, **command}))
        while (said := await self.next()).get("id") != id:
            pass
        return said["error"] if "error" in said else said[next(iter(command))]


async def open_talk(site: Site, place: int) -> Talk:
    return Talk(await open_socket(site.near(place)))


class Reader:
    """Follows a channel for ever, on whatever node is up, and comes back with its place as a client does."""

    def __init__(self, site: Site, place: int, news: trio.lowlevel.ParkingLot) -> None:
        self._site, self._place, self._news = site, place, news
        self.client = ""
        self.epoch = ""
        self.offset = -1  # of the last publication that was seen; -1: nothing was subscribed to
        self.first = 0
        self.seen: list[tuple[int, int]] = []  # publisher, number
        self.came_back = 0
        self.unrecovered = 0

    async def run(self) -> None:
        while True:
            try:
                talk = await open_talk(self._site, self._place)
            except SocketClosed:
                await trio.sleep(0.1)
                continue
            try:
                await self._follow(talk)
            except SocketClosed:
                self.client = ""
            finally:
                await talk.socket.close(1000)

    async def _follow(self, talk: Talk) -> None:
        client = (await talk.ask(connect={}))["client"]
        asked: dict[str, Any] = {"channel": ALL}
        if self.offset >= 0:
            asked["recover"] = {"offset": self.offset, "epoch": self.epoch}
        said = await talk.ask(subscribe=asked)
        if "epoch" not in said:
            raise SocketClosed(1006, said["code"])  # of a node that is just ending
        if self.offset < 0:
            self.first = self.offset = said["offset"]
        else:
            self.came_back += 1
            self.unrecovered += not said["recovered"]
        assert self.epoch in ("", said["epoch"])
        self.epoch, self.client = said["epoch"], client
        for publication in said["publications"]:
            self._take(publication)
        self._news.unpark_all()
        while True:
            item = await talk.next()
            if "pub" in item:
                self._take(item["pub"])
            elif "gap" in item or "unsub" in item:  # a slow reader has its place still
                raise SocketClosed(1006, "comes back")

    def _take(self, publication: Any) -> None:
        assert publication["offset"] == self.offset + 1, (publication["offset"], self.offset)  # in order, and once
        self.offset = publication["offset"]
        self.seen.append(tuple(publication["data"]))
        self._news.unpark_all()


class Publisher:
    """Says numbers, each until it is acknowledged, on its node or on another one."""

    def __init__(self, site: Site, place: int, news: trio.lowlevel.ParkingLot) -> None:
        self._site, self.place, self._news = site, place, news
        self.said = 0
        self.last = 0  # offset
        self.again = 0
        self.stopping = False

    async def run(self) -> None:
        talk: Talk | None = None
        while not self.stopping:
            publish = {"channel": ALL, "data": [self.place, self.said], "idempotency_key": f"{self.place}-{self.said}"}
            try:
                if talk is None:
                    talk = await open_talk(self._site, self.place)
                    await talk.ask(connect={})
                done = await talk.ask(publish=publish)
                few = await talk.ask(publish={"channel": FEW, "data": self.said})
            except SocketClosed:
                if talk is not None:
                    await talk.socket.close(1000)
                talk = None
                self.again += 1
                await trio.sleep(0.1)
                continue
            if "offset" in done and "offset" in few:
                self.said, self.last = self.said + 1, done["offset"]
                self._news.unpark_all()
            await trio.sleep(PAUSE)
        if talk is not None:
            await talk.socket.close(1000)


async def until(news: trio.lowlevel.ParkingLot, true: Any) -> None:
    with trio.fail_after(PATIENCE):
        while not true():
            await news.park()


async def play(site: Site) -> None:
    news = trio.lowlevel.ParkingLot()
    readers = [Reader(site, number % NODES, news) for number in range(READERS)]
    publishers = [Publisher(site, place, news) for place in range(NODES)]

    def said() -> int:
        return sum(each.said for each in publishers)

    async with trio.open_nursery() as nursery:
        for reader in readers:
            nursery.start_soon(reader.run)
        await until(news, lambda: all(each.client for each in readers))
        away = await open_talk(site, 0)
        await away.ask(connect={})
        left = await away.ask(subscribe={"channel": FEW})
        await away.socket.close(1000)
        async with trio.open_nursery() as publishing:
            for publisher in publishers:
                publishing.start_soon(publisher.run)
            await until(news, lambda: said() >= 40)
            await trio.to_thread.run_sync(site.kill, 3)
            await until(news, lambda: said() >= 80)
            await trio.to_thread.run_sync(site.restart, 1)
            before = said()
            await until(news, lambda: said() >= before + 80 and all(each.client for each in readers))
            for publisher in publishers:
                publisher.stopping = True
        last = max(each.last for each in publishers)
        await until(news, lambda: all(each.client and each.offset >= last for each in readers))

        # In order and once for everybody, whatever node they were on; and nothing that was acknowledged is missing.
        told = {tuple(each.seen[-(last - readers[0].first) :]) for each in readers}
        assert len(told) == 1 and all(each.first == 0 and each.offset == last for each in readers)
        numbers: dict[int, list[int]] = defaultdict(list)
        for place, number in told.pop():
            numbers[place].append(number)
        assert {place: list(range(each.said)) for place, each in enumerate(publishers)} == numbers
        assert publishers[3].again > 0 and publishers[1].again > 0

        # Who came back was told that nothing was missing; who was away for longer than the channel keeps, that something was.
        assert sum(each.came_back for each in readers) >= READERS // NODES * 2 and not any(each.unrecovered for each in readers)
        for place in range(NODES):
            late = await open_talk(site, place)
            await late.ask(connect={})
            found = await late.ask(subscribe={"channel": FEW, "recover": {"offset": left["offset"], "epoch": left["epoch"]}})
            assert found["recovered"] is False and found["offset"] >= said()
            assert [each["offset"] for each in found["publications"]] == list(range(found["offset"] - 19, found["offset"] + 1))
            await late.socket.close(1000)

        # Everybody who is there is seen on every node, and nobody else.
        for place in (0, 1, 2):
            asks = await open_talk(site, place)
            await asks.ask(connect={})
            with trio.fail_after(PATIENCE):
                while True:
                    found = await asks.ask(presence={"channel": ALL})
                    if {each["client"] for each in found["members"]} == {each.client for each in readers}:
                        break
                    await trio.sleep(0.2)
            assert found["count"] == READERS
            await asks.socket.close(1000)
        nursery.cancel_scope.cancel()


def test_four_nodes_under_load_lose_and_double_nothing_and_keep_no_ghosts(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    with redis_server(tmp_path / "redis") as redis:
        site = Site(tmp_path, redis)
        try:
            for place in range(NODES):
                site.start(place)
            trio.run(partial(play, site))
        finally:
            site.stop()
