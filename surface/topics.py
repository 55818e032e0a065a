"""The topics that Nova core shares with the rest of Nova, and what comes in on them, in one form.

An event that comes in is a CloudEvent (1.0, JSON) or the platform's flat form, `{"event_type": "UserDeleted", "user_id": …}`; inside it is
always the former.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import trio

from nova.core.bus import Bus
from nova.core.clock import Clock, rfc3339
from nova.core.errors import BadRequest, FieldError, Unavailable
from nova.core.ids import Ids
from nova.core.log import Log, correlation_id
from nova.core.values import Seconds
from nova.surface.identity.principal import USER_ID, UserId
from nova.surface.identity.service import Identity

Json = Any

USERS: Final = "nova.user.events"
STREAMS: Final = "nova.stream.events"
MEDIA: Final = "nova.media.events"
MESSAGES: Final = "nova.message.events"
TOPICS: Final = (USERS, STREAMS, MEDIA, MESSAGES)
INCOMING: Final = (USERS,)

NAME_MAX: Final = 200  # characters of an id, a source, a type or a subject
WAIT: Final = Seconds(30)
RETRY: Final = 1.0  # seconds until the bus is asked again
_FLAT: Final = "event_type"
_TIMES: Final = ("time", "deleted_at", "updated_at", "created_at")

_log = Log("nova.topics")


def incoming(body: Json, ids: Ids, clock: Clock) -> dict[str, Json]:
    """`body` as a CloudEvent. Raises BadRequest: it is neither of the two forms."""
    if not isinstance(body, dict):
        raise BadRequest("invalid_field", "an event is a JSON object")
    if _FLAT in body:
        kind = _name(body, _FLAT)
        subject = _name(body, "user_id")
        time = next((body[name] for name in _TIMES if isinstance(body.get(name), str)), rfc3339(clock.wall()))
        id = _name(body, "event_id") if "event_id" in body else ids.new()
        data: Json = {name: value for name, value in body.items() if name not in (_FLAT, "event_id")}
        source = "nova"
    else:
        if body.get("specversion") != "1.0":
            fields = [FieldError("/specversion", "invalid_field", 'must be "1.0"; the flat form has event_type')]
            raise BadRequest("invalid_field", "this is no CloudEvent of version 1.0", fields=fields)
        id, source, kind = (_name(body, name) for name in ("id", "source", "type"))
        subject = _name(body, "subject") if "subject" in body else ""
        time = body["time"] if isinstance(body.get("time"), str) else rfc3339(clock.wall())
        data = body.get("data")
    found = body.get("correlationid")
    return {
        "specversion": "1.0",
        "id": id,
        "source": source,
        "type": kind,
        "time": time[:64],
        "subject": subject,
        "correlationid": found[:64] if isinstance(found, str) else correlation_id.get() or id,
        "datacontenttype": "application/json",
        "data": data,
    }


def _name(body: Mapping[str, Json], member: str) -> str:
    value = body.get(member)
    if not isinstance(value, str) or not 0 < len(value) <= NAME_MAX:
        fields = [FieldError(f"/{member}", "invalid_field", f"must be a text of 1 to {NAME_MAX} characters")]
        raise BadRequest("invalid_field", "a member of the event is not what it must be", fields=fields)
    return value


class UserEvents:
    """Follows `nova.user.events`: the tokens of a user who is deleted elsewhere end here too."""

    def __init__(self, bus: Bus, identity: Identity) -> None:
        self._bus, self._identity = bus, identity

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled; what came while nobody listened is not made up for: a token checks itself against the issuer's time."""
        cursor = await self._bus.end(USERS)
        task_status.started()
        while True:
            try:
                page = await self._bus.read(USERS, cursor, wait=WAIT)
                for entry in page.entries:
                    await self._apply(json.loads(entry.data))
                    cursor = entry.cursor
                cursor = page.cursor
            except Unavailable as error:
                _log.warning("user_events_wait", code=error.code)
                await trio.sleep(RETRY)

    async def _apply(self, event: Mapping[str, Json]) -> None:
        subject = event.get("subject") or ""
        if event.get("type") == "UserDeleted" and USER_ID.fullmatch(subject):
            await self._identity.forget(UserId(subject))
