"""What pictures need from others: a store of records, a memory of hot answers, a way to fetch what lies elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from nova.media.images.model import Image, ImageId
from nova.media.streams.model import UserId


class ImageStore(Protocol):
    """Records of pictures, on stable storage once a method returns.

    Twins: store_memory.MemoryImages, store_sql.SqlImages; tests/media/images/test_store_contract.py holds for both.
    """

    async def add(self, image: Image, per_user: int) -> bool:
        """False: its owner has so many already, and it is not there."""
        ...

    async def get(self, image: ImageId) -> Image | None: ...
    async def count(self, owner: UserId) -> int: ...
    async def find(self, owner: UserId | None, after: ImageId | None, limit: int) -> list[Image]:
        """Newest first; owner None: everybody's."""
        ...

    async def delete(self, image: ImageId) -> bool:
        """False: there was none."""
        ...


class Hot(Protocol):
    """Memory that answers for results without Python, on one's own terms about room.

    path: as sent. sent: the fields of a request that decide, lower case. An answer is good for every request that sends the same values of
    the fields in `vary`.
    """

    def put(
        self,
        path: bytes,
        fields: Sequence[tuple[str, str]],
        body: bytes,
        *,
        vary: Sequence[bytes],
        sent: Sequence[tuple[bytes, bytes]],
        image: str,
        until: float,
    ) -> None:
        """Answer so, with status 200, until then (Unix seconds). image: whose result it is."""
        ...

    def find(self, path: bytes, sent: Sequence[tuple[bytes, bytes]]) -> bytes | None:
        """The body of the answer that suits such a request."""
        ...

    def forget(self, image: str) -> None:
        """Every answer of this picture."""
        ...


class Fetch(Protocol):
    """Reads a picture from elsewhere. The adapter checks every address that it connects to, redirects included."""

    async def __call__(self, url: str, *, limit: int) -> bytes:
        """The body of the answer. Raises Forbidden `source_forbidden`; NotFound; TooLarge; Unavailable; Deadline."""
        ...


Tell = Callable[[str, str, dict[str, object]], None]  # event type, subject, data: for nova.media.events
