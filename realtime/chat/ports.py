"""What the chat keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from nova.realtime.chat.model import Ban, Comment, Mode
from nova.realtime.history import Place


class ChatStore(Protocol):
    """Comments and how chats are run, on stable storage once a method returns. Every method raises Unavailable.

    Twins: store_memory.MemoryStore, store_sql.SqlStore; tests/realtime/chat/test_store_contract.py holds for both.
    """

    async def add(self, comment: Comment) -> None: ...
    async def number(self, comment: str, place: Place) -> None:
        """The comment stands there in its channel; from now on it is shown."""

    async def get(self, stream: str, place: Place) -> Comment | None: ...
    async def page(self, stream: str, before: str | None, limit: int) -> list[Comment]:
        """Newest first; before: internal id of the last one of the page before."""

    async def delete(self, stream: str, place: Place) -> bool: ...
    async def delete_of(self, stream: str, user: str) -> Sequence[Place]:
        """Everything that this user wrote there: where it stood."""

    async def prune(self, stream: str, keep: int) -> None:
        """Only the newest `keep` stay."""

    async def mode(self, stream: str) -> Mode: ...
    async def set_mode(self, stream: str, mode: Mode) -> None: ...
    async def ban(self, stream: str, ban: Ban) -> None:
        """Instead of an earlier one of that user."""

    async def unban(self, stream: str, user: str) -> bool: ...
    async def banned(self, stream: str, user: str) -> Ban | None: ...
    async def add_moderator(self, stream: str, user: str, at: int) -> None: ...
    async def remove_moderator(self, stream: str, user: str) -> bool: ...
    async def moderates(self, stream: str, user: str) -> bool: ...
    async def forget(self, stream: str) -> None:
        """The stream was deleted: everything of it."""
