"""The chat's store in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import trio

from nova.realtime.chat.model import Ban, Comment, Mode
from nova.realtime.history import Place


class MemoryStore:
    """`ChatStore` for tests."""

    def __init__(self) -> None:
        self._comments: dict[str, Comment] = {}
        self._modes: dict[str, Mode] = {}
        self._bans: dict[str, dict[str, Ban]] = defaultdict(dict)
        self._moderators: dict[str, set[str]] = defaultdict(set)

    async def add(self, comment: Comment) -> None:
        await trio.lowlevel.checkpoint()
        self._comments[comment.id] = comment

    async def number(self, comment: str, place: Place) -> None:
        await trio.lowlevel.checkpoint()
        if comment in self._comments:
            self._comments[comment] = replace(self._comments[comment], place=place)

    async def get(self, stream: str, place: Place) -> Comment | None:
        await trio.lowlevel.checkpoint()
        return next((each for each in self._comments.values() if each.stream == stream and each.place == place), None)

    async def page(self, stream: str, before: str | None, limit: int) -> list[Comment]:
        await trio.lowlevel.checkpoint()
        of_stream = sorted((each for each in self._of(stream) if each.place is not None), key=lambda each: each.id, reverse=True)
        return [each for each in of_stream if before is None or each.id < before][:limit]

    async def delete(self, stream: str, place: Place) -> bool:
        found = await self.get(stream, place)
        return found is not None and self._comments.pop(found.id, None) is not None

    async def delete_of(self, stream: str, user: str) -> Sequence[Place]:
        await trio.lowlevel.checkpoint()
        gone = [each for each in self._of(stream) if each.user == user]
        for each in gone:
            del self._comments[each.id]
        return [each.place for each in gone if each.place is not None]

    async def newest(self, stream: str, user: str) -> Comment | None:
        await trio.lowlevel.checkpoint()
        shown = (each for each in self._of(stream) if each.user == user and each.place is not None)
        return max(shown, key=lambda each: each.at, default=None)

    async def prune(self, stream: str, keep: int) -> None:
        await trio.lowlevel.checkpoint()
        for each in sorted(self._of(stream), key=lambda each: each.id, reverse=True)[keep:]:
            del self._comments[each.id]

    async def mode(self, stream: str) -> Mode:
        await trio.lowlevel.checkpoint()
        return self._modes.get(stream, Mode())

    async def set_mode(self, stream: str, mode: Mode) -> None:
        await trio.lowlevel.checkpoint()
        self._modes[stream] = mode

    async def ban(self, stream: str, ban: Ban) -> None:
        await trio.lowlevel.checkpoint()
        self._bans[stream][ban.user] = ban

    async def unban(self, stream: str, user: str) -> bool:
        await trio.lowlevel.checkpoint()
        return self._bans[stream].pop(user, None) is not None

    async def banned(self, stream: str, user: str) -> Ban | None:
        await trio.lowlevel.checkpoint()
        return self._bans[stream].get(user)

    async def add_moderator(self, stream: str, user: str, at: int) -> None:
        await trio.lowlevel.checkpoint()
        self._moderators[stream].add(user)

    async def remove_moderator(self, stream: str, user: str) -> bool:
        await trio.lowlevel.checkpoint()
        had = user in self._moderators[stream]
        self._moderators[stream].discard(user)
        return had

    async def moderates(self, stream: str, user: str) -> bool:
        await trio.lowlevel.checkpoint()
        return user in self._moderators[stream]

    async def forget(self, stream: str) -> None:
        await trio.lowlevel.checkpoint()
        self._comments = {id: each for id, each in self._comments.items() if each.stream != stream}
        for table in (self._modes, self._bans, self._moderators):
            table.pop(stream, None)

    def _of(self, stream: str) -> list[Comment]:
        return [each for each in self._comments.values() if each.stream == stream]
