"""Media files as FLV tags: what `nova publish FILE` sends.

FLV is read as it is; every other container goes through libav, packets unchanged.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import aclosing, closing
from pathlib import Path
from typing import Final, Protocol

from nova.core.errors import BadRequest
from nova.core.offload import DISK, Offload
from nova.ext import rtmp
from nova.media.rtmp import flv
from nova.media.rtmp.client import Target, paced, publishing
from nova.media.rtmp.flv import FlvError, FlvReader, Tag

_SEQUENCE_HEADER: Final = 2  # a bit of rtmp.flags
_BLOCK: Final = 256 * 1024  # bytes read at once
_EMPTY_AAC: Final = flv.aac_config(b"")  # libav writes one before it has seen the first frame of an MPEG-TS file; the real one follows
_FRAME_MS: Final = 40  # between two passes of a loop when the file has no second picture to measure by


class Remux(Protocol):
    """Turns a media file into FLV, piece by piece; nova.media.libav.remux_flv is one."""

    def __call__(self, path: Path) -> Iterator[bytes]:
        """Raises BadRequest: libav cannot read the file, or FLV cannot carry it."""
        ...


def _blocks(path: Path, remux: Remux) -> Iterator[bytes]:
    """The file as FLV. Raises BadRequest: it cannot be read."""
    try:
        with path.open("rb") as file:
            begin = file.read(_BLOCK)
            if begin.startswith(b"FLV"):
                yield begin
                while block := file.read(_BLOCK):
                    yield block
                return
    except OSError as error:
        raise BadRequest(detail=f"cannot read {path}: {error.strerror}") from error
    yield from remux(path)


def _batches(path: Path, remux: Remux) -> Generator[list[Tag], None, None]:
    reader = FlvReader()
    for block in _blocks(path, remux):
        yield reader.feed(block)
    reader.finish()


async def file_tags(path: Path, offload: Offload, remux: Remux) -> AsyncGenerator[Tag, None]:
    """The tags of a media file, in order; time stamps begin at 0. Raises BadRequest."""
    first: int | None = None
    with closing(_batches(path, remux)) as batches:
        while (batch := await offload.run(DISK, lambda: next(batches, None))) is not None:
            for tag in batch:
                if tag.type == flv.AUDIO and tag.data == _EMPTY_AAC:
                    continue
                # Metadata and decoder configurations say 0 even where the media begins later.
                if first is None and tag.type != flv.SCRIPT and not rtmp.flags(tag.type, tag.data) & _SEQUENCE_HEADER:
                    first = tag.timestamp
                yield tag._replace(timestamp=0 if first is None else max(0, tag.timestamp - first))
    if first is None:
        raise FlvError(detail=f"there is nothing to publish in {path}")


async def looped(passes: Callable[[], AsyncGenerator[Tag, None]]) -> AsyncGenerator[Tag, None]:
    """The tags over and over, each pass behind the one before; metadata only once."""
    begin = 0
    while True:
        last, step, end = None, _FRAME_MS, begin
        async with aclosing(passes()) as tags:
            async for tag in tags:
                stamp = begin + tag.timestamp
                if tag.type == flv.SCRIPT:
                    if begin:
                        continue
                elif tag.type == flv.VIDEO:
                    if last is not None and stamp > last:
                        step = stamp - last
                    last = stamp
                end = max(end, stamp)
                yield tag._replace(timestamp=stamp & 0xFFFFFFFF)
        begin = end + step


async def publish_file(
    path: Path,
    target: Target,
    *,
    offload: Offload,
    remux: Remux,
    loop: bool = False,
    sent: Callable[[Tag], None] = lambda tag: None,
    stopped: Callable[[], bool] = lambda: False,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Publish a media file at the pace of its time stamps; returns at its end, with `loop` only when stopped.

    sent: told about every tag, for progress. stopped: asked after every tag; true ends the stream as the file's end does.
    Raises BadRequest: the file; PublishError: the server.
    """

    def once() -> AsyncGenerator[Tag, None]:
        return file_tags(path, offload, remux)

    async with publishing(target, tls=tls) as publisher, aclosing(paced(looped(once) if loop else once())) as tags:
        async for tag in tags:
            await publisher.send(tag)
            sent(tag)
            if stopped():
                break
