"""`/v1/events/log` and `/v1/events/in/…`: the topics of Nova for services that have no Redis in common with us."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from nova.core.bus import START, Bus, Cursor
from nova.core.clock import Clock
from nova.core.errors import BadRequest, NotFound
from nova.core.ids import Ids
from nova.core.values import Seconds
from nova.surface import topics
from nova.surface.http.call import Call
from nova.surface.http.route import LIMIT, Query, Reply, Route, one_of, short_text
from nova.surface.http.schema import Anything, Array, Boolean, Object, Text, required
from nova.surface.identity.scopes import SERVICE

Json = Any

WAIT_MOST: Final = 30.0  # seconds
EVENT: Final = Anything("A CloudEvent 1.0.")
LOG: Final = Object(
    {
        "items": required(Array(EVENT, 200)),
        "cursor": required(Text(100, doc="`after` of the next look, also when there is nothing new.")),
        "gap": required(Boolean("Events between `after` and the first one here are no longer kept.")),
    },
    "EventLog", open=True,
)  # fmt: skip
TAKEN: Final = Object({"id": required(Text(topics.NAME_MAX)), "cursor": required(Text(100))}, "EventTaken", open=True)


def seconds(text: str) -> float:
    if not text.isascii() or not text.replace(".", "", 1).isdigit() or len(text) > 6:
        raise ValueError("must be a number of seconds")
    return min(float(text), WAIT_MOST)


@dataclass(frozen=True, slots=True)
class TopicRoutes:
    """Over the bus, whatever it is."""

    bus: Bus
    ids: Ids
    clock: Clock

    def table(self) -> list[Route]:
        topic = Query(one_of(*topics.TOPICS), {"type": "string", "enum": list(topics.TOPICS)}, topics.STREAMS, "Which topic.")
        after = Query(short_text(100), {"type": "string"}, "", "Only what came behind this cursor; none: all that is kept.")
        wait = Query(seconds, {"type": "number", "maximum": WAIT_MOST, "default": 0}, 0.0, "Seconds to wait for one when there is none.")
        return [
            Route("GET", "/v1/events/log", "event_log", self.log, "Read a topic, oldest first", "events", scope=SERVICE,
                  query={"topic": topic, "after": after, "wait": wait, "limit": LIMIT}, answers={200: LOG}, errors=("bad_cursor",)),
            Route("POST", "/v1/events/in/{topic}", "event_in", self.take, "Tell us what happened elsewhere", "events", scope=SERVICE,
                  body=Anything("A CloudEvent 1.0, or the flat form with `event_type` and `user_id`."), kind="json",
                  answers={202: TAKEN}, errors=("not_found",), idempotent=True,
                  description=f"Topics that are heard: {', '.join(topics.INCOMING)}."),
        ]  # fmt: skip

    async def log(self, call: Call) -> Reply:
        query = call.query
        after = Cursor(query["after"]) if query["after"] else START
        page = await self.bus.read(query["topic"], after, limit=query["limit"], wait=Seconds(query["wait"]))
        items = [json.loads(entry.data) for entry in page.entries]
        return Reply(200, {"items": items, "cursor": page.cursor, "gap": page.gap}, (("Cache-Control", "no-store"),))

    async def take(self, call: Call) -> Reply:
        topic = call.params["topic"]
        if topic not in topics.INCOMING:
            raise NotFound(detail=f"Topics that are heard: {', '.join(topics.INCOMING)}.")
        event = topics.incoming(call.body, self.ids, self.clock)
        try:
            text = json.dumps(event, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        except (ValueError, RecursionError):  # half of a surrogate pair, a number beyond a double
            raise BadRequest("invalid_field", "the event has a value that is not JSON") from None
        cursor = await self.bus.append(topic, text)
        return Reply(202, {"id": event["id"], "cursor": cursor})
