"""`/v1/realtime/…`: channels from the server's side, for services of the platform; RealtimeService over gRPC does the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from nova.core.errors import NovaError
from nova.realtime.channels import encoded
from nova.realtime.close_codes import TABLE
from nova.realtime.hub import CHANNELS_MOST, Hub
from nova.surface.http.call import Call
from nova.surface.http.route import LIMIT, NO_CONTENT, Query, Reply, Route, short_text
from nova.surface.http.routes_channels import CONFLATE_KEY, EPOCH, OFFSET, PUBLISHED
from nova.surface.http.schema import Anything, Array, Integer, Object, OrNull, Text, optional, required

Json = Any

CHANNEL: Final = Text(161, 1)
USER: Final = Text(64, 1, "[A-Za-z0-9_-]+")
CODE: Final = Integer(4000, 4499, "A close code: 4000 to 4199 come back, 4200 to 4299 get a new token first, 4300 to 4499 stay away.")
SAY: Final = Object(
    {"channel": required(CHANNEL), "data": required(Anything()), "conflate_key": optional(OrNull(CONFLATE_KEY), None)}, "ServicePublish"
)
BROADCAST: Final = Object({"channels": required(Array(CHANNEL, CHANNELS_MOST)), "data": required(Anything())}, "ServiceBroadcast")
RESULT: Final = Object(
    {"channel": required(CHANNEL), "offset": optional(OFFSET), "epoch": optional(EPOCH), "code": optional(Text(40, doc="Why not."))},
    "BroadcastResult", open=True,
)  # fmt: skip
BROADCAST_DONE: Final = Object({"results": required(Array(RESULT, CHANNELS_MOST))}, "BroadcastResults", open=True)
DISCONNECT: Final = Object({"user": required(USER), "code": optional(CODE, 4312), "reason": optional(Text(100), "")}, "ServiceDisconnect")
UNSUBSCRIBE: Final = Object(
    {"user": required(USER), "channel": required(CHANNEL), "code": optional(CODE, 4301), "reason": optional(Text(100), "")},
    "ServiceUnsubscribe",
)  # fmt: skip
OCCUPIED: Final = Object({"channel": required(CHANNEL), "readers": required(OFFSET)}, "OccupiedChannel", open=True)
OCCUPIED_LIST: Final = Object({"items": required(Array(OCCUPIED, CHANNELS_MOST)), "total": required(OFFSET)}, "OccupiedChannels", open=True)
_NUMBERS: Final = {"node": required(Text(40)), "channels": required(OFFSET), "readers": required(OFFSET)}
NODE: Final = Object(_NUMBERS, "RealtimeNode", open=True)
INFO: Final = Object({**_NUMBERS, "others": required(Array(NODE, 1000))}, "RealtimeInfo", open=True)


def reason_of(code: int, reason: str) -> str:
    """The given reason, else the code's name."""
    return reason or (TABLE[code].name if code in TABLE else "disconnected")


@dataclass(frozen=True, slots=True)
class RealtimeRoutes:
    """Handlers over the hub, all for scope `service`."""

    hub: Hub

    def table(self) -> list[Route]:
        base = "/v1/realtime"
        service: dict[str, Any] = {"tag": "realtime", "scope": "service"}
        return [
            Route("POST", f"{base}/publish", "service_publish", self.publish, "Publish as the server", body=SAY, kind="json",
                  answers={200: PUBLISHED}, errors=("not_found", "unavailable"), idempotent=True, **service),
            Route("POST", f"{base}/broadcast", "service_broadcast", self.broadcast, "Publish to many channels", body=BROADCAST, kind="json",
                  answers={200: BROADCAST_DONE}, idempotent=True, description="One that fails stops no other.", **service),
            Route("POST", f"{base}/disconnect", "service_disconnect", self.disconnect, "End all connections of a user", body=DISCONNECT,
                  kind="json", answers={204: None}, errors=("unavailable",), **service),
            Route("POST", f"{base}/unsubscribe", "service_unsubscribe", self.unsubscribe, "Take a user out of a channel", body=UNSUBSCRIBE,
                  kind="json", answers={204: None}, errors=("not_found", "unavailable"), **service),
            Route("GET", f"{base}/channels", "service_channels", self.channels, "Channels that have readers, on all nodes", query={
                  "prefix": Query(short_text(161), {"type": "string"}, "", "How their names begin."), "limit": LIMIT},
                  answers={200: OCCUPIED_LIST}, errors=("unavailable",), **service),
            Route("GET", f"{base}/info", "service_info", self.info, "This node in numbers, and the others",
                  answers={200: INFO}, errors=("unavailable",), **service),
        ]  # fmt: skip

    async def publish(self, call: Call) -> Reply:
        body = call.body
        key, by = _said_once(call)
        done = await self.hub.say(body["channel"], encoded(body["data"]), conflate_key=body["conflate_key"] or "", once=key, by=by)
        return Reply(body={"offset": done.place.offset, "epoch": done.place.epoch, "durable": done.durable})

    async def broadcast(self, call: Call) -> Reply:
        data, (key, by) = encoded(call.body["data"]), _said_once(call)
        results = []
        for channel in dict.fromkeys(call.body["channels"]):
            try:
                place = (await self.hub.say(channel, data, once=key, by=by)).place
                results.append({"channel": channel, "offset": place.offset, "epoch": place.epoch})
            except NovaError as error:
                results.append({"channel": channel, "code": error.code})
        return Reply(body={"results": results})

    async def disconnect(self, call: Call) -> Reply:
        body = call.body
        await self.hub.disconnect(body["user"], body["code"], reason_of(body["code"], body["reason"]))
        return NO_CONTENT

    async def unsubscribe(self, call: Call) -> Reply:
        body = call.body
        await self.hub.unsubscribe(body["user"], body["channel"], body["code"], reason_of(body["code"], body["reason"]))
        return NO_CONTENT

    async def channels(self, call: Call) -> Reply:
        found = await self.hub.occupied(call.query["prefix"])
        items = [{"channel": name, "readers": readers} for name, readers in found[: call.query["limit"]]]
        return Reply(body={"items": items, "total": len(found)})

    async def info(self, call: Call) -> Reply:
        return Reply(body=await self.hub.info())


def _said_once(call: Call) -> tuple[str, str]:
    """The idempotency key, and whose: another node, which did not give the first answer, does not say it again either."""
    return call.headers.get("Idempotency-Key", ""), "" if call.principal is None else call.principal.user
