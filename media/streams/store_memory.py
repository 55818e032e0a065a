"""The store's twin in memory: for tests, and for a server that may forget."""

from __future__ import annotations

from dataclasses import replace

from nova.media.streams.model import (
    RUNNING,
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
    Visibility,
)


class MemoryStore:
    """See ports.StreamStore."""

    def __init__(self) -> None:
        self._streams: dict[StreamId, Stream] = {}
        self._keys: dict[KeyId, StreamKey] = {}
        self._grants: dict[tuple[StreamId, UserId], UnixMs] = {}
        self._broadcasts: dict[str, Broadcast] = {}

    async def add(self, stream: Stream, key: StreamKey | None) -> None:
        self._streams[stream.id] = stream
        if key is not None:
            self._keys[key.id] = key

    async def get(self, stream: StreamId) -> Stream | None:
        return self._streams.get(stream)

    async def count(self, owner: UserId) -> int:
        return sum(stream.owner == owner for stream in self._streams.values())

    async def find(self, page: Page) -> list[Stream]:
        found = [stream for stream in self._streams.values() if self._matches(stream, page)]
        found.sort(key=lambda stream: stream.id, reverse=True)
        return found[: page.limit]

    def _matches(self, stream: Stream, page: Page) -> bool:
        listed = (
            page.everything
            or stream.visibility is Visibility.PUBLIC
            or (page.reader is not None and stream.owner == page.reader)
            or (stream.visibility is Visibility.PRIVATE and (stream.id, page.reader) in self._grants)
        )
        return (
            listed
            and (page.after is None or stream.id < page.after)
            and (page.owner is None or stream.owner == page.owner)
            and (page.status is None or stream.status is page.status)
            and all(word in stream.search_text for word in page.words)
        )

    async def change(self, stream: StreamId, changes: Changes) -> Stream | None:
        found = self._streams.get(stream)
        if found is None:
            return None
        self._streams[stream] = changes.apply(found)
        return self._streams[stream]

    async def delete(self, stream: StreamId) -> bool:
        if self._streams.pop(stream, None) is None:
            return False
        self._keys = {id: key for id, key in self._keys.items() if key.stream != stream}
        self._grants = {pair: at for pair, at in self._grants.items() if pair[0] != stream}
        self._broadcasts = {id: found for id, found in self._broadcasts.items() if found.stream != stream}
        return True

    async def set_status(self, stream: StreamId, status: Status, started_at: UnixMs | None, ended_at: UnixMs | None) -> None:
        if stream in self._streams:
            self._streams[stream] = replace(self._streams[stream], status=status, started_at=started_at, ended_at=ended_at)

    async def add_key(self, key: StreamKey) -> None:
        self._keys[key.id] = key

    async def keys(self, stream: StreamId) -> list[StreamKey]:
        return sorted((key for key in self._keys.values() if key.stream == stream), key=lambda key: key.id, reverse=True)

    async def all_keys(self) -> list[StreamKey]:
        return list(self._keys.values())

    async def ids(self) -> list[StreamId]:
        return list(self._streams)

    async def private(self) -> list[StreamId]:
        return [stream.id for stream in self._streams.values() if stream.visibility is Visibility.PRIVATE]

    async def delete_key(self, stream: StreamId, key: KeyId) -> bool:
        if key not in self._keys or self._keys[key].stream != stream:
            return False
        del self._keys[key]
        return True

    async def use_key(self, key: KeyId, at: UnixMs) -> None:
        if key in self._keys:
            self._keys[key] = replace(self._keys[key], used_at=at)

    async def grant(self, stream: StreamId, user: UserId, at: UnixMs) -> None:
        self._grants.setdefault((stream, user), at)

    async def revoke(self, stream: StreamId, user: UserId) -> bool:
        return self._grants.pop((stream, user), None) is not None

    async def grants(self, stream: StreamId) -> list[UserId]:
        return sorted(user for of, user in self._grants if of == stream)

    async def granted(self, stream: StreamId, user: UserId) -> bool:
        return (stream, user) in self._grants

    async def put_broadcast(self, broadcast: Broadcast) -> None:
        if broadcast.stream not in self._streams:
            return
        self._broadcasts[broadcast.id] = broadcast

    async def broadcasts(self, stream: StreamId, limit: int) -> list[Broadcast]:
        found = [broadcast for broadcast in self._broadcasts.values() if broadcast.stream == stream]
        return sorted(found, key=lambda broadcast: broadcast.id, reverse=True)[:limit]

    async def end_stale(self, at: UnixMs) -> int:
        stale = [stream for stream in self._streams.values() if stream.status in RUNNING]
        for stream in stale:
            self._streams[stream.id] = replace(stream, status=Status.ENDED, ended_at=at)
        for broadcast in list(self._broadcasts.values()):
            if broadcast.ended_at is None:
                self._broadcasts[broadcast.id] = replace(broadcast, ended_at=at, reason="server_stopped")
        return len(stale)
