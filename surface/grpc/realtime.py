"""RealtimeService: channels from the server's side. The same decisions as `/v1/realtime` and `/v1/channels`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import trio

from nova.core.errors import BadRequest, FieldError, NovaError
from nova.realtime.channels import encoded
from nova.realtime.history import Place
from nova.realtime.hub import CHANNELS_MOST, PAGE, Hub
from nova.surface.grpc.call import Call, Handlers
from nova.surface.grpc.values import value_of
from nova.surface.http.route import LIMIT_MAX
from nova.surface.http.routes_channels import whole
from nova.surface.http.routes_realtime import reason_of
from nova.surface.identity.principal import USER_ID
from nova.surface.identity.scopes import SERVICE as SERVICE_SCOPE
from nova.surface.realtime import who

if TYPE_CHECKING:
    from nova.surface.grpc.generated import realtime_v1_pb2 as pb

SERVICE: Final = "/nova.realtime.v1.RealtimeService"
ANSWER: Final = 3 * 2**20  # bytes of a page of history, about; clients take 4 MiB


class RealtimeService:
    """Handlers over the hub. Every one raises NovaError as the hub does."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def handlers(self) -> Handlers:
        """By full method."""
        calls = ("publish", "broadcast", "disconnect", "presence", "history", "channels", "info")
        return {f"{SERVICE}/{name.title()}": getattr(self, name) for name in calls}

    async def publish(self, request: pb.PublishRequest, call: Call) -> pb.PublishResponse:
        from nova.surface.grpc.generated import realtime_v1_pb2 as pb

        service = call.require(SERVICE_SCOPE).user
        key, once = _key(request.conflate_key, "conflate_key", 128), _key(request.idempotency_key, "idempotency_key", 255)
        done = await self._hub.say(request.channel, _data(request), conflate_key=key, once=once, by=service)
        return pb.PublishResponse(offset=done.place.offset, epoch=done.place.epoch, durable=done.durable)

    async def broadcast(self, request: pb.BroadcastRequest, call: Call) -> pb.BroadcastResponse:
        from nova.surface.grpc.generated import realtime_v1_pb2 as pb

        call.require(SERVICE_SCOPE)
        if len(request.channels) > CHANNELS_MOST:
            raise _wrong("/channels", f"at most {CHANNELS_MOST} channels")
        data, answer = _data(request), pb.BroadcastResponse()
        for channel in dict.fromkeys(request.channels):
            try:
                place = (await self._hub.say(channel, data)).place
                answer.results.add(channel=channel, offset=place.offset, epoch=place.epoch)
            except NovaError as error:
                answer.results.add(channel=channel, code=error.code)
        return answer

    async def disconnect(self, request: pb.DisconnectRequest, call: Call) -> pb.DisconnectResponse:
        from nova.surface.grpc.generated import realtime_v1_pb2 as pb

        call.require(SERVICE_SCOPE)
        if not USER_ID.fullmatch(request.user):
            raise _wrong("/user", "a user id has 1 to 64 of A-Z a-z 0-9 _ -")
        code = request.code or (4301 if request.channel else 4312)
        if not 4000 <= code <= 4499:
            raise _wrong("/code", "must be from 4000 to 4499")
        reason = reason_of(code, request.reason[:100])
        if request.channel:
            await self._hub.unsubscribe(request.user, request.channel, code, reason)
        else:
            await self._hub.disconnect(request.user, code, reason)
        return pb.DisconnectResponse()

    async def presence(self, request: pb.PresenceRequest, call: Call) -> pb.PresenceResponse:
        from nova.surface.grpc.generated import realtime_v1_pb2 as pb

        asks = who(call.require(SERVICE_SCOPE), call.peer)
        try:
            start = whole(request.cursor) if request.cursor else 0
        except ValueError:
            raise BadRequest("bad_cursor", "use the cursor that the page before gave") from None
        limit = min(max(0, request.limit) or LIMIT_MAX, LIMIT_MAX)
        count, members, more = await self._hub.presence(asks, request.channel, start, limit)
        answer = pb.PresenceResponse(count=count, more=more, cursor=str(start + limit) if more else "")
        for each in members:
            answer.members.add(user=each.user or "", client=each.client, since=each.since)
        return answer

    async def history(self, request: pb.HistoryRequest, call: Call) -> pb.HistoryResponse:
        from nova.surface.grpc.generated import realtime_v1_pb2 as pb

        asks = who(call.require(SERVICE_SCOPE), call.peer)
        since = Place(max(0, request.since), request.epoch)
        room, page = await self._hub.history(asks, request.channel, since, max(0, request.limit) or PAGE, any_epoch=not request.epoch)
        answer, size = pb.HistoryResponse(offset=room.history.offset, epoch=room.history.epoch, more=page.more), 0
        for each in page.publications:
            value, info = value_of(each.data), each.info or b""
            size += len(value) + len(each.data) + 8 * len(info)
            if size > ANSWER and answer.publications:
                answer.more = True
                break
            said = answer.publications.add(offset=each.offset, data_json=each.data.decode(), at=each.at, info_json=info.decode())
            if value:
                said.data.MergeFromString(value)
            if info:
                said.info.MergeFromString(value_of(info))
            await trio.lowlevel.checkpoint()  # 60 KiB of numbers take 20 ms
        return answer

    async def channels(self, request: pb.ChannelsRequest, call: Call) -> pb.ChannelsResponse:
        from nova.surface.grpc.generated import realtime_v1_pb2 as pb

        call.require(SERVICE_SCOPE)
        found = await self._hub.occupied(request.prefix)
        answer = pb.ChannelsResponse(total=len(found))
        for name, readers in found[: min(max(0, request.limit) or LIMIT_MAX, LIMIT_MAX)]:
            answer.channels.add(channel=name, readers=readers)
        return answer

    async def info(self, request: pb.InfoRequest, call: Call) -> pb.InfoResponse:
        from nova.surface.grpc.generated import realtime_v1_pb2 as pb

        call.require(SERVICE_SCOPE)
        found = await self._hub.info()

        def shown(numbers: dict[str, Any]) -> pb.Node:  # another node may be of another version
            return pb.Node(**{name: value for name, value in numbers.items() if name in pb.Node.DESCRIPTOR.fields_by_name})

        return pb.InfoResponse(here=shown(found), others=map(shown, found["others"]))


def _data(request: Any) -> bytes:
    """The value to publish, compact. Raises BadRequest: none, or one that cannot be told to every client."""
    import json

    from google.protobuf.json_format import MessageToDict

    if request.data_json:
        try:
            return encoded(json.loads(request.data_json))
        except (ValueError, RecursionError):
            raise _wrong("/data_json", "must be JSON") from None
    if not request.HasField("data"):
        raise _wrong("/data", "is required")
    return encoded(_whole(MessageToDict(request.data)))


def _key(text: str, field: str, most: int) -> str:
    """A key, or none. Raises BadRequest."""
    if not re.fullmatch(rf"[!-~]{{0,{most}}}", text):
        raise _wrong(f"/{field}", f"must have at most {most} visible ASCII characters")
    return text


def _whole(value: Any) -> Any:
    """Protobuf's numbers are all floating point: those without a fraction become integers again."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, list):
        return [_whole(each) for each in value]
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in value.items()}
    return value


def _wrong(pointer: str, detail: str) -> BadRequest:
    return BadRequest("invalid_field", detail, fields=[FieldError(pointer, "invalid_field", detail)])
