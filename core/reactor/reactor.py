"""The reactor as a task: its I/O threads belong to a nursery, its events become calls in the trio thread.

Each batch of events is dispatched before the next wait: requests to ASGI tasks, RTMP to its handler (synchronously), streams to
theirs. A handler's error ends its connection, an application's error its request.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from functools import partial
from ipaddress import IPv4Network
from typing import Any, Final, Protocol

import trio

from nova.core import awake
from nova.core.clock import Clock
from nova.core.errors import NotFound
from nova.core.guard import guard, guarded
from nova.core.log import Log
from nova.core.reactor.exchange import App, Exchange, Scope
from nova.core.reactor.feed import Feed
from nova.core.reactor.refusal import refusal
from nova.core.reactor.stream import RawStream
from nova.core.reactor.websocket import WebSockets
from nova.core.values import Cidr
from nova.ext import engine as ext
from nova.ext.tls import TlsContext

_log = Log("nova.reactor")
_STARTS: Final = 8  # requests of sites that begin before trio looks at its clock again: each takes a fifth of a millisecond
_COST: Final = 4  # the application's requests take as much as so many of a site's
_CROWD: Final = 64  # requests more or less under way, after which the collector is told
_BATCH: Final = 512  # events between two checkpoints of the trio thread
# A peer that is gone without a word (half-open TCP) is found by probes within a minute, one that owes acknowledgements in half of it.
_HALF_OPEN: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),
)


class RtmpHandler(Protocol):
    """What the RTMP server implements: called synchronously in the trio thread, must be short."""

    def opened(self, conn: int, peer: str) -> None: ...
    def records(self, conn: int, data: bytes) -> None: ...
    def closed(self, conn: int, reason: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Listen:
    """A listener to be opened.

    protocol: `http` (with `app`, and `h2` for ALPN h2 when `tls` is given) or `rtmp` (with `rtmp`). port 0 takes a free one.
    websockets: upgrades to the paths of `WsRules` are answered by the I/O threads.
    limits: keyword arguments of Engine.listen.
    """

    name: str
    host: str
    port: int
    protocol: str = "http"
    app: App | None = None
    h2: Callable[[RawStream], Awaitable[None]] | None = None
    rtmp: RtmpHandler | None = None
    tls: TlsContext | None = None
    websockets: bool = False
    backlog: int = 4096
    site: int = 0  # every request is one of this site
    limits: dict[str, int] = field(default_factory=dict)


class SiteHandler(Protocol):
    """What serves a site's requests that are not hot."""

    async def app(self, scope: Scope, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        """`scope["nova"]["key"]`: others wait for what comes of this request, which must settle that key in any case."""

    def stale(self, key: bytes) -> None:
        """The answer under this key was served stale: a new one is wanted, and the key must be settled. Must be short."""


@dataclass(slots=True)
class _Listener:
    spec: Listen
    number: int
    address: tuple[str, int]


class Reactor:
    """The I/O threads, the tables that they read, and what their events are handed to.

    threads: I/O threads. event_ring, command_ring: bytes, powers of two. uring: fan-out sends by io_uring where the kernel lets us
    (`engine.stats()["uring_threads"]` says whether it does). viewer_window: seconds that a viewer counts after a request.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        threads: int = 1,
        event_ring: int = 1 << 23,
        command_ring: int = 1 << 22,
        uring: bool = False,
        viewer_window: int = 10,
    ) -> None:
        self.engine = ext.Engine(threads, event_ring, command_ring, viewer_window)
        self.engine.use_uring(uring)
        self.objects = self.engine.objects
        self.viewers = self.engine.viewers
        self.websockets = WebSockets(self.engine, lambda number: self._listeners[number].spec.name if number in self._listeners else "")
        self._clock = clock
        self._listeners: dict[int, _Listener] = {}
        self._exchanges: dict[int, Exchange] = {}
        self._streams: dict[int, RawStream] = {}
        self._rtmp: dict[int, RtmpHandler] = {}
        self._sites: dict[int, SiteHandler] = {}
        self._tasks: trio.Nursery | None = None
        self._render: Callable[[bytes], None] | None = None
        self._empty = 0  # threads that drain and have no connection left
        self._idle = trio.Event()
        self._date_at = 0
        self._date = b""

    def bound(self, *, connections_per_address: int, exempt: Iterable[Cidr], pinned_bytes: int, proxies: Iterable[Cidr] = ()) -> None:
        """Bounds over all listeners, for connections from now on.

        connections_per_address: an IPv6 address counts by its /64. exempt: networks that are not counted. pinned_bytes: what slow
        readers may hold that nobody else needs any more; above it the oldest backlogs are cut. proxies: networks whose connections
        begin with a PROXY header, which is believed.
        """
        self.engine.peers.bound(connections_per_address, [_mapped(network) for network in exempt])
        self.engine.peers.trust([_mapped(network) for network in proxies])
        self.engine.bound_pinned(pinned_bytes)

    def admit_websockets(self, events: int, seconds: float, exempt: Iterable[Cidr]) -> None:
        """At most `events` new WebSockets in so many seconds, but from `exempt` networks; one more is answered 503 with Retry-After."""
        self.engine.peers.admission(events, max(1, round(seconds * 1000)), [_mapped(network) for network in exempt])

    # -- lifecycle -----------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled: then requests are cancelled, connections closed, threads joined."""
        limiter = trio.CapacityLimiter(self.engine.count)
        try:
            async with trio.open_nursery() as threads:
                for index in range(self.engine.count):
                    threads.start_soon(self._thread, index, limiter)
                try:
                    async with trio.open_nursery() as tasks:
                        self._tasks = tasks
                        for index in range(self.engine.count):
                            tasks.start_soon(self._events, index)
                        task_status.started()
                finally:
                    self._tasks = None
                    self.engine.stop()
        finally:
            self.engine.shut()

    async def drain(self) -> None:
        """Accept nothing new and wait until every request is answered, every answer taken and every connection closed.

        Idle connections close at once, parked requests are answered 503. The caller bounds the time.
        """
        for number in self._listeners:
            self.engine.unlisten(number)
        self.engine.drain_connections()
        await self._idle.wait()

    def listen(self, spec: Listen) -> tuple[str, int]:
        """Open a listener; its address. Raises OSError: the address can not be had."""
        family = socket.AF_INET6 if ":" in spec.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            for level, name, value in (*_HALF_OPEN, (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)):
                sock.setsockopt(level, name, value)  # accepted sockets inherit it, which saves a call for each
            sock.bind((spec.host, spec.port))
            sock.listen(spec.backlog)
            address = sock.getsockname()[:2]
            number = self.engine.listen(
                sock.fileno(), spec.protocol, tls=spec.tls, site=spec.site, websockets=spec.websockets, **spec.limits
            )
            sock.detach()
        except BaseException:
            sock.close()
            raise
        self._listeners[number] = _Listener(spec, number, (str(address[0]), int(address[1])))
        return self._listeners[number].address

    def unlisten(self, name: str) -> None:
        """Accept no more on the listener of that name; its connections live on."""
        for listener in self._listeners.values():
            if listener.spec.name == name:
                self.engine.unlisten(listener.number)

    def reload_tls(self, name: str, tls: TlsContext) -> None:
        """New connections of that listener get these certificates; nobody is dropped."""
        for listener in self._listeners.values():
            if listener.spec.name == name:
                self.engine.retls(listener.number, tls)
                listener.spec = replace(listener.spec, tls=tls)

    def tls(self, name: str) -> TlsContext | None:
        """What new connections of that listener get; to resume the sessions of, in the next one."""
        return next((listener.spec.tls for listener in self._listeners.values() if listener.spec.name == name), None)

    def serve_site(
        self, number: int, name: str, handler: SiteHandler, *, host_in_key: bool = True, directives: bool = False, always_up: bool = False
    ) -> None:
        """Requests of the site `number` that are not hot go to `handler` from now on. name: of its prefix, empty: it has none."""
        self._sites[number] = handler
        self.engine.site(number, name.encode(), host_in_key=host_in_key, directives=directives, always_up=always_up)

    def end_site(self, number: int) -> None:
        """Its prefix is no name any more; requests on its listeners are answered 404."""
        self.engine.unsite(number)
        self._sites.pop(number, None)

    def on_render(self, render: Callable[[bytes], None]) -> None:
        """`render(path)` is called when somebody waits for an object that `advance` left unrendered."""
        self._render = render

    # -- RTMP connections: calls down ----------------------------------------------------------------------------------

    def feed(self, *, window_items: int = 4096, window_bytes: int = 16 << 20) -> Feed:
        """A new sequence that connections and tasks can follow."""
        return Feed(window_items=window_items, window_bytes=window_bytes, news=self.engine.news)

    def send(self, conn: int, data: bytes) -> None:
        """Bytes for an RTMP connection; dropped when it is gone."""
        self.engine.send(conn, data)

    def wake_at(self, conn: int, timestamp: int) -> None:
        """Hand up media of an RTMP connection when a record of this time (ms, 32 bits) or later has come."""
        self.engine.wake_at(conn, timestamp & 0xFFFFFFFF)

    def close(self, conn: int, reason: str) -> None:
        """Close an RTMP connection after what was sent is out."""
        del reason  # the handler remembers its own
        self.engine.close(conn, flush=True)

    def follow(self, conn: int, sequence: Feed, prologue: bytes) -> None:
        """Send `prologue` and then the sequence from its newest key item on; close behind its last item."""
        self.engine.follow(conn, sequence.sequence, prologue)

    # -- events up -----------------------------------------------------------------------------------------------------

    async def _thread(self, index: int, limiter: trio.CapacityLimiter) -> None:
        def run() -> None:
            awake.step_back()
            self.engine.run(index)

        await trio.to_thread.run_sync(run, limiter=limiter)

    async def _events(self, index: int) -> None:
        engine = self.engine
        bell = engine.bell(index)
        while True:
            events = engine.events(index, _BATCH)
            if events:
                begun = started = 0
                for event in events:
                    started += self._dispatch(event)
                    if started >= _STARTS:
                        begun, started = 1, 0
                        engine.ring(index)
                        await trio.lowlevel.checkpoint()
                if begun or started or len(events) == _BATCH:
                    engine.ring(index)
                    await trio.lowlevel.checkpoint()  # what the tasks that began say goes down together
                    continue
            if engine.doze(index):
                await trio.lowlevel.wait_readable(bell)
            elif events:
                await trio.lowlevel.checkpoint()
            engine.woke(index)

    def _dispatch(self, event: tuple[Any, ...]) -> int:
        """What it began, as `_STARTS` counts."""
        kind, conn = event[0], event[1]
        if kind == ext.RECORDS:
            handler = self._rtmp.get(conn)
            if handler is not None:
                with guarded(_log) as failed:
                    handler.records(conn, event[2])
                if failed:
                    self.engine.close(conn)
        elif kind == ext.WS_COMMANDS:
            self.websockets.commands(event)
        elif kind == ext.REQUEST:
            return self._request(event)
        elif kind == ext.BODY:
            exchange = self._exchanges.get(conn)
            if exchange is not None:
                exchange.body(event[2], event[3])
        elif kind == ext.DATA:
            stream = self._streams.get(conn)
            if stream is not None:
                stream.data(event[2], event[3])
        elif kind == ext.DRAINED:
            waiting = self._exchanges.get(conn) or self._streams.get(conn)
            if waiting is not None:
                waiting.drained()
            else:
                self.websockets.drained(conn)
        elif kind == ext.RENDER:
            if event[2]:
                if (site := self._sites.get(event[2])) is not None:
                    with guarded(_log):
                        site.stale(event[3])
            elif self._render is not None:
                with guarded(_log):
                    self._render(event[3])
        elif kind == ext.REFUSED:
            _log.peer("http_refused", status=event[2], peer=event[3], correlation_id=event[4])
        elif kind == ext.OPENED:
            self._opened(event)
        elif kind == ext.CLOSED:
            self._closed(conn, event[2])
        elif kind == ext.WS_GONE:
            self.websockets.gone(event)
        elif kind == ext.EMPTY:
            self._empty += 1
            self._settled()
        return 0

    def _opened(self, event: tuple[Any, ...]) -> None:
        _, conn, number, protocol, peer, port, tls, alpn = event
        spec = self._listeners[number].spec
        if protocol == ext.RAW:
            stream = RawStream(self.engine, conn, (peer, port), alpn.decode() or None if tls else None)
            if spec.h2 is None or self._tasks is None:
                self.engine.close(conn)
                return
            self._streams[conn] = stream
            self._tasks.start_soon(self._serve_stream, spec.h2, stream)
        elif spec.rtmp is not None:
            self._rtmp[conn] = spec.rtmp
            with guarded(_log) as failed:
                spec.rtmp.opened(conn, peer)
            if failed:
                self.engine.close(conn)

    def _closed(self, conn: int, reason: str) -> None:
        handler = self._rtmp.pop(conn, None)
        if handler is not None:
            with guarded(_log):
                handler.closed(conn, reason)
            return
        exchange = self._exchanges.get(conn)
        if exchange is not None:
            exchange.closed()
        stream = self._streams.get(conn)
        if stream is not None:
            stream.ended()

    async def _serve_stream(self, serve: Callable[[RawStream], Awaitable[None]], stream: RawStream) -> None:
        try:
            await guard(_log, serve, stream)
        finally:
            self._streams.pop(stream.conn, None)
            self.engine.close(stream.conn, flush=True)
            self._settled()

    def _request(self, event: tuple[Any, ...]) -> int:
        _, conn, number, method, minor, flags, path, query, headers, length, peer, port, tls, token, claims, in_query, site, leads = event
        listener = self._listeners[number]
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1" if minor else "1.0",
            "method": method,
            "scheme": "https" if tls else "http",
            "path": _decoded(path),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": headers,
            "client": (peer, port),
            "server": listener.address,
            "extensions": {},
            "nova": {
                "listener": listener.spec.name,
                "conn": conn,
                "site": site,
                "key": claims if leads else None,
                "query_token" if in_query else "token": None if token is None else ("error", token) if token else ("ok", claims),
            },
        }
        exchange = Exchange(self.engine, conn, scope, method=method, minor=minor, flags=flags, length=length, date=self._date_line)
        self._exchanges[conn] = exchange
        app = listener.spec.app
        if site:
            app = self._sites[site].app if site in self._sites else _no_site
            scope["nova"]["switch"] = partial(self._switch, exchange, conn)
        if app is None or self._tasks is None:
            exchange.fail()
            self._exchanges.pop(conn, None)
            return 0
        self._tasks.start_soon(self._serve_request, app, exchange, conn)
        self._counted()
        return 1 if site else _COST

    def _switch(self, exchange: Exchange, conn: int, headers: Iterable[tuple[bytes, bytes]]) -> RawStream:
        """101: the request's connection as a stream. The caller closes it."""
        exchange.switch(headers)
        self._exchanges.pop(conn, None)
        stream = self._streams[conn] = RawStream(self.engine, conn, exchange.scope["client"], None)
        exchange.stream = stream
        return stream

    async def _serve_request(self, app: App, exchange: Exchange, conn: int) -> None:
        try:
            with exchange.cancel:
                await guard(_log, app, exchange.scope, exchange.receive, exchange.send)
        finally:
            # The next request of the connection may have come while this task ended.
            if self._exchanges.get(conn) is exchange:
                del self._exchanges[conn]
                self._counted()
            if exchange.stream is not None:
                self._streams.pop(conn, None)
                self.engine.close(conn, flush=True)
            exchange.fail()
            self._settled()

    def _counted(self) -> None:
        """There is one request more, or less."""
        if len(self._exchanges) % _CROWD == 0:
            awake.under_way(len(self._exchanges))

    def _settled(self) -> None:
        if self._empty == self.engine.count and not self._exchanges and not self._streams:
            self._idle.set()

    def _date_line(self) -> bytes:
        now = int(self._clock.wall())
        if now != self._date_at:
            self._date_at = now
            self._date = b"date: %s\r\n" % formatdate(now, usegmt=True).encode()
        return self._date


async def _no_site(scope: Scope, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    status, headers, body = refusal(NotFound(detail="there is no such site any more"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _mapped(network: Cidr) -> tuple[bytes, int]:
    """A network as the I/O threads see addresses: 16 bytes, IPv4 mapped into them."""
    if isinstance(network, IPv4Network):
        return bytes(10) + b"\xff\xff" + network.network_address.packed, network.prefixlen + 96
    return network.network_address.packed, network.prefixlen


def _decoded(path: bytes) -> str:
    """ASGI's `path`: percent-decoded, UTF-8."""
    if b"%" not in path:
        return path.decode("latin-1")
    from urllib.parse import unquote_to_bytes

    return unquote_to_bytes(path).decode("utf-8", "replace")
