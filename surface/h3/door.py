"""HTTP/3 as a component of the server: the socket is open from the start, aioquic is loaded by the first datagram."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from nova.surface.h3.server import H3Server

App = Callable[[Any, Any, Any], Awaitable[None]]


class H3Door:
    """make: the server on a socket; runs in a thread, for it imports what takes as long as everything else."""

    def __init__(self, make: Callable[[socket.socket], H3Server]) -> None:
        self._make = make
        self._opened: socket.socket | None = None
        self._is_open = trio.Event()
        self._server: H3Server | None = None

    def open(self, sock: socket.socket) -> None:
        """Serve what comes on `sock`, which is ours from now on."""
        self._opened = sock
        self._is_open.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        task_status.started()
        await self._is_open.wait()
        assert self._opened is not None
        try:
            await trio.lowlevel.wait_readable(self._opened)
            self._server = await trio.to_thread.run_sync(self._make, self._opened)
            await self._server.run()
        finally:
            self._opened.close()

    async def drain(self) -> None:
        """Let answers under way end; the caller bounds the time."""
        if self._server is not None:
            await self._server.drain()

    def renew(self, cert: Path, key: Path) -> None:
        """New connections get this certificate. Raises OSError, ValueError: it cannot be used, and the one before stays."""
        if self._server is not None:
            self._server.renew(str(cert), str(key))

    def stats(self) -> list[tuple[tuple[str], float]]:
        """What is counted, for metrics."""
        server = self._server
        if server is None:
            return []
        names = ("connections", "requests", "tasks", "refused", "slow")
        return [((name,), getattr(server, name)) for name in names]


def alt_svc(port: int) -> bytes:
    """The value of Alt-Svc (RFC 7838) that offers HTTP/3 on the same host for a day."""
    return b'h3=":%d"; ma=86400' % port


def advertising(app: App, value: bytes) -> App:
    """`app` whose answers over TLS, but not over HTTP/3, offer HTTP/3."""

    async def advertise(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["scheme"] != "https" or scope["http_version"] == "3":
            await app(scope, receive, send)
            return

        async def offer(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"alt-svc", value)]}
            await send(message)

        await app(scope, receive, offer)

    return advertise
