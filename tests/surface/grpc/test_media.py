"""MediaService and VideoService over the real domains, asked by a real client."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from nova.core.blobs.files import FileBlobs
from nova.core.bus import MemoryBus
from nova.core.clock import FakeClock
from nova.core.ids import Ids
from nova.core.metrics import Metrics
from nova.core.offload import Offload
from nova.core.settings import load
from nova.core.sql import open_sqlite
from nova.core.values import Address
from nova.media.streams.access import Caller
from nova.media.streams.model import UserId
from nova.media.uploads.model import UploadId
from nova.surface.grpc.auth import bearer
from nova.surface.grpc.generated import media_v1_pb2 as media_pb
from nova.surface.grpc.generated import video_v1_pb2 as video_pb
from nova.surface.grpc.library import grpc
from nova.surface.grpc.media import MediaService
from nova.surface.grpc.server import Config, GrpcServer
from nova.surface.grpc.services import METHODS
from nova.surface.identity import service as identity_
from nova.surface.identity.store_memory import MemoryStore as IdentityMemory
from nova.surface.media import SCHEMAS, Media, open_media
from nova.surface.urls import Urls


class World:
    def __init__(self, channel: Any, identity: identity_.Identity, media: Media) -> None:
        self.channel, self.identity, self.media = channel, identity, media

    async def ask(self, method: str, request: Any, user: str = "ada") -> Any:
        """The answer; raises grpc.RpcError. Method: `MediaService/GetVideo`."""
        full = next(each for each in METHODS if each.endswith(f".{method}"))
        messages = video_pb if "VideoService" in full else media_pb
        answer = getattr(messages, method.rpartition("/")[2] + "Response")
        pairs = [("authorization", f"Bearer {(await self.identity.mint(user, ())).text}")] if user else []
        stub = self.channel.unary_unary(full, type(request).SerializeToString, answer.FromString)
        with trio.fail_after(20):
            return await trio.to_thread.run_sync(lambda: stub(request, timeout=10, metadata=pairs))

    async def refused(self, method: str, request: Any, user: str = "ada") -> Any:
        with pytest.raises(grpc.RpcError) as caught:
            await self.ask(method, request, user)
        return caught.value.code()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock, offload = FakeClock(), Offload()
    ids = Ids(clock)
    settings = load(environ={}).settings
    identity = identity_.build(settings, tmp_path, IdentityMemory(), MemoryBus(clock), clock, ids)
    await identity.open()
    async with open_sqlite(tmp_path / "nova.db", SCHEMAS, offload, now="") as sql, trio.open_nursery() as nursery:
        blobs = FileBlobs(tmp_path / "blobs", offload)
        media = open_media(settings, tmp_path, sql, blobs, MemoryBus(clock), clock, ids, offload, Metrics())
        await nursery.start(media.run)
        handlers = MediaService(media, Urls(public="https://nova.example")).handlers()
        config = Config(Address("127.0.0.1", 0), None, insecure=False, max_message=65536, threads=4)
        server = GrpcServer(config, handlers, bearer(identity), offload)
        address = await nursery.start(server.run)
        server.set_serving(True)
        with grpc.insecure_channel(str(address)) as channel:
            yield World(channel, identity, media)
        nursery.cancel_scope.cancel()


async def test_an_upload_from_its_start_to_its_end(world: World) -> None:
    started = await world.ask("MediaService/StartUpload", media_pb.StartUploadRequest(size=3, filename="a.mp4", kind="video", title="Film"))
    assert started.url == f"https://nova.example/v1/uploads/{started.upload.id}"
    assert (started.upload.status, started.upload.offset) == ("uploading", 0)
    id = started.upload.id
    assert (
        await world.refused("MediaService/CompleteUpload", media_pb.CompleteUploadRequest(upload_id=id))
        is grpc.StatusCode.FAILED_PRECONDITION
    )

    async def body() -> AsyncIterator[bytes]:
        yield b"abc"

    await world.media.uploads.append(UploadId(id), Caller(UserId("ada")), 0, body())
    told = await world.ask("MediaService/UpdateUploadProgress", media_pb.UpdateUploadProgressRequest(upload_id=id, offset=2))
    assert told.upload.offset == 3
    with trio.fail_after(10):
        while (
            found := (await world.ask("MediaService/CompleteUpload", media_pb.CompleteUploadRequest(upload_id=id))).upload
        ).status == "processing":
            await trio.sleep(0.01)
    assert (found.status, found.error_code) == ("failed", "unsupported_type")
    again = await world.ask("MediaService/GetUpload", media_pb.GetUploadRequest(upload_id=id))
    assert again.upload.error_code == "unsupported_type"
    assert await world.refused("MediaService/GetUpload", media_pb.GetUploadRequest(upload_id=id), "bob") is grpc.StatusCode.NOT_FOUND
    assert await world.refused("MediaService/GetUpload", media_pb.GetUploadRequest(upload_id=id), "") is grpc.StatusCode.UNAUTHENTICATED
    for wrong in (
        media_pb.StartUploadRequest(size=0),
        media_pb.StartUploadRequest(size=5, kind="music"),
        media_pb.StartUploadRequest(size=5, preset="x"),
    ):
        assert await world.refused("MediaService/StartUpload", wrong) is grpc.StatusCode.INVALID_ARGUMENT


async def test_videos_and_reels(world: World) -> None:
    video = (await world.ask("MediaService/CreateVideo", media_pb.CreateVideoRequest(title="V", visibility="private"))).video
    reel = (await world.ask("MediaService/CreateReel", media_pb.CreateReelRequest(title="R"))).reel
    assert (video.kind, video.status, reel.kind, reel.owner) == ("video", "pending", "reel", "ada")
    assert (await world.ask("MediaService/GetVideo", media_pb.GetVideoRequest(video_id=video.id))).video == video
    assert await world.refused("MediaService/GetVideo", media_pb.GetVideoRequest(video_id=video.id), "bob") is grpc.StatusCode.NOT_FOUND
    assert (await world.ask("MediaService/GetReel", media_pb.GetReelRequest(reel_id=reel.id), "")).reel.title == "R"
    assert await world.refused("MediaService/GetReel", media_pb.GetReelRequest(reel_id=video.id)) is grpc.StatusCode.NOT_FOUND
    assert [each.id for each in (await world.ask("MediaService/ListReels", media_pb.ListReelsRequest(), "")).items] == [reel.id]
    assert [each.id for each in (await world.ask("MediaService/GetUserVideos", media_pb.GetUserVideosRequest())).items] == [video.id]
    assert (await world.ask("MediaService/GetUserVideos", media_pb.GetUserVideosRequest(user_id="ada"), "bob")).items == []
    other = media_pb.CreateVideoRequest(title="V", user_id="bob")
    assert await world.refused("MediaService/CreateVideo", other) is grpc.StatusCode.PERMISSION_DENIED
    assert await world.refused("MediaService/CreateVideo", media_pb.CreateVideoRequest()) is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_video_service(world: World) -> None:
    started = await world.ask("VideoService/UploadVideo", video_pb.UploadVideoRequest(size=3, title="Film"))
    assert started.url.endswith(started.upload_id)
    video = (await world.ask("MediaService/CreateVideo", media_pb.CreateVideoRequest(title="V"))).video
    shown = (await world.ask("VideoService/GetVideoMetadata", video_pb.GetVideoMetadataRequest(video_id=video.id))).video
    assert (shown.id, shown.title) == (video.id, "V")
    page = await world.ask("VideoService/ListVideos", video_pb.ListVideosRequest(limit=1))
    assert ([each.id for each in page.items], page.cursor) == ([video.id], "")
    for method, request in (
        ("TranscodeVideo", video_pb.TranscodeVideoRequest()),
        ("GetTranscodingProgress", video_pb.GetTranscodingProgressRequest()),
    ):
        assert await world.refused(f"VideoService/{method}", request) is grpc.StatusCode.UNIMPLEMENTED
    assert (
        await world.refused("VideoService/DeleteVideo", video_pb.DeleteVideoRequest(video_id=video.id), "bob")
        is grpc.StatusCode.PERMISSION_DENIED
    )
    await world.ask("VideoService/DeleteVideo", video_pb.DeleteVideoRequest(video_id=video.id))
    assert (
        await world.refused("VideoService/GetVideoMetadata", video_pb.GetVideoMetadataRequest(video_id=video.id))
        is grpc.StatusCode.NOT_FOUND
    )
