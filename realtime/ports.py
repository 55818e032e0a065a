"""What channels need from the rest of the program; the composition root wires it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from nova.core.bus import Quota
from nova.realtime.history import Place
from nova.realtime.presence import Member
from nova.realtime.rules import Namespace
from nova.realtime.seam import Who


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What the chat must know of a stream."""

    owner: str
    status: str
    viewers: int


class StreamsPort(Protocol):
    """The streams, as far as their chat depends on them."""

    async def facts(self, stream: str, user: str | None, *, operator: bool) -> StreamFacts:
        """Raises NotFound: there is none, or none that this user may know of."""

    async def here(self, stream: str) -> bool:
        """Whether this node keeps it, whoever may see it."""

    def viewers(self, stream: str) -> int:
        """Who watches now."""


class Refused(NamedTuple):
    """A backend's no. code: of the error table."""

    code: str
    detail: str


class Hooks(Protocol):
    """A backend that is asked. Each method raises Unavailable when it does not answer and the settings say that this means no."""

    @property
    def asks(self) -> frozenset[str]:
        """Which of connect, subscribe, publish it is asked about."""

    async def connect(self, who: Who) -> Refused | None: ...
    async def subscribe(self, who: Who, channel: str) -> Refused | None: ...
    async def publish(self, who: Who, channel: str, data: bytes) -> bytes | Refused:
        """The data to publish, changed or not."""


class Note(NamedTuple):
    """What is written for the other nodes and for later: one publication without its offset."""

    data: bytes
    at: int
    info: bytes | None
    key: str
    keep: bool


class Arrivals(Protocol):
    """What a followed channel tells this node, in the channel's order."""

    def arrived(self, channel: str, epoch: str, offset: int, note: Note) -> None: ...
    def joined(self, channel: str, member: Member) -> None: ...
    def left(self, channel: str, member: Member) -> None: ...
    def present(self, channel: str, clients: set[str]) -> None:
        """Nobody else is there."""

    def summary(self) -> bytes:
        """This node in a few words, for the others."""

    def restarted(self, channel: str, epoch: str, offset: int, lost: int, notes: Sequence[tuple[int, Note]]) -> None:
        """The whole of it: numbering began anew, or this node missed more than is kept."""


class Shared(Protocol):
    """Channels that several nodes serve together. Every async method raises Unavailable when the bus cannot be reached."""

    def serve(self, arrivals: Arrivals) -> AbstractAsyncContextManager[None]: ...
    async def follow(self, channel: str, space: Namespace) -> None:
        """From its return on this node has what the channel keeps, and gets everything in order."""

    def unfollow(self, channel: str) -> None: ...
    async def place(self, channel: str, space: Namespace, note: Note, once: str, quotas: Sequence[Quota]) -> tuple[Place, bool]:
        """Number and tell it; where it is, and whether `once` had been there before (then nothing was told). Raises RateLimited."""

    def enter(self, channel: str, member: Member) -> None: ...
    def leave(self, channel: str, member: Member) -> None: ...
    async def control(self, message: bytes) -> None:
        """To every other node."""

    async def others(self) -> list[bytes]:
        """What the other nodes say of themselves, of a few seconds ago at most."""

    def controls(self) -> AbstractAsyncContextManager[AsyncIterator[bytes]]: ...
