"""The store's twin in memory."""

from __future__ import annotations

from nova.media.library.model import Video, VideoId
from nova.media.library.ports import Wanted
from nova.media.streams.model import UserId, Visibility


class MemoryVideos:
    """See ports.VideoStore."""

    def __init__(self) -> None:
        self._videos: dict[VideoId, Video] = {}

    async def put(self, video: Video) -> None:
        self._videos[video.id] = video

    async def add(self, video: Video, per_user: int) -> bool:
        room = await self.count(video.owner) < per_user
        if room:
            await self.put(video)
        return room

    async def get(self, video: VideoId) -> Video | None:
        return self._videos.get(video)

    async def find(self, wanted: Wanted) -> list[Video]:
        found = [
            each
            for each in self._videos.values()
            if (wanted.everything or each.visibility is Visibility.PUBLIC or each.owner == wanted.reader)
            and (wanted.after is None or each.id < wanted.after)
            and wanted.kind in (None, each.kind)
            and wanted.owner in (None, each.owner)
        ]
        return sorted(found, key=lambda each: each.id, reverse=True)[: wanted.limit]

    async def count(self, owner: UserId) -> int:
        return sum(each.owner == owner for each in self._videos.values())

    async def delete(self, video: VideoId) -> bool:
        return self._videos.pop(video, None) is not None
