"""A node's live streams over the in-memory object table, with a clock that stands still."""

from __future__ import annotations

from collections.abc import Iterable

from nova.core.clock import FakeClock
from nova.media.live import muxers
from nova.media.live.ingest import LiveIngest
from nova.media.live.manager import LiveStreams
from nova.media.live.objects_memory import MemoryObjects
from nova.media.live.stream import Shape
from nova.media.rtmp.flv import Tag
from tests.media.live.material import record


class Told:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, ...]] = []

    def started(self, stream: str, key: str | None) -> None:
        self.events.append(("started", stream, key or ""))

    def lost(self, stream: str) -> None:
        self.events.append(("lost", stream))

    def ended(self, stream: str, reason: str) -> None:
        self.events.append(("ended", stream, reason))


class House:
    """Streams by name; `send` lets time pass as the frames' timestamps say."""

    def __init__(self, *, writer: muxers.Writer = "compiled", most: int = 10, **shape: float) -> None:
        self.clock = FakeClock()
        self.objects = MemoryObjects()
        self.told = Told()
        self.private: set[str] = set()
        self.live = LiveStreams(
            self.objects,
            self.clock,
            shape=Shape(**shape),  # type: ignore[arg-type]
            make_muxer=lambda: muxers.make(writer),
            watcher=self.told,
            is_private=self.private.__contains__,
            most=most,
        )
        self.objects.render = self.live.render
        self._at = 0

    def publish(self, stream: str = "s") -> LiveIngest:
        self._at = 0
        return self.live.publish(stream, "key-1")

    def send(self, ingest: LiveIngest, tags: Iterable[Tag]) -> None:
        for tag in tags:
            step = tag.timestamp - self._at
            if 0 < step < 1000:  # else the publisher set its clock anew, in no time
                self.clock.advance(step / 1000)
            self._at = tag.timestamp
            ingest.media(record(tag))

    async def text(self, name: str, stream: str = "s", **asked: int) -> str:
        answer = await self.objects.get(f"/live/{stream}/{name}", **asked)  # type: ignore[arg-type]
        assert answer.status == 200, answer.status
        return answer.body.decode()

    def paths(self, stream: str = "s") -> set[str]:
        """What is served of a stream, without its folder."""
        prefix = f"/live/{stream}/".encode()
        return {
            path[len(prefix) :].decode()
            for path, entry in self.objects.entries.items()
            if path.startswith(prefix) and entry.body is not None
        }
