"""1xx answers on their way to the client who began a fetch, as its protocol has them (RFC 9110, 15.2; RFC 8297).

A fetch is shared, and timed by what its origin does: it never waits for a client. It leaves here what it has heard, and a task that is
there only while there is something to send brings it to the client.
"""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import trio

from nova.cdn.cache import fields as f
from nova.cdn.cache.entry import TAG_FIELDS
from nova.cdn.ports import Fields, Informational
from nova.cdn.shield.ground import Ground
from nova.cdn.shield.request import Incoming, Send
from nova.core.guard import guarded
from nova.core.log import Log
from nova.core.reactor.exchange import ClientDisconnected

MOST: Final = 16  # that wait for a client who does not read; it is not told of more
_log = Log("nova.cdn")


class Early:
    """Round what one client waits for: a context manager, behind which nothing of this is being sent any more."""

    __slots__ = ("_ended", "_ground", "_incoming", "_scope", "_send", "_told", "_waiting")

    def __init__(self, send: Send, incoming: Incoming, ground: Ground) -> None:
        self._send, self._incoming, self._ground = send, incoming, ground
        self._waiting: list[tuple[int, Fields]] = []
        self._scope: trio.CancelScope | None = None
        self._told: trio.Event | None = None  # while a task sends
        self._ended = False

    @property
    def informational(self) -> Informational | None:
        """What tells of a 1xx, without waiting; None: the client's protocol knows none."""
        return None if self._incoming.switch is None and not self._incoming.hints else self._tell

    async def told(self) -> None:
        """Returns when the client has what has come: its answer may go."""
        if self._told is not None:
            await self._told.wait()

    def _tell(self, status: int, lines: Fields) -> None:
        nursery = self._ground.nursery
        if nursery is None or self._ended or len(self._waiting) >= MOST:
            return
        self._waiting.append((status, lines))
        if self._told is None:
            self._scope, self._told = trio.CancelScope(), trio.Event()
            nursery.start_soon(self._run, self._scope, self._told)

    async def _run(self, scope: trio.CancelScope, told: trio.Event) -> None:
        try:
            with guarded(_log), scope, suppress(ClientDisconnected):
                while self._waiting:
                    await self._pass_on(*self._waiting.pop(0))
        finally:
            self._told = None
            told.set()

    async def _pass_on(self, status: int, lines: Fields) -> None:
        if self._incoming.switch is not None:
            gone = TAG_FIELDS | ({b"set-cookie"} if self._incoming.guarded else frozenset())
            await self._send({"type": "nova.response.informational", "status": status, "headers": f.end_to_end(lines, gone)})
        elif status == 103:
            await self._send({"type": "http.response.early_hint", "links": f.values(lines, b"link")})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended = True
        if self._scope is not None and error is not None and not isinstance(error, Exception):
            self._scope.cancel()  # the client's task is cancelled: nobody is there to be told
        else:
            await self.told()
