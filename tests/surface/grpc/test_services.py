"""StreamingService and AuthService over the real domain and identity, asked by a real client."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio
from google.protobuf import json_format
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from nova.core.bus import MemoryBus
from nova.core.clock import FakeClock
from nova.core.idempotency import SCHEMA, Idempotency
from nova.core.ids import Ids
from nova.core.offload import Offload
from nova.core.settings import load
from nova.core.sql import open_sqlite
from nova.core.values import Address, Seconds
from nova.media.streams.service import Streams
from nova.media.streams.store_memory import MemoryStore
from nova.realtime.chat.store_sql import SCHEMA as CHAT
from nova.surface import realtime as realtime_
from nova.surface.grpc.auth import AuthService, bearer
from nova.surface.grpc.generated import auth_v1_pb2 as auth
from nova.surface.grpc.generated import realtime_v1_pb2 as realtime_pb
from nova.surface.grpc.generated import streaming_v1_pb2 as streaming
from nova.surface.grpc.library import grpc
from nova.surface.grpc.realtime import RealtimeService
from nova.surface.grpc.server import Config, GrpcServer
from nova.surface.grpc.services import METHODS
from nova.surface.grpc.streaming import StreamingService
from nova.surface.identity import service as identity_
from nova.surface.identity.principal import UserId
from nova.surface.identity.store_memory import MemoryStore as IdentityMemory
from nova.surface.realtime import Realtime
from nova.surface.urls import Urls
from tests.media.streams.fakes import FakeRunning

NOTHING = "018f0000-0000-7000-8000-000000000000"


@dataclass
class World:
    """A server with its services, and a client's channel to it."""

    channel: Any
    identity: identity_.Identity
    running: FakeRunning
    clock: FakeClock
    realtime: Realtime

    async def token(self, user: str, *scopes: str) -> str:
        return (await self.identity.mint(user, scopes)).text

    async def ask(self, name: str, request: Any, token: str = "", **metadata: str) -> Any:
        """The answer to the call of that name; raises grpc.RpcError."""
        method = next(method for method in METHODS if method.endswith(f"/{name}"))
        module = streaming if "Streaming" in method else realtime_pb if "Realtime" in method else auth
        answer = getattr(module, f"{name}Response")
        pairs = [(key.replace("_", "-"), value) for key, value in metadata.items()]
        if token:
            pairs.append(("authorization", f"Bearer {token}"))
        stub = self.channel.unary_unary(method, type(request).SerializeToString, answer.FromString)
        with trio.fail_after(20):
            return await trio.to_thread.run_sync(lambda: stub(request, timeout=10, metadata=pairs))

    async def refused(self, name: str, request: Any, token: str = "", **metadata: str) -> tuple[Any, str]:
        """gRPC's code and ours."""
        with pytest.raises(grpc.RpcError) as caught:
            await self.ask(name, request, token, **metadata)
        info = error_details_pb2.ErrorInfo()
        status = rpc_status.from_call(caught.value)
        assert status is not None and status.details[0].Unpack(info)
        return caught.value.code(), info.reason


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = FakeClock()
    ids = Ids(clock)
    identity = identity_.build(load(environ={}).settings, tmp_path, IdentityMemory(), MemoryBus(clock), clock, ids)
    await identity.open()
    running = FakeRunning()
    streams = Streams(MemoryStore(), running, identity.path_sessions, clock=clock, new_id=ids.new)
    await streams.open()
    async with open_sqlite(tmp_path / "nova.db", [SCHEMA, CHAT], Offload(), now="") as sql, trio.open_nursery() as nursery:
        realtime = realtime_.build(load(environ={}).settings, sql, streams, identity, clock, ids)
        replays = Idempotency(sql, clock, ids, ttl=Seconds(86400))
        urls = Urls(public="https://live.example.org", rtmp_port=1935)
        handlers = {
            **StreamingService(streams, urls, replays, realtime).handlers(), **AuthService(identity).handlers(),
            **RealtimeService(realtime.hub).handlers(),
        }  # fmt: skip
        config = Config(Address("127.0.0.1", 0), None, insecure=False, max_message=65536, threads=4)
        server = GrpcServer(config, handlers, bearer(identity), Offload())
        address = await nursery.start(server.run)
        with grpc.insecure_channel(str(address)) as channel:
            yield World(channel, identity, running, clock, realtime)
        nursery.cancel_scope.cancel()


def start(**fields: Any) -> Any:
    return streaming.StartStreamRequest(**{"title": "First", **fields})


async def test_stream_is_made_read_changed_and_stopped(world: World) -> None:
    ada = await world.token("ada")
    made = await world.ask("StartStream", start(tags=["b", "a"], description="Text"), ada)
    stream = made.stream
    assert (stream.owner, stream.title, list(stream.tags), stream.visibility, stream.status) == (
        "ada",
        "First",
        ["b", "a"],
        "public",
        "idle",
    )
    assert made.rtmp_server == "rtmp://live.example.org:1935/live" and made.rtmp_url == f"{made.rtmp_server}/{made.key}"
    assert made.key.startswith("sk_") and stream.hls_url == f"https://live.example.org/live/{stream.id}/index.m3u8"
    assert stream.created_at.ToJsonString() == "2026-01-01T00:00:00Z" and not stream.HasField("started_at")

    seen = await world.ask("GetStreamStatus", streaming.GetStreamStatusRequest(stream_id=stream.id))
    assert seen.stream == stream
    change = streaming.UpdateStreamingProfileRequest(stream_id=stream.id, title="Second")
    changed = (await world.ask("UpdateStreamingProfile", change, ada)).stream
    assert (changed.title, changed.description, list(changed.tags)) == ("Second", "Text", ["b", "a"])
    masked = streaming.UpdateStreamingProfileRequest(stream_id=stream.id, title="ignored")
    masked.update_mask.paths.extend(["tags", "description"])
    changed = (await world.ask("UpdateStreamingProfile", masked, ada)).stream
    assert (changed.title, changed.description, list(changed.tags)) == ("Second", "", [])
    assert (await world.ask("StopStream", streaming.StopStreamRequest(stream_id=stream.id), ada)).stream.status == "idle"
    numbers = await world.ask("GetStreamAnalytics", streaming.GetStreamAnalyticsRequest(stream_id=stream.id), ada)
    assert numbers.stream_id == stream.id and numbers.status == "idle" and not numbers.broadcasts


async def test_viewer_gets_a_session_of_its_own(world: World) -> None:
    made = await world.ask("StartStream", start(), await world.token("ada"))
    joined = await world.ask("GetStreamingManifest", streaming.GetStreamingManifestRequest(stream_id=made.stream.id))
    assert joined.hls_url == f"https://live.example.org/live/~{joined.session}/{made.stream.id}/index.m3u8"
    assert joined.expires_at.ToMilliseconds() > world.clock.wall() * 1000


async def test_rules_are_those_of_the_http_twin(world: World) -> None:
    ada, bob = await world.token("ada"), await world.token("bob")
    codes = grpc.StatusCode
    assert await world.refused("StartStream", start()) == (codes.UNAUTHENTICATED, "unauthenticated")
    assert await world.refused("StartStream", start(), await world.token("eve", "chat")) == (codes.PERMISSION_DENIED, "missing_scope")
    assert await world.refused("StartStream", start(user_id="bob"), ada) == (codes.PERMISSION_DENIED, "forbidden")
    assert (await world.refused("StartStream", start(title=""), ada))[0] is codes.INVALID_ARGUMENT
    assert (await world.refused("StartStream", start(visibility="secret"), ada))[0] is codes.INVALID_ARGUMENT
    private = (await world.ask("StartStream", start(visibility="private"), ada)).stream.id
    public = (await world.ask("StartStream", start(user_id="ada"), ada)).stream.id
    stop = streaming.StopStreamRequest
    assert await world.refused("StopStream", stop(stream_id=public), bob) == (codes.PERMISSION_DENIED, "forbidden")
    for stream in (private, NOTHING, "no id"):
        assert await world.refused("StopStream", stop(stream_id=stream), bob) == (codes.NOT_FOUND, "not_found")
    unknown = streaming.UpdateStreamingProfileRequest(stream_id=public)
    unknown.update_mask.paths.append("owner")
    assert await world.refused("UpdateStreamingProfile", unknown, ada) == (codes.INVALID_ARGUMENT, "unknown_field")
    said = streaming.BroadcastChatMessageRequest(stream_id=public, text="hello")
    told = await world.ask("BroadcastChatMessage", said, ada)
    assert told.offset == 1 and 0 < len(told.epoch) <= 16
    said.text = "again"
    keyed = [await world.ask("BroadcastChatMessage", said, ada, idempotency_key="k") for _ in range(2)]
    assert [each.offset for each in keyed] == [2, 2]
    assert await world.refused("BroadcastChatMessage", streaming.BroadcastChatMessageRequest(stream_id=private, text="x"), bob) == (
        codes.NOT_FOUND, "not_found",
    )  # fmt: skip
    assert await world.refused("BroadcastChatMessage", streaming.BroadcastChatMessageRequest(stream_id=public), ada) == (
        codes.INVALID_ARGUMENT, "invalid_field",
    )  # fmt: skip


async def test_service_makes_a_stream_for_its_user(world: World) -> None:
    service = await world.token("feed", "service", "stream:write")
    made = await world.ask("StartStream", start(user_id="ada"), service, x_nova_user="ada")
    assert made.stream.owner == "ada"


async def test_repeated_call_with_a_key_makes_one_stream(world: World) -> None:
    ada = await world.token("ada")
    first = await world.ask("StartStream", start(), ada, idempotency_key="k1")
    assert await world.ask("StartStream", start(), ada, idempotency_key="k1") == first
    assert (await world.refused("StartStream", start(title="Other"), ada, idempotency_key="k1"))[1] == "idempotency_mismatch"
    assert await world.ask("StartStream", start(), ada, idempotency_key="k2") != first


async def test_users_are_served_to_services_only(world: World) -> None:
    service, ada = await world.token("feed", "service"), await world.token("ada")
    await world.identity.add_user("ada", "Ada")
    assert (await world.refused("GetUser", auth.GetUserRequest(user_id="ada"), ada))[1] == "missing_scope"
    assert (await world.ask("GetUser", auth.GetUserRequest(user_id="ada"), service)).user.name == "Ada"
    assert (await world.refused("GetUser", auth.GetUserRequest(user_id="zed"), service))[0] is grpc.StatusCode.NOT_FOUND
    batch = await world.ask("GetUserBatch", auth.GetUserBatchRequest(user_ids=["zed", "ada", "ada"]), service)
    assert [user.id for user in batch.users] == ["ada"] and list(batch.missing_user_ids) == ["zed"]
    many = auth.GetUserBatchRequest(user_ids=[str(number) for number in range(201)])
    assert (await world.refused("GetUserBatch", many, service))[1] == "invalid_field"
    for user, exists in (("ada", True), ("zed", False)):
        assert (await world.ask("CheckUserExists", auth.CheckUserExistsRequest(user_id=user), service)).exists is exists


async def test_tokens_are_validated_for_services(world: World) -> None:
    service, ada = await world.token("feed", "service"), await world.token("ada", "chat", "stream:write")
    answer = await world.ask("ValidateToken", auth.ValidateTokenRequest(token=ada), service)
    shown = json_format.MessageToDict(answer, preserving_proto_field_name=True)
    assert shown.pop("expires_at").startswith("2026-01-01T01:00:00")
    assert shown == {"valid": True, "user_id": "ada", "scopes": ["stream:write", "chat"]}
    await world.identity.revocations.revoke_user(UserId("ada"))
    answer = await world.ask("ValidateToken", auth.ValidateTokenRequest(token=ada), service)
    assert (answer.valid, answer.reason) == (False, "token_revoked")
    assert (await world.refused("StartStream", start(), ada))[1] == "token_revoked"


async def test_services_publish_read_and_end_connections(world: World) -> None:
    pb, codes, token = realtime_pb, grpc.StatusCode, await world.token("feed", "service")
    assert await world.refused("Publish", pb.PublishRequest(channel="public:a", data_json="1"), await world.token("ada")) == (
        codes.PERMISSION_DENIED, "missing_scope",
    )  # fmt: skip
    request = pb.PublishRequest(channel="public:a", idempotency_key="k")
    request.data.struct_value.update({"n": 1, "list": [1.5, "x", None]})
    done = await world.ask("Publish", request, token)
    assert (done.offset, done.durable) == (1, False) and await world.ask("Publish", request, token) == done
    longer = pb.PublishRequest(channel="public:a", data_json="2", idempotency_key="k" * 256)  # cut, it was another one's
    states = pb.PublishRequest(channel="public:a", data_json="2", conflate_key="\u00e4" * 128)
    for refused in (longer, states):
        assert await world.refused("Publish", refused, token) == (codes.INVALID_ARGUMENT, "invalid_field")
    for fields in ({"channel": "public:a"}, {"channel": "public:a", "data_json": "{"}, {"channel": "x", "data_json": "1"}):
        assert (await world.refused("Publish", pb.PublishRequest(**fields), token))[0] == codes.INVALID_ARGUMENT
    for number in (float("nan"), float("inf"), -float("inf")):
        nested = pb.PublishRequest(channel="public:a")
        nested.data.struct_value.update({"list": [1.5, {"n": 1}]})
        nested.data.struct_value.fields["list"].list_value.values[1].struct_value.fields["n"].number_value = number
        plain = pb.PublishRequest(channel="public:a")
        plain.data.number_value = number
        for wrong in (nested, plain, pb.PublishRequest(channel="public:a", data_json=f"[{json.dumps(number)}]")):
            assert await world.refused("Publish", wrong, token) == (codes.INVALID_ARGUMENT, "invalid_field")
    sent = await world.ask("Broadcast", pb.BroadcastRequest(channels=["public:a", "nobody:x"], data_json='{"b": 2}'), token)
    assert [(each.channel, each.offset, each.code) for each in sent.results] == [("public:a", 2, ""), ("nobody:x", 0, "not_found")]
    found = await world.ask("History", pb.HistoryRequest(channel="public:a"), token)
    assert [each.data_json for each in found.publications] == ['{"list":[1.5,"x",null],"n":1}', '{"b":2}'] or [
        each.data_json for each in found.publications
    ] == ['{"n":1,"list":[1.5,"x",null]}', '{"b":2}']
    shown = json_format.MessageToDict(found)["publications"]  # the names of the HTTP twin (contract), beside the exact texts
    assert [each["data"] for each in shown] == [{"n": 1, "list": [1.5, "x", None]}, {"b": 2}] and not found.publications[0].HasField("info")
    assert len((await world.ask("History", pb.HistoryRequest(channel="public:a", since=1, epoch=found.epoch), token)).publications) == 1
    room = world.realtime.hub.rooms.get("public:a")
    assert room is not None
    reader = room.channel.reader()
    occupied = await world.ask("Channels", pb.ChannelsRequest(prefix="public:"), token)
    assert [(each.channel, each.readers) for each in occupied.channels] == [("public:a", 1)] and occupied.total == 1
    info = await world.ask("Info", pb.InfoRequest(), token)
    assert (info.here.readers, info.here.publications, len(info.others)) == (1, 2, 0) and info.here.node == world.realtime.hub.sockets.node
    assert (await world.refused("Info", pb.InfoRequest(), await world.token("ada")))[1] == "missing_scope"
    reader.close()
    assert (await world.ask("Presence", pb.PresenceRequest(channel="public:a"), token)).count == 0
    ended: list[int] = []
    left: list[tuple[str, int, str]] = []
    holder = realtime_.holder(await world.identity.of_token_or_fetch(await world.token("ada")))

    class Listener:
        def end(self, code: int, reason: str, reconnect_after_ms: int | None) -> None:
            ended.append(code)

        def leave(self, channel: str, code: int, reason: str) -> None:
            left.append((channel, code, reason))

    with world.realtime.sockets.attended(holder, Listener()):
        await world.ask("Disconnect", pb.DisconnectRequest(user="ada"), token)
        assert ended == [4312]
        await world.ask("Disconnect", pb.DisconnectRequest(user="ada", channel="public:a"), token)
        assert left == [("public:a", 4301, "forbidden")]
    assert (await world.refused("Disconnect", pb.DisconnectRequest(user="", code=1), token))[0] == codes.INVALID_ARGUMENT
