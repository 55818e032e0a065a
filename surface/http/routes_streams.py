"""`/v1/streams`: the routes of the streams domain."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from nova.core.clock import rfc3339
from nova.core.errors import BadRequest
from nova.core.ids import parse_id
from nova.media.streams import access
from nova.media.streams.model import (
    DESCRIPTION_MAX,
    TAG_MAX,
    TAGS_MAX,
    TITLE_MAX,
    Changes,
    KeyId,
    Status,
    Stream,
    StreamId,
    UnixMs,
    UserId,
    Visibility,
)
from nova.media.streams.service import Draft, NewKey, Seen, Streams
from nova.surface.http import cursors
from nova.surface.http.bodies import merge_patch
from nova.surface.http.call import Call
from nova.surface.http.route import CURSOR, LIMIT, NO_CONTENT, Query, Reply, Route, created, one_of, page, short_text
from nova.surface.http.schema import (
    ID,
    TIME,
    URL,
    Anything,
    Array,
    Boolean,
    Choice,
    Integer,
    Number,
    Object,
    OrNull,
    Text,
    optional,
    page_of,
    read,
    read_patch,
    required,
)
from nova.surface.urls import Urls

Json = Any

LIST: Final = "streams"
QUERY_MAX: Final = 200  # characters of a search
COUNT: Final = Integer(0, 2**53)
USER_ID: Final = r"[A-Za-z0-9_-]{1,64}"

EDITABLE: Final = {
    "title": required(Text(TITLE_MAX, 1, doc="One line.")),
    "description": optional(Text(DESCRIPTION_MAX, lines=True), ""),
    "tags": optional(Array(Text(TAG_MAX, 1), TAGS_MAX, distinct=True), []),
    "visibility": optional(
        Choice([*Visibility], "public: listed. unlisted: open to whoever has the id. private: the owner and granted users."),
        "public",
    ),
    "record": optional(Boolean("Keep a recording of each broadcast."), False),
}
CREATE: Final = Object(EDITABLE, "StreamCreate")
PATCH: Final = Object(
    {name: optional(OrNull(member.shape)) for name, member in EDITABLE.items()},
    "StreamPatch",
    "A merge patch (RFC 7396): what is left out stays, null gives the default.",
)

_STREAM: Final = {
    "id": required(ID),
    "title": required(Text(TITLE_MAX)),
    "description": required(Text(DESCRIPTION_MAX)),
    "tags": required(Array(Text(TAG_MAX), TAGS_MAX)),
    "visibility": required(Choice([*Visibility])),
    "owner": required(Text(64, doc="User id.")),
    "status": required(Choice([*Status])),
    "viewers": required(Integer(0, 2**53, "Distinct sessions with a request in the last 10 s.")),
    "started_at": required(OrNull(TIME)),
    "created_at": required(TIME),
    "watch_url": required(URL),
    "hls_url": required(URL),
    "thumb_url": required(URL),
    "record": required(Boolean()),
    "ended_at": required(OrNull(TIME)),
}
_KEY_SHOWN: Final = {
    "key": required(Text(100, doc="The stream key, shown this once.")),
    "key_id": required(ID),
    "rtmp_server": required(OrNull(URL)),
    "rtmp_url": required(OrNull(Text(2000, doc="rtmp_server and key in one; null while RTMP is off."))),
}
STREAM: Final = Object(_STREAM, "Stream", open=True)
CREATED: Final = Object(_STREAM | _KEY_SHOWN, "StreamCreated", open=True)
KEY: Final = Object(
    {
        "key_id": required(ID),
        "hint": required(Text(20, doc="The key's first characters.")),
        "created_at": required(TIME),
        "used_at": required(OrNull(TIME)),
    },
    "StreamKey",
    open=True,
)
KEY_CREATED: Final = Object(_KEY_SHOWN | {"hint": required(Text(20)), "created_at": required(TIME)}, "StreamKeyCreated", open=True)
JOINED: Final = Object(
    {
        "session": required(Text(500)),
        "hls_url": required(URL),
        "expires_at": required(TIME),
        "viewers": required(COUNT),
    },
    "StreamSession",
    open=True,
)
LEAVE: Final = Object({"session": optional(Text(500, 1))}, "StreamLeave")
GRANT: Final = Object({"user": required(Text(64))}, "StreamGrant", open=True)
BROADCAST: Final = Object(
    {
        "id": required(ID),
        "started_at": required(TIME),
        "ended_at": required(OrNull(TIME)),
        "reason": required(OrNull(Text(40, doc="Why it ended."))),
        "peak_viewers": required(COUNT),
        "viewer_seconds": required(Number()),
    },
    "Broadcast",
    open=True,
)
ANALYTICS: Final = Object(
    {
        "stream_id": required(ID),
        "status": required(Choice([*Status])),
        "viewers": required(COUNT),
        "peak_viewers": required(COUNT),
        "viewer_seconds": required(Number()),
        "live_seconds": required(Number()),
        "ingest": required(OrNull(Anything("Numbers of the running publisher; null without one."))),
        "broadcasts": required(Array(BROADCAST, 50)),
    },
    "StreamAnalytics",
    open=True,
)


@dataclass(frozen=True, slots=True)
class StreamRoutes:
    """Handlers: from a checked call to the domain and back."""

    streams: Streams
    urls: Urls

    def table(self) -> list[Route]:
        """Every route under /v1/streams."""
        one, tag = "/v1/streams/{id}", "streams"
        write: dict[str, Any] = {"tag": tag, "scope": "stream:write"}
        return [
            Route("POST", "/v1/streams", "create_stream", self.create, "Make a stream with its first key", body=CREATE, kind="json",
                  answers={201: CREATED}, errors=("quota_exceeded",), idempotent=True, secret=True, **write),
            Route("GET", "/v1/streams", "list_streams", self.find, "List streams, newest first", tag, query={
                  "status": Query(one_of(*Status), {"type": "string", "enum": [*Status]}, None, "Only streams in this state."),
                  "q": Query(short_text(QUERY_MAX), {"type": "string", "maxLength": QUERY_MAX}, "",
                             "Words that title, description or tags have, all of them."),
                  "owner": Query(short_text(64), {"type": "string"}, None, "Only streams of this user."),
                  "cursor": CURSOR, "limit": LIMIT}, answers={200: page_of(STREAM, "StreamPage")}, errors=("bad_cursor",),
                  description="Public streams, and one's own and those granted to one."),
            Route("GET", one, "get_stream", self.get, "Read a stream", tag, answers={200: STREAM}, errors=("not_found",)),
            Route("PATCH", one, "change_stream", self.change, "Change a stream", body=PATCH, kind="patch", answers={200: STREAM},
                  errors=("not_found",), idempotent=True, **write),
            Route("DELETE", one, "delete_stream", self.delete, "Delete a stream, its keys and its publisher", answers={204: None},
                  errors=("not_found",), idempotent=True, **write),
            Route("POST", f"{one}/stop", "stop_stream", self.stop, "End the broadcast; the keys stay good", answers={200: STREAM},
                  errors=("not_found",), idempotent=True, **write),
            Route("POST", f"{one}/keys", "create_stream_key", self.create_key, "Make another key", answers={201: KEY_CREATED},
                  errors=("not_found", "quota_exceeded"), idempotent=True, secret=True, **write),
            Route("GET", f"{one}/keys", "list_stream_keys", self.list_keys, "List the keys, without their text",
                  answers={200: page_of(KEY, "StreamKeyPage")}, errors=("not_found",), **write),
            Route("DELETE", f"{one}/keys/{{key_id}}", "delete_stream_key", self.delete_key, "Revoke a key and drop a publisher using it",
                  answers={204: None}, errors=("not_found",), idempotent=True, **write),
            Route("POST", f"{one}/join", "join_stream", self.join, "Start watching: a signed session for the player", tag,
                  answers={200: JOINED}, errors=("not_found",),
                  description="Open to everyone for public and unlisted streams."),
            Route("POST", f"{one}/leave", "leave_stream", self.leave, "Stop watching", tag, body=LEAVE, kind="json", answers={204: None},
                  errors=("not_found",), description="Ends the session of the body; without one, all of the caller's for this stream."),
            Route("GET", f"{one}/analytics", "get_stream_analytics", self.analytics, "Numbers of a stream, for its owner",
                  answers={200: ANALYTICS}, errors=("not_found",), **write),
            Route("GET", f"{one}/grants", "list_stream_grants", self.list_grants, "List who may watch a private stream",
                  answers={200: page_of(GRANT, "StreamGrantPage")}, errors=("not_found",), **write),
            Route("PUT", f"{one}/grants/{{user}}", "grant_stream", self.grant, "Let a user watch a private stream",
                  answers={204: None}, errors=("not_found", "quota_exceeded"), idempotent=True, **write),
            Route("DELETE", f"{one}/grants/{{user}}", "revoke_stream_grant", self.revoke, "Take it back, running sessions too",
                  answers={204: None}, errors=("not_found",), idempotent=True, **write),
        ]  # fmt: skip

    async def create(self, call: Call) -> Reply:
        body = call.body
        draft = Draft(body["title"], body["description"], tuple(body["tags"]), Visibility(body["visibility"]), body["record"])
        stream, key = await self.streams.create(UserId(call.require_user().user), draft)
        shown = self._shown(Seen(stream, 0), call) | self._key_shown(key, call)
        return created(f"/v1/streams/{stream.id}", shown)

    async def find(self, call: Call) -> Reply:
        query = call.query
        after = None if query["cursor"] is None else StreamId(cursors.decode(LIST, query["cursor"]))
        status = None if query["status"] is None else Status(query["status"])
        owner = None if query["owner"] is None else UserId(query["owner"])
        found, last = await self.streams.find(call.caller, limit=query["limit"], after=after, status=status, text=query["q"], owner=owner)
        return page([self._shown(seen, call) for seen in found], None if last is None else cursors.encode(LIST, last))

    async def get(self, call: Call) -> Reply:
        return Reply(body=self._shown(await self.streams.get(_id(call), call.caller), call))

    async def change(self, call: Call) -> Reply:
        before = await self.streams.owned(_id(call), call.caller)  # who may not change it learns nothing about the body
        patch = read_patch(PATCH, call.body)
        wanted = read(CREATE, merge_patch(_editable(before), patch))
        changes = Changes(**{name: _value(name, wanted[name]) for name in patch})
        return Reply(body=self._shown(await self.streams.change(before.id, call.caller, changes), call))

    async def delete(self, call: Call) -> Reply:
        await self.streams.delete(_id(call), call.caller)
        return NO_CONTENT

    async def stop(self, call: Call) -> Reply:
        return Reply(body=self._shown(await self.streams.stop(_id(call), call.caller), call))

    async def create_key(self, call: Call) -> Reply:
        key = await self.streams.add_key(_id(call), call.caller)
        shown = {"hint": key.record.hint, "created_at": _time(key.record.created_at)}
        return created(f"/v1/streams/{_id(call)}/keys/{key.record.id}", self._key_shown(key, call) | shown)

    async def list_keys(self, call: Call) -> Reply:
        found = await self.streams.list_keys(_id(call), call.caller)
        items = [{"key_id": key.id, "hint": key.hint, "created_at": _time(key.created_at), "used_at": _time(key.used_at)} for key in found]
        return page(items, None)

    async def delete_key(self, call: Call) -> Reply:
        await self.streams.delete_key(_id(call), KeyId(call.params["key_id"]), call.caller)
        return NO_CONTENT

    async def join(self, call: Call) -> Reply:
        joined = await self.streams.join(_id(call), call.caller)
        body = {
            "session": joined.session,
            "hls_url": self.urls.hls(call.base, _id(call), joined.session),
            "expires_at": _time(joined.expires_at),
            "viewers": joined.viewers,
        }
        return Reply(body=body)

    async def leave(self, call: Call) -> Reply:
        await self.streams.leave(_id(call), call.caller, call.body["session"])
        return NO_CONTENT

    async def analytics(self, call: Call) -> Reply:
        found = await self.streams.analytics(_id(call), call.caller)
        body = {
            "stream_id": found.stream.id,
            "status": found.stream.status,
            "viewers": found.viewers,
            "peak_viewers": found.peak_viewers,
            "viewer_seconds": found.viewer_ms / 1000,
            "live_seconds": found.live_ms / 1000,
            "ingest": dict(found.ingest) or None,
            "broadcasts": [
                {
                    "id": each.id,
                    "started_at": _time(each.started_at),
                    "ended_at": _time(each.ended_at),
                    "reason": each.reason or None,
                    "peak_viewers": each.peak_viewers,
                    "viewer_seconds": each.viewer_ms / 1000,
                }
                for each in found.broadcasts
            ],
        }
        return Reply(body=body)

    async def list_grants(self, call: Call) -> Reply:
        return page([{"user": user} for user in await self.streams.list_grants(_id(call), call.caller)], None)

    async def grant(self, call: Call) -> Reply:
        await self.streams.grant(_id(call), _user(call), call.caller)
        return NO_CONTENT

    async def revoke(self, call: Call) -> Reply:
        await self.streams.revoke(_id(call), _user(call), call.caller)
        return NO_CONTENT

    def _shown(self, seen: Seen, call: Call) -> dict[str, Json]:
        stream = seen.stream
        return {
            "id": stream.id,
            **_editable(stream),
            "owner": stream.owner,
            "status": stream.status,
            "viewers": seen.viewers,
            "started_at": _time(stream.started_at),
            "ended_at": _time(stream.ended_at),
            "created_at": _time(stream.created_at),
            "watch_url": self.urls.watch(call.base, stream.id),
            "hls_url": self.urls.hls(call.base, stream.id),
            "thumb_url": self.urls.thumb(call.base, stream.id),
        }

    def _key_shown(self, key: NewKey, call: Call) -> dict[str, Json]:
        server = self.urls.rtmp_server(call.host)
        return {
            "key": key.text,
            "key_id": key.record.id,
            "rtmp_server": server,
            "rtmp_url": None if server is None else f"{server}/{key.text}",
        }


def _id(call: Call) -> StreamId:
    """The stream of the path. Raises NotFound for what can not be an id: nothing of that name exists."""
    found = parse_id(call.params["id"])
    if found is None:
        raise access.missing(call.params["id"])
    return StreamId(found)


def _user(call: Call) -> UserId:
    """The user of the path. Raises BadRequest."""
    user = call.params["user"]
    if not re.fullmatch(USER_ID, user):
        raise BadRequest(detail="A user id has 1 to 64 of A-Z a-z 0-9 _ -.")
    return UserId(user)


def _editable(stream: Stream) -> dict[str, Json]:
    return {
        "title": stream.title,
        "description": stream.description,
        "tags": [*stream.tags],
        "visibility": stream.visibility,
        "record": stream.record,
    }


def _value(name: str, value: Json) -> Json:
    """A checked member of a body as the domain has it."""
    if name == "tags":
        return tuple(value)
    return Visibility(value) if name == "visibility" else value


def _time(at: UnixMs | None) -> str | None:
    return None if at is None else rfc3339(at / 1000)
