"""HTTP/3's I/O: one UDP socket, one task that pumps datagrams for all connections, one task for each request.

The pump works in slices of SLICE seconds and, over time, within its share of the thread: what does not fit waits in the kernel's
buffer, where QUIC takes a full one for congestion and slows down. So media in the same thread are late by one slice at most.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from email.utils import formatdate
from heapq import heappop, heappush
from itertools import count
from typing import Any, Final

import trio
from aioquic.h3.connection import ErrorCode

from nova.core.clock import Clock
from nova.core.errors import NovaError
from nova.core.guard import guard, guarded
from nova.core.limits import Networks
from nova.core.log import Log
from nova.surface.h3 import udp
from nova.surface.h3.budget import Budget
from nova.surface.h3.connection import Body, CidIssued, CidRetired, Connection, Gone, Limits, Peer, Request
from nova.surface.h3.exchange import App, Exchange, refuse
from nova.surface.h3.front import Front
from nova.surface.h3.quic import Configuration
from nova.surface.h3.request import scope_of, too_large
from nova.surface.h3.stream import Link, Patience, Stream, StreamGone
from nova.surface.h3.websocket import WebSocket

SLICE: Final = 0.002  # seconds of work between two checkpoints
READS: Final = 32  # datagrams read between two rounds of sending
SECOND_GOAWAY: Final = 0.1  # seconds; requests that are under way while the first GOAWAY is, are served

_log = Log("nova.h3")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the server is told.

    share: of the trio thread, 0 to 1. most: connections at once; per_address: of one address, `exempt` ones are freed. retry: every
    stranger proves its address first. ping, silence: seconds; of WebSockets.
    """

    limits: Limits
    patience: Patience
    most: int
    per_address: int
    exempt: Networks
    retry: bool = True
    share: float = 0.5
    max_message: int = 65_536
    ping: float = 25.0
    silence: float = 60.0


class H3Server:
    """HTTP/3 on a bound UDP socket, which it owns.

    configuration: the certificate and what connections share, from `quic.configuration`.
    """

    def __init__(self, sock: socket.socket, app: App, configuration: Configuration, settings: Settings, clock: Clock) -> None:
        self._socket, self._app, self._settings, self._clock = sock, app, settings, clock
        self._configuration = configuration
        address = sock.getsockname()
        self._address: Peer = (str(address[0]), int(address[1]))
        self._front = Front(
            configuration,
            settings.limits,
            most=settings.most,
            per_address=settings.per_address,
            exempt=settings.exempt,
            retry=settings.retry,
        )
        self._wild = self._address[0] in udp.WILD
        self._links: dict[Connection, Link] = {}
        self._timers: list[tuple[float, int, Link]] = []
        self._order = count()
        self._dirty: deque[Link] = deque()
        self._marked: set[Link] = set()
        self._laden: dict[Link, None] = {}  # connections with more of what has come to look at, in turn
        self._unsent: deque[tuple[bytes, Any, int]] = deque()  # what the kernel had no room for
        self._budget = Budget(settings.share)
        self._sleeping: trio.CancelScope | None = None
        self._tasks: trio.Nursery | None = None
        self._empty: trio.Event | None = None
        self._date_at = 0
        self._date = b""
        self.requests = 0  # served since the start
        self.slow = 0  # answers and WebSockets that were reset since the start, because their peers took too little

    def renew(self, cert: str, key: str) -> None:
        """New connections get this certificate. Raises OSError, ValueError: it cannot be used, and the one before stays."""
        fresh = copy(self._configuration)
        fresh.load_cert_chain(cert, key)
        kept = self._configuration  # what the front has: every new connection reads it
        kept.certificate, kept.certificate_chain, kept.private_key = fresh.certificate, fresh.certificate_chain, fresh.private_key

    @property
    def address(self) -> Peer:
        return self._address

    @property
    def connections(self) -> int:
        """Connections that are served now."""
        return sum(not connection.ended for connection in self._front.connections)

    @property
    def refused(self) -> int:
        """Connections that were refused since the start, above a limit or while draining."""
        return self._front.refused

    @property
    def tasks(self) -> int:
        """Requests that a task serves now."""
        return 0 if self._tasks is None else len(self._tasks.child_tasks) - 1  # the one that keeps it open

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled: then requests are cancelled and connections told."""
        try:
            async with trio.open_nursery() as pump:
                pump.start_soon(self._pump)
                async with trio.open_nursery() as self._tasks:
                    self._tasks.start_soon(trio.sleep_forever)
                    task_status.started()
        finally:
            self._last_words()
            self._socket.close()

    async def drain(self) -> None:
        """No new connections; GOAWAY; return when every answer is complete. The caller bounds the time."""
        self._front.closed = True
        self._goaway(last=False)
        await trio.sleep(SECOND_GOAWAY)
        self._goaway(last=True)
        while any(link.connection.requests for link in self._links.values()):
            self._empty = trio.Event()
            await self._empty.wait()
        for link in self._links.values():
            if not link.connection.ended:
                link.connection.close()
                self._wake(link)
        await trio.lowlevel.checkpoint()

    # -- the pump ------------------------------------------------------------------------------------------------------

    async def _pump(self) -> None:
        while True:
            began = time.thread_time()
            now = trio.current_time()
            busy = self._read(now, began + SLICE / 2)
            self._ring(now)
            busy = self._go_on(now, began + SLICE / 2) or busy
            self._flush(now, began + SLICE)
            self._budget.spend(time.thread_time() - began, trio.current_time())
            if (wait := self._budget.wait(trio.current_time())) > 0:
                await trio.sleep(wait)
            elif busy or (self._dirty and not self._unsent):
                await trio.lowlevel.checkpoint()
            else:
                await self._sleep()

    async def _sleep(self) -> None:
        """Until a datagram comes, somebody has something to send, or the next timer."""
        await trio.lowlevel.checkpoint()
        if self._dirty and not self._unsent:
            return
        with trio.CancelScope(deadline=self._timers[0][0] if self._timers else float("inf")) as self._sleeping:
            if self._unsent:
                await trio.lowlevel.wait_writable(self._socket)
            else:
                await trio.lowlevel.wait_readable(self._socket)
        self._sleeping = None

    def _wake(self, link: Link) -> None:
        """The connection has something to send, or another deadline."""
        if link not in self._marked:
            self._marked.add(link)
            self._dirty.append(link)
            if self._sleeping is not None:
                self._sleeping.cancel()

    def _read(self, now: float, until: float) -> bool:
        """Hand up to READS datagrams to their connections; whether there may be more. until: of the thread's time."""
        touched: set[Link] = set()
        more = True
        for _ in range(READS):
            try:
                data, peer = udp.receive(self._socket, self._wild)
            except BlockingIOError:
                more = False
                break
            except OSError:  # what ICMP says of a peer: its connection's own timers find out
                continue
            found: Connection | bytes | None = None
            with guarded(_log):
                found = self._front.find(data, peer, now)
            if isinstance(found, bytes):
                self._send(found, peer)
            elif found is not None:
                link = self._links.get(found)
                if link is None:
                    link = self._links[found] = Link(found, self._wake)
                if self._safely(link, found.receive, data, peer, now):
                    touched.add(link)
                    if found.busy:
                        self._laden[link] = None
                if time.thread_time() >= until:
                    break
        for link in touched:
            self._safely(link, self._heard, link)
        return more

    def _go_on(self, now: float, until: float) -> bool:
        """Let connections look at what has come for them, a piece each in its turn; whether there is more. until: of the thread's time."""
        while self._laden:
            link = next(iter(self._laden))
            del self._laden[link]
            if link.connection in self._links and self._safely(link, link.connection.work, now):
                self._safely(link, self._heard, link)
                if link.connection.busy:
                    self._laden[link] = None
            if time.thread_time() >= until:
                break
        return bool(self._laden)

    def _safely(self, link: Link, call: Callable[..., object], *args: Any) -> bool:
        """One peer's datagrams, and bugs that they find, end one connection: False, and it is gone without a word."""
        with guarded(_log) as failed:
            call(*args)
        if failed:
            link.connection.ended = True
            self._forget(link)
            for stream in list(link.streams.values()):
                stream.gone()
        return not failed

    def _ring(self, now: float) -> None:
        """Timers that are due, or were when they were set."""
        while self._timers and self._timers[0][0] <= now:
            _, _, link = heappop(self._timers)
            link.alarms.pop()
            if link.connection in self._links and self._safely(link, link.connection.tick, now):
                self._safely(link, self._heard, link)

    def _heard(self, link: Link) -> None:
        """Events of a connection."""
        for event in link.connection.events():
            if isinstance(event, Body):
                if (stream := link.streams.get(event.stream)) is not None:
                    stream.body(event.data, event.ended)
            elif isinstance(event, Request):
                self._request(link, event)
            elif isinstance(event, Gone):
                if (stream := link.streams.get(event.stream)) is not None:
                    stream.gone()
            elif isinstance(event, CidIssued):
                self._front.issued(link.connection, event.cid)
            elif isinstance(event, CidRetired):
                self._front.retired(link.connection, event.cid)
        if link.crowded:
            link.make_room()
        self._wake(link)

    def _flush(self, now: float, until: float) -> None:
        """Let connections send, each in its turn, until the slice is over."""
        while waiting := self._unsent:
            self._unsent = deque()
            if not self._send(*waiting.popleft()):
                self._unsent.extend(waiting)
                return
            self._unsent = waiting
        for _ in range(len(self._dirty)):
            link = self._dirty.popleft()
            self._marked.discard(link)
            connection = link.connection
            if connection not in self._links or not self._safely(link, self._transmit, connection, now):
                continue
            if connection.expired:
                self._forget(link)
            elif (due := connection.deadline()) is not None and (not link.alarms or due < link.alarms[-1]):
                # A later deadline needs no entry of its own: the one that is there looks again. So the heap stays small.
                link.alarms.append(due)
                heappush(self._timers, (due, next(self._order), link))
            if self._unsent or time.thread_time() >= until:
                return

    def _transmit(self, connection: Connection, now: float) -> None:
        for data, size, peer in udp.runs(connection.datagrams(now)):
            self._send(data, peer, size)

    def _send(self, data: bytes, peer: Any, size: int = 0) -> bool:
        """size: of each datagram in `data`, 0: it is one. False: the kernel has no room, and it waits here."""
        if self._unsent:
            self._unsent.append((data, peer, size))
            return False
        try:
            udp.send(self._socket, data, peer, size)
        except BlockingIOError:
            self._unsent.append((data, peer, size))
            return False
        except OSError:  # unreachable, or too large for the path: a loss, as far as QUIC is concerned
            pass
        return True

    def _forget(self, link: Link) -> None:
        self._front.forget(link.connection)
        self._links.pop(link.connection, None)

    # -- requests ------------------------------------------------------------------------------------------------------

    def _request(self, link: Link, request: Request) -> None:
        stream = Stream(link, request.stream, self._settings.patience, ended=request.ended)
        try:
            if request.oversized:
                refuse(stream, too_large(), self._date_value(), status=431)
                return
            scope = scope_of(request.fields, link.connection.peer, self._address)
        except NovaError as error:
            refuse(stream, error, self._date_value())
            return
        call: Exchange | WebSocket
        if scope["type"] == "websocket":
            wanted = self._settings
            call = WebSocket(
                stream, scope, self._date_value, max_message=wanted.max_message, ping=wanted.ping, silence=wanted.silence
            )
        else:
            call = Exchange(stream, scope, self._date_value)
        link.streams[stream.number] = stream
        self.requests += 1
        if self._tasks is not None:
            self._tasks.start_soon(self._serve, link, stream, call)

    async def _serve(self, link: Link, stream: Stream, call: Exchange | WebSocket) -> None:
        try:
            await guard(_log, self._quietly, call)
        finally:
            stream.on_gone = lambda: None
            with guarded(_log):
                call.fail()
            link.streams.pop(stream.number, None)
            self.slow += stream.too_slow
            self._wake(link)
            if self._empty is not None and not link.connection.requests:
                self._empty.set()

    async def _quietly(self, call: Exchange | WebSocket) -> None:
        """A client that leaves is no news."""
        try:
            await call.run(self._app)
        except* StreamGone:
            pass

    def _date_value(self) -> bytes:
        now = int(self._clock.wall())
        if now != self._date_at:
            self._date_at, self._date = now, formatdate(now, usegmt=True).encode()
        return self._date

    # -- the end -------------------------------------------------------------------------------------------------------

    def _goaway(self, *, last: bool) -> None:
        for link in self._links.values():
            link.connection.goaway(last=last)
            self._wake(link)

    def _last_words(self) -> None:
        """CONNECTION_CLOSE for everybody, without waiting."""
        for link in list(self._links.values()):
            if not link.connection.ended:
                link.connection.close(ErrorCode.H3_NO_ERROR)
                for data, peer in link.connection.datagrams(trio.current_time()):
                    try:
                        udp.send(self._socket, data, peer, 0)
                    except OSError:
                        break
