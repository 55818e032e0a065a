"""A connection of the reactor as a trio stream: what HTTP/2 runs on until the reactor speaks it itself."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from nova.ext.engine import Engine

_WINDOW: Final = 262_144  # bytes that may come up unread: two reads of the largest TLS burst
_MARK: Final = 262_144  # bytes sent between two looks at the backlog
_PIECE: Final = 65_536


class RawStream(trio.abc.HalfCloseableStream):
    """Bytes both ways, with back-pressure both ways. The reactor has done TLS already.

    peer: (address, port). alpn: the protocol that TLS agreed on, None without TLS. conn: the connection's id.
    """

    def __init__(self, reactor: Engine, conn: int, peer: tuple[str, int], alpn: str | None) -> None:
        self._engine = reactor
        self.conn = conn
        self.peer = peer
        self.alpn = alpn
        self._input: deque[bytes] = deque()
        self._eof = False
        self._gone = False  # the connection has ended
        self._closed = False  # we have closed it
        self._sent_eof = False
        self._unmarked = 0
        self._heard = trio.Event()
        self._drained = trio.Event()
        self._busy = False
        self._engine.credit(conn, _WINDOW)

    # -- events of the reactor -----------------------------------------------------------------------------------------

    def data(self, data: bytes, last: bool) -> None:
        if data:
            self._input.append(data)
        self._eof = self._eof or last
        self._heard.set()

    def drained(self) -> None:
        self._drained.set()

    def ended(self) -> None:
        self._gone = True
        self._heard.set()
        self._drained.set()

    # -- trio's stream -------------------------------------------------------------------------------------------------

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        while not self._input:
            if self._closed:
                raise trio.ClosedResourceError
            if self._eof:
                return b""
            if self._gone:
                raise trio.BrokenResourceError("the peer's connection is gone")
            self._heard = trio.Event()
            await self._heard.wait()
        data = self._input.popleft()
        if max_bytes is not None and len(data) > max_bytes:
            self._input.appendleft(data[max_bytes:])
            data = data[:max_bytes]
        if not self._gone:
            self._engine.credit(self.conn, len(data))
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._busy:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._busy = True
        try:
            await trio.lowlevel.checkpoint()
            view = memoryview(data)
            for at in range(0, len(view), _PIECE):
                self._check()
                piece = bytes(view[at : at + _PIECE])
                self._engine.send(self.conn, piece)
                self._unmarked += len(piece)
                if self._unmarked >= _MARK:
                    await self._drain()
        finally:
            self._busy = False

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()
        self._check()
        if self._unmarked >= _MARK:
            await self._drain()

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()
        if not self._sent_eof and not self._closed and not self._gone:
            self._sent_eof = True
            self._engine.close(self.conn, flush=True)  # HTTP/2 has nothing to read after its own end

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self._heard.set()
            self._drained.set()
            if not self._gone:
                self._engine.close(self.conn, flush=True)
        await trio.lowlevel.checkpoint()

    def abort(self) -> None:
        """End at once; what the peer has not taken is dropped."""
        if not self._closed and not self._gone:
            self._engine.close(self.conn, flush=False)
        self._closed = True
        self._heard.set()
        self._drained.set()

    # -- inside --------------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._closed or self._sent_eof:
            raise trio.ClosedResourceError
        if self._gone:
            raise trio.BrokenResourceError("the peer's connection is gone")

    async def _drain(self) -> None:
        self._drained = trio.Event()
        self._engine.mark(self.conn)
        await self._drained.wait()
        self._unmarked = 0
        self._check()
