"""The reactor's RTMP half on plain trio sockets: the same kernel, handler and calls, one task for each connection."""

from dataclasses import dataclass, field

import trio

from nova.ext import rtmp
from nova.media.rtmp.play import PlaySequence
from nova.media.rtmp.server import RtmpHandler

READ_SIZE = 65536


class MemorySequence:
    """nova.ext.sequence.Sequence with the window of a test, and readers that are trio tasks."""

    def __init__(self) -> None:
        self.items: list[tuple[bytes, bool]] = []
        self.closed = False
        self.readers = 0
        self.news = trio.Event()

    def append(self, data: bytes, key: bool) -> int:
        assert data
        assert not self.closed
        self.items.append((data, key))
        self._tell()
        return len(self.items)

    def close(self) -> None:
        self.closed = True
        self._tell()

    def join(self) -> int:
        keys = [i for i, (_, key) in enumerate(self.items) if key]
        return keys[-1] if keys else len(self.items)

    def _tell(self) -> None:
        self.news.set()
        self.news = trio.Event()


@dataclass(slots=True)
class _Peer:
    stream: trio.SocketStream
    out: list[bytes] = field(default_factory=list)
    news: trio.Event = field(default_factory=trio.Event)
    closing: str = ""
    follows: MemorySequence | None = None
    cursor: int = 0


class SocketConnections:
    """RtmpConnections on sockets. handler is set before `serve`."""

    handler: RtmpHandler

    def __init__(self) -> None:
        self._peers: dict[int, _Peer] = {}
        self._next = 1
        self.wakes: list[tuple[int, int]] = []

    # -- calls down

    def send(self, conn: int, data: bytes) -> None:
        peer = self._peers[conn]
        assert not peer.closing, "bytes behind a close"
        peer.out.append(data)
        peer.news.set()

    def wake_at(self, conn: int, timestamp: int) -> None:
        self.wakes.append((conn, timestamp))

    def close(self, conn: int, reason: str) -> None:
        self._peers[conn].closing = reason
        self._peers[conn].news.set()

    def follow(self, conn: int, sequence: PlaySequence, prologue: bytes) -> None:
        assert isinstance(sequence, MemorySequence)
        self.send(conn, prologue)
        peer = self._peers[conn]
        peer.follows, peer.cursor = sequence, sequence.join()

    # -- sockets

    async def serve(self, listener: trio.SocketListener) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                nursery.start_soon(self._run, await listener.accept())

    async def _run(self, stream: trio.SocketStream) -> None:
        conn, self._next = self._next, self._next + 1
        self._peers[conn] = _Peer(stream)
        reason = "disconnected"
        self.handler.opened(conn, stream.socket.getpeername()[0])
        async with trio.open_nursery() as nursery:

            async def write() -> None:
                nonlocal reason
                reason = await self._write(self._peers[conn]) or reason
                nursery.cancel_scope.cancel()

            nursery.start_soon(write)
            try:
                reader = rtmp.ChunkReader()
                while data := await stream.receive_some(READ_SIZE):
                    records, reply = reader.feed(data)
                    if reply and not self._peers[conn].closing:
                        self.send(conn, reply)
                    if records:
                        self.handler.records(conn, records)
            except rtmp.ChunkError as error:
                reason = error.code
            except trio.BrokenResourceError:
                pass
            if not self._peers[conn].closing:
                nursery.cancel_scope.cancel()
        peer = self._peers.pop(conn)
        if peer.follows is not None:
            peer.follows.readers -= 1
        self.handler.closed(conn, peer.closing or reason)
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)

    async def _write(self, peer: _Peer) -> str:
        """Until the connection is to be closed; the reason. Empty: it broke."""
        counted = False
        try:
            while True:
                while peer.out:
                    await peer.stream.send_all(peer.out.pop(0))
                if peer.closing:
                    await peer.stream.send_eof()
                    return peer.closing
                sequence = peer.follows
                if sequence is None:
                    peer.news = trio.Event()
                    if not peer.out and not peer.closing:
                        await peer.news.wait()
                    continue
                if not counted:
                    counted, sequence.readers = True, sequence.readers + 1
                while peer.cursor < len(sequence.items):
                    peer.cursor += 1
                    await peer.stream.send_all(sequence.items[peer.cursor - 1][0])
                if sequence.closed:
                    await peer.stream.send_eof()
                    return "ended"
                if peer.cursor == len(sequence.items):
                    await sequence.news.wait()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return ""
