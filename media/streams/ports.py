"""What the streams domain needs from others: a store, the running streams, sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from nova.media.streams.model import (
    Broadcast,
    Changes,
    KeyId,
    Page,
    Status,
    Stream,
    StreamId,
    StreamKey,
    UnixMs,
    UserId,
)


class StreamStore(Protocol):
    """Streams, their keys, granted users and broadcasts, on stable storage once a method returns.

    Twins: store_memory.MemoryStore, store_sql.SqlStore; tests/media/streams/test_store_contract.py holds for both.
    """

    async def add(self, stream: Stream, key: StreamKey | None) -> None: ...
    async def get(self, stream: StreamId) -> Stream | None: ...
    async def count(self, owner: UserId) -> int: ...
    async def find(self, page: Page) -> list[Stream]:
        """At most `page.limit` streams, newest first."""
        ...

    async def change(self, stream: StreamId, changes: Changes) -> Stream | None:
        """The stream after the change; None: there is none."""
        ...

    async def delete(self, stream: StreamId) -> bool:
        """The stream, and all that hangs on it; False: there was none."""
        ...

    async def set_status(self, stream: StreamId, status: Status, started_at: UnixMs | None, ended_at: UnixMs | None) -> None: ...
    async def add_key(self, key: StreamKey) -> None: ...
    async def keys(self, stream: StreamId) -> list[StreamKey]:
        """Newest first."""
        ...

    async def all_keys(self) -> Sequence[StreamKey]:
        """Every key of every stream, for the index."""
        ...

    async def ids(self) -> Sequence[StreamId]:
        """Every stream."""
        ...

    async def private(self) -> Sequence[StreamId]:
        """Every private stream."""
        ...

    async def delete_key(self, stream: StreamId, key: KeyId) -> bool: ...
    async def use_key(self, key: KeyId, at: UnixMs) -> None: ...
    async def grant(self, stream: StreamId, user: UserId, at: UnixMs) -> None:
        """Once is enough; again changes nothing."""
        ...

    async def revoke(self, stream: StreamId, user: UserId) -> bool: ...
    async def grants(self, stream: StreamId) -> list[UserId]:
        """Sorted."""
        ...

    async def granted(self, stream: StreamId, user: UserId) -> bool: ...
    async def put_broadcast(self, broadcast: Broadcast) -> None:
        """Adds it, or replaces the one of that id."""
        ...

    async def broadcasts(self, stream: StreamId, limit: int) -> list[Broadcast]:
        """Newest first."""
        ...

    async def end_stale(self, at: UnixMs) -> int:
        """Ends what a process that died left as running: streams and broadcasts; returns how many streams."""
        ...


class Running(Protocol):
    """The publishers and viewers of this node: what the live half tells and can be told."""

    def stop(self, stream: StreamId, reason: str) -> bool:
        """End the stream's broadcast now, without a grace time, its publisher with it; False: none ran."""
        ...

    def drop_key(self, stream: StreamId, key: KeyId) -> bool:
        """End the publisher that uses this key; False: none does."""
        ...

    def hide(self, stream: StreamId, private: bool) -> None:
        """From now on the media of this stream needs a session, or not any more."""
        ...

    def viewers(self, stream: StreamId) -> int:
        """Distinct sessions with a request in the last ten seconds; without a session, address and User-Agent."""
        ...

    def gone(self, stream: StreamId, viewer: bytes) -> None:
        """The session of this viewer (16 bytes) has ended: it counts no more, however lately it asked for something."""
        ...

    def numbers(self, stream: StreamId) -> Mapping[str, object]:
        """Of the publisher: bitrate, frame rate, size, codecs; empty when none runs."""
        ...


class Tell(Protocol):
    """What the rest of Nova hears of streams. Synchronous, never waits, never fails.

    kind: StreamCreated, StreamUpdated, StreamDeleted, StreamStarted or StreamEnded.
    """

    def __call__(self, kind: str, stream: StreamId, data: Mapping[str, object]) -> None: ...


def nobody(kind: str, stream: StreamId, data: Mapping[str, object]) -> None:
    """Tell, where nobody listens."""


class Sessions(Protocol):
    """Signed session prefixes for players."""

    def mint(self, scope: bytes, viewer: bytes, expires: int) -> bytes:
        """The text after `~`, for one stream (`scope`) and one viewer (16 bytes), until `expires` (unix seconds)."""
        ...

    def viewer(self, text: bytes, scope: bytes) -> bytes | None:
        """The viewer of a session that is good for this scope now, else None."""
        ...

    def revoke(self, viewer: bytes) -> None: ...
