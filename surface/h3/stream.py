"""A request's stream for whoever serves it: bytes in at the reader's pace, bytes out at the peer's."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from sys import maxsize
from typing import Final

import trio
from aioquic.h3.connection import ErrorCode

from nova.surface.h3.connection import Connection, Fields

PIECE: Final = 65_536  # bytes handed to QUIC at once; between two pieces is a look at the room


class StreamGone(OSError):
    """Nobody waits for this answer any more."""


@dataclass(frozen=True, slots=True)
class Patience:
    """What a peer must keep up, at least. wait: seconds between two looks; rate: bytes a second that it takes of an answer."""

    wait: float
    rate: int


@dataclass(eq=False, slots=True)
class Link:
    """A connection and what the shell knows of it. wake: it has something to send."""

    connection: Connection
    wake: Callable[[Link], None]
    streams: dict[int, Stream] = field(default_factory=dict)
    crowded: set[Stream] = field(default_factory=set)  # senders that wait for room
    alarms: list[float] = field(default_factory=list)  # its entries in the shell's heap, the next one last

    def make_room(self) -> None:
        """Wake the senders that have half of their room again: not each for a packet's worth."""
        for stream in [each for each in self.crowded if self.connection.has_room(each.number, 0.5)]:
            stream.has_room()


class Stream:
    """One request's bytes. `body`, `gone` and `has_room` are called by the shell, the rest by the one task that serves it."""

    __slots__ = ("_heard", "_input", "_link", "_patience", "_room", "ended", "is_gone", "number", "on_gone", "too_slow")

    def __init__(self, link: Link, number: int, patience: Patience, *, ended: bool) -> None:
        self.number = number
        self.ended = ended  # the request is whole
        self.is_gone = False
        self.too_slow = False  # it was reset because the peer took too little
        self.on_gone: Callable[[], None] = lambda: None
        self._link = link
        self._patience = patience
        self._input: deque[bytes] = deque()
        self._heard = trio.Event()
        self._room = trio.Event()

    # -- events of the connection --------------------------------------------------------------------------------------

    def body(self, data: bytes, ended: bool) -> None:
        if data:
            self._input.append(data)
        self.ended = self.ended or ended
        self._heard.set()

    def gone(self) -> None:
        self.is_gone = True
        self._heard.set()
        self._room.set()
        self.on_gone()

    def has_room(self) -> None:
        self._room.set()

    # -- the serving task's side ---------------------------------------------------------------------------------------

    async def heard(self) -> None:
        """Wait until there is something in `take`, or the request is whole or gone. Raises trio.TooSlowError: too little came."""
        await trio.lowlevel.checkpoint()
        while not (self._input or self.ended or self.is_gone):
            self._heard = trio.Event()
            with trio.fail_after(self._patience.wait):
                await self._heard.wait()

    async def listen(self) -> None:
        """As `heard`, however long it takes."""
        await trio.lowlevel.checkpoint()
        while not (self._input or self.ended or self.is_gone):
            self._heard = trio.Event()
            await self._heard.wait()

    def take(self, most: int = maxsize) -> bytes:
        """What has come, up to `most` bytes; the peer may send as much more."""
        parts: list[bytes] = []
        while self._input and most > 0:
            part = self._input.popleft()
            if len(part) > most:
                self._input.appendleft(part[most:])
                part = part[:most]
            most -= len(part)
            parts.append(part)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        if data:
            self._link.connection.consumed(self.number, len(data))
            self._link.wake(self._link)
        return data

    @property
    def waiting(self) -> bool:
        """Whether `take` has something."""
        return bool(self._input)

    def head(self, status: int, fields: Fields, *, end: bool = False) -> None:
        """Raises StreamGone."""
        self._check()
        self._link.connection.head(self.number, status, fields, end=end)
        self._link.wake(self._link)

    async def send(self, data: bytes, *, end: bool = False) -> None:
        """Bytes of the answer, when there is room for them. Raises StreamGone: also when the peer takes too little."""
        self._check()
        view = memoryview(data)
        last = max(0, (len(view) - 1) // PIECE * PIECE)
        for at in range(0, max(1, len(view)), PIECE):
            await self._wait_for_room()
            if len(view) or end:
                self._link.connection.data(self.number, bytes(view[at : at + PIECE]), end=end and at == last)
                self._link.wake(self._link)
        await trio.lowlevel.checkpoint()

    def post(self, data: bytes, *, end: bool = False) -> None:
        """A few bytes that never wait: control frames."""
        self._link.connection.data(self.number, data, end=end)
        self._link.wake(self._link)

    def post_if_room(self, data: bytes) -> None:
        """As `post`, and nothing when the peer does not take what it has: a pong may be left out."""
        if self._link.connection.has_room(self.number):
            self.post(data)

    def reset(self, code: int = ErrorCode.H3_INTERNAL_ERROR) -> None:
        """A visibly broken end; `gone` follows."""
        self._link.connection.reset(self.number, code)
        self._link.wake(self._link)

    def _check(self) -> None:
        if self.is_gone or not self._link.connection.has(self.number):
            raise StreamGone("the client has left")

    async def _wait_for_room(self) -> None:
        connection = self._link.connection
        while connection.has(self.number) and not connection.has_room(self.number):
            before = connection.unsent(self.number)
            self._room = trio.Event()
            self._link.crowded.add(self)
            try:
                with trio.move_on_after(self._patience.wait) as waiting:
                    await self._room.wait()
            finally:
                self._link.crowded.discard(self)
            if waiting.cancelled_caught and before - connection.unsent(self.number) < self._patience.rate * self._patience.wait:
                self.too_slow = True
                self.reset(ErrorCode.H3_EXCESSIVE_LOAD)
        self._check()
