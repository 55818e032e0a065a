"""`/v1/channels/…`: publish, history and presence for whoever has no WebSocket; the same decisions as there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from nova.core.errors import BadRequest
from nova.realtime.channels import encoded
from nova.realtime.history import Place, Publication
from nova.realtime.hub import PAGE, PAGE_MOST, Hub
from nova.surface.http.call import Call
from nova.surface.http.route import Query, Reply, Route, page_limit, short_text
from nova.surface.http.schema import Anything, Array, Boolean, Integer, Object, OrNull, Text, optional, required
from nova.surface.realtime import who

Json = Any

OFFSET: Final = Integer(0, 2**53)
EPOCH: Final = Text(16, doc="Changes when a channel's numbering begins anew.")
CONFLATE_KEY: Final = Text(128, 1, r"[!-~]+", trim=False, doc="Of those with the same key only the newest is kept.")  # as on the WebSocket
PUBLISH: Final = Object(
    {"data": required(Anything("Any JSON value.")), "conflate_key": optional(OrNull(CONFLATE_KEY), None)}, "ChannelPublish"
)
PUBLISHED: Final = Object(
    {"offset": required(OFFSET), "epoch": required(EPOCH), "durable": required(Boolean("Whether it is on stable storage."))},
    "ChannelPublished", open=True,
)  # fmt: skip
PUBLICATION: Final = Object(
    {"offset": required(OFFSET), "data": required(Anything()), "at": required(Integer(0, 2**53, "Unix milliseconds.")),
     "info": optional(Anything("Who published it, where the server says so."))},
    "Publication", open=True,
)  # fmt: skip
HISTORY: Final = Object(
    {"publications": required(Array(PUBLICATION, PAGE_MOST)), "offset": required(OFFSET), "epoch": required(EPOCH),
     "more": required(Boolean())},
    "ChannelHistory", open=True,
)  # fmt: skip
MEMBER: Final = Object(
    {"user": required(OrNull(Text(64))), "client": required(Text(64)), "since": required(Integer(0, 2**53, "Unix milliseconds."))},
    "ChannelMember", open=True,
)  # fmt: skip
PRESENCE: Final = Object(
    {"count": required(OFFSET), "members": required(Array(MEMBER, PAGE_MOST)), "more": required(Boolean()),
     "cursor": required(OrNull(Text(20, doc="Gives the next page.")))},
    "ChannelPresence", open=True,
)  # fmt: skip


def whole(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise ValueError("must be a whole number")
    return int(text)


def history_limit(text: str) -> int:
    """How many publications: more than the most is the most."""
    if (count := whole(text)) < 1:
        raise ValueError("must be a whole number from 1")
    return min(count, PAGE_MOST)


SINCE: Final = Query(whole, {"type": "integer", "minimum": 0}, None, "Only what came behind this offset.")
EPOCH_QUERY: Final = Query(short_text(16), {"type": "string", "maxLength": 16}, None, "The epoch that `since` belongs to.")
HISTORY_LIMIT: Final = Query(
    history_limit, {"type": "integer", "minimum": 1, "maximum": PAGE_MOST, "default": PAGE}, PAGE,
    f"Publications of a page, at most {PAGE_MOST}.",
)  # fmt: skip
CHANNEL_ERRORS: Final = ("not_found", "forbidden", "unauthenticated", "unavailable")


def shown(publication: Publication) -> dict[str, Json]:
    found = {"offset": publication.offset, "data": json.loads(publication.data), "at": publication.at}
    if publication.info is not None:
        found["info"] = json.loads(publication.info)
    return found


@dataclass(frozen=True, slots=True)
class ChannelRoutes:
    """Handlers over the hub."""

    hub: Hub

    def table(self) -> list[Route]:
        one, tag = "/v1/channels/{name}", "realtime"
        return [
            Route("POST", f"{one}/publish", "publish_to_channel", self.publish, "Publish to a channel", tag, body=PUBLISH, kind="json",
                  answers={200: PUBLISHED}, errors=(*CHANNEL_ERRORS, "rate_limited"), idempotent=True),
            Route("GET", f"{one}/history", "read_channel_history", self.history, "Read what a channel keeps, oldest first", tag,
                  query={"since": SINCE, "epoch": EPOCH_QUERY, "limit": HISTORY_LIMIT}, answers={200: HISTORY}, errors=CHANNEL_ERRORS),
            Route("GET", f"{one}/presence", "read_channel_presence", self.presence, "Who is in a channel", tag, query={
                  "cursor": Query(whole, {"type": "string"}, 0, "The `cursor` of the page before."),
                  "limit": Query(page_limit, {"type": "integer"}, 200, "Members of a page.")},
                  answers={200: PRESENCE}, errors=CHANNEL_ERRORS),
            Route("GET", "/v1/ws", "websocket", self.upgrade, "Follow and write channels over a WebSocket", tag, access="secret",
                  answers={101: None}, description="Subprotocols `nova.json.v1`, `nova.msgpack.v1`; the protocol is in docs/realtime.md."),
        ]  # fmt: skip

    async def upgrade(self, call: Call) -> Reply:
        """What came here is no upgrade: those are answered where the connection is."""
        raise BadRequest(detail="This path speaks WebSocket: ask for an upgrade, with the subprotocol nova.json.v1 or nova.msgpack.v1.")

    async def publish(self, call: Call) -> Reply:
        data = encoded(call.body["data"])
        done = await self.hub.publish(
            who(call.principal, call.peer), call.params["name"], data, key=call.headers.get("Idempotency-Key", ""),
            conflate_key=call.body["conflate_key"] or "",
        )  # fmt: skip
        return Reply(body={"offset": done.place.offset, "epoch": done.place.epoch, "durable": done.durable})

    async def history(self, call: Call) -> Reply:
        query = call.query
        since = None
        if query["since"] is not None:
            # Without an epoch it is taken for the present one: whoever knows none cannot be told of a change.
            since = Place(query["since"], query["epoch"] or "")
        name = call.params["name"]
        room, page = await self.hub.history(who(call.principal, call.peer), name, since, query["limit"], any_epoch=not query["epoch"])
        publications = [shown(each) for each in page.publications]
        body = {"publications": publications, "offset": room.history.offset, "epoch": room.history.epoch, "more": page.more}
        return Reply(body=body)

    async def presence(self, call: Call) -> Reply:
        start, limit = call.query["cursor"], call.query["limit"]
        count, members, more = await self.hub.presence(who(call.principal, call.peer), call.params["name"], start, limit)
        return Reply(body={
            "count": count, "members": [each._asdict() for each in members], "more": more, "cursor": str(start + limit) if more else None,
        })  # fmt: skip
