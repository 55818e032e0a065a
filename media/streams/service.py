"""Streams, as the surface asks for them: every rule of the domain, none of the wire."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from nova.core.clock import Clock, rfc3339
from nova.core.errors import BadRequest, FieldError, NotFound, NovaError, RateLimited
from nova.core.log import Log
from nova.media.streams import access, keys
from nova.media.streams.access import Caller
from nova.media.streams.joins import Join, Joins
from nova.media.streams.journal import Journal, SetStatus, UseKey, Write
from nova.media.streams.model import (
    Analytics,
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
from nova.media.streams.ports import Running, Sessions, StreamStore, Tell, nobody

SAMPLE_EVERY: Final = 5.0  # seconds; half the window in which a viewer counts
RETRY_WRITE: Final = 1.0  # seconds until a change that the store refused is tried again
BROADCASTS_SHOWN: Final = 50
VIEWER_BYTES: Final = 16
GRANTS_MAX: Final = 10_000  # users let into one private stream by name

_log = Log("nova.streams")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of this domain; the composition root takes them from the settings."""

    streams_per_user: int = 1000
    keys_per_stream: int = 20
    session_ttl: float = 6 * 3600.0  # seconds


@dataclass(frozen=True, slots=True)
class Draft:
    """What a new stream is made of; checked by the surface."""

    title: str
    description: str = ""
    tags: tuple[str, ...] = ()
    visibility: Visibility = Visibility.PUBLIC
    record: bool = False


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key with its text, which is shown this once."""

    record: StreamKey
    text: str

    def __repr__(self) -> str:
        return f"NewKey({self.record.id}, ***)"


@dataclass(frozen=True, slots=True)
class Joined:
    """A viewer's session."""

    session: str
    expires_at: UnixMs
    viewers: int

    def __repr__(self) -> str:
        return f"Joined(***, {self.expires_at})"


@dataclass(frozen=True, slots=True)
class Seen:
    """A stream as it is now, with its viewers."""

    stream: Stream
    viewers: int


class Streams:
    """The streams of this node.

    new_id: a UUIDv7; later ones sort after earlier ones.
    tell: hears what becomes of streams.
    `open` comes first, `run` keeps the store in step until it is cancelled.
    """

    def __init__(
        self,
        store: StreamStore,
        running: Running,
        sessions: Sessions,
        *,
        clock: Clock,
        new_id: Callable[[], str],
        limits: Limits | None = None,
        tell: Tell = nobody,
    ) -> None:
        self._tell = tell
        self._store = store
        self._running = running
        self._sessions = sessions
        self._clock = clock
        self._new_id = new_id
        self._limits = limits or Limits()
        self._index = keys.KeyIndex()
        self._journal = Journal()
        self._due = trio.Event()
        self._joined = Joins()
        self._private: set[StreamId] = set()
        self._created: list[Callable[[StreamId], Awaitable[None]]] = []
        self._deleted: list[Callable[[StreamId], Awaitable[None]]] = []
        self._hidden: list[Callable[[StreamId, UserId | None], Awaitable[None]]] = []

    async def open(self) -> int:
        """Load what is asked without awaiting, and end what an earlier process left running; how many streams that were."""
        stale = await self._store.end_stale(self._now())
        self._index = keys.KeyIndex(await self._store.all_keys())
        self._private = set(await self._store.private())
        return stale

    def when_created(self, call: Callable[[StreamId], Awaitable[None]]) -> None:
        """`call(stream)` tells others of a stream that is new, before its owner hears of it."""
        self._created.append(call)

    def when_deleted(self, call: Callable[[StreamId], Awaitable[None]]) -> None:
        """`call(stream)` takes away what others keep of a stream that is deleted."""
        self._deleted.append(call)

    def when_hidden(self, call: Callable[[StreamId, UserId | None], Awaitable[None]]) -> None:
        """`call(stream, user)` sends away whoever may not see a private stream any more: this user; None: look at everybody."""
        self._hidden.append(call)

    def _now(self) -> UnixMs:
        return UnixMs(int(self._clock.wall() * 1000))

    # What an owner does with streams.

    async def create(self, owner: UserId, draft: Draft) -> tuple[Stream, NewKey]:
        """A new stream with its first key. Raises RateLimited `quota_exceeded`."""
        if await self._store.count(owner) >= self._limits.streams_per_user:
            raise RateLimited("quota_exceeded", f"A user may keep {self._limits.streams_per_user} streams; delete one first.")
        stream = Stream(
            StreamId(self._new_id()), owner, draft.title, draft.description, draft.tags, draft.visibility, draft.record,
            self._now(),
        )  # fmt: skip
        key = self._make_key(stream.id)
        if stream.visibility is Visibility.PRIVATE:
            self._private.add(stream.id)  # before anybody can publish to it
        await self._store.add(stream, key.record)
        self._index.add(key.record)
        for created in self._created:
            await created(stream.id)
        self._tell("StreamCreated", stream.id, _facts(stream))
        return stream, key

    async def find(
        self,
        caller: Caller,
        *,
        limit: int,
        after: StreamId | None = None,
        status: Status | None = None,
        text: str = "",
        owner: UserId | None = None,
    ) -> tuple[list[Seen], StreamId | None]:
        """A page of what `caller` may find, newest first, and the last id of it when there is more."""
        await self._settle()
        page = Page(limit + 1, after, caller.user, caller.operator, owner, status, tuple(dict.fromkeys(text.casefold().split())))
        found = await self._store.find(page)
        more = len(found) > limit
        return [self._seen(stream) for stream in found[:limit]], found[limit - 1].id if more else None

    async def get(self, stream: StreamId, caller: Caller) -> Seen:
        """Raises NotFound: there is none, or none that the caller may know of."""
        return self._seen(await self._visible(stream, caller))

    async def exists(self, stream: StreamId) -> bool:
        """Whether this node keeps it, whoever may see it."""
        return await self._store.get(stream) is not None

    async def ids(self) -> Sequence[StreamId]:
        """Every stream that this node keeps."""
        return await self._store.ids()

    async def owned(self, stream: StreamId, caller: Caller) -> Stream:
        """A stream that the caller may change. Raises NotFound, Forbidden."""
        found = await self._store.get(stream)
        if found is None:
            raise access.missing(stream)
        access.require_change(found, caller, granted=await self._granted(found, caller))
        return self._journal.current(found)

    async def change(self, stream: StreamId, caller: Caller, changes: Changes) -> Seen:
        """Raises NotFound, Forbidden."""
        await self.owned(stream, caller)
        found = await self._store.change(stream, changes)
        if found is None:
            raise access.missing(stream)
        if changes.visibility is not None:
            await self._set_private(found)
        self._tell("StreamUpdated", stream, _facts(found))
        return self._seen(found)

    async def delete(self, stream: StreamId, caller: Caller) -> None:
        """The stream, its publisher and its viewers' sessions. Raises NotFound, Forbidden."""
        found = await self.owned(stream, caller)
        self._index.remove_stream(stream)  # first: nobody may start while it goes away
        self._running.stop(stream, "deleted")
        self._journal.forget(stream)
        self._revoke(stream, self._joined.take(stream, unless=lambda user: False))
        await self._store.delete(stream)
        self._private.discard(stream)
        for deleted in self._deleted:
            await deleted(stream)
        self._tell("StreamDeleted", stream, {"owner": found.owner})

    async def stop(self, stream: StreamId, caller: Caller) -> Seen:
        """End the broadcast; the keys stay good. Without one it changes nothing. Raises NotFound, Forbidden."""
        found = await self.owned(stream, caller)
        self._running.stop(stream, "stopped")
        return self._seen(found)

    async def analytics(self, stream: StreamId, caller: Caller) -> Analytics:
        """Raises NotFound, Forbidden."""
        found = await self.owned(stream, caller)
        self._sample(stream)
        await self._settle()
        running = self._journal.broadcast(stream)
        stored = await self._store.broadcasts(stream, BROADCASTS_SHOWN)
        shown = [running if running is not None and each.id == running.id else each for each in stored]
        now = self._now()
        return Analytics(
            self._journal.current(found),
            self.viewers(stream),
            max((each.peak_viewers for each in shown), default=0),
            sum(each.viewer_ms for each in shown),
            sum((now if each.ended_at is None else each.ended_at) - each.started_at for each in shown),
            tuple(shown),
            self._running.numbers(stream),
        )

    # Keys.

    async def add_key(self, stream: StreamId, caller: Caller) -> NewKey:
        """One more key. Raises NotFound, Forbidden, RateLimited `quota_exceeded`."""
        await self.owned(stream, caller)
        if len(await self._store.keys(stream)) >= self._limits.keys_per_stream:
            raise RateLimited("quota_exceeded", f"A stream may have {self._limits.keys_per_stream} keys; delete one first.")
        key = self._make_key(stream)
        await self._store.add_key(key.record)
        self._index.add(key.record)
        return key

    async def list_keys(self, stream: StreamId, caller: Caller) -> list[StreamKey]:
        """Newest first, without their text. Raises NotFound, Forbidden."""
        await self.owned(stream, caller)
        await self._settle()
        return await self._store.keys(stream)

    async def delete_key(self, stream: StreamId, key: KeyId, caller: Caller) -> None:
        """The key, and the publisher that uses it. Raises NotFound, Forbidden."""
        await self.owned(stream, caller)
        if not await self._store.delete_key(stream, key):
            raise NotFound(detail=f"There is no key {key[:64]!r} of this stream.")
        self._index.remove(stream, key)
        self._running.drop_key(stream, key)

    def authorize(self, text: str) -> keys.Owned | None:
        """What the stream key `text` opens. Synchronous, microseconds, from memory."""
        return self._index.find(text)

    def is_private(self, stream: StreamId) -> bool:
        """Whether its media needs a session. Synchronous, from memory."""
        return stream in self._private

    # Viewers.

    async def grant(self, stream: StreamId, user: UserId, caller: Caller) -> None:
        """Let `user` watch a private stream. Raises NotFound, Forbidden, RateLimited `quota_exceeded`."""
        await self.owned(stream, caller)
        if len(await self._store.grants(stream)) >= GRANTS_MAX:
            raise RateLimited("quota_exceeded", f"A stream may be granted to {GRANTS_MAX} users.")
        await self._store.grant(stream, user, self._now())

    async def revoke(self, stream: StreamId, user: UserId, caller: Caller) -> None:
        """Take a grant and its running sessions back. Raises NotFound, Forbidden."""
        found = await self.owned(stream, caller)
        if not await self._store.revoke(stream, user):
            raise NotFound(detail="This user has no grant for this stream.")
        if found.visibility is Visibility.PRIVATE:
            self._revoke(stream, self._joined.take(stream, unless=lambda joined: joined != user))
            for hidden in self._hidden:
                await hidden(stream, user)

    async def list_grants(self, stream: StreamId, caller: Caller) -> list[UserId]:
        """Raises NotFound, Forbidden."""
        await self.owned(stream, caller)
        return await self._store.grants(stream)

    async def join(self, stream: StreamId, caller: Caller) -> Joined:
        """A session for one viewer. Raises NotFound."""
        await self._visible(stream, caller)
        viewer = secrets.token_bytes(VIEWER_BYTES)
        now = self._now()
        expires_at = UnixMs(int(now + self._limits.session_ttl * 1000) // 1000 * 1000)
        session = self._sessions.mint(stream.encode(), viewer, expires_at // 1000)
        self._joined.add(Join(viewer, stream, caller.user, expires_at), now)
        return Joined(session.decode(), expires_at, self.viewers(stream))

    async def leave(self, stream: StreamId, caller: Caller, session: str | None) -> None:
        """End a session; without one every session of the caller for this stream. Again changes nothing.

        Raises BadRequest: neither a session of this stream nor a user.
        """
        if session is not None:
            viewer = self._sessions.viewer(session.encode(), stream.encode())
            if viewer is not None:
                self._joined.remove(viewer)
                self._revoke(stream, [viewer])
        elif caller.user is not None:
            self._revoke(stream, self._joined.take(stream, unless=lambda user: user != caller.user))
        else:
            missing = FieldError("/session", "missing_field", "is required without a token")
            raise BadRequest(detail="Which session leaves?", fields=(missing,))

    def viewers(self, stream: StreamId) -> int:
        """Viewers of the last ten seconds."""
        return self._running.viewers(stream)

    async def watchable(self, stream: StreamId, session: str | None) -> Seen | None:
        """The stream, for somebody who asks for its media with no other right than a session; None: not for them."""
        found = await self._store.get(stream)
        if found is None:
            return None
        if found.visibility is Visibility.PRIVATE and (session is None or not self.admits(stream, session)):
            return None
        return self._seen(found)

    def admits(self, stream: StreamId, session: str) -> bool:
        """Whether the session is good for this stream now. Synchronous."""
        return self._sessions.viewer(session.encode(), stream.encode()) is not None

    # What the live half tells: synchronous, so that a publisher never waits for the store.

    def started(self, stream: StreamId, key: KeyId | None) -> None:
        """A publisher is here."""
        broadcast = self._new_id()
        if self._journal.started(stream, key, broadcast, self._now()):
            self._tell("StreamStarted", stream, {"broadcast_id": broadcast, "started_at": rfc3339(self._now() / 1000)})
        self._due.set()

    def lost(self, stream: StreamId) -> None:
        """The publisher is gone; its grace time begins."""
        self._sample(stream)
        if self._journal.lost(stream):
            self._due.set()

    def ended(self, stream: StreamId, reason: str) -> None:
        """The broadcast is over."""
        self._sample(stream)
        over = self._journal.ended(stream, reason, self._now())
        if over is not None:
            self._due.set()
            facts = {
                "broadcast_id": over.id,
                "started_at": rfc3339(over.started_at / 1000),
                "ended_at": rfc3339(self._now() / 1000),
                "reason": reason,
                "peak_viewers": over.peak_viewers,
                "viewer_seconds": over.viewer_ms // 1000,
            }
            self._tell("StreamEnded", stream, facts)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Count viewers and write what changed, until cancelled; then write what is left."""
        task_status.started()
        try:
            while True:
                with trio.move_on_after(SAMPLE_EVERY):
                    await self._due.wait()
                for stream in self._journal.running():
                    self._sample(stream)
                if not await self._write_out():
                    await trio.sleep(RETRY_WRITE)
                    self._due.set()
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(RETRY_WRITE):
                await self._write_out()

    async def close(self) -> None:
        """End what runs and write it down; for the drain."""
        for stream in self._journal.running():
            self.ended(stream, "server_stopped")
        await self._write_out()

    async def _write_out(self) -> bool:
        """Store what is pending; False: the store refused, the rest stays pending."""
        self._due = trio.Event()
        for key, write in self._journal.take():
            try:
                await self._store_write(write)
            except NovaError as error:
                _log.warning("stream_state_not_stored", code=error.code, detail=error.detail)
                return False
            self._journal.written(key, write)
        return True

    async def _store_write(self, write: Write) -> None:
        match write:
            case SetStatus():
                await self._store.set_status(*write)
            case UseKey():
                await self._store.use_key(*write)
            case Broadcast():
                await self._store.put_broadcast(write)

    async def _settle(self) -> None:
        """Before the store is asked about states: what changed until now is in it."""
        if self._journal.dirty:
            await self._write_out()

    def _sample(self, stream: StreamId) -> None:
        self._journal.sample(stream, self.viewers(stream), self._now())

    def _seen(self, stream: Stream) -> Seen:
        return Seen(self._journal.current(stream), self.viewers(stream.id))

    def _make_key(self, stream: StreamId) -> NewKey:
        text = keys.make_key()
        record = StreamKey(KeyId(self._new_id()), stream, keys.digest(text), keys.hint(text), self._now())
        return NewKey(record, text)

    async def _granted(self, stream: Stream, caller: Caller) -> bool:
        if stream.visibility is not Visibility.PRIVATE or caller.user is None or access.may_change(stream, caller):
            return False  # nobody asks for it then
        return await self._store.granted(stream.id, caller.user)

    async def _visible(self, stream: StreamId, caller: Caller) -> Stream:
        found = await self._store.get(stream)
        if found is None or not access.may_see(found, caller, granted=await self._granted(found, caller)):
            raise access.missing(stream)
        return found

    async def _set_private(self, stream: Stream) -> None:
        """The media needs a session from now on, or none; who may not watch any more is sent away."""
        private = stream.visibility is Visibility.PRIVATE
        if private is not self.is_private(stream.id):
            (self._private.add if private else self._private.discard)(stream.id)
            self._running.hide(stream.id, private)
            if private:
                allowed = {stream.owner, *await self._store.grants(stream.id)}
                self._revoke(stream.id, self._joined.take(stream.id, unless=lambda user: user in allowed))
        if private:  # also when it was: somebody asks again who was told that not everybody could be reached
            for hidden in self._hidden:
                await hidden(stream.id, None)

    def _revoke(self, stream: StreamId, viewers: list[bytes]) -> None:
        for viewer in viewers:
            self._sessions.revoke(viewer)
            self._running.gone(stream, viewer)


def _facts(stream: Stream) -> dict[str, object]:
    return {"owner": stream.owner, "title": stream.title, "tags": list(stream.tags), "visibility": stream.visibility.value}
