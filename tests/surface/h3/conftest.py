"""An HTTP/3 server on a free port with a small ASGI application, and the certificate that a client trusts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from nova.core.clock import SystemClock
from nova.core.limits import Networks
from nova.surface.h3 import quic
from nova.surface.h3.connection import Limits
from nova.surface.h3.server import H3Server, Settings
from nova.surface.h3.stream import Patience
from nova.surface.h3.udp import bind
from nova.surface.identity import certificates


class Application:
    """Answers by path; `seen` is what it was told, `running` the calls that have not returned."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.scopes: list[dict[str, Any]] = []
        self.running = 0
        self.sent = 0  # bytes that `send` has taken
        self.changed = trio.Condition()

    async def tell(self, *facts: Any) -> None:
        async with self.changed:
            self.seen.extend(facts)
            self.changed.notify_all()

    async def until(self, what: Callable[[], bool]) -> None:
        async with self.changed:
            while not what():
                await self.changed.wait()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        self.running += 1
        try:
            await getattr(self, "on" + scope["path"].replace("/", "_"))(scope, receive, send)
        finally:
            self.running -= 1
            with trio.CancelScope(shield=True):
                await self.tell("returned")

    async def on_hello(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Content-Type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"hello"})

    async def on_echo(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async def on_refuse(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 403, "headers": []})
        await send({"type": "http.response.body", "body": b"no"})

    async def on_endless(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
                self.sent += 65536
        except OSError as error:
            await self.tell(error)

    async def on_silent(self, scope: Any, receive: Any, send: Any) -> None:
        await self.tell("asked")
        await receive()
        await self.tell((await receive())["type"])

    async def on_unread(self, scope: Any, receive: Any, send: Any) -> None:
        await self.tell("asked")
        await trio.sleep_forever()

    async def on_late(self, scope: Any, receive: Any, send: Any) -> None:
        await self.tell("asked")
        await self.until(lambda: "go on" in self.seen)
        await self.on_hello(scope, receive, send)

    async def on_broken(self, scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("a bug of the application")

    async def on_half(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError("a bug of the application")

    async def on_ws(self, scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept", "subprotocol": (scope["subprotocols"] or [None])[0]})
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                await self.tell(("disconnect", message["code"]))
                return
            if message.get("text") == "bye":
                await send({"type": "websocket.close", "code": 4002, "reason": "as asked"})
            elif message.get("text") == "flood":
                while True:
                    await send({"type": "websocket.send", "bytes": bytes(65536)})
                    self.sent += 65536
            else:
                await send(
                    {"type": "websocket.send", "text": message["text"]} if "text" in message else message | {"type": "websocket.send"}
                )

    async def on_ws_no(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.close"})


Start = Callable[..., AbstractAsyncContextManager[H3Server]]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificate:
    return certificates.ensure(tmp_path_factory.mktemp("h3"), SystemClock(), ("localhost",))


@pytest.fixture
def ca(certificate: certificates.Certificate) -> Path:
    return certificate.cert


@pytest.fixture
def app() -> Application:
    return Application()


@pytest.fixture
def start(app: Application, certificate: certificates.Certificate) -> Start:
    """A server with other limits than the usual ones."""

    @asynccontextmanager
    async def start(
        *, limits: Limits | None = None, patience: Patience | None = None, within: float = 15, **changes: Any
    ) -> AsyncIterator[H3Server]:
        limits = limits or Limits()
        configuration = quic.configuration(
            str(certificate.cert), str(certificate.key), idle=30.0, datagram=1350, window=limits.window, stream_window=limits.stream_window
        )
        given = {"most": 100, "per_address": 100, "exempt": Networks(())} | changes
        settings = Settings(limits, patience or Patience(10.0, 4096), **given)
        server = H3Server(bind("127.0.0.1", 0), app, configuration, settings, SystemClock())
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            with trio.fail_after(within):
                yield server
            nursery.cancel_scope.cancel()

    return start


@pytest.fixture
async def server(start: Start) -> AsyncIterator[H3Server]:
    async with start() as server:
        yield server
