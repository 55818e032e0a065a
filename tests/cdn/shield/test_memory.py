"""What a site holds in memory: counted until nobody holds it, within the limit whatever comes, and nothing once everything has ended."""

import gc
import random
import resource
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import trio
import trio.testing

from nova.cdn.errors import OriginBroken

FRESH = (b"cache-control", b"max-age=60")
BIG = 8_000_000  # more than sockets take at once


@pytest.fixture(autouse=True)
def without_collections() -> Iterator[None]:
    """Nothing that has ended may wait for a collection."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def reply(house: ModuleType, body: bytes = b"hello", *fields: tuple[bytes, bytes], **rest: Any) -> Any:
    return house.origin.Reply(fields=list(fields or (FRESH,)), body=body, **rest)


def held(site: Any) -> tuple[int, int, int]:
    """(bytes that are held beside what is kept, promised ones, bytes that are kept)."""
    account = site.keeper.account
    return account.bytes - site.keeper.table.bytes, account.promised, site.keeper.table.bytes


async def slow(house: ModuleType, site: Any, path: bytes, fields: bytes = b"") -> Any:
    """Who has asked, has the head, and reads no more."""
    client = house.served.Client(await house.served.dial(site.address, 32_768))
    await client.send(b"GET %s HTTP/1.1\r\nHost: h\r\n%s\r\n" % (path, fields))
    await client.until(b"\r\n\r\n")
    return client


def purge(site: Any) -> None:
    site.site.doom(lambda key, tags: True, soft=False)
    for stretch in list(site.keeper.names(None)):
        names = [(number, key) for number, key, _ in stretch]
        stretch.clear()
        site.keeper.purge_names(names, soft=False, now=0)


async def test_what_slow_readers_hold_counts_after_a_purge(house: ModuleType) -> None:
    async with house.site(lambda request: reply(house, bytes(BIG)), capacity=64 << 20) as site:
        await site.get("/a")
        assert held(site)[:2] == (0, 0)
        clients = [await slow(house, site, b"/a") for _ in range(3)]
        purge(site)
        assert BIG < held(site)[0] < BIG + 1000  # once, however many read it
        assert held(site)[2] == 0
        for client in clients[1:]:
            await client.stream.aclose()
        assert await clients[0].exactly(BIG) == bytes(BIG)
        await house.served.until(lambda: held(site) == (0, 0, 0))
        await clients[0].stream.aclose()


async def test_what_slow_readers_hold_leaves_less_room(house: ModuleType) -> None:
    async with house.site(lambda request: reply(house, bytes(BIG)), capacity=3 * BIG) as site:
        await site.get("/a")
        client = await slow(house, site, b"/a")
        purge(site)
        assert (await site.get("/b"))[1]["cache-status"] == "nova; fwd=uri-miss; stored"
        assert (await site.get("/c"))[1]["cache-status"] == "nova; fwd=uri-miss; stored"
        assert site.keeper.account.bytes <= 3 * BIG
        assert site.keeper.evictions == 1
        readers = [await slow(house, site, b"/c")]
        # Who is read now is not thrown away for another one, nor is room made of what is held after a purge.
        readers.append(await slow(house, site, b"/d"))
        assert (await site.get("/e"))[1]["cache-status"] == "nova; fwd=uri-miss; detail=memory"
        assert (await site.get("/c"))[1]["cache-status"].startswith("nova; hit")
        assert site.keeper.account.bytes <= 3 * BIG + 1_000_000  # and the window of what passes
        for each in (client, *readers):
            await each.stream.aclose()
        await house.served.until(lambda: held(site)[0] == 0)
        await site.get("/e")  # passes, and says that it could be kept
        assert (await site.get("/e"))[1]["cache-status"] == "nova; fwd=uri-miss; stored"
        await house.served.until(lambda: held(site)[:2] == (0, 0))
        assert site.keeper.account.bytes <= 3 * BIG


async def test_bodies_that_grow_count_and_push_out_what_is_kept(house: ModuleType) -> None:
    gate = trio.Event()

    def script(request: Any) -> Any:
        if request.target == b"/big":
            return reply(house, b"", FRESH, pieces=[bytes(200_000), gate, bytes(200_000)], length=400_000)
        return reply(house, bytes(50_000))

    async with house.site(script, capacity=1_000_000) as site, trio.open_nursery() as nursery:
        for number in range(17):
            await site.get(f"/{number}")
        assert site.keeper.evictions == 0
        nursery.start_soon(site.get, "/big")
        await house.served.until(lambda: held(site)[1] == 200_000)  # promised, and as much has come
        assert 200_000 < held(site)[0] < 201_000
        assert site.keeper.evictions > 0
        assert site.keeper.account.bytes + site.keeper.account.promised <= 1_000_000
        gate.set()
        await house.served.until(lambda: held(site)[:2] == (0, 0))
        assert (await site.get("/big"))[1]["cache-status"].startswith("nova; hit")


async def test_what_is_larger_than_the_memory_passes_in_a_window(house: ModuleType) -> None:
    def script(request: Any) -> Any:
        return reply(house, b"", FRESH, (b"content-length", b"20000000"), pieces=[bytes(200_000)] * 100, length=20_000_000)

    async with house.site(script, capacity=1 << 20) as site:
        clients = [await slow(house, site, b"/a") for _ in range(2)]  # one began it, the other passes for itself
        await house.served.until(lambda: len(site.origin.asked) == 2)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert held(site)[0] < 10 * 200_100  # each: what waits for its client, and what its connection has taken
        assert await clients[0].exactly(20_000_000) == bytes(20_000_000)
        await clients[1].stream.aclose()
        await house.served.until(lambda: held(site)[:2] == (0, 0))
        await clients[0].stream.aclose()


async def test_what_has_no_length_and_grows_too_large_is_let_go(house: ModuleType) -> None:
    async with house.site(lambda request: reply(house, b"", FRESH, pieces=[bytes(100_000)] * 20), capacity=1 << 20) as site:
        async with site.client() as client:
            await client.send(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
            assert not (await client.to_end()).endswith(b"0\r\n\r\n")
        await house.served.until(lambda: held(site)[:2] == (0, 0))
        assert site.keeper.account.bytes < 1000  # that it passes
        assert len((await site.get("/a"))[2]) == 2_000_000


async def test_crumbs_count_for_what_they_take(house: ModuleType) -> None:
    def script(request: Any) -> Any:
        return reply(house, b"", FRESH, pieces=[b"x"] * 20_000)

    async with house.site(script, capacity=1 << 20) as site, site.client() as client:
        await client.send(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        assert not (await client.to_end()).endswith(b"0\r\n\r\n")  # 20 kB, but more than a mebibyte of memory
        await house.served.until(lambda: held(site)[:2] == (0, 0))


@pytest.mark.parametrize("how", ["broken", "purged", "closed", "left"])
@pytest.mark.parametrize("length", [1_000_000, None])
async def test_a_fetch_that_comes_to_nothing_leaves_nothing(house: ModuleType, how: str, length: int | None) -> None:
    gate = trio.Event()

    def script(request: Any) -> Any:
        end = OriginBroken("dead") if how == "broken" else bytes(500_000)
        return reply(house, b"", FRESH, pieces=[bytes(500_000), gate, end], length=length)

    async with house.site(script) as site:
        client = await slow(house, site, b"/a")
        await house.served.until(lambda: held(site)[0] > 500_000)
        assert held(site)[1:] == (500_000 if length else 0, 0)
        keeper = site.keeper
        if how == "purged":
            purge(site)
        elif how == "left":
            await client.stream.aclose()
        if how == "closed":
            site.site._ground.nursery.cancel_scope.cancel()
        else:
            gate.set()
        await house.served.until(lambda: keeper.account.promised == 0 and not site.site._collapse.jobs)
        await client.stream.aclose()
        await house.served.until(lambda: held(site)[0] == 0)
        assert (keeper.table.bytes > 0) == (how == "left")  # the fetch is the site's, not its client's


async def test_a_fetch_that_moves_counts_once(house: ModuleType) -> None:
    gate = trio.Event()

    def script(request: Any) -> Any:
        who = dict(request.fields).get(b"x-user", b"")
        return reply(house, b"", FRESH, (b"vary", b"x-user"), pieces=[who, bytes(300_000), gate, bytes(100_000)], length=len(who) + 400_000)

    async with house.site(script, vary_most=2) as site, trio.open_nursery() as nursery:
        for user in ("one", "two", "three"):
            nursery.start_soon(site.get, "/a", f"X-User: {user}")
        await house.served.until(lambda: held(site)[1] == 300_000)
        assert 900_000 < held(site)[0] < 903_000
        gate.set()
        await house.served.until(lambda: held(site)[:2] == (0, 0))
        assert site.keeper.table.count == 3  # the names, and two variants
        purge(site)
        await house.served.until(lambda: held(site) == (0, 0, 0))


async def test_slices_count(house: ModuleType) -> None:
    gate, body = trio.Event(), bytes(1_000_000)

    def script(request: Any) -> Any:
        first, last = (int(each) for each in dict(request.fields)[b"range"][6:].split(b"-"))
        fields = [FRESH, (b"etag", b'"one"'), (b"content-range", b"bytes %d-%d/%d" % (first, last, len(body)))]
        part = body[first : last + 1]
        return house.origin.Reply(206, fields, pieces=[part[:100_000], gate, part[100_000:]], length=len(part))

    async with house.site(script, slice_size=500_000) as site, trio.open_nursery() as nursery:
        nursery.start_soon(site.get, "/film", "Range: bytes=0-9")
        await house.served.until(lambda: held(site)[1] == 400_000)
        assert 100_000 < held(site)[0] < 101_000
        gate.set()
        await house.served.until(lambda: held(site)[:2] == (0, 0))
        assert site.keeper.table.bytes > 500_000
        assert (await site.get("/film", "Range: bytes=600000-600009"))[2] == bytes(10)
        await house.served.until(lambda: held(site)[:2] == (0, 0))
        purge(site)
        await house.served.until(lambda: held(site) == (0, 0, 0))


async def test_a_slice_for_which_there_is_no_room_passes(house: ModuleType) -> None:
    body = bytes(BIG)

    def script(request: Any) -> Any:
        wanted = dict(request.fields).get(b"range")
        if wanted is None:
            return reply(house, body)
        first, last = (int(each) for each in wanted[6:].split(b"-"))
        fields = [FRESH, (b"etag", b'"one"'), (b"content-range", b"bytes %d-%d/%d" % (first, last, len(body)))]
        return house.origin.Reply(206, fields, body[first : last + 1])

    async with house.site(script, slice_size=6_000_000, capacity=2 * BIG) as site:
        await site.get("/a")
        client = await slow(house, site, b"/a")
        purge(site)
        client2 = await slow(house, site, b"/b")
        status, headers, got = await site.get("/film", "Range: bytes=0-9")
        assert (status, got, headers["cache-status"]) == (206, bytes(10), "nova; fwd=uri-miss")
        assert [dict(each.fields).get(b"range") for each in site.origin.asked[2:]] == [b"bytes=0-5999999", b"bytes=0-9"]
        await client.stream.aclose()
        await client2.stream.aclose()


async def test_whatever_happens_the_account_is_what_is_kept_in_the_end(house: ModuleType) -> None:
    chance = random.Random(7)
    sizes = [0, 10, 5_000, 70_000, 400_000, 900_000]

    def script(request: Any) -> Any:
        size = sizes[int(request.target[-1:]) % len(sizes)]
        fields = [chance.choice([FRESH, FRESH, (b"cache-control", b"no-store"), (b"cache-control", b"no-cache")])]
        if chance.random() < 0.2:
            fields.append((b"vary", b"x-user"))
        pieces: list[Any] = [bytes(size // 3), bytes(size // 3), bytes(size - 2 * (size // 3))]
        if chance.random() < 0.2:
            pieces[chance.randrange(1, 3)] = OriginBroken("dead")
        return reply(house, b"", *fields, pieces=pieces, length=chance.choice([size, None]))

    async with house.site(script, capacity=2 << 20, max_object=800_000) as site:

        async def viewer(number: int) -> None:
            for _ in range(12):
                path = b"/%d" % chance.randrange(10)
                with trio.move_on_after(chance.choice([0.001, 5])):
                    stream = await house.served.dial(site.address, chance.choice([0, 4096]))
                    async with stream:
                        client = house.served.Client(stream)
                        user = b"" if chance.random() < 0.5 else b"X-User: %d\r\n" % chance.randrange(4)
                        await client.send(b"GET %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n%s\r\n" % (path, user))
                        with trio.move_on_after(1):
                            await client.to_end()
                if chance.random() < 0.05:
                    purge(site)

        async with trio.open_nursery() as viewers:
            for number in range(12):
                viewers.start_soon(viewer, number)
        await house.served.until(lambda: not site.site._collapse.jobs and not site.site.slots.busy)
        await house.served.until(lambda: held(site)[:2] == (0, 0))
        assert site.keeper.account.bytes <= 2 << 20
        purge(site)
        await house.served.until(lambda: held(site) == (0, 0, 0))


@pytest.fixture
def no_large_files() -> Iterator[None]:
    """As where no descriptor is to be had: a file that memory stands behind can not be made, either."""
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))


async def test_a_large_body_lies_on_the_heap_where_it_can_have_no_file(house: ModuleType, no_large_files: None) -> None:
    async with house.site(lambda request: reply(house, bytes(BIG))) as site:
        for status in ("fwd=uri-miss; stored", "hit; ttl=60"):
            found, headers, body = await site.get("/a")
            assert (found, headers["cache-status"], body) == (200, f"nova; {status}", bytes(BIG))
        assert held(site)[:2] == (0, 0)
