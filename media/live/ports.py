"""What live streams need from others: a table of objects that are served, a muxer, somebody who is told of their life."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from nova.ext.buffer import Arena, Buffer
from nova.ext.timeline import Part, Tracks
from nova.media.live.window import Init, PartInfo, Segment


class Objects(Protocol):
    """Names and the bodies that answer them. One writer; readers are somewhere else and may wait for a name or a version.

    Twins: objects_memory.MemoryObjects, nova.ext.objects.ObjectTable; tests/contracts/test_objects.py holds for both.
    tag: counts readers as viewers of a stream, 0: of none. private: only for requests with a valid session prefix.
    """

    def put(
        self,
        path: bytes,
        headers: bytes,
        body: Sequence[Buffer],
        *,
        etag: bytes,
        gzip: Buffer | None = None,
        version: int = 0,
        tag: int = 0,
        private: bool = False,
    ) -> None:
        """Answer `path` with this from now on, those who wait for it first.

        headers: complete lines, without Content-Length, ETag, Date, Accept-Ranges and Age. body: a rope. gzip: the same, compressed.
        """
        ...

    def expect(self, path: bytes, *, tag: int = 0, private: bool = False) -> None:
        """`path` will be put soon: who asks for it waits."""
        ...

    def advance(self, path: bytes, version: int, *, tag: int = 0, private: bool = False) -> bool:
        """There is a newer version, which nobody has rendered. True: somebody waits for it, put it now. Else `render` is called
        for the next one who asks."""
        ...

    def remove(self, path: bytes) -> bool:
        """There is nothing any more; who waits is told so. False: there was nothing."""
        ...


class MuxError(Exception):
    """A part could not be written. The text says why, without content."""


class Muxer(Protocol):
    """Writes what a timeline has cut. One for each publisher.

    Twins: fmp4.CompiledMuxer, libav.PyavMuxer; tests/media/live/test_muxers.py demands the same packets of both.
    """

    def init(self, tracks: Tracks) -> bytes:
        """The initialization segment of a period. Raises MuxError."""
        ...

    def part(self, part: Part, arena: Arena) -> Buffer:
        """Append the part's fragment to its segment's arena. Raises MuxError."""
        ...

    def close(self) -> None:
        """No more parts; once."""
        ...


class Watcher(Protocol):
    """Is told of a stream's life. Synchronous and short: a publisher waits meanwhile."""

    def started(self, stream: str, key: str | None) -> None:
        """A publisher is here."""
        ...

    def lost(self, stream: str) -> None:
        """It is gone, and has its grace time to come back."""
        ...

    def ended(self, stream: str, reason: str) -> None:
        """The broadcast is over."""
        ...


class Output(Protocol):
    """Makes a stream's window available to players."""

    def init(self, init: Init) -> None:
        """The following segments need this initialization segment."""
        ...

    def part(self, segment: Segment, part: PartInfo) -> None:
        """One more part of the segment under way; when it closes, `segment` follows at once."""
        ...

    def segment(self, segment: Segment) -> None:
        """The segment is whole."""
        ...

    def flush(self) -> None:
        """What was told since the last flush belongs together: tell it now."""
        ...

    def forget(self, segment: Segment) -> None:
        """The segment is not kept any more."""
        ...

    def forget_init(self, init: Init) -> None:
        """No segment needs this initialization segment any more."""
        ...

    def end(self) -> None:
        """There will be no more parts."""
        ...

    def close(self) -> None:
        """The stream is over for good: nothing of it is served any more."""
        ...

    def hide(self, private: bool) -> None:
        """From now on everything is private, or not."""
        ...
