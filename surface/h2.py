"""HTTP/2 on connections of the reactor: Hypercorn's protocol over a trio stream, one connection a call.

Hypercorn ends its whole worker when a client vanishes at the wrong moment; here such an error ends that connection and is
dropped, for the reactor's guard is around `serve`.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import hypercorn.protocol
import trio
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RequestReceived
from h2.exceptions import ProtocolError
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.events import EndBody
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from nova.core.errors import BadRequest, MethodNotAllowed, NovaError
from nova.core.reactor import RawStream
from nova.core.reactor.refusal import refusal
from nova.core.settings_table import Settings
from nova.realtime.trio_sockets import FAREWELL, Abandoned
from nova.surface import h2_websocket as h2_websocket  # Hypercorn makes its streams

App = Callable[[Any, Any, Any], Awaitable[None]]


class Protocol(H2Protocol):
    """As Hypercorn's, which fails with all of its connection over a method or target that is no text, over CONNECT without a target, and
    over a body that comes behind its answer."""

    async def _handle_events(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, DataReceived) and event.stream_id not in self.streams:
                assert event.stream_id is not None
                assert event.flow_controlled_length is not None
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                await self._flush()
            else:
                await super()._handle_events([event])

    async def _create_stream(self, request: RequestReceived) -> None:
        said = {name: value for name, value in request.headers or () if name in (b":method", b":path")}
        if not all(value.isascii() for value in said.values()):
            error: NovaError = BadRequest(detail="method and target are US-ASCII (RFC 9110, 4 and 9.1)")
        elif b":path" not in said:
            error = MethodNotAllowed(detail="nothing is tunnelled here")
        else:
            await super()._create_stream(request)
            return
        request.headers = [(b":method", b"GET"), (b":path", b"/"), *(field for field in request.headers or () if field[0] not in said)]
        app, self.app = self.app, ASGIWrapper(partial(_refuse, error))
        try:
            await super()._create_stream(request)
        finally:
            self.app = app


async def _refuse(error: NovaError, scope: Any, receive: Any, send: Any) -> None:
    status, fields, body = refusal(error)
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


# Hypercorn has no other place to say which protocol it speaks.
setattr(hypercorn.protocol, "H2Protocol", Protocol)  # noqa: B010 -- mypy: a class that is imported there is no variable


class H2:
    """Serves connections whose TLS agreed on `h2`."""

    def __init__(self, app: App, settings: Settings) -> None:
        config = Config()
        config.accesslog = None
        config.errorlog = None
        config.keep_alive_max_requests = sys.maxsize  # behind the last one, what is under way would never be answered
        config.keep_alive_timeout = settings.http.keep_alive
        config.read_timeout = None  # Hypercorn's own is for the whole connection; an idle one is ended by keep_alive
        config.h2_max_header_list_size = settings.http.max_head
        config.h2_max_inbound_frame_size = 2**14
        config.websocket_ping_interval = settings.realtime.ping
        config.include_server_header = False
        self._config = config
        self._silence = settings.realtime.silence
        self._app = app
        self._context = WorkerContext(None)

    async def serve(self, stream: RawStream) -> None:
        """One connection, to its end."""
        await _Connection(self._app, self._config, self._context, stream, self._silence).run()

    async def drain(self) -> None:
        """Idle connections end; busy ones after their answers."""
        await self._context.terminated.set()


class _Connection(TCPServer):
    """Hypercorn's connection without its socket: TLS and addresses are the reactor's. silence: seconds that a WebSocket may say nothing."""

    def __init__(self, app: App, config: Config, context: WorkerContext, stream: RawStream, silence: float) -> None:
        super().__init__(ASGIWrapper(self._answer), config, context, ConnectionState({}), stream)  # type: ignore[arg-type]
        self._application, self._silence = app, silence
        self._deaf = False  # what is read waits for a call: others may have spoken, and are not heard

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        """One call. Hypercorn ends what failed with more data, which waits for ever where the client takes none: it is reset."""
        try:
            if scope["type"] == "websocket":
                await self._attended(scope, receive, send)
            else:
                await self._application(scope, receive, send)
        except* Abandoned:
            with trio.move_on_after(FAREWELL) as resetting:
                await self._reset(scope)
            if resetting.cancelled_caught:  # the whole connection takes nothing
                self.stream.abort()

    async def _attended(self, scope: Any, receive: Any, send: Any) -> None:
        """A WebSocket, for as long as something comes from its client: Hypercorn pings, and tells nobody of the pongs."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, scope)
            await self._application(scope, receive, send)
            nursery.cancel_scope.cancel()

    async def _listen(self, scope: Any) -> None:
        """Raises Abandoned: nothing came for too long, or nothing will (RFC 8441, 5: END_STREAM stands for the end of TCP)."""
        number = self._number(scope)
        if number is None:
            return
        protocol: Any = self.protocol.protocol
        stream, heard, left = protocol.streams[number], trio.current_time(), trio.Event()
        handle = stream.handle

        async def hear(event: Any) -> None:
            nonlocal heard
            heard = trio.current_time()
            await handle(event)
            if isinstance(event, EndBody):
                left.set()

        stream.handle = hear
        while (patience := heard + self._silence - trio.current_time()) > 0:
            with trio.move_on_after(patience):
                await left.wait()
                break
            if self._deaf:
                heard = trio.current_time()
        raise Abandoned("nothing comes from the client")

    async def _read_data(self) -> None:
        """As Hypercorn's, and known to be deaf meanwhile."""
        data = b"."
        while data:
            try:
                data = bytes(await self.stream.receive_some(MAX_RECV))
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                break
            self._deaf = True
            await self.protocol.handle(RawData(data))
            self._deaf = False
        await self.protocol.handle(Closed())

    def _number(self, scope: Any) -> int | None:
        """Of the stream whose call has this scope; None: it has ended."""
        protocol: Any = self.protocol.protocol
        return next((each for each, stream in protocol.streams.items() if stream.scope is scope), None)

    async def _reset(self, scope: Any) -> None:
        protocol: Any = self.protocol.protocol
        number = self._number(scope)
        if number is None:
            return
        stream, buffer = protocol.streams.pop(number), protocol.stream_buffers.get(number)
        stream.closed = True
        if buffer is not None:
            await buffer.close()
        with suppress(ProtocolError):
            protocol.connection.reset_stream(number, ErrorCodes.CANCEL)
        await protocol.has_data.set()
        await protocol._flush()
        await self.protocol_send(Updated(idle=protocol.idle))

    async def run(self) -> None:
        peer = self.stream.peer
        try:
            async with TaskGroup() as tasks:
                self._task_group = tasks
                self.protocol = ProtocolWrapper(
                    self.app, self.config, self.context, tasks, ConnectionState(self.state), True, peer, None, self.protocol_send, "h2"
                )
                await self.protocol.initiate()
                await self.idle_task.restart(tasks, self._idle_timeout)
                await self._read_data()
                if tasks._nursery is not None:
                    tasks._nursery.cancel_scope.cancel()  # what still answers has nobody to answer
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(1.0):
                await self._close()
