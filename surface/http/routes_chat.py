"""`/v1/streams/{id}/comments` and what moderators do: the chat of a stream."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from nova.core.clock import rfc3339
from nova.core.errors import BadRequest, FieldError, Forbidden, NotFound, Unauthenticated
from nova.core.ids import parse_id
from nova.realtime.chat.model import BAN_MAX, REASON_MAX, SLOW_MODE_MAX, TEXT_MAX, Comment, Mode
from nova.realtime.chat.ports import Chats
from nova.realtime.hub import Hub
from nova.surface.http import cursors
from nova.surface.http.bodies import merge_patch
from nova.surface.http.call import Call
from nova.surface.http.route import CURSOR, LIMIT, NO_CONTENT, Reply, Route, created, page
from nova.surface.http.schema import TIME, Array, Boolean, Integer, Object, OrNull, Text, optional, page_of, read, read_patch, required
from nova.surface.identity.principal import USER_ID
from nova.surface.realtime import comment, who

Json = Any

LIST: Final = "comments"
SAY: Final = Object({"text": required(Text(TEXT_MAX, 1, lines=True))}, "CommentCreate")
COMMENT: Final = Object(
    {
        "id": required(Text(40, doc="`<epoch>.<offset>`: where it stands in the channel `stream:{id}`.")),
        "user": required(Text(64)),
        "name": required(Text(64)),
        "badges": required(Array(Text(20, doc="owner, moderator or guest."), 4)),
        "text": required(Text(TEXT_MAX)),
        "at": required(TIME),
    },
    "Comment",
    open=True,
)
BAN: Final = Object(
    {"seconds": optional(OrNull(Integer(1, BAN_MAX, "How long; without it until it is taken back.")), None),
     "reason": optional(Text(REASON_MAX), "")},
    "ChatBan",
)  # fmt: skip
_MODE: Final = {
    "enabled": optional(Boolean("Whether anybody but moderators may write."), True),
    "slow_mode_s": optional(Integer(0, SLOW_MODE_MAX, "Least seconds between two comments of one user; 0 is off."), 0),
    "guests": optional(Boolean("Whether guests may write."), True),
}
MODE: Final = Object(_MODE, "ChatMode")
CHAT: Final = Object({**_MODE, "moderator": required(Boolean("Whether whoever asks may moderate it."))}, "Chat", open=True)
MODE_PATCH: Final = Object({name: optional(OrNull(member.shape)) for name, member in _MODE.items()}, "ChatModePatch")


@dataclass(frozen=True, slots=True)
class ChatRoutes:
    """Handlers over the chat."""

    chat: Chats
    hub: Hub

    def table(self) -> list[Route]:
        one = "/v1/streams/{id}"
        read_only: dict[str, Any] = {"tag": "streams", "errors": ("not_found", "node_unavailable")}
        write: dict[str, Any] = {
            "tag": "streams", "access": "user", "errors": ("not_found", "forbidden", "node_unavailable"), "idempotent": True,
        }  # fmt: skip
        return [
            Route("POST", f"{one}/comments", "create_comment", self.say, "Write in the chat", "streams", scope="chat", body=SAY,
                  kind="json", answers={201: COMMENT}, idempotent=True,
                  errors=("not_found", "banned", "chat_disabled", "guests_forbidden", "slow_mode", "text_refused", "node_unavailable")),
            Route("GET", f"{one}/comments", "list_comments", self.find, "Read the chat, newest first",
                  query={"cursor": CURSOR, "limit": LIMIT}, answers={200: page_of(COMMENT, "CommentPage")}, **read_only),
            Route("GET", f"{one}/comments/{{comment}}", "get_comment", self.show, "Read one comment", answers={200: COMMENT}, **read_only),
            Route("DELETE", f"{one}/comments/{{comment}}", "delete_comment", self.delete, "Delete a comment: one's own, or as a moderator",
                  answers={204: None}, **write),
            Route("PUT", f"{one}/bans/{{user}}", "ban_from_chat", self.ban, "Ban a user, and take out what they wrote", body=BAN,
                  kind="json", answers={204: None}, **write),
            Route("DELETE", f"{one}/bans/{{user}}", "unban_from_chat", self.unban, "Take a ban back", answers={204: None}, **write),
            Route("PUT", f"{one}/moderators/{{user}}", "add_moderator", self.appoint, "Let a user moderate the chat",
                  answers={204: None}, **write),
            Route("DELETE", f"{one}/moderators/{{user}}", "remove_moderator", self.dismiss, "Take it back", answers={204: None}, **write),
            Route("GET", f"{one}/chat", "get_chat", self.mode, "How the chat runs, and whether one moderates it", answers={200: CHAT},
                  **read_only),
            Route("PATCH", f"{one}/chat", "change_chat", self.set_mode, "Change how the chat runs", body=MODE_PATCH, kind="patch",
                  answers={200: MODE}, **write),
        ]  # fmt: skip

    async def say(self, call: Call) -> Reply:
        asks, stream = who(call.principal, call.peer), _stream(call)
        # This node keeps the answer; a first try whose answer did not come is the stream's node's to know of, whichever node is asked then.
        found = await comment(self.hub, self.chat, asks, stream, call.body["text"], call.headers.get("Idempotency-Key", ""))
        return created(f"/v1/streams/{stream}/comments/{found.public_id}", _shown(found))

    async def find(self, call: Call) -> Reply:
        query = call.query
        before = None if query["cursor"] is None else cursors.decode(LIST, query["cursor"])
        found, last = await self.chat.comments(who(call.principal, call.peer), _stream(call), before, query["limit"])
        return page([_shown(each) for each in found], None if last is None else cursors.encode(LIST, last))

    async def show(self, call: Call) -> Reply:
        return Reply(body=_shown(await self.chat.get(who(call.principal, call.peer), _stream(call), call.params["comment"])))

    async def delete(self, call: Call) -> Reply:
        await self.chat.delete(who(call.principal, call.peer), _stream(call), call.params["comment"])
        return NO_CONTENT

    async def ban(self, call: Call) -> Reply:
        await self.chat.ban(who(call.principal, call.peer), _stream(call), _user(call), call.body["seconds"], call.body["reason"])
        return NO_CONTENT

    async def unban(self, call: Call) -> Reply:
        await self.chat.unban(who(call.principal, call.peer), _stream(call), _user(call))
        return NO_CONTENT

    async def appoint(self, call: Call) -> Reply:
        await self.chat.appoint(who(call.principal, call.peer), _stream(call), _user(call))
        return NO_CONTENT

    async def dismiss(self, call: Call) -> Reply:
        await self.chat.dismiss(who(call.principal, call.peer), _stream(call), _user(call))
        return NO_CONTENT

    async def mode(self, call: Call) -> Reply:
        asks, stream = who(call.principal, call.peer), _stream(call)
        found = asdict(await self.chat.mode(asks, stream))
        try:
            await self.chat.require_moderator(asks, stream)
        except (Unauthenticated, Forbidden):
            return Reply(body={**found, "moderator": False})
        return Reply(body={**found, "moderator": True})

    async def set_mode(self, call: Call) -> Reply:
        asks, stream = who(call.principal, call.peer), _stream(call)
        await self.chat.require_moderator(asks, stream)  # who may not change it learns nothing about the body
        patch = read_patch(MODE_PATCH, call.body)
        wanted = read(MODE, merge_patch(asdict(await self.chat.mode(asks, stream)), patch))
        await self.chat.set_mode(asks, stream, Mode(**wanted))
        return Reply(body=wanted)


def _stream(call: Call) -> str:
    found = parse_id(call.params["id"])
    if found is None:
        raise NotFound(detail=f"There is no stream {call.params['id'][:64]!r}.")
    return found


def _user(call: Call) -> str:
    user = call.params["user"]
    if not USER_ID.fullmatch(user):
        detail = "a user id has 1 to 64 of A-Z a-z 0-9 _ -"
        raise BadRequest("invalid_field", detail, fields=[FieldError("/user", "invalid_field", detail)])
    return user


def _shown(comment: Comment) -> dict[str, Json]:
    return {
        "id": comment.public_id,
        "user": comment.user,
        "name": comment.name,
        "badges": list(comment.badges),
        "text": comment.text,
        "at": rfc3339(comment.at / 1000),
    }
