"""A reactor that serves for one test, and a client that speaks HTTP/1.1 byte by byte."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from nova.core.clock import SystemClock
from nova.core.reactor import Listen, Reactor
from nova.core.reactor.exchange import App


@asynccontextmanager
async def reactor(
    *specs: Listen, threads: int = 1, event_ring: int = 1 << 20, command_ring: int = 1 << 20, uring: bool = False
) -> AsyncIterator[tuple[Reactor, list[tuple[str, int]]]]:
    """A running reactor and the addresses of its listeners."""
    made = Reactor(SystemClock(), threads=threads, event_ring=event_ring, command_ring=command_ring, uring=uring)
    async with trio.open_nursery() as nursery:
        await nursery.start(made.run)
        addresses = [made.listen(spec) for spec in specs]
        try:
            yield made, addresses
        finally:
            nursery.cancel_scope.cancel()


class Clock:
    """The reactor's clock, which stands still unless a test moves it."""

    def __init__(self, made: Reactor) -> None:
        self._engine = made.engine
        self.ms = int(time.monotonic() * 1000)
        self._engine.set_clock(ms=self.ms)

    async def advance(self, seconds: float) -> None:
        """Move it; returns when every thread has looked at it and at its deadlines."""
        self.ms += int(seconds * 1000)
        self._engine.set_clock(ms=self.ms)
        turns = self._engine.stats()["turns"] + 4 * self._engine.count  # with a clock of ours a thread turns every 5 ms
        await until(lambda: self._engine.stats()["turns"] > turns)


async def until(true: Callable[[], object]) -> None:
    """Wait until an I/O thread has got so far."""
    with trio.fail_after(10):
        while not true():
            await trio.sleep(0.001)


def http(app: App | None = None, **limits: int) -> Listen:
    return Listen("http", "127.0.0.1", 0, app=app, limits=limits)


class Client:
    """One connection; reads answers whole."""

    def __init__(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]) -> None:
        self.stream = stream
        self.rest = bytearray()

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def _more(self) -> bool:
        with trio.fail_after(10):
            data = await self.stream.receive_some(65536)
        self.rest += data
        return bool(data)

    async def until(self, mark: bytes) -> bytes:
        """Bytes up to and with `mark`."""
        while mark not in self.rest:
            if not await self._more():
                raise EOFError(bytes(self.rest[:200]))
        return self._take(self.rest.index(mark) + len(mark))

    async def exactly(self, size: int) -> bytes:
        while len(self.rest) < size:
            if not await self._more():
                raise EOFError(bytes(self.rest[:200]))
        return self._take(size)

    def _take(self, size: int) -> bytes:
        found = bytes(self.rest[:size])
        del self.rest[:size]
        return found

    async def to_end(self) -> bytes:
        """Everything until the server closes."""
        while await self._more():
            pass
        return self._take(len(self.rest))

    async def answer(self, *, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
        """(status, headers in lower case, body) of the next answer, 1xx left out."""
        while True:
            lines = (await self.until(b"\r\n\r\n")).decode().split("\r\n")
            status = int(lines[0].split(" ")[1])
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
            if status >= 200:
                break
        if head_only or status in (204, 304):
            return status, headers, b""
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while True:
                size = int((await self.until(b"\r\n")).strip(), 16)
                body += await self.exactly(size)
                await self.exactly(2)
                if size == 0:
                    return status, headers, body
        if "content-length" in headers:
            return status, headers, await self.exactly(int(headers["content-length"]))
        return status, headers, await self.to_end()

    async def get(self, path: str, *fields: str) -> tuple[int, dict[str, str], bytes]:
        extra = "".join(f"{line}\r\n" for line in fields)
        await self.send(f"GET {path} HTTP/1.1\r\nHost: h\r\n{extra}\r\n".encode())
        return await self.answer()


@asynccontextmanager
async def connect(address: tuple[str, int], *, window: int = 0) -> AsyncIterator[Client]:
    """window: bytes of the client's receive buffer, 0: what the kernel finds right."""
    async with await dial(address, window) as stream:
        yield Client(stream)


async def dial(address: tuple[str, int], window: int = 0) -> trio.SocketStream:
    sock = trio.socket.socket()
    if window:
        sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, window)
    await sock.connect(address)
    return trio.SocketStream(sock)
