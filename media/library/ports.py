"""What the library needs from others: a store of records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from nova.media.library.model import Kind, Video, VideoId
from nova.media.streams.model import UserId


@dataclass(frozen=True, slots=True)
class Wanted:
    """A page of videos, newest first. reader: whose own ones are in it beside the public ones; everything: operators."""

    limit: int
    after: VideoId | None = None
    kind: Kind | None = None
    owner: UserId | None = None
    reader: UserId | None = None
    everything: bool = False


class VideoStore(Protocol):
    """Records, on stable storage once a method returns. Twins: store_memory.MemoryVideos, store_sql.SqlVideos."""

    async def put(self, video: Video) -> None:
        """Adds it, or replaces the one of that id."""
        ...

    async def add(self, video: Video, per_user: int) -> bool:
        """False: its owner has so many already, and it is not stored."""
        ...

    async def get(self, video: VideoId) -> Video | None: ...
    async def find(self, wanted: Wanted) -> list[Video]: ...
    async def count(self, owner: UserId) -> int: ...
    async def delete(self, video: VideoId) -> bool: ...
