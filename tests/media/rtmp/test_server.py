"""The server over real sockets: publishing, refusals, takeover, deadlines, floods, drain."""

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest
import trio
import trio.testing

from nova.core.errors import Unavailable
from nova.ext import rtmp
from nova.media.rtmp import flv, messages
from nova.media.rtmp.client import Publisher, PublishError, Target, publishing
from nova.media.rtmp.flv import Tag
from nova.media.rtmp.reasons import REASONS
from nova.media.rtmp.server import RtmpServer, Timeouts
from tests.media.rtmp import house as houses
from tests.media.rtmp.house import KEY, OTHER_KEY, STREAM, House
from tests.media.rtmp.talk import SHAKE

Running = Callable[..., AbstractAsyncContextManager[House]]


@pytest.fixture(params=["sockets", "reactor"])
def running(request: pytest.FixtureRequest) -> Running:
    """The server stands on trio's sockets, or on the reactor's: both have to do the same."""
    return partial(houses.running, reactor=request.param == "reactor")


VIDEO_HEADER = Tag(flv.VIDEO, 0, flv.avc_config(b"cfg"))
KEYFRAME = Tag(flv.VIDEO, 0, flv.avc_picture(b"picture", key=True))


@contextlib.asynccontextmanager
async def publisher(house: House, key: str = KEY) -> AsyncIterator[Publisher]:
    async with publishing(Target.parse(f"{house.url}/{key}")) as stream:
        yield stream


@contextlib.asynccontextmanager
async def raw(house: House) -> AsyncIterator[trio.SocketStream]:
    async with await trio.open_tcp_stream("127.0.0.1", house.port) as stream:
        yield stream


async def shaken(stream: trio.SocketStream) -> None:
    await stream.send_all(SHAKE)


async def test_published_media_arrives_with_its_metadata_and_ends_cleanly(running: Running) -> None:
    async with running() as house:
        async with publisher(house) as stream:
            await stream.send(Tag(flv.SCRIPT, 0, messages.amf.encode("onMetaData", {"width": 1280})))
            await stream.send(VIDEO_HEADER)
            await stream.send(Tag(flv.VIDEO, 40, KEYFRAME.data))
            ingest = await (await house.ingest()).until(lambda ingest: len(ingest.records) == 2)
            assert ingest.values == [{"width": 1280.0}]
            assert ingest.records == [(9, 0, 6, VIDEO_HEADER.data), (9, 40, 5, KEYFRAME.data)]
            if house.connections is not None:  # the reactor does not tell
                assert house.connections.wakes[-1] == (1, 240)
            assert house.server.publishers == 1
        assert await house.end() == "unpublished"
        assert ingest.ended == "unpublished"
        assert house.server.publishers == house.server.connections == 0


async def test_wrong_key_is_refused_with_a_status_and_counted(running: Running) -> None:
    async with running() as house:
        with pytest.raises(PublishError, match="not valid") as refused:
            async with publisher(house, "sk_wrong"):
                pass
        assert refused.value.status == "NetStream.Publish.BadName"
        assert await house.end() == "bad_stream_key"
        assert house.guesses == 1
        assert house.ingests == []


async def test_guessing_keys_is_stopped_before_the_door(running: Running) -> None:
    async with running() as house:
        house.most_guesses = 1
        with pytest.raises(PublishError):
            async with publisher(house, "sk_wrong"):
                pass
        with pytest.raises(PublishError, match="later"):
            async with publisher(house):
                pass
        assert await house.end(2) == "key_guessing"
        assert house.ingests == []


async def test_second_publisher_takes_over_at_once_and_the_first_is_told(running: Running) -> None:
    async with running() as house:
        async with trio.open_nursery() as nursery:
            told: list[PublishError] = []

            async def first() -> None:
                try:
                    async with publisher(house) as stream:
                        while True:
                            await stream.send(KEYFRAME)
                            await trio.lowlevel.checkpoint()
                except PublishError as error:
                    told.append(error)

            nursery.start_soon(first)
            ingest = await (await house.ingest()).until(lambda ingest: ingest.records)
            async with publisher(house, OTHER_KEY) as stream:
                assert ingest.ended == "takeover"
                await stream.send(KEYFRAME)
                await (await house.ingest(2)).until(lambda ingest: ingest.records)
                assert await house.end() == "takeover"
        (error,) = told
        assert error.status in ("NetStream.Publish.BadName", "")
        assert house.server.publishers == 0


async def test_door_that_refuses_is_heard_by_the_publisher(running: Running) -> None:
    async with running() as house:
        house.refuse = Unavailable("overloaded", "Too many streams.")
        with pytest.raises(PublishError, match="Too many streams"):
            async with publisher(house):
                pass
        assert await house.end() == "refused"


async def test_ingest_that_fails_ends_its_publisher_only(running: Running) -> None:
    async with running() as house, publisher(house) as fine:
        house.keys["sk_third"] = house.keys[KEY]._replace(stream_id="another")
        ingests = house.ingests

        async def fails() -> None:
            with pytest.raises(PublishError):
                async with publisher(house, "sk_third") as stream:
                    ingests[-1].refuse = Unavailable(detail="The muxer is gone.")
                    while True:
                        await stream.send(KEYFRAME)

        await fine.send(KEYFRAME)
        await house.ingest()
        await fails()
        assert await house.end() == "refused"
        await fine.send(KEYFRAME)
        await ingests[0].until(lambda ingest: len(ingest.records) == 2)
        assert not ingests[0].ended


async def test_revoked_key_and_stopped_stream_drop_their_publisher(running: Running) -> None:
    async with running() as house:
        for number, (reason, key_id) in enumerate((("key_revoked", "k1"), ("stopped", None)), 1):
            with pytest.raises(PublishError):
                async with publisher(house) as stream:
                    await house.ingest(number)
                    assert not house.server.drop("no-such-stream", reason)
                    assert not house.server.drop(STREAM, reason, key_id="k2")
                    assert house.server.drop(STREAM, reason, key_id=key_id)
                    while True:
                        await stream.send(KEYFRAME)
            assert await house.end(number) == reason
            assert house.ingests[-1].ended == reason


async def test_cut_connection_ends_the_ingest(running: Running) -> None:
    async with running() as house:
        async with raw(house) as stream:
            await shaken(stream)
            await stream.send_all(
                messages.command(128, 0, "connect", 1, {"app": "live"})
                + messages.command(128, 0, "createStream", 2, None)
                + messages.command(128, 1, "publish", 3, None, KEY)
                + rtmp.encode(9, 0, 1, KEYFRAME.data, csid=6)[:-2]
            )
            ingest = await house.ingest()
        assert await house.end() == "disconnected"
        assert ingest.ended == "disconnected"
        assert ingest.records == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "rtmp_version"),
        (b"\x16\x03\x01" + bytes(600), "rtmp_version"),
        (SHAKE + b"\xc3", "rtmp_chunk_order"),
        (SHAKE + messages.control(1, 2**31), "rtmp_chunk_size"),
        (SHAKE + messages.command(128, 1, "publish", 3, None, KEY), "rtmp_command_order"),
        (SHAKE + rtmp.encode(20, 0, 0, b"\x03\x00\x01a" * 9999, csid=3), "rtmp_amf"),
        (SHAKE + messages.command(128, 0, "connect", 1, {"app": "other"}), "bad_app"),
    ],
)
async def test_bad_peer_is_gone_with_a_reason_and_the_others_play_on(data: bytes, reason: str, running: Running) -> None:
    assert reason in REASONS
    async with running() as house, publisher(house) as fine:
        async with raw(house) as stream:
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(data)
                while await stream.receive_some():
                    pass
            assert await house.end() == reason
        await fine.send(KEYFRAME)
        await (await house.ingest()).until(lambda ingest: ingest.records)


async def test_large_messages_are_for_admitted_publishers() -> None:
    large = Tag(flv.VIDEO, 0, flv.avc_picture(bytes(2**20), key=True))
    async with houses.running(reactor=True) as house:
        async with raw(house) as stranger:
            with contextlib.suppress(trio.BrokenResourceError):  # it closes before it has read all
                await stranger.send_all(SHAKE + rtmp.encode(9, 0, 1, large.data, csid=6))
            assert await house.end() == "rtmp_message_size"
        async with publisher(house) as stream:
            await stream.send(large)
            await (await house.ingest()).until(lambda ingest: ingest.records)


async def test_truncated_at_every_byte_of_a_publish(running: Running) -> None:
    wire = b"".join(
        (
            messages.command(128, 0, "connect", 1, {"app": "live"}),
            messages.command(128, 0, "createStream", 2, None),
            messages.command(128, 1, "publish", 3, None, KEY),
            rtmp.encode(9, 0, 1, KEYFRAME.data, csid=6),
        )
    )
    async with running() as house:
        async with trio.open_nursery() as nursery:
            limit = trio.CapacityLimiter(16)

            async def one(cut: int) -> None:
                async with limit, raw(house) as stream:
                    with contextlib.suppress(trio.BrokenResourceError):
                        await stream.send_all((SHAKE + wire)[: len(SHAKE) + cut])

            for cut in range(len(wire)):
                nursery.start_soon(one, cut)
        await house.end(len(wire))
        assert set(house.ends) <= {"disconnected", "takeover"}
        assert all(ingest.ended for ingest in house.ingests)
        assert house.server.connections == house.server.publishers == 0


async def test_flood_of_connects_leaves_nothing_behind(running: Running) -> None:
    async with running() as house:
        async with trio.open_nursery() as nursery:

            async def some() -> None:
                for _ in range(25):
                    async with raw(house) as stream:
                        await stream.send_all(SHAKE[:1600])

            for _ in range(8):
                nursery.start_soon(some)
        await house.end(200)
        assert house.server.connections == 0


async def test_silent_peers_are_past_their_deadline(running: Running) -> None:
    """Time is told to the server, since sockets are real: first a peer that only shakes hands, then a publisher that stalls."""
    async with running(Timeouts(publish_s=10, idle_s=30)) as house, raw(house) as idle:
        with pytest.raises(PublishError):
            async with publisher(house) as stream:
                await shaken(idle)
                await stream.send(KEYFRAME)
                ingest = await (await house.ingest()).until(lambda ingest: ingest.records)
                now = trio.current_time()
                house.server.expire(now + 9)
                assert house.ends == []
                house.server.expire(now + 11)
                assert await house.end() == "publish_timeout"
                assert not ingest.ended
                house.server.expire(now + 31)
                assert ingest.ended == "stalled"
                assert await house.end(2) == "stalled"
                while True:
                    await stream.send(KEYFRAME)


async def test_drain_ends_publishers_cleanly_and_refuses_newcomers(running: Running) -> None:
    async with running() as house:
        with pytest.raises(PublishError):
            async with publisher(house) as stream:
                ingest = await house.ingest()
                await house.server.drain()
                assert ingest.ended == "shutdown"
                assert house.ends == ["shutdown"]
                while True:
                    await stream.send(KEYFRAME)
        async with raw(house) as late:
            with contextlib.suppress(trio.BrokenResourceError):
                assert await late.receive_some() == b""
        assert await house.end(2) == "shutdown"


async def test_bug_in_the_door_ends_one_connection(running: Running) -> None:
    async with running() as house:

        def broken(app: str, key: str, peer: str) -> None:
            raise ZeroDivisionError

        house.authorize = broken  # type: ignore[method-assign, assignment]
        with pytest.raises(PublishError):
            async with publisher(house):
                pass
        assert await house.end() == "internal"


async def test_expire_is_called_while_the_server_runs(autojump_clock: trio.testing.MockClock) -> None:
    house = House()
    closed: list[str] = []

    class Down:
        def send(self, conn: int, data: bytes) -> None: ...
        def wake_at(self, conn: int, timestamp: int) -> None: ...
        def follow(self, conn: int, sequence: object, prologue: bytes) -> None: ...
        def close(self, conn: int, reason: str) -> None:
            closed.append(reason)

    server = RtmpServer(house, Down(), new_sequence=lambda: None, guesses=house)  # type: ignore[arg-type, return-value]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        server.opened(1, "127.0.0.1")
        await trio.sleep(12)
        assert closed == ["publish_timeout"]
        nursery.cancel_scope.cancel()
