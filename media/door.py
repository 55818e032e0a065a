"""Where RTMP, live streams and the streams domain meet: two small adapters, so that none of the three knows the others."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Protocol

from nova.core.clock import Clock
from nova.core.reactor import Feed
from nova.media.live.ingest import LiveIngest
from nova.media.live.manager import LiveStreams
from nova.media.rtmp.server import Grant, RtmpServer
from nova.media.streams.model import KeyId, StreamId
from nova.media.streams.service import Streams


class ViewerCounts(Protocol):
    """The reactor's table of who watches."""

    def count(self, tag: int, now: int) -> int:
        """Distinct viewers of `tag` in the window that ends at `now` (unix seconds)."""
        ...

    def touch(self, tag: int, viewer: int, now: int) -> None:
        """The viewer (64 bits) asked for something of `tag` at `now`; 0 is so long ago that it does not count."""
        ...


class StreamDoor:
    """The streams as RTMP sees them: media.rtmp.server.Door."""

    def __init__(self, streams: Streams, live: LiveStreams) -> None:
        self._streams = streams
        self._live = live

    def authorize(self, app: str, key: str, peer: str) -> Grant | None:
        """One digest and one look into a dict; see media.streams.keys."""
        del app, peer  # the server has checked the one and counts wrong keys by the other
        owned = self._streams.authorize(key)
        return None if owned is None else Grant(owned.stream, owned.key)

    def publish(self, grant: Grant, peer: str) -> LiveIngest:
        del peer
        return self._live.publish(grant.stream_id, grant.key_id)

    def playable(self, stream_id: str, peer: str) -> bool:
        del peer
        return not self._streams.is_private(StreamId(stream_id))


class LocalRunning:
    """The publishers and viewers of this node: media.streams.ports.Running.

    The streams service is made before the servers that it speaks to: `attach` closes the circle, until then nothing runs.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._live: LiveStreams | None = None
        self._rtmp: RtmpServer[Feed] | None = None
        self._counts: ViewerCounts | None = None

    def attach(self, live: LiveStreams, rtmp: RtmpServer[Feed], counts: ViewerCounts) -> None:
        self._live, self._rtmp, self._counts = live, rtmp, counts

    def stop(self, stream: StreamId, reason: str) -> bool:
        if self._live is None or self._rtmp is None:
            return False
        # The publisher's connection takes its stream with it; a stream in its grace time has none.
        dropped = self._rtmp.drop(stream, "stopped")
        stopped = self._live.stop(stream, reason) or dropped
        if reason == "deleted":
            self._live.forget(stream)
        return stopped

    def drop_key(self, stream: StreamId, key: KeyId) -> bool:
        return self._rtmp is not None and self._rtmp.drop(stream, "key_revoked", key_id=key)

    def hide(self, stream: StreamId, private: bool) -> None:
        if self._live is not None and self._rtmp is not None:
            self._live.hide(stream, private)
            if private:
                self._rtmp.drop_players(stream)

    def viewers(self, stream: StreamId) -> int:
        if self._live is None or self._counts is None:
            return 0
        tag = self._live.tag(stream)
        return self._counts.count(tag, int(self._clock.wall())) if tag else 0

    def gone(self, stream: StreamId, viewer: bytes) -> None:
        if self._live is not None and self._counts is not None and (tag := self._live.tag(stream)):
            # As ext/session numbers them: the first eight bytes as they lie in memory, never 0.
            self._counts.touch(tag, int.from_bytes(viewer[:8], sys.byteorder) or 1, 0)

    def numbers(self, stream: StreamId) -> Mapping[str, object]:
        return {} if self._live is None else self._live.numbers(stream)
