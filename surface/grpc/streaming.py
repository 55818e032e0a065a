"""StreamingService: the streams domain over gRPC. Fields and rules are those of `/v1/streams`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

from nova.core.errors import BadRequest, FieldError
from nova.core.idempotency import Answer, Claim
from nova.core.ids import parse_id
from nova.media.streams import access
from nova.media.streams.access import Caller
from nova.media.streams.model import Changes, StreamId, UserId, Visibility
from nova.media.streams.service import Draft, Seen, Streams
from nova.surface.grpc.call import Call, Handlers
from nova.surface.http.routes_streams import CREATE
from nova.surface.http.schema import read
from nova.surface.identity.scopes import ADMIN
from nova.surface.realtime import Realtime, comment, who
from nova.surface.urls import Urls

# The messages are loaded by the first call, which has parsed its request before it comes here.
if TYPE_CHECKING:
    from nova.surface.grpc.generated import streaming_v1_pb2 as pb

SERVICE: Final = "/nova.streaming.v1.StreamingService"
WRITE: Final = "stream:write"
CHAT: Final = "chat"
IDEMPOTENCY: Final = "idempotency-key"  # metadata, as the header over HTTP


class Replays(Protocol):
    """Answers kept for a repeated idempotency key."""

    async def once(
        self, user: str, route: str, key: str, request: bytes, work: Callable[[Claim], Awaitable[Answer]]
    ) -> tuple[Answer, bool]:
        """See core.idempotency.Idempotency."""


class StreamingService:
    """Handlers over the domain. Every one raises NovaError as the domain does."""

    def __init__(self, streams: Streams, urls: Urls, replays: Replays, realtime: Realtime) -> None:
        self._streams = streams
        self._realtime = realtime
        self._urls = urls
        self._replays = replays

    def handlers(self) -> Handlers:
        """By full method."""
        return {
            f"{SERVICE}/StartStream": self.start_stream,
            f"{SERVICE}/StopStream": self.stop_stream,
            f"{SERVICE}/GetStreamStatus": self.get_stream_status,
            f"{SERVICE}/GetStreamingManifest": self.get_streaming_manifest,
            f"{SERVICE}/UpdateStreamingProfile": self.update_streaming_profile,
            f"{SERVICE}/GetStreamAnalytics": self.get_stream_analytics,
            f"{SERVICE}/BroadcastChatMessage": self.broadcast_chat_message,
        }

    async def start_stream(self, request: pb.StartStreamRequest, call: Call) -> pb.StartStreamResponse:
        """A new stream with its first key. Metadata `idempotency-key`: a repeated call gets the first answer."""
        from nova.surface.grpc.generated import streaming_v1_pb2 as pb

        owner = UserId(call.require(WRITE).user)
        call.acts_for(request.user_id)

        async def work(claim: Claim | None) -> Answer:
            made = await self._start(owner, request, call)
            return Answer(200, {}, made.SerializeToString())

        key = call.metadata.get(IDEMPOTENCY, "")
        if not key:
            return await self._start(owner, request, call)
        digest = sha256(request.SerializeToString(deterministic=True)).digest()
        answer, _ = await self._replays.once(owner, call.method, key, digest, work)
        again: pb.StartStreamResponse = pb.StartStreamResponse.FromString(answer.body)
        return again

    async def _start(self, owner: UserId, request: pb.StartStreamRequest, call: Call) -> pb.StartStreamResponse:
        from nova.surface.grpc.generated import streaming_v1_pb2 as pb

        body = read(
            CREATE,
            {
                "title": request.title,
                "description": request.description,
                "tags": list(request.tags),
                "visibility": request.visibility or "public",
                "record": request.record,
            },
        )
        draft = Draft(body["title"], body["description"], tuple(body["tags"]), Visibility(body["visibility"]), body["record"])
        stream, key = await self._streams.create(owner, draft)
        server = self._urls.rtmp_server(self._host())
        return pb.StartStreamResponse(
            stream=self._shown(Seen(stream, 0)),
            key=key.text,
            key_id=key.record.id,
            rtmp_server=server,
            rtmp_url=None if server is None else f"{server}/{key.text}",
        )

    async def stop_stream(self, request: pb.StopStreamRequest, call: Call) -> pb.StopStreamResponse:
        from nova.surface.grpc.generated import streaming_v1_pb2 as pb

        call.require(WRITE)
        return pb.StopStreamResponse(stream=self._shown(await self._streams.stop(_id(request), _caller(call))))

    async def get_stream_status(self, request: pb.GetStreamStatusRequest, call: Call) -> pb.GetStreamStatusResponse:
        from nova.surface.grpc.generated import streaming_v1_pb2 as pb

        return pb.GetStreamStatusResponse(stream=self._shown(await self._streams.get(_id(request), _caller(call))))

    async def get_streaming_manifest(self, request: pb.GetStreamingManifestRequest, call: Call) -> pb.GetStreamingManifestResponse:
        """A viewer's session and the address of its playlist."""
        from nova.surface.grpc.generated import streaming_v1_pb2 as pb

        stream = _id(request)
        joined = await self._streams.join(stream, _caller(call))
        shown = pb.GetStreamingManifestResponse(
            session=joined.session, hls_url=self._urls.hls(self._base(), stream, joined.session), viewers=joined.viewers
        )
        shown.expires_at.FromMilliseconds(joined.expires_at)
        return shown

    async def update_streaming_profile(self, request: pb.UpdateStreamingProfileRequest, call: Call) -> pb.UpdateStreamingProfileResponse:
        from nova.surface.grpc.generated import streaming_v1_pb2 as pb

        call.require(WRITE)
        before = await self._streams.owned(_id(request), _caller(call))  # who may not change it learns nothing about the fields
        given = _given(request)
        body = {
            "title": before.title,
            "description": before.description,
            "tags": list(before.tags),
            "visibility": before.visibility,
            "record": before.record,
        } | given
        wanted = read(CREATE, body)
        changes = Changes(
            title=wanted["title"] if "title" in given else None,
            description=wanted["description"] if "description" in given else None,
            tags=tuple(wanted["tags"]) if "tags" in given else None,
            visibility=Visibility(wanted["visibility"]) if "visibility" in given else None,
            record=wanted["record"] if "record" in given else None,
        )
        changed = await self._streams.change(before.id, _caller(call), changes)
        return pb.UpdateStreamingProfileResponse(stream=self._shown(changed))

    async def get_stream_analytics(self, request: pb.GetStreamAnalyticsRequest, call: Call) -> pb.GetStreamAnalyticsResponse:
        from nova.surface.grpc.generated import streaming_v1_pb2 as pb

        call.require(WRITE)
        found = await self._streams.analytics(_id(request), _caller(call))
        shown = pb.GetStreamAnalyticsResponse(
            stream_id=found.stream.id,
            status=found.stream.status,
            viewers=found.viewers,
            peak_viewers=found.peak_viewers,
            viewer_seconds=found.viewer_ms / 1000,
            live_seconds=found.live_ms / 1000,
        )
        if found.ingest:
            shown.ingest.update(dict(found.ingest))
        for each in found.broadcasts:
            broadcast = shown.broadcasts.add(
                id=each.id, reason=each.reason, peak_viewers=each.peak_viewers, viewer_seconds=each.viewer_ms / 1000
            )
            broadcast.started_at.FromMilliseconds(each.started_at)
            if each.ended_at is not None:
                broadcast.ended_at.FromMilliseconds(each.ended_at)
        return shown

    async def broadcast_chat_message(self, request: pb.BroadcastChatMessageRequest, call: Call) -> pb.BroadcastChatMessageResponse:
        """A comment. Metadata `idempotency-key`: the same text again within five minutes is the first comment."""
        from nova.surface.grpc.generated import streaming_v1_pb2 as pb

        asks, stream = who(call.require(CHAT), call.peer), _id(request)
        key = call.metadata.get(IDEMPOTENCY, "")
        place = (await comment(self._realtime.hub, self._realtime.chat, asks, stream, request.text, key)).place
        assert place is not None
        return pb.BroadcastChatMessageResponse(offset=place.offset, epoch=place.epoch)

    def _base(self) -> str:
        # A gRPC caller names no host for HTTP: the public URL, else the listener.
        return self._urls.base("http", "")

    def _host(self) -> str:
        name = urlsplit(self._base()).hostname or "127.0.0.1"
        return f"[{name}]" if ":" in name else name

    def _shown(self, seen: Seen) -> pb.Stream:
        from nova.surface.grpc.generated import streaming_v1_pb2 as pb

        stream, base = seen.stream, self._base()
        shown = pb.Stream(
            id=stream.id,
            title=stream.title,
            description=stream.description,
            tags=stream.tags,
            visibility=stream.visibility,
            record=stream.record,
            owner=stream.owner,
            status=stream.status,
            viewers=seen.viewers,
            watch_url=self._urls.watch(base, stream.id),
            hls_url=self._urls.hls(base, stream.id),
            thumb_url=self._urls.thumb(base, stream.id),
        )
        shown.created_at.FromMilliseconds(stream.created_at)
        if stream.started_at is not None:
            shown.started_at.FromMilliseconds(stream.started_at)
        if stream.ended_at is not None:
            shown.ended_at.FromMilliseconds(stream.ended_at)
        return shown


def _given(request: pb.UpdateStreamingProfileRequest) -> dict[str, Any]:
    """The fields to set. Raises BadRequest: the mask names something else."""
    values: dict[str, Any] = {
        "title": request.title,
        "description": request.description,
        "tags": list(request.tags),
        "visibility": request.visibility or "public",
        "record": request.record,
    }
    named = list(request.update_mask.paths)
    if not named:
        return {name: value for name, value in values.items() if (value if name == "tags" else request.HasField(name))}
    for name in named:
        if name not in values:
            wrong = FieldError("/update_mask", "unknown_field", f"{name[:40]!r} is not a field that can be changed")
            raise BadRequest("unknown_field", wrong.detail, fields=(wrong,))
    return {name: values[name] for name in named}


def _id(request: Any) -> StreamId:
    """Raises NotFound for what can not be an id: nothing of that name exists."""
    found = parse_id(request.stream_id)
    if found is None:
        raise access.missing(request.stream_id)
    return StreamId(found)


def _caller(call: Call) -> Caller:
    if call.principal is None:
        return Caller()
    return Caller(UserId(call.principal.user), operator=call.principal.holds(ADMIN))
