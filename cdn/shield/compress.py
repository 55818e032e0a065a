"""Compressed forms of what is kept: made once for each encoding, off the loop, one object at a time."""

from __future__ import annotations

import zlib
from contextlib import suppress
from typing import Final

import trio

from nova.cdn.cache import fields as f
from nova.cdn.cache.entry import lines
from nova.cdn.cache.keeper import Keeper
from nova.cdn.ports import Fields
from nova.cdn.shield.reply import compressible
from nova.core.errors import Unavailable
from nova.core.offload import CPU, Offload
from nova.ext.buffer import Buffer
from nova.ext.kept import Answer

QUEUE: Final = 256  # objects that wait; one more stays as it is
WORTH: Final = 0.9  # a form that is not smaller than this share is not kept
# Said of the bytes as they came.
_OF_THE_BYTES: Final = frozenset((b"accept-ranges", b"content-digest", b"repr-digest", b"digest", b"content-md5"))
CODINGS: Final = ((0, b"gzip", b"-gz"), (1, b"br", b"-br"), (2, b"zstd", b"-zst"))


def encode(index: int, data: bytes) -> bytes:
    """gzip (0), br (1) or zstd (2), at the level that is worth its time for what is sent many times."""
    if index == 0:
        packer = zlib.compressobj(6, zlib.DEFLATED, 31)
        return packer.compress(data) + packer.flush()
    if index == 1:
        import brotli  # loaded by `load`

        return bytes(brotli.compress(data, mode=brotli.MODE_TEXT, quality=5))
    import zstandard

    return zstandard.ZstdCompressor(level=6).compress(data)


def form(answer: Answer, coding: bytes, suffix: bytes, size: int) -> tuple[bytes, int, int, bytes]:
    """(head, bytes of its line, of line and fields, ETag) of a compressed form: an object of its own, so with an ETag of its own."""
    etag = answer.etag
    own = etag[:-1] + suffix + b'"' if etag.endswith(b'"') else b""
    found = [(name, own if name == b"etag" and own else value) for name, value in f.split_lines(answer.lines)]
    found = [field for field in found if field[0] not in _OF_THE_BYTES]
    found.append((b"content-encoding", coding))
    line = answer.status_line
    head = line + lines(found)
    return head + b"content-length: %d\r\n" % size, len(line), len(head), own


class Compressor:
    """A queue of objects and the task that works it off."""

    def __init__(self, keeper: Keeper, offload: Offload) -> None:
        self._keeper, self._offload = keeper, offload
        self._give, self._take = trio.open_memory_channel[tuple[int, bytes, Answer]](QUEUE)
        self.made = 0
        self._loaded = False

    def kept(self, site: int, key: bytes, fields: Fields, answer: Answer) -> None:
        """A whole answer was kept."""
        if compressible(answer.status, fields, answer.total) and not answer.encodings:
            try:
                self._give.send_nowait((site, key, answer))
            except trio.WouldBlock:
                return

    async def load(self) -> None:
        """Load the libraries, once, before the first text asks for them: that takes the interpreter from the loop for a while."""
        if not self._loaded:
            self._loaded = True
            with suppress(Unavailable):
                await self._offload.run(CPU, lambda: [encode(index, b"") for index, _, _ in CODINGS])

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        async for site, key, answer in self._take:
            data = b"".join(map(bytes, answer.body()))
            for index, coding, suffix in CODINGS:
                try:
                    packed = await self._offload.run(CPU, lambda index=index, data=data: encode(index, data))  # type: ignore[misc]
                except Unavailable:
                    break  # the machine has more pressing work
                if len(packed) > len(data) * WORTH:
                    continue
                head, line_size, fields_size, etag = form(answer, coding, suffix, len(packed))
                if self._keeper.table.alternate(site, key, answer, index, head, line_size, fields_size, [Buffer(packed)], etag):
                    self.made += 1
            self._keeper.fit()
