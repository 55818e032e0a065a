"""The muxers by the name that the setting `live.writer` has for them."""

from __future__ import annotations

from typing import Final, Literal

from nova.ext.buffer import Arena, Buffer
from nova.ext.fmp4 import Fmp4Writer, PartTooLarge
from nova.ext.timeline import Part, Tracks
from nova.media.live.ports import Muxer, MuxError

Writer = Literal["compiled", "pyav"]
WRITERS: Final[tuple[Writer, ...]] = ("compiled", "pyav")


class CompiledMuxer:
    """H.264 and AAC by our own writer (nova.ext.fmp4): straight from the publisher's bytes into the segment."""

    def __init__(self) -> None:
        self._writer = Fmp4Writer()

    def init(self, tracks: Tracks) -> bytes:
        return self._writer.init(tracks)

    def part(self, part: Part, arena: Arena) -> Buffer:
        try:
            return self._writer.part(part, arena)
        except PartTooLarge as error:
            raise MuxError(str(error)) from None

    def close(self) -> None:
        """Holds nothing."""


def make(writer: Writer) -> Muxer:
    """A muxer for one publisher."""
    if writer == "compiled":
        return CompiledMuxer()
    from nova.media.libav import PyavMuxer  # libav takes 30 MB and 60 ms to load: only those who use it pay

    return PyavMuxer()
