"""The store's twin in memory."""

from __future__ import annotations

from nova.media.images.model import Image, ImageId
from nova.media.streams.model import UserId


class MemoryImages:
    """See ports.ImageStore."""

    def __init__(self) -> None:
        self._images: dict[ImageId, Image] = {}

    async def add(self, image: Image, per_user: int) -> bool:
        room = await self.count(image.owner) < per_user
        if room:
            self._images[image.id] = image
        return room

    async def get(self, image: ImageId) -> Image | None:
        return self._images.get(image)

    async def count(self, owner: UserId) -> int:
        return sum(image.owner == owner for image in self._images.values())

    async def find(self, owner: UserId | None, after: ImageId | None, limit: int) -> list[Image]:
        found = [each for each in self._images.values() if owner in (None, each.owner) and (after is None or each.id < after)]
        return sorted(found, key=lambda each: each.id, reverse=True)[:limit]

    async def delete(self, image: ImageId) -> bool:
        return self._images.pop(image, None) is not None
