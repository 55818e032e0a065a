"""What became of things, told to the rest of Nova: CloudEvents 1.0 on the bus's streams.

Telling is synchronous and never waits: events go through a bounded queue to one task. Above it the newest are dropped, and said to be.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

import trio

from nova.core.bus import Bus
from nova.core.clock import Clock, rfc3339
from nova.core.errors import Unavailable
from nova.core.ids import Ids
from nova.core.log import Log, correlation_id

QUEUE: Final = 4096  # events; the bus takes thousands a second
SOURCE: Final = "nova-core"
RETRY: Final = 1.0  # seconds until the bus is tried again

_log = Log("nova.events")


class Events:
    """`tell` from anywhere in the trio thread; `run` carries what was told to the bus."""

    def __init__(self, bus: Bus, ids: Ids, clock: Clock) -> None:
        self._bus, self._ids, self._clock = bus, ids, clock
        self._send, self._receive = trio.open_memory_channel[tuple[str, bytes]](QUEUE)

    def tell(self, topic: str, kind: str, subject: str, data: Mapping[str, object]) -> None:
        """kind: the event's type, such as ImageCreated. subject: the id of what it is about."""
        id = self._ids.new()
        event = {
            "specversion": "1.0",
            "id": id,
            "source": SOURCE,
            "type": kind,
            "time": rfc3339(self._clock.wall()),
            "subject": subject,
            "correlationid": correlation_id.get() or id,  # what no request asked for begins with the event
            "datacontenttype": "application/json",
            "data": dict(data),
        }
        try:
            self._send.send_nowait((topic, json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()))
        except trio.WouldBlock:
            _log.warning("event_dropped", topic=topic, type=kind)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled; what is queued then is lost with the process, as the embedded bus is."""
        task_status.started()
        async for topic, event in self._receive:
            while True:
                try:
                    await self._bus.append(topic, event)
                    break
                except Unavailable:
                    await trio.sleep(RETRY)
