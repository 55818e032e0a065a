"""StreamingService and AuthService over the real domain and identity, asked by a real client."""

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
from nova.surface.grpc.auth import AuthService, bearer
from nova.surface.grpc.generated import auth_v1_pb2 as auth
from nova.surface.grpc.generated import streaming_v1_pb2 as streaming
from nova.surface.grpc.library import grpc
from nova.surface.grpc.server import Config, GrpcServer
from nova.surface.grpc.services import METHODS
from nova.surface.grpc.streaming import StreamingService
from nova.surface.identity import service as identity_
from nova.surface.identity.principal import UserId
from nova.surface.identity.store_memory import MemoryStore as IdentityMemory
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

    async def token(self, user: str, *scopes: str) -> str:
        return (await self.identity.mint(user, scopes)).text

    async def ask(self, name: str, request: Any, token: str = "", **metadata: str) -> Any:
        """The answer to the call of that name; raises grpc.RpcError."""
        method = next(method for method in METHODS if method.endswith(f"/{name}"))
        answer = getattr(streaming if "Streaming" in method else auth, f"{name}Response")
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
    async with open_sqlite(tmp_path / "nova.db", [SCHEMA], Offload(), now="") as sql, trio.open_nursery() as nursery:
        replays = Idempotency(sql, clock, ids, ttl=Seconds(86400))
        urls = Urls(public="https://live.example.org", rtmp_port=1935)
        handlers = {**StreamingService(streams, urls, replays).handlers(), **AuthService(identity).handlers()}
        config = Config(Address("127.0.0.1", 0), None, insecure=False, max_message=65536, threads=4)
        server = GrpcServer(config, handlers, bearer(identity), Offload())
        address = await nursery.start(server.run)
        with grpc.insecure_channel(str(address)) as channel:
            yield World(channel, identity, running, clock)
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
    assert await world.refused("BroadcastChatMessage", said, ada) == (codes.UNIMPLEMENTED, "not_yet")


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
