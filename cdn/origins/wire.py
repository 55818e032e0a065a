"""A TCP connection to an origin that is tried before it is waited for: what a peer close by does at once costs no turn of the loop."""

from __future__ import annotations

import select
import socket
from errno import EALREADY, EINPROGRESS, EISCONN
from os import strerror
from typing import Final

import trio

READ: Final = 262_144  # bytes a receive, and the longest piece of a body
FIRST: Final = (
    65_536  # bytes of a receive until one was full: more is memory of its own, which costs ten microseconds to get and to give back
)


class Wire(trio.abc.Stream):
    """A connected socket. One task uses it at a time."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._room = FIRST
        self._news = select.poll()  # asking it raises nothing, which a look at bytes that are not there does
        self._news.register(sock, select.POLLIN)

    def send_now(self, data: bytes) -> int:
        """Bytes that were taken without waiting. Raises BrokenResourceError, ClosedResourceError."""
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._broken() from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with memoryview(data) as left:
            at = 0
            while at < len(left):
                await self.wait_send_all_might_not_block()
                at += self.send_now(left[at:])  # type: ignore[arg-type]  # a socket takes views

    async def wait_send_all_might_not_block(self) -> None:
        if self._sock.fileno() < 0:
            raise trio.ClosedResourceError
        await trio.lowlevel.wait_writable(self._sock)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next bytes, empty at the end."""
        while True:
            if self._sock.fileno() < 0:
                raise trio.ClosedResourceError
            # To wait first costs less than to be told that nothing is there yet, which is the rule here.
            await trio.lowlevel.wait_readable(self._sock)
            try:
                data = self._sock.recv(max_bytes or self._room)
                self._room = READ if len(data) >= FIRST else FIRST
                return data
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._broken() from error

    def quiet(self) -> bool:
        """Whether the peer has neither said anything nor closed."""
        return self._sock.fileno() >= 0 and not self._news.poll(0)

    def close_now(self) -> None:
        if self._sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()

    async def aclose(self) -> None:
        self.close_now()
        await trio.lowlevel.checkpoint()

    def _broken(self) -> trio.BrokenResourceError | trio.ClosedResourceError:
        return trio.ClosedResourceError() if self._sock.fileno() < 0 else trio.BrokenResourceError()


class Call:
    """A connection being made. there: it is made."""

    def __init__(self, address: str, port: int) -> None:
        """Raises OSError: it cannot be made."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            error = self._sock.connect_ex((address, port))
            if error == EINPROGRESS:
                error = self._sock.connect_ex((address, port))  # a peer on this machine has answered by now
            self.there = error in (0, EISCONN)
            if not self.there and error not in (EINPROGRESS, EALREADY):
                raise OSError(error, strerror(error))
        except BaseException:
            self._sock.close()
            raise

    async def wait(self) -> None:
        """Until it is there. Raises OSError: it will not be."""
        if not self.there:
            await trio.lowlevel.wait_writable(self._sock)
            if error := self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(error, strerror(error))
            self.there = True

    def wire(self) -> Wire:
        """The connection, once it is there."""
        return Wire(self._sock)

    def give_up(self) -> None:
        self._sock.close()
