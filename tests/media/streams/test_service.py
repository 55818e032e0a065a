"""The rules of the streams domain."""

from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock

from nova.core.clock import FakeClock
from nova.core.errors import BadRequest, Forbidden, NotFound, RateLimited, Unavailable
from nova.core.ids import Ids
from nova.media.streams.access import NOBODY, OPERATOR, Caller
from nova.media.streams.model import Changes, Status, Stream, StreamId, UnixMs, UserId, Visibility
from nova.media.streams.service import Draft, Limits, NewKey, Streams
from nova.media.streams.store_memory import MemoryStore
from tests.media.streams.fakes import FakeRunning, FakeSessions

ALICE, BOB = Caller(UserId("alice")), Caller(UserId("bob"))


@dataclass
class World:
    clock: FakeClock = field(default_factory=FakeClock)
    store: MemoryStore = field(default_factory=MemoryStore)
    running: FakeRunning = field(default_factory=FakeRunning)
    sessions: FakeSessions = field(default_factory=FakeSessions)

    def __post_init__(self) -> None:
        self.streams = self.service()

    def service(self, limits: Limits | None = None) -> Streams:
        return Streams(self.store, self.running, self.sessions, clock=self.clock, new_id=Ids(self.clock).new, limits=limits)

    async def make(self, visibility: Visibility = Visibility.PUBLIC, title: str = "T") -> tuple[Stream, NewKey]:
        return await self.streams.create(UserId("alice"), Draft(title, visibility=visibility))


@pytest.fixture
def world() -> World:
    return World()


async def test_a_new_stream_can_be_published_to_at_once_and_after_a_restart(world: World) -> None:
    stream, key = await world.make()
    owned = world.streams.authorize(key.text)
    assert owned == (stream.id, key.record.id)
    again = world.service()
    assert again.authorize(key.text) is None
    await again.open()
    assert again.authorize(key.text) == owned


async def test_a_key_is_nowhere_but_in_the_answer(world: World) -> None:
    _, key = await world.make()
    assert key.text not in repr(key)
    assert key.text not in repr(vars(world.store))


async def test_a_user_keeps_no_more_streams_and_keys_than_allowed(world: World) -> None:
    world.streams = world.service(Limits(streams_per_user=1, keys_per_stream=2))
    stream, _ = await world.make()
    with pytest.raises(RateLimited, match="quota_exceeded"):
        await world.make()
    await world.streams.add_key(stream.id, ALICE)
    with pytest.raises(RateLimited, match="quota_exceeded"):
        await world.streams.add_key(stream.id, ALICE)


@pytest.mark.parametrize("visibility", [Visibility.PUBLIC, Visibility.UNLISTED])
async def test_others_see_an_open_stream_and_may_not_change_it(world: World, visibility: Visibility) -> None:
    stream, key = await world.make(visibility)
    for caller in (NOBODY, BOB):
        assert (await world.streams.get(stream.id, caller)).stream == stream
        for attempt in (
            world.streams.change(stream.id, caller, Changes(title="x")),
            world.streams.delete(stream.id, caller),
            world.streams.stop(stream.id, caller),
            world.streams.add_key(stream.id, caller),
            world.streams.list_keys(stream.id, caller),
            world.streams.delete_key(stream.id, key.record.id, caller),
            world.streams.analytics(stream.id, caller),
            world.streams.grant(stream.id, UserId("bob"), caller),
            world.streams.list_grants(stream.id, caller),
        ):
            with pytest.raises(Forbidden):
                await attempt
    assert world.running.told == []


async def test_a_private_stream_does_not_exist_for_others(world: World) -> None:
    stream, _ = await world.make(Visibility.PRIVATE)
    nothing = StreamId("01234567-0000-7000-8000-000000000000")
    for caller in (NOBODY, BOB):
        for attempt in (
            world.streams.get(stream.id, caller),
            world.streams.change(stream.id, caller, Changes(title="x")),
            world.streams.join(stream.id, caller),
        ):
            with pytest.raises(NotFound) as hidden:
                await attempt
            with pytest.raises(NotFound) as missing:
                await world.streams.get(nothing, caller)
            assert hidden.value.detail.replace(stream.id, nothing) == missing.value.detail
    assert (await world.streams.get(stream.id, OPERATOR)).stream == stream


async def test_a_granted_user_sees_a_private_stream_and_may_not_change_it(world: World) -> None:
    stream, _ = await world.make(Visibility.PRIVATE)
    await world.streams.grant(stream.id, UserId("bob"), ALICE)
    assert await world.streams.list_grants(stream.id, ALICE) == ["bob"]
    assert (await world.streams.get(stream.id, BOB)).stream == stream
    with pytest.raises(Forbidden):
        await world.streams.stop(stream.id, BOB)
    found, _ = await world.streams.find(BOB, limit=10)
    assert [seen.stream for seen in found] == [stream]
    await world.streams.revoke(stream.id, UserId("bob"), ALICE)
    with pytest.raises(NotFound):
        await world.streams.get(stream.id, BOB)
    with pytest.raises(NotFound):
        await world.streams.revoke(stream.id, UserId("bob"), ALICE)


async def test_pages_follow_one_another_without_gap_or_repetition(world: World) -> None:
    made = [(await world.make(title=str(number)))[0].id for number in range(7)]
    seen: list[StreamId] = []
    after = None
    while True:
        found, after = await world.streams.find(NOBODY, limit=3, after=after)
        seen += [each.stream.id for each in found]
        if after is None:
            break
    assert seen == made[::-1]


async def test_status_follows_the_publisher(world: World) -> None:
    stream, key = await world.make()

    async def live() -> list[StreamId]:
        found, _ = await world.streams.find(NOBODY, limit=10, status=Status.LIVE)
        return [each.stream.id for each in found]

    async def status() -> Status:
        return (await world.streams.get(stream.id, NOBODY)).stream.status

    assert await status() is Status.IDLE
    world.streams.started(stream.id, key.record.id)
    assert (await status(), await live()) == (Status.LIVE, [stream.id])
    world.streams.lost(stream.id)
    assert (await status(), await live()) == (Status.RECONNECTING, [])
    world.streams.started(stream.id, key.record.id)
    assert (await status(), await live()) == (Status.LIVE, [stream.id])
    world.streams.ended(stream.id, "unpublished")
    assert (await status(), await live()) == (Status.ENDED, [])
    (shown,) = await world.streams.list_keys(stream.id, ALICE)
    assert shown.used_at is not None


async def test_a_restart_ends_what_ran(world: World) -> None:
    stream, key = await world.make()
    world.streams.started(stream.id, key.record.id)
    await world.streams.find(NOBODY, limit=1)
    world.clock.advance(5)
    again = world.service()
    assert await again.open() == 1
    found = (await again.get(stream.id, NOBODY)).stream
    assert found.status is Status.ENDED
    assert found.ended_at == int(world.clock.wall() * 1000)


async def test_a_revoked_key_drops_its_publisher_and_opens_nothing(world: World) -> None:
    stream, key = await world.make()
    other = await world.streams.add_key(stream.id, ALICE)
    await world.streams.delete_key(stream.id, key.record.id, ALICE)
    assert world.running.told == [("drop_key", stream.id, key.record.id)]
    assert world.streams.authorize(key.text) is None
    assert world.streams.authorize(other.text) is not None
    with pytest.raises(NotFound):
        await world.streams.delete_key(stream.id, key.record.id, ALICE)


async def test_deleting_ends_everything(world: World) -> None:
    stream, key = await world.make()
    joined = await world.streams.join(stream.id, NOBODY)
    world.streams.started(stream.id, key.record.id)
    await world.streams.delete(stream.id, ALICE)
    assert world.running.told == [("stop", stream.id, "deleted")]
    assert world.streams.authorize(key.text) is None
    assert world.sessions.viewer(joined.session.encode(), stream.id.encode()) is None
    world.streams.ended(stream.id, "deleted")
    assert await world.streams.find(OPERATOR, limit=10) == ([], None)


async def test_a_session_lasts_as_long_as_set(world: World) -> None:
    stream, _ = await world.make()
    world.running.watching[stream.id] = 3
    joined = await world.streams.join(stream.id, NOBODY)
    assert joined.viewers == 3
    assert abs(joined.expires_at / 1000 - world.clock.wall() - 6 * 3600) < 1
    assert int(joined.session.rpartition(".")[2]) == joined.expires_at // 1000
    assert joined.session not in repr(joined)


async def test_leaving_ends_the_session_that_is_named_or_all_of_the_callers(world: World) -> None:
    stream, _ = await world.make()
    sessions = [(await world.streams.join(stream.id, caller)).session for caller in (NOBODY, ALICE, ALICE, BOB)]

    def good() -> list[bool]:
        return [world.sessions.viewer(each.encode(), stream.id.encode()) is not None for each in sessions]

    await world.streams.leave(stream.id, NOBODY, sessions[0])
    assert good() == [False, True, True, True]
    await world.streams.leave(stream.id, NOBODY, sessions[0])
    await world.streams.leave(stream.id, ALICE, None)
    assert good() == [False, False, False, True]
    assert world.running.left == world.sessions.revoked  # they count no more
    assert len(world.running.left) == 3
    await world.streams.leave(stream.id, NOBODY, "nonsense")
    with pytest.raises(BadRequest):
        await world.streams.leave(stream.id, NOBODY, None)


async def test_a_stream_that_becomes_private_sends_strangers_away(world: World) -> None:
    stream, _ = await world.make()
    await world.streams.grant(stream.id, UserId("bob"), ALICE)
    stranger, owner, guest = [(await world.streams.join(stream.id, caller)).session for caller in (NOBODY, ALICE, BOB)]
    await world.streams.change(stream.id, ALICE, Changes(visibility=Visibility.PRIVATE))
    assert world.running.told == [("hide", stream.id, "True")]
    assert world.streams.is_private(stream.id)
    good = [world.sessions.viewer(each.encode(), stream.id.encode()) is not None for each in (stranger, owner, guest)]
    assert good == [False, True, True]
    await world.streams.revoke(stream.id, UserId("bob"), ALICE)
    assert world.sessions.viewer(guest.encode(), stream.id.encode()) is None
    await world.streams.change(stream.id, ALICE, Changes(visibility=Visibility.PUBLIC))
    assert not world.streams.is_private(stream.id)


async def test_media_of_a_private_stream_needs_a_session(world: World) -> None:
    stream, _ = await world.make(Visibility.PRIVATE)
    joined = await world.streams.join(stream.id, ALICE)
    assert await world.streams.watchable(stream.id, None) is None
    assert await world.streams.watchable(stream.id, "nonsense") is None
    assert await world.streams.watchable(stream.id, joined.session) is not None
    assert await world.streams.watchable(StreamId("nothing"), None) is None


async def test_analytics_sum_the_broadcasts(world: World) -> None:
    stream, key = await world.make()
    for _ in range(2):
        world.running.watching[stream.id] = 4
        world.streams.started(stream.id, key.record.id)
        world.clock.advance(10)
        world.streams.ended(stream.id, "unpublished")
        world.clock.advance(60)
    world.streams.started(stream.id, key.record.id)
    world.clock.advance(5)
    found = await world.streams.analytics(stream.id, ALICE)
    assert (found.viewers, found.peak_viewers) == (4, 4)
    assert found.viewer_ms == pytest.approx(4 * 25_000, abs=20)
    assert found.live_ms == pytest.approx(25_000, abs=20)
    assert [each.reason for each in found.broadcasts] == ["", "unpublished", "unpublished"]
    assert found.ingest == {"bitrate": 1000}


class FailingStore(MemoryStore):
    """Refuses to store states for a while."""

    failures = 3

    async def set_status(self, stream: StreamId, status: Status, started_at: UnixMs | None, ended_at: UnixMs | None) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("storage_full")
        await super().set_status(stream, status, started_at, ended_at)


async def test_a_store_that_fails_for_a_while_loses_no_state(autojump_clock: MockClock) -> None:
    world = World(store=FailingStore())
    stream, key = await world.make()
    async with trio.open_nursery() as nursery:
        await nursery.start(world.streams.run)
        world.streams.started(stream.id, key.record.id)
        while (found := await world.store.get(stream.id)) is None or found.status is not Status.LIVE:
            await trio.sleep(0.5)
        world.streams.ended(stream.id, "unpublished")
        nursery.cancel_scope.cancel()
    found = await world.store.get(stream.id)
    assert found is not None
    assert found.status is Status.ENDED
