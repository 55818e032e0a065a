"""The contract of `Bus`. Every adapter gets it whole; so it says nothing that only one process could promise."""

import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from hashlib import sha1

import pytest
import trio
import trio.testing

from nova.core import errors
from nova.core.bus import START, Bus, Cursor, Follower, Keep, MemoryBus, Message, Quota, Seen, Told, memory, redis, shared
from nova.core.bus.port import MAX_DATA
from nova.core.bus.shared import RedisBus
from nova.core.clock import FakeClock
from nova.core.secret import SecretUrl
from nova.core.values import Rate, Seconds
from tests.core.bus.redis_server import RedisServer, redis_server

WINDOW = 50
Elapse = Callable[[float], Awaitable[None]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["memory", "redis"])
async def adapter(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Bus, Elapse]]:
    """A bus that keeps about WINDOW entries, and what lets time pass for its leases."""
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("server")
        flush(server)
        redis = RedisBus(SecretUrl(server.url), window=WINDOW)
        async with redis.opened():
            yield redis, trio.sleep
        return
    clock = FakeClock()

    async def elapse(seconds: float) -> None:
        clock.advance(seconds)

    yield MemoryBus(clock, window=WINDOW), elapse


def open_connection(server: RedisServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port))


def flush(server: RedisServer) -> None:
    """As new."""
    assert server.say("FLUSHALL") == b"+OK\r\n"


@pytest.fixture
def bus(adapter: tuple[Bus, Elapse]) -> Bus:
    return adapter[0]


@pytest.fixture
def elapse(adapter: tuple[Bus, Elapse]) -> Elapse:
    return adapter[1]


async def first(bus_subscription: object, count: int) -> list[Message]:
    messages: list[Message] = []
    with trio.fail_after(30):
        async for message in bus_subscription:  # type: ignore[attr-defined]
            messages.append(message)
            if len(messages) == count:
                break
    return messages


async def test_every_subscriber_gets_the_messages_of_its_topics_in_order(bus: Bus) -> None:
    await bus.publish("a", b"before anybody listened")
    async with bus.subscribe(["a", "b"]) as both, bus.subscribe(["b"]) as one:
        for number in range(3):
            await bus.publish("a", b"a%d" % number)
            await bus.publish("b", b"b%d" % number)
        await bus.publish("c", b"nobody")
        assert [message.data for message in await first(both, 6)] == [b"a0", b"b0", b"a1", b"b1", b"a2", b"b2"]
        assert [(message.topic, message.data) for message in await first(one, 3)] == [("b", b"b0"), ("b", b"b1"), ("b", b"b2")]


async def test_waiting_subscriber_wakes_and_one_that_left_costs_nothing(bus: Bus) -> None:
    async with trio.open_nursery() as nursery:
        seen: list[Message] = []

        async def listen(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            async with bus.subscribe(["a"]) as subscription:
                task_status.started()
                seen.extend(await first(subscription, 1))

        await nursery.start(listen)
        await trio.testing.wait_all_tasks_blocked()
        await bus.publish("a", b"now")
    assert [message.data for message in seen] == [b"now"]
    await bus.publish("a", b"nobody")


async def test_slow_subscriber_loses_the_oldest_and_is_told(bus: Bus) -> None:
    async with bus.subscribe(["a"], queue=2) as slow, bus.subscribe(["a"]) as other:
        for number in range(5):
            await bus.publish("a", b"%d" % number)
        # The other one has them all, so they have arrived here too.
        assert len(await first(other, 5)) == 5
        messages = await first(slow, 2)
        assert [message.data for message in messages] == [b"3", b"4"]
        assert messages[0].missed >= 1 and messages[1].missed == 0


async def test_entries_are_read_in_order_and_by_pages(bus: Bus) -> None:
    assert await bus.read("s", START) == await bus.read("s", START)
    assert (await bus.read("s", START)).entries == () and await bus.end("s") == START
    cursors = [await bus.append("s", b"%d" % number) for number in range(10)]
    assert len(set(cursors)) == 10 and await bus.end("s") == cursors[-1]
    page = await bus.read("s", START, limit=4)
    assert [entry.data for entry in page.entries] == [b"0", b"1", b"2", b"3"] and not page.gap
    rest = await bus.read("s", page.cursor)
    assert [entry.cursor for entry in rest.entries] == cursors[4:] and not rest.gap
    end = await bus.read("s", rest.cursor)
    assert end.entries == () and end.cursor == rest.cursor == cursors[-1] and not end.gap
    assert (await bus.read("other", START)).entries == ()


async def test_reader_waits_for_the_next_entry(bus: Bus) -> None:
    pages = []

    async def reader() -> None:
        pages.append(await bus.read("s", START, wait=Seconds(10)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        nursery.start_soon(reader)
        await trio.testing.wait_all_tasks_blocked()
        await bus.append("s", b"now")
    assert [[entry.data for entry in page.entries] for page in pages] == [[b"now"], [b"now"]]
    assert (await bus.read("s", pages[0].cursor, wait=Seconds(0.001))).entries == ()


async def test_who_listens_to_a_stream_misses_nothing_whoever_writes_and_wherever_he_begins(bus: Bus) -> None:
    async with bus.listening("s"):
        expected = [b"%d" % number for number in range(30)]
        cursors: list[Cursor] = []
        found: dict[int, list[bytes]] = {}

        async def follow(number: int, after: Cursor, limit: int) -> None:
            found[number] = []
            with trio.fail_after(30):
                while len(found[number]) < len(expected):
                    page = await bus.read("s", after, limit=limit, wait=Seconds(10))
                    assert not page.gap and len(page.entries) <= limit
                    found[number] += [entry.data for entry in page.entries]
                    after = page.cursor

        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(follow, number, START, number + 1)
            for data in expected:
                cursors.append(await bus.append("s", data))
        assert found == dict.fromkeys(range(3), expected)
        for at, cursor in enumerate(cursors[:-1]):  # also those who have fallen behind
            page = await bus.read("s", cursor, limit=3, wait=Seconds(10))
            assert [entry.data for entry in page.entries] == expected[at + 1 : at + 4]
            assert page.cursor == cursors[min(at + 3, 29)]
        assert (await bus.read("s", cursors[-1], wait=Seconds(0.001))).entries == ()
    with pytest.raises(errors.BadRequest):
        await bus.read("s", Cursor("nonsense"), wait=Seconds(1))


async def test_reader_that_was_away_too_long_is_told_of_the_gap(bus: Bus) -> None:
    old = await bus.append("s", b"old")
    # Far more than the window: an adapter may keep more than it must, in blocks of a hundred or so.
    latest = [b"%d" % number for number in range(WINDOW * 20)]
    for data in latest:
        await bus.append("s", data)
    for after in (old, START):
        page = await bus.read("s", after, limit=WINDOW * 40)
        assert page.gap
        kept = [entry.data for entry in page.entries]
        assert len(kept) >= WINDOW and kept == latest[-len(kept) :]
    assert not (await bus.read("s", page.entries[0].cursor)).gap


async def test_lease_has_one_holder_until_it_is_released(bus: Bus) -> None:
    lease = await bus.acquire("job", "a", Seconds(10))
    assert lease is not None
    assert await bus.acquire("job", "b", Seconds(10)) is None
    assert await bus.acquire("job", "a", Seconds(10)) is None
    assert await bus.acquire("other", "b", Seconds(10)) is not None
    await bus.release(lease)
    after = await bus.acquire("job", "b", Seconds(10))
    assert after is not None and after.token > lease.token
    await bus.release(lease)
    assert not await bus.renew(lease, Seconds(10))
    assert await bus.acquire("job", "c", Seconds(10)) is None


async def test_how_long_a_lease_is_held_is_told(bus: Bus) -> None:
    assert await bus.held("job") is None
    lease = await bus.acquire("job", "a", Seconds(30))
    left = await bus.held("job")
    assert lease is not None and left is not None and 0 < left <= 30
    await bus.release(lease)
    assert await bus.held("job") is None


async def test_lease_expires_unless_it_is_renewed(bus: Bus, elapse: Elapse) -> None:
    lease = await bus.acquire("job", "a", Seconds(0.2))
    assert lease is not None
    assert await bus.renew(lease, Seconds(60))
    await elapse(0.25)
    assert await bus.acquire("job", "b", Seconds(60)) is None
    assert await bus.renew(lease, Seconds(0.05))
    await elapse(0.1)
    assert not await bus.renew(lease, Seconds(60))
    after = await bus.acquire("job", "b", Seconds(60))
    assert after is not None and after.token > lease.token


async def test_ticket_is_taken_once_and_in_time(bus: Bus, elapse: Elapse, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await bus.take("never given out") is False
    async with bus.subscribe(["a"]) as messages:
        assert await bus.publish("a", b"with a ticket", ticket="one") == 1
        assert [each.data for each in await first(messages, 1)] == [b"with a ticket"]
    assert await bus.take("one") is True and await bus.take("one") is False
    for where in (memory, shared):
        monkeypatch.setattr(where, "TICKET", Seconds(0.05))
    assert await bus.publish("a", b"nobody hears it", ticket="two") == 0
    await elapse(0.06)
    assert await bus.take("two") is False


async def test_ticket_is_not_taken_by_whoever_lost_the_lease(bus: Bus) -> None:
    await bus.publish("a", b"", ticket="one")
    lease = await bus.acquire("job", "me", Seconds(30))
    assert lease is not None and await bus.take("another", lease) is False
    await bus.release(lease)
    later = await bus.acquire("job", "me", Seconds(30))
    assert later is not None and await bus.take("one", lease) is None
    assert await bus.take("one", later) is True


async def test_large_data_and_foreign_cursors_are_refused(bus: Bus) -> None:
    for call in (bus.publish, bus.append):
        with pytest.raises(errors.TooLarge):
            await call("a", bytes(MAX_DATA + 1))
    for cursor in ("", "x", "1-", "-1", "1-x", "1-\u0662", "1-" + "9" * 40):
        with pytest.raises(errors.BadRequest) as refused:
            await bus.read("a", Cursor(cursor))
        assert refused.value.code == "bad_cursor"


KEEP = Keep(3, Seconds(60))


async def told(follower: Follower, count: int) -> list[Told]:
    found: list[Told] = []
    with trio.fail_after(30):
        async for each in follower:
            found.append(each)
            if len(found) == count:
                break
    return found


async def test_log_is_numbered_told_and_kept_in_one_order(bus: Bus) -> None:
    async with bus.follow() as one, bus.follow() as other:
        await one.add("a")
        await one.add("a")
        await other.add("b")
        first = await bus.add("a", b"1 \n2", KEEP)
        assert (first.number, first.again) == (1, False) and 0 < len(first.epoch) <= 16
        await bus.note("a", b"note")
        for number in range(2, 6):
            assert (await bus.add("a", b"%d" % number, KEEP)).number == number
        await bus.add("b", b"other", KEEP)
        heard = await told(one, 6)
        assert [(each.log, each.number, each.data) for each in heard] == [
            ("a", 1, b"1 \n2"), ("a", 0, b"note"), ("a", 2, b"2"), ("a", 3, b"3"), ("a", 4, b"4"), ("a", 5, b"5"),
        ]  # fmt: skip
        assert {each.epoch for each in heard if each.number} == {first.epoch}
        assert [(each.log, each.data) for each in await told(other, 1)] == [("b", b"other")]
        one.remove("a")
        tail = await bus.tail("a", KEEP)
        assert tail.epoch == first.epoch and tail.number == 5 and tail.entries[-3:] == ((3, b"3"), (4, b"4"), (5, b"5"))
        assert tail.lost == tail.entries[0][0] - 1


async def test_scripts_are_sent_once_and_again_to_a_redis_that_has_forgotten_them(server: RedisServer) -> None:
    def sent_whole() -> int:
        found = re.search(rb"cmdstat_eval:calls=(\d+)", server.say("INFO commandstats"))
        return 0 if found is None else int(found[1])

    flush(server)
    assert server.say("SCRIPT FLUSH") == server.say("CONFIG RESETSTAT") == b"+OK\r\n"
    bus = RedisBus(SecretUrl(server.url))
    async with bus.opened(), bus.follow() as follower:
        await follower.add("a")
        added = [(await bus.add("a", b"%d" % number, KEEP)).number for number in range(5)]
        assert sent_whole() == 1
        assert server.say("SCRIPT FLUSH") == b"+OK\r\n"
        async with trio.open_nursery() as nursery:
            for number in range(5, 10):
                nursery.start_soon(partial(bus.add, "a", b"%d" % number, KEEP, once=f"n{number}"))
        assert sent_whole() <= 6
        again = await bus.add("a", b"5", KEEP, once="n5")
        assert again.again and (await bus.tail("a", KEEP)).number == 10 and added == [1, 2, 3, 4, 5]
        assert [each.number for each in await told(follower, 10)] == list(range(1, 11))


async def test_redis_that_was_away_for_long_is_found_again(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis, "BACK_OFF", (0.0,))
    bus = RedisBus(SecretUrl(server.url))
    async with bus.opened():
        await bus.ping()
        server.kill()
        for _ in range(150):
            with pytest.raises(errors.Unavailable):
                await bus.ping()
        server.start()
        with trio.fail_after(30):
            while True:
                try:
                    await bus.ping()
                    break
                except errors.Unavailable:
                    await trio.sleep(0.01)


async def test_redis_that_hangs_is_waited_for_once(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks while another waits for it has waited by then, too: a new connection would take as long again."""
    monkeypatch.setattr(redis, "BACK_OFF", (60.0,))
    bus = RedisBus(SecretUrl(server.url), timeout=0.3)
    async with bus.opened():
        await bus.ping()
        connected, connect = [], bus._link._connection
        monkeypatch.setattr(bus._link, "_connection", lambda: connected.append(1) or connect())
        said: list[str] = []

        async def ask() -> None:
            with pytest.raises(errors.Unavailable) as caught:
                await bus.ping()
            assert caught.value.retry_after
            said.append(caught.value.detail)

        with server.frozen(), trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
                while bus._link._calls:  # the thread has not taken it yet
                    await trio.sleep(0.001)
                nursery.start_soon(ask)
            await ask()
    assert said == ["Redis does not answer"] * 3
    assert not connected


async def test_redis_without_memory_refuses_and_its_words_are_for_the_log(server: RedisServer) -> None:
    bus = RedisBus(SecretUrl(server.url))
    async with bus.opened():
        before = await bus.add("full", b"1", KEEP)
        assert server.say("CONFIG SET maxmemory 1mb") == b"+OK\r\n"
        for _ in range(2):
            with pytest.raises(errors.Unavailable) as caught:
                await bus.add("full", b"2", KEEP, once="k")
            assert caught.value.detail == "Redis refuses a script"
        assert server.say("CONFIG SET maxmemory 0") == b"+OK\r\n"
        after = await bus.add("full", b"2", KEEP, once="k")
        assert (after.epoch, after.number, after.again) == (before.epoch, 2, False)  # nothing of it was done by half


async def test_redis_that_wants_a_password_is_not_asked_without_a_pause(server: RedisServer) -> None:
    bus = RedisBus(SecretUrl(server.url))
    async with bus.opened(), bus.follow() as follower:
        await follower.add("a")
        with open_connection(server) as admin:
            admin.sendall(b"CONFIG SET requirepass secret\r\nAUTH secret\r\nCLIENT KILL TYPE pubsub\r\n")
            with trio.fail_after(30):
                while bus._link._attempts < 4:
                    await trio.sleep(0.01)
            wrong = RedisBus(SecretUrl(server.url.replace("//", "//:wrong@")))
            async with wrong.opened():
                with pytest.raises(errors.Unavailable) as caught:
                    await wrong.ping()
                assert "password" in caught.value.detail and "wrong" not in caught.value.detail
            admin.sendall(b'CONFIG SET requirepass ""\r\n')
            assert [each.log for each in await told(follower, 1)] == [""]  # it missed something
            with trio.fail_after(30):
                while True:
                    try:
                        await bus.add("a", b"heard", KEEP)
                        break
                    except errors.Unavailable:
                        await trio.sleep(0.01)
            while not (heard := (await told(follower, 1))[0]).log:
                pass  # it connected, was refused, and missed something again
            assert heard.data == b"heard"


async def test_log_that_was_set_back_goes_on_in_another_epoch(server: RedisServer) -> None:
    flush(server)
    bus = RedisBus(SecretUrl(server.url))
    async with bus.opened():
        first = await bus.add("a", b"one", KEEP)
        digest = sha1(b"one").hexdigest()
        for seen in (Seen(first.epoch, 1, 1, digest), Seen("other", 9), Seen(first.epoch, 1, 9, "trimmed"), Seen(first.epoch, 0)):
            assert (await bus.tail("a", KEEP, seen=seen)).epoch == first.epoch
        second = await bus.add("a", b"two", KEEP, seen=Seen(first.epoch, 2))
        assert second.epoch != first.epoch and second.number == 2
        third = await bus.tail("a", KEEP, seen=Seen(second.epoch, 2, 2, digest))
        assert third.epoch != second.epoch and third.entries == ((1, b"one"), (2, b"two")) and third.lost == 0
        named = await bus.tail("a", KEEP, seen=Seen(third.epoch, 3, named=True))
        assert named.epoch != third.epoch and (named.number, named.lost, named.entries) == (2, 2, ())


async def test_log_keeps_what_it_is_told_to(bus: Bus) -> None:
    empty = await bus.tail("a", KEEP)
    assert (empty.number, empty.lost, empty.entries) == (0, 0, ())
    added = await bus.add("a", b"seen only", KEEP, kept=False)
    assert added.epoch == empty.epoch
    await bus.add("a", b"kept", KEEP)
    tail = await bus.tail("a", KEEP)
    assert (tail.number, tail.lost, tail.entries) == (2, 0, ((2, b"kept"),))
    nothing = Keep(0, Seconds(60))
    await bus.add("b", b"x", nothing)
    tail = await bus.tail("b", nothing)
    assert (tail.number, tail.lost, tail.entries) == (1, 1, ())


async def test_log_forgets_after_its_time(bus: Bus, elapse: Elapse) -> None:
    short = Keep(3, Seconds(0.1))
    await bus.add("a", b"x", short)
    await elapse(0.3)
    tail = await bus.tail("a", short)
    assert (tail.number, tail.lost, tail.entries) == (1, 1, ())


async def test_same_word_is_added_once(bus: Bus) -> None:
    first = await bus.add("a", b"x", KEEP, once="w")
    again = await bus.add("a", b"x", KEEP, once="w")
    assert again.again and (again.epoch, again.number) == (first.epoch, first.number)
    assert (await bus.add("b", b"x", KEEP, once="w")).number == 1 and (await bus.add("a", b"y", KEEP)).number == 2


async def test_rates_of_a_log_hold_for_all_who_write(bus: Bus, elapse: Elapse) -> None:
    two, three = Rate(2, Seconds(60)), Rate(3, Seconds(60))

    async def add(sender: str, once: str = "") -> bool:
        try:
            await bus.add("a", b"x", KEEP, once=once, quotas=[Quota(sender, two, "words of one"), Quota("", three, "words")])
        except errors.RateLimited as error:
            refused.append(error.detail)
            waits.append(error.retry_after or 0)
            return False
        return True

    refused: list[str] = []
    waits: list[float] = []
    assert [await add("x", "k"), await add("x", "k"), await add("x"), await add("x")] == [True, True, True, False]
    assert [await add("y"), await add("z")] == [True, False]  # what was refused to one counts to nobody
    assert refused == ["too many words of one", "too many words"] and all(0 < each <= 30 for each in waits)
    assert (await bus.tail("a", KEEP)).number == 3  # nor was it added
    fast = [Quota("x", Rate(1, Seconds(0.05)), "words")]
    await bus.add("b", b"x", KEEP, quotas=fast)
    await elapse(0.06)
    await bus.add("b", b"x", KEEP, quotas=fast)


async def test_writers_at_once_get_different_numbers(bus: Bus) -> None:
    numbers: list[int] = []

    async def write(at: int) -> None:
        numbers.append((await bus.add("a", b"%d" % at, KEEP)).number)

    async with bus.follow() as follower:
        await follower.add("a")
        async with trio.open_nursery() as nursery:
            for at in range(200):
                nursery.start_soon(write, at)
        assert sorted(numbers) == list(range(1, 201)) == [each.number for each in await told(follower, 200)]


async def test_tables_have_rows_until_they_are_dropped(bus: Bus) -> None:
    assert await bus.rows("t") == {}
    await bus.put("t", {"a": b"1", "b": b"2"})
    await bus.put("t", {"a": b"3"})
    await bus.put("t", {})
    assert await bus.rows("t") == {"a": b"3", "b": b"2"}
    assert [await bus.row("t", "a"), await bus.row("t", "c"), await bus.row("other", "a")] == [b"3", None, None]
    await bus.drop("t", ["a", "nobody"])
    await bus.drop("t", [])
    assert await bus.rows("t") == {"b": b"2"} and await bus.rows("other") == {}


async def test_rows_are_dropped_only_while_they_say_what_is_meant(bus: Bus) -> None:
    await bus.put("t", {"a": b"x", "b": b"y", "c": b"x"})
    await bus.drop("t", ["a", "b", "none"], saying=b"x")
    assert await bus.rows("t") == {"b": b"y", "c": b"x"}
    await bus.drop("t", ["b", "c"], saying=b"y")
    await bus.drop("t", [], saying=b"x")
    assert await bus.rows("t") == {"c": b"x"}


async def test_cursor_of_an_earlier_process_reads_as_a_gap() -> None:
    """Of the bus in memory alone: it is the one that forgets."""
    clock = FakeClock()
    cursor = await MemoryBus(clock).append("s", b"old")
    later = MemoryBus(clock)
    assert (await later.read("s", cursor)).gap
    await later.append("s", b"new")
    page = await later.read("s", cursor, wait=Seconds(10))
    assert page.gap and [entry.data for entry in page.entries] == [b"new"]


async def test_entries_that_ring_no_bell_are_found_in_their_place(server: RedisServer) -> None:
    """Of Redis alone: other services write to streams too, and the connection that listens may break."""
    flush(server)
    bus = RedisBus(SecretUrl(server.url), window=WINDOW)
    found: list[bytes] = []

    async def follow() -> None:
        after = START
        while len(found) < 6:
            page = await bus.read("s", after, wait=Seconds(10))
            found.extend(entry.data for entry in page.entries)
            after = page.cursor

    async def come(count: int) -> None:
        while len(found) < count:
            await trio.sleep(0.005)

    with trio.fail_after(30):
        async with bus.opened(), bus.listening("s"), trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await bus.append("s", b"ours")
            await come(1)
            server.say("XADD s * event theirs")
            await bus.append("s", b"ours again")
            await come(3)
            server.say("XADD s * event alone")
            await come(4)
            server.say("CLIENT KILL TYPE pubsub")
            server.say("XADD s * event missed")
            await come(5)
            await bus.append("s", b"heard")
    assert found == [b"ours", b"theirs", b"ours again", b"alone", b"missed", b"heard"]


async def test_a_bell_of_another_version_says_that_there_is_something(server: RedisServer) -> None:
    """Of Redis alone."""
    flush(server)
    bus = RedisBus(SecretUrl(server.url), window=WINDOW)
    with trio.fail_after(30):
        async with bus.opened(), bus.listening("s"), trio.open_nursery() as nursery:
            await bus.append("s", b"first")
            place = (await bus.read("s", START)).cursor
            for word in ("x", "x y", "''"):
                server.say(f"SPUBLISH nova:bell:s {word}")
            nursery.start_soon(bus.append, "s", b"second")
            assert [entry.data for entry in (await bus.read("s", place, wait=Seconds(10))).entries] == [b"second"]
