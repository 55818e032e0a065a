"""What runs now, and what of it the store does not know yet.

Publishers come and go between two awaits; the store takes its time. So the state of running streams lives here, in
memory, and its changes wait in `pending`: the newest per record, in the order in which they first fell due, so there are
never more of them than streams that ran. Pure: no I/O, times come in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from nova.media.streams.model import Broadcast, KeyId, Status, Stream, StreamId, UnixMs

SAVE_EVERY_MS: Final = 60_000  # a crash forgets at most this much of a broadcast's viewer time


class SetStatus(NamedTuple):
    stream: StreamId
    status: Status
    started_at: UnixMs | None
    ended_at: UnixMs | None


class UseKey(NamedTuple):
    key: KeyId
    at: UnixMs


Write = SetStatus | UseKey | Broadcast


@dataclass(slots=True)
class _Run:
    """A stream with a broadcast."""

    status: Status
    broadcast: Broadcast
    sampled_at: UnixMs
    saved_at: UnixMs


class Journal:
    """The running broadcasts of this node."""

    def __init__(self) -> None:
        self._runs: dict[StreamId, _Run] = {}
        self._last: dict[StreamId, SetStatus] = {}  # ended, and not written yet
        self._pending: dict[tuple[str, str], Write] = {}

    def started(self, stream: StreamId, key: KeyId | None, broadcast: str, now: UnixMs) -> bool:
        """A publisher is here; True: a new broadcast begins, False: the running one goes on.

        broadcast: the id of a new one.
        """
        if key is not None:
            self._pending["key", key] = UseKey(key, now)
        run = self._runs.get(stream)
        if run is None:
            begun = Broadcast(broadcast, stream, now)
            self._runs[stream] = run = _Run(Status.LIVE, begun, now, now)
            self._pending["broadcast", begun.id] = begun
        elif run.status is Status.LIVE:
            return False
        run.status = Status.LIVE
        self._write_status(SetStatus(stream, Status.LIVE, run.broadcast.started_at, None))
        return run.broadcast.id == broadcast

    def lost(self, stream: StreamId) -> bool:
        """The publisher is gone and may come back; False: it was not live."""
        run = self._runs.get(stream)
        if run is None or run.status is not Status.LIVE:
            return False
        run.status = Status.RECONNECTING
        self._write_status(SetStatus(stream, Status.RECONNECTING, run.broadcast.started_at, None))
        return True

    def ended(self, stream: StreamId, reason: str, now: UnixMs) -> Broadcast | None:
        """The broadcast is over: the whole of it; None: there was none."""
        run = self._runs.pop(stream, None)
        if run is None:
            return None
        over = replace(run.broadcast, ended_at=now, reason=reason)
        self._pending["broadcast", over.id] = over
        self._write_status(SetStatus(stream, Status.ENDED, over.started_at, now))
        return over

    def forget(self, stream: StreamId) -> None:
        """The stream was deleted."""
        run = self._runs.pop(stream, None)
        self._last.pop(stream, None)
        self._pending.pop(("status", stream), None)
        if run is not None:
            self._pending.pop(("broadcast", run.broadcast.id), None)

    def sample(self, stream: StreamId, viewers: int, now: UnixMs) -> None:
        """`viewers` watch now: they count for the time since the last sample."""
        run = self._runs.get(stream)
        if run is None:
            return
        watched = viewers * max(0, now - run.sampled_at)
        before = run.broadcast
        run.broadcast = replace(before, peak_viewers=max(before.peak_viewers, viewers), viewer_ms=before.viewer_ms + watched)
        run.sampled_at = now
        if now - run.saved_at >= SAVE_EVERY_MS:
            run.saved_at = now
            self._pending["broadcast", before.id] = run.broadcast

    def running(self) -> list[StreamId]:
        return list(self._runs)

    def status(self, stream: StreamId) -> Status | None:
        """Of a stream with a broadcast; None: what the store says holds."""
        run = self._runs.get(stream)
        return None if run is None else run.status

    def broadcast(self, stream: StreamId) -> Broadcast | None:
        """The running one, with its numbers up to the last sample."""
        run = self._runs.get(stream)
        return None if run is None else run.broadcast

    def current(self, stream: Stream) -> Stream:
        """`stream` from the store, as it is now."""
        run = self._runs.get(stream.id)
        if run is not None:
            return replace(stream, status=run.status, started_at=run.broadcast.started_at, ended_at=None)
        ended = self._last.get(stream.id)
        if ended is not None:
            return replace(stream, status=ended.status, started_at=ended.started_at, ended_at=ended.ended_at)
        return stream

    def _write_status(self, write: SetStatus) -> None:
        self._pending["status", write.stream] = write
        if write.status is Status.ENDED:
            self._last[write.stream] = write
        else:
            self._last.pop(write.stream, None)

    @property
    def dirty(self) -> bool:
        return bool(self._pending)

    def take(self) -> Iterator[tuple[tuple[str, str], Write]]:
        """The changes that are due now; call `written` for each that is on stable storage."""
        yield from list(self._pending.items())

    def written(self, key: tuple[str, str], write: Write) -> None:
        """`write` is stored; a newer one of the same record stays pending."""
        if self._pending.get(key) is write:
            del self._pending[key]
        if isinstance(write, SetStatus) and self._last.get(write.stream) is write:
            del self._last[write.stream]
