"""Both stores keep the same promises."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from nova.core.offload import Offload
from nova.core.sql import open_sqlite
from nova.media.streams.keys import digest
from nova.media.streams.model import Broadcast, Changes, KeyId, Page, Status, Stream, StreamId, StreamKey, UnixMs, UserId, Visibility
from nova.media.streams.ports import StreamStore
from nova.media.streams.store_memory import MemoryStore
from nova.media.streams.store_sql import SCHEMA, SqlStore

ALICE, BOB = UserId("alice"), UserId("bob")


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StreamStore]:
    if request.param == "memory":
        yield MemoryStore()
        return
    async with open_sqlite(tmp_path / "nova.db", [SCHEMA], Offload(), now="2026-01-01T00:00:00Z") as sql:
        yield SqlStore(sql)


def stream(number: int, owner: UserId = ALICE, **fields: object) -> Stream:
    id = StreamId(f"{number:08d}-0000-7000-8000-000000000000")
    return replace(Stream(id, owner, f"Stream {number}", "", (), Visibility.PUBLIC, False, UnixMs(number)), **fields)


def key(number: int, of: Stream) -> StreamKey:
    return StreamKey(KeyId(f"{number:08d}-0000-7000-8000-00000000000f"), of.id, digest(f"sk_{number}"), "sk_abcd", UnixMs(number))


async def test_a_stream_comes_back_as_it_was_added(store: StreamStore) -> None:
    made = stream(1, title='"Ünï" %_!', description="a\nb", tags=("x", "y,z"), visibility=Visibility.UNLISTED, record=True)
    await store.add(made, key(1, made))
    assert await store.get(made.id) == made
    assert await store.keys(made.id) == [key(1, made)]
    assert await store.get(StreamId("nothing")) is None
    assert await store.count(ALICE) == 1
    assert await store.count(BOB) == 0


async def test_a_page_shows_public_streams_and_the_readers_own_newest_first(store: StreamStore) -> None:
    shared = stream(4, BOB, visibility=Visibility.PRIVATE)
    streams = [
        stream(1),
        stream(2, visibility=Visibility.UNLISTED),
        stream(3, visibility=Visibility.PRIVATE),
        shared,
        stream(5, BOB, visibility=Visibility.UNLISTED),
        stream(6, BOB),
    ]
    for made in streams:
        await store.add(made, None)
    await store.grant(shared.id, ALICE, UnixMs(1))

    async def seen(**page: object) -> list[int]:
        return [found.created_at for found in await store.find(Page(10, **page))]  # type: ignore[arg-type]

    assert await seen() == [6, 1]
    assert await seen(reader=ALICE) == [6, 4, 3, 2, 1]
    assert await seen(reader=BOB) == [6, 5, 4, 1]
    assert await seen(everything=True) == [6, 5, 4, 3, 2, 1]
    assert await seen(reader=ALICE, owner=ALICE) == [3, 2, 1]
    assert await seen(everything=True, after=streams[3].id) == [3, 2, 1]


async def test_a_page_is_as_long_as_asked(store: StreamStore) -> None:
    for number in range(5):
        await store.add(stream(number), None)
    assert [found.created_at for found in await store.find(Page(2))] == [4, 3]


async def test_a_search_wants_every_word_in_any_case_and_takes_signs_as_they_are(store: StreamStore) -> None:
    await store.add(stream(1, title="Grüße aus KÖLN", tags=("travel",)), None)
    await store.add(stream(2, title="100% real_life", description="wow!"), None)
    for words, wanted in (
        (("köln",), [1]),
        (("grüsse",), [1]),
        (("travel", "köln"), [1]),
        (("travel", "real"), []),
        (("100%",), [2]),
        (("real_life",), [2]),
        (("realxlife",), []),
        (("wow!",), [2]),
    ):
        folded = tuple(word.casefold() for word in words)
        assert [found.created_at for found in await store.find(Page(10, words=folded))] == wanted, words


async def test_a_page_may_be_of_one_status(store: StreamStore) -> None:
    await store.add(stream(1), None)
    await store.add(stream(2), None)
    await store.set_status(stream(2).id, Status.LIVE, UnixMs(7), None)
    (found,) = await store.find(Page(10, status=Status.LIVE))
    assert (found.id, found.status, found.started_at, found.ended_at) == (stream(2).id, Status.LIVE, 7, None)


async def test_a_change_touches_what_it_names(store: StreamStore) -> None:
    made = stream(1, tags=("a",))
    await store.add(made, None)
    wanted = replace(made, title="New", tags=())
    assert await store.change(made.id, Changes(title="New", tags=())) == wanted
    assert await store.get(made.id) == wanted
    assert [found.id for found in await store.find(Page(10, words=("new",)))] == [made.id]
    assert await store.find(Page(10, words=("stream",))) == []
    assert await store.change(StreamId("nothing"), Changes(title="x")) is None


async def test_a_deleted_stream_leaves_nothing_behind(store: StreamStore) -> None:
    made, other = stream(1), stream(2)
    await store.add(made, key(1, made))
    await store.add(other, key(2, other))
    await store.grant(made.id, BOB, UnixMs(1))
    await store.put_broadcast(Broadcast("b1", made.id, UnixMs(1)))
    assert await store.delete(made.id)
    assert not await store.delete(made.id)
    assert await store.get(made.id) is None
    assert await store.keys(made.id) == []
    assert await store.grants(made.id) == []
    assert await store.broadcasts(made.id, 10) == []
    assert [left.stream for left in await store.all_keys()] == [other.id]
    await store.put_broadcast(Broadcast("b1", made.id, UnixMs(1), UnixMs(2)))  # told too late
    assert await store.broadcasts(made.id, 10) == []


async def test_keys_come_newest_first_and_go_by_stream_and_id(store: StreamStore) -> None:
    made, other = stream(1), stream(2)
    await store.add(made, key(1, made))
    await store.add(other, None)
    await store.add_key(key(2, made))
    assert [found.id for found in await store.keys(made.id)] == [key(2, made).id, key(1, made).id]
    await store.use_key(key(1, made).id, UnixMs(9))
    assert [found.used_at for found in await store.keys(made.id)] == [None, 9]
    assert not await store.delete_key(other.id, key(1, made).id)
    assert await store.delete_key(made.id, key(1, made).id)
    assert not await store.delete_key(made.id, key(1, made).id)
    assert [found.id for found in await store.all_keys()] == [key(2, made).id]


async def test_grants_are_a_sorted_set(store: StreamStore) -> None:
    made = stream(1, visibility=Visibility.PRIVATE)
    await store.add(made, None)
    for user in ("zoe", "bob", "zoe"):
        await store.grant(made.id, UserId(user), UnixMs(1))
    assert await store.grants(made.id) == ["bob", "zoe"]
    assert await store.granted(made.id, BOB)
    assert await store.revoke(made.id, BOB)
    assert not await store.revoke(made.id, BOB)
    assert not await store.granted(made.id, BOB)


async def test_private_streams_are_known(store: StreamStore) -> None:
    for number, visibility in enumerate(Visibility):
        await store.add(stream(number, visibility=visibility), None)
    (private,) = await store.private()
    found = await store.get(private)
    assert found is not None
    assert found.visibility is Visibility.PRIVATE
    assert sorted(await store.ids()) == sorted(stream(number).id for number in range(len(Visibility)))


async def test_broadcasts_are_replaced_by_id_and_come_newest_first(store: StreamStore) -> None:
    made = stream(1)
    await store.add(made, None)
    for id, at in (("b1", 1), ("b2", 5)):
        await store.put_broadcast(Broadcast(id, made.id, UnixMs(at)))
    ended = Broadcast("b1", made.id, UnixMs(1), UnixMs(4), "unpublished", 3, 7000)
    await store.put_broadcast(ended)
    assert await store.broadcasts(made.id, 10) == [Broadcast("b2", made.id, UnixMs(5)), ended]
    assert len(await store.broadcasts(made.id, 1)) == 1


async def test_what_a_dead_process_left_running_is_ended(store: StreamStore) -> None:
    for number, status in enumerate(Status):
        await store.add(stream(number, status=status, started_at=UnixMs(1)), None)
    await store.put_broadcast(Broadcast("b1", stream(1).id, UnixMs(1)))
    assert await store.end_stale(UnixMs(50)) == 2
    assert [found.status for found in await store.find(Page(10))] == [Status.ENDED] * 3 + [Status.IDLE]
    (broadcast,) = await store.broadcasts(stream(1).id, 10)
    assert (broadcast.ended_at, broadcast.reason) == (50, "server_stopped")
    assert await store.end_stale(UnixMs(60)) == 0
