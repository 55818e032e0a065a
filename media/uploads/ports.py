"""What uploads need from others: a store of records, somebody who makes something of the bytes, a scanner, listeners."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Sequence
from pathlib import Path
from typing import Protocol

from nova.media.streams.model import UnixMs, UserId
from nova.media.uploads.model import Addresses, Status, Upload, UploadId


class UploadStore(Protocol):
    """Records of uploads, on stable storage once a method returns.

    Twins: store_memory.MemoryUploads, store_sql.SqlUploads; tests/media/uploads/test_store_contract.py holds for both.
    """

    async def add(self, upload: Upload, room: tuple[int, int] | None = None, addresses: Addresses | None = None) -> bool:
        """With its addresses, in one step.

        room: unfinished uploads, and their bytes together, that its owner may have with it. False: it is one too many, and not there.
        """
        ...

    async def get(self, upload: UploadId) -> Upload | None: ...
    async def load(self, owner: UserId) -> tuple[int, int]:
        """Unfinished uploads of a user, and the bytes that they announced, together.

        With addresses that are still kept: those of deleted uploads count as one, those of all uploads with their bytes.
        """
        ...

    async def advance(self, upload: UploadId, offset: int, expires_at: UnixMs) -> None:
        """So many bytes are safe. With the last one it is `processing` in the same step: no crash falls between."""
        ...

    async def settle(
        self, upload: UploadId, status: Status, *, result: tuple[str, str] = ("", ""), error: tuple[str, str] = ("", "")
    ) -> None: ...
    async def with_status(self, status: Status) -> Sequence[Upload]:
        """All of them, oldest first."""
        ...

    async def expired(self, now: UnixMs, limit: int, after: tuple[UnixMs, UploadId] | None = None) -> Sequence[Upload]:
        """Those whose time is over and that nothing is being made of, in the order of their end, then of their id.

        after: end and id of one that need not be there any more; only what follows.
        """
        ...

    async def delete(self, upload: UploadId) -> bool: ...
    async def addresses_over(self, now: UnixMs, limit: int, after: tuple[UnixMs, UploadId] | None = None) -> Sequence[Addresses]:
        """As `expired`, by the end of the addresses."""
        ...

    async def forget_addresses(self, upload: UploadId) -> None: ...


class Maker(Protocol):
    """Makes something of an upload's bytes."""

    async def __call__(self, upload: Upload, body: AsyncIterable[bytes], sha256: str) -> tuple[str, str]:
        """Kind and id of what it became. sha256: of the whole. Raises NovaError: why it cannot be made."""
        ...


class Scanner(Protocol):
    """Looks for what must not be kept."""

    async def __call__(self, path: Path) -> None:
        """Raises Unprocessable `malware`; Unavailable: it could not look."""
        ...


Tell = Callable[[Upload], None]  # a change of an upload that its user sees
