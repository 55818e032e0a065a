"""The in-memory twin of a site's origins: scripted answers, what was asked, and gates at which an answer waits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from nova.cdn.errors import OriginBroken, OriginError
from nova.cdn.ports import FetchRequest, Fields, Informational


@dataclass
class Reply:
    """One answer. gate: the head waits for it. pieces: the body; an Event among them is waited for, an exception raised, a
    function called."""

    status: int = 200
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    pieces: list[Any] | None = None
    gate: trio.Event | None = None
    length: int | None = -1  # -1: that of the body
    informational: list[tuple[int, Fields]] = field(default_factory=list)
    error: OriginError | None = None


Script = Callable[[FetchRequest], Reply]


class _Answer:
    def __init__(self, reply: Reply) -> None:
        self.status, self.fields, self.reason, self.origin, self.stream = reply.status, reply.fields, b"", "http://origin", None
        self._pieces = list(reply.pieces if reply.pieces is not None else [reply.body])
        self.length: int | None = (
            len(reply.body) if reply.length == -1 and reply.pieces is None else None if reply.length == -1 else reply.length
        )

    async def read(self) -> bytes:
        await trio.lowlevel.checkpoint()
        while self._pieces:
            piece = self._pieces.pop(0)
            if isinstance(piece, trio.Event):
                await piece.wait()
            elif isinstance(piece, OriginBroken):
                try:
                    raise piece
                finally:
                    del piece  # else the error holds this frame, and this frame the error
            elif callable(piece):
                piece()
            elif piece:
                return bytes(piece)
        return b""


class Origin:
    """Fetcher. script: what is answered; asked: every request, in order."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[FetchRequest] = []
        self.bodies: list[bytes] = []
        self.open = 0

    @asynccontextmanager
    async def fetch(self, request: FetchRequest, *, informational: Informational | None = None) -> AsyncIterator[Any]:
        self.asked.append(request)
        if request.body is not None:
            self.bodies.append(b"".join([piece async for piece in request.body()]))
        reply = self.script(request)
        self.open += 1
        try:
            for status, fields in reply.informational:
                if informational is not None:
                    informational(status, fields)
            if reply.gate is not None:
                await reply.gate.wait()
            if reply.error is not None:
                raise reply.error
            yield _Answer(reply)
        finally:
            self.open -= 1

    def down(self) -> bool:
        return False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await trio.sleep_forever()


Ask = Callable[[], Awaitable[None]]
