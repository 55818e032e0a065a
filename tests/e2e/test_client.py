"""The Python client against a running server, over a network that cuts its connections at every point."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from nova.realtime.client import Gap, Joined, Member, Publication, Realtime, Refused, Stopped, connect
from tests.realtime.client.proxy import Proxy
from tests.serving import Served, serve


@asynccontextmanager
async def through(nova: Served, *cuts: int | None) -> AsyncIterator[Proxy]:
    proxy = Proxy(nova.address("http"), list(cuts))
    async with trio.open_nursery() as nursery:
        await nursery.start(proxy.run)
        with trio.fail_after(60):
            yield proxy
        nursery.cancel_scope.cancel()


def url(port: int) -> str:
    return f"ws://127.0.0.1:{port}/v1/ws"


def direct(nova: Served) -> str:
    return url(nova.address("http")[1])


async def test_room_with_two(nova: Served) -> None:
    with trio.fail_after(30):
        async with connect(direct(nova)) as ada, connect(direct(nova)) as bob, ada.subscribe("public:two") as hers:
            assert isinstance(await anext(hers), Joined)
            async with bob.subscribe("public:two") as his:
                assert isinstance(await anext(his), Joined)
                assert isinstance(came := await anext(hers), Member)
                assert (came.client, came.came) == (bob.client, True)
                acked = await his.publish({"text": "grüß dich"})
                for each in (hers, his):
                    assert isinstance(read := await anext(each), Publication)
                    assert (read.data, read.offset) == ({"text": "grüß dich"}, acked.offset)
                assert (await hers.presence())["count"] == 2
                kept = await hers.history(since=(acked.offset - 1, acked.epoch))
                assert [each["data"] for each in kept["publications"]] == [{"text": "grüß dich"}]
            assert isinstance(left := await anext(hers), Member)
            assert not left.came


async def test_room_over_tls(nova: Served) -> None:
    context = ssl.create_default_context(cafile=str(nova.data / "tls" / "cert.pem"))
    with trio.fail_after(30):
        secure = f"wss://localhost:{nova.address('https')[1]}/v1/ws"
        async with connect(secure, context=context) as client, client.subscribe("public:tls") as room:
            assert isinstance(await anext(room), Joined)
            await room.publish("over TLS")
            assert isinstance(read := await anext(room), Publication)
            assert read.data == "over TLS"


async def test_refusal_names_the_code(nova: Served) -> None:
    with trio.fail_after(30):
        async with connect(direct(nova)) as client:
            with pytest.raises(Refused) as refused:
                await client.publish("user:somebody", 1)
            assert refused.value.code in ("forbidden", "unauthenticated")


async def test_calls_that_waited_for_a_connection_are_more_than_one_message(nova: Served) -> None:
    """Together they are longer than what the server takes, which would end the client for good (1009)."""
    acked: list[int] = []
    with trio.fail_after(60):
        async with connect(direct(nova)) as client, trio.open_nursery() as nursery:

            async def publish(number: int) -> None:
                acked.append((await client.publish("public:waited", {"n": number, "pad": "ü" * 1000})).offset)

            for number in range(100):  # before there is a connection
                nursery.start_soon(publish, number)
    assert sorted(acked) == list(range(1, 101))


@pytest.mark.parametrize("count", [2000, 12_000])
async def test_call_of_a_reader_that_is_behind_is_answered(nova: Served, count: int) -> None:
    """Its reply comes behind what nobody reads: a loop that publishes for every event waited for itself, until its call was too late."""
    channel = f"public:behind-{count}"
    with trio.fail_after(120):
        async with connect(direct(nova)) as writer, connect(direct(nova)) as reader, reader.subscribe(channel) as room:
            assert isinstance(await anext(room), Joined)
            async with trio.open_nursery() as nursery:

                async def write(start: int) -> None:
                    for number in range(start, count, 50):
                        await writer.publish(channel, number)

                for start in range(50):
                    nursery.start_soon(write, start)
            last = await reader.publish(channel, "last", timeout=60)
            place = 0
            async for event in room:
                if isinstance(event, Gap):
                    assert event.first == place + 1
                    place = event.last
                elif isinstance(event, Publication):
                    assert event.offset == place + 1
                    place = event.offset
                if place == last.offset:
                    break
            assert place == count + 1


async def test_cancelled_publish_is_not_sent_later(nova: Served) -> None:
    async with through(nova, None) as proxy, connect(url(proxy.port)) as client, connect(direct(nova)) as other:
        await client.connected()
        proxy.cut()
        while await client.changed() != "waiting":
            pass
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.publish, "public:cancelled", "not said")
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        client.wake()
        await client.publish("public:cancelled", "said")
        kept = await other.history("public:cancelled")
        assert [each["data"] for each in kept["publications"]] == ["said"]


async def test_what_cannot_be_sent_is_refused_to_whoever_says_it(nova: Served) -> None:
    with trio.fail_after(60):
        async with connect(direct(nova)) as client:
            for data in (object(), float("nan"), "\ud800"):
                with pytest.raises((TypeError, ValueError)):  # also while there is no connection yet
                    await client.publish("public:said", data)
            with pytest.raises(Refused, match="too_large"):
                await client.publish("public:said", "x" * 65_536)
            said = ["as it was"]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.publish, "public:said", said)
                await trio.testing.wait_all_tasks_blocked()
                said.append("later")
            kept = await client.history("public:said")
            assert [each["data"] for each in kept["publications"]] == [["as it was"]]


async def test_token_that_does_not_hold_is_asked_for_again(nova: Served) -> None:
    good = await _token(nova)
    given = ["nonsense", good]
    with trio.fail_after(30):

        async def token() -> str:
            return given.pop(0) if len(given) > 1 else given[0]

        async with connect(direct(nova), token=token) as client:
            await client.connected()
            assert client.user == "ada"
            assert given == [good]


async def test_without_another_token_the_client_stops(nova: Served) -> None:
    with trio.fail_after(30):
        async with connect(direct(nova) + "?access_token=nonsense") as client:
            with pytest.raises(Stopped) as stopped:
                await client.connected()
            assert 4200 <= stopped.value.code < 4300


async def _token(nova: Served) -> str:
    import json
    import sys

    command = [sys.executable, "-m", "nova", "token", "--user", "ada", "--json", "--data", str(nova.data)]
    said = await trio.run_process(command, capture_stdout=True)
    token: str = json.loads(said.stdout)["token"]
    return token


async def _publish_all(client: Realtime, channel: str, count: int) -> None:
    for number in range(count):
        await client.publish(channel, number)


async def _impatient(client: Realtime) -> None:
    """Nobody waits between two tries."""
    while True:
        if await client.changed() == "waiting":
            client.wake()


# A connection carries about 700 bytes before the first message: cuts fall into the upgrade, the greeting, the subscription, and messages.
@pytest.mark.parametrize(
    "cut", [1, 400, 900, *(pytest.param(cut, marks=pytest.mark.slow) for cut in (120, 260, 330, 460, 520, 600, 700, 1300))]
)
async def test_reader_misses_nothing_and_gets_nothing_twice(nova: Served, cut: int) -> None:
    """The reader's first six connections end after `cut` bytes, each a little later than the one before."""
    channel = f"public:read-{cut}"
    async with through(nova, *(cut + 40 * number for number in range(6)), None) as proxy:
        async with connect(direct(nova)) as writer, connect(url(proxy.port)) as reader, trio.open_nursery() as nursery:
            place = (await writer.publish(channel, "begin")).offset
            epoch = (await writer.history(channel))["epoch"]
            nursery.start_soon(_impatient, reader)
            nursery.start_soon(_publish_all, writer, channel, 30)
            found: list[int] = []
            async with reader.subscribe(channel, since=(place, epoch)) as events:
                async for event in events:
                    assert not isinstance(event, Gap)
                    if isinstance(event, Publication):
                        found.append(event.data)
                    if len(found) == 30:
                        break
            assert found == list(range(30))
            nursery.cancel_scope.cancel()
        assert proxy.connections >= 3


@pytest.mark.parametrize("cut", [260, 660, *(pytest.param(cut, marks=pytest.mark.slow) for cut in (1, 400, 520, 600, 720, 800, 900, 1100))])
async def test_publisher_publishes_everything_once(nova: Served, cut: int) -> None:
    channel = f"public:write-{cut}"
    async with through(nova, *(cut + 30 * number for number in range(6)), None) as proxy:
        async with connect(direct(nova)) as reader, connect(url(proxy.port)) as writer, reader.subscribe(channel) as events:
            assert isinstance(await anext(events), Joined)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_impatient, writer)
                nursery.start_soon(_publish_all, writer, channel, 20)
                found = []
                while len(found) < 20:
                    event = await anext(events)
                    if isinstance(event, Publication):
                        found.append(event.data)
                nursery.cancel_scope.cancel()
            assert found == list(range(20))
        assert proxy.connections >= 3


async def test_connection_that_is_cut_while_nobody_writes_comes_back(nova: Served) -> None:
    async with through(nova, None) as proxy, connect(url(proxy.port)) as client, client.subscribe("public:quiet") as room:
        assert isinstance(await anext(room), Joined)
        proxy.cut()
        assert isinstance(again := await anext(room), Joined)
        assert (again.again, again.recovered) == (True, True)


def test_reader_that_was_too_slow_recovers_what_its_gap_told_of(tmp_path: Path) -> None:
    count, filled = 6000, "x" * 2000

    async def read(nova: Served) -> None:
        numbers: list[int] = []
        recovered = 0
        with trio.fail_after(120):
            async with connect(direct(nova)) as writer, connect(direct(nova)) as reader, reader.subscribe("public:slow") as room:
                assert isinstance(await anext(room), Joined)
                async with trio.open_nursery() as nursery:

                    async def write(start: int) -> None:
                        for number in range(start, count, 50):
                            await writer.publish("public:slow", {"n": number, "pad": filled})

                    for start in range(50):
                        nursery.start_soon(write, start)
                async for event in room:  # nothing was read until now
                    match event:
                        case Publication(data=data):
                            numbers.append(data["n"])
                        case Gap(first=first, last=last):
                            assert event.recovered == last - first + 1
                            recovered += event.recovered
                    if len(numbers) == count:
                        break
        assert sorted(numbers) == list(range(count)) and recovered > 0

    with serve(tmp_path / "data", realtime__namespaces='["public history=8000 bytes=64MiB"]') as nova:
        trio.run(read, nova)
