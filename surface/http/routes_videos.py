"""`/v1/videos` and `/v1/reels`: records of what was uploaded to be watched. Renditions come with a later version: 501 `not_yet`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from nova.core.clock import rfc3339
from nova.core.errors import NotYet
from nova.core.ids import parse_id
from nova.media.library.model import DESCRIPTION_MAX, TITLE_MAX, Kind, State, Video, VideoId
from nova.media.library.service import Changes, Draft, Library, missing
from nova.media.streams.model import UserId, Visibility
from nova.surface.http import cursors
from nova.surface.http.bodies import merge_patch
from nova.surface.http.call import Call
from nova.surface.http.route import CURSOR, LIMIT, NO_CONTENT, Query, Reply, Route, created, page, short_text
from nova.surface.http.schema import (
    ID,
    TIME,
    URL,
    Choice,
    Integer,
    Object,
    OrNull,
    Text,
    optional,
    page_of,
    read,
    read_patch,
    required,
)

Json = Any

LIST: Final = "videos"
EDITABLE: Final = {
    "title": required(Text(TITLE_MAX, 1, doc="One line.")),
    "description": optional(Text(DESCRIPTION_MAX, lines=True), ""),
    "visibility": optional(Choice([*Visibility], "As of streams."), "public"),
    "poster": optional(OrNull(Text(36, pattern=r"[0-9a-f-]{36}", doc="Id of a picture that stands for it."))),
}
CREATE: Final = Object(EDITABLE, "VideoCreate")
PATCH: Final = Object(
    {name: optional(OrNull(member.shape)) for name, member in EDITABLE.items()}, "VideoPatch", "A merge patch (RFC 7396)."
)
VIDEO: Final = Object(
    {
        "id": required(ID),
        "owner": required(Text(64, doc="User id.")),
        "kind": required(Choice([*Kind])),
        "title": required(Text(TITLE_MAX)),
        "description": required(Text(DESCRIPTION_MAX)),
        "visibility": required(Choice([*Visibility])),
        "status": required(Choice([*State], "pending: its bytes have not come. uploaded: they are here.")),
        "format": required(OrNull(Text(20, doc="Container of the file that was sent."))),
        "size_bytes": required(Integer(0, 2**53)),
        "digest": required(OrNull(Text(64, doc="SHA-256, in hexadecimal digits."))),
        "poster_url": required(OrNull(URL)),
        "created_at": required(TIME),
    },
    "Video",
    open=True,
)


@dataclass(frozen=True, slots=True)
class VideoRoutes:
    """Handlers: from a checked call to the domain and back. poster: the signed path of a picture that stands for a video."""

    library: Library
    poster: Callable[[str], str]

    def table(self) -> list[Route]:
        routes = []
        for kind, path in ((Kind.VIDEO, "/v1/videos"), (Kind.REEL, "/v1/reels")):
            routes += self._of(kind, path)
        one = "/v1/videos/{id}"
        routes += [
            Route("PATCH", one, "change_video", self.change, "Change a video or reel", "media", scope="media:write", body=PATCH,
                  kind="patch", answers={200: VIDEO}, errors=("not_found",), idempotent=True),
            Route("POST", f"{one}/transcode", "transcode_video", self.not_yet, "Make the renditions of a video", "media",
                  scope="media:write", errors=("not_found", "not_yet")),
            Route("GET", f"{one}/progress", "video_progress", self.not_yet, "Read how far its renditions are", "media",
                  errors=("not_found", "not_yet")),
        ]  # fmt: skip
        return routes

    def _of(self, kind: Kind, path: str) -> list[Route]:
        name, tag = kind.value, "media"
        write: dict[str, Any] = {"tag": tag, "scope": "media:write"}
        owner = Query(short_text(64), {"type": "string"}, None, "Only those of this user.")

        async def create(call: Call) -> Reply:
            body = call.body
            draft = Draft(body["title"], kind, body["description"], Visibility(body["visibility"]), body["poster"] or "")
            video = await self.library.create(UserId(call.require_user().user), draft)
            return created(f"{path}/{video.id}", self._shown(video, call))

        async def find(call: Call) -> Reply:
            query = call.query
            after = None if query["cursor"] is None else VideoId(cursors.decode(LIST, query["cursor"]))
            of = None if query["owner"] is None else UserId(query["owner"])
            found, last = await self.library.find(call.caller, limit=query["limit"], after=after, kind=kind, owner=of)
            return page([self._shown(each, call) for each in found], None if last is None else cursors.encode(LIST, last))

        async def get(call: Call) -> Reply:
            return Reply(body=self._shown(await self.library.get(_id(call), call.caller, kind), call))

        async def delete(call: Call) -> Reply:
            await self.library.delete(_id(call), call.caller, kind)
            return NO_CONTENT

        return [
            Route("POST", path, f"create_{name}", create, f"Announce a {name}", body=CREATE, kind="json", answers={201: VIDEO},
                  errors=("quota_exceeded",), idempotent=True, **write,
                  description=f"Its bytes come by an upload of kind {name}, which makes a record of its own."),
            Route("GET", path, f"list_{name}s", find, f"List {name}s, newest first", tag,
                  query={"owner": owner, "cursor": CURSOR, "limit": LIMIT}, answers={200: page_of(VIDEO, "VideoPage")},
                  errors=("bad_cursor",)),
            Route("GET", f"{path}/{{id}}", f"get_{name}", get, f"Read a {name}", tag, answers={200: VIDEO}, errors=("not_found",)),
            Route("DELETE", f"{path}/{{id}}", f"delete_{name}", delete, f"Delete a {name} and its bytes", answers={204: None},
                  errors=("not_found",), idempotent=True, **write),
        ]  # fmt: skip

    async def change(self, call: Call) -> Reply:
        before = await self.library.owned(_id(call), call.caller)  # who may not change it learns nothing about the body
        patch = read_patch(PATCH, call.body)
        now = {"title": before.title, "description": before.description, "visibility": before.visibility, "poster": before.poster or None}
        wanted = read(CREATE, merge_patch(now, patch))
        changes = Changes(wanted["title"], wanted["description"], Visibility(wanted["visibility"]), wanted["poster"] or "")
        return Reply(body=self._shown(await self.library.change(before.id, call.caller, changes), call))

    async def not_yet(self, call: Call) -> Reply:
        await self.library.get(_id(call), call.caller)
        raise NotYet(detail="Renditions come with a later version of Nova core.")

    def _shown(self, video: Video, call: Call) -> dict[str, Json]:
        return {
            "id": video.id,
            "owner": video.owner,
            "kind": video.kind,
            "title": video.title,
            "description": video.description,
            "visibility": video.visibility,
            "status": video.state,
            "format": video.format or None,
            "size_bytes": video.size_bytes,
            "digest": video.digest or None,
            "poster_url": call.base + self.poster(video.poster) if video.poster else None,
            "created_at": rfc3339(video.created_at / 1000),
        }


def _id(call: Call) -> VideoId:
    """Raises NotFound for what can not be an id."""
    found = parse_id(call.params["id"])
    if found is None:
        raise missing(call.params["id"])
    return VideoId(found)
