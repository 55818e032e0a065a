"""The client's I/O for trio: sockets and timers around `machine`, events as asynchronous iteration, calls as awaitables."""

from __future__ import annotations

import json
import random
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from secrets import token_urlsafe
from typing import Any, Final

import trio

from nova.realtime.client import events
from nova.realtime.client.events import Event, Gap, Joined, Left, Member, Publication
from nova.realtime.client.machine import CALL_MS, Machine
from nova.realtime.client.socket import Socket, SocketClosed, open_socket

UNREAD: Final = 1000  # events of one subscription that wait for the application; above it nothing is read, and the channel's policy decides
MOST: Final = 4 * UNREAD  # the same while a call waits for its reply, which comes behind them: publications above it are a Gap
HOLD: Final = 5.0  # seconds between two looks while nothing is read
CALL_S: Final = CALL_MS / 1000
FRAME: Final = 32_768  # bytes of commands that go together; the server ends a connection for a message above 64 KiB
COMMAND: Final = 65_536 - 256  # bytes of a call: with its id and its idempotency key it is a message of its own

_json = partial(json.dumps, ensure_ascii=False, separators=(",", ":"), allow_nan=False)

Json = Any
Token = str | Callable[[], Awaitable[str | None]]


class Refused(Exception):
    """The server's answer to a call is an error, or none came in time (`deadline`), or it is too long to be sent (`too_large`). code: of
    the error table."""

    def __init__(self, error: dict[str, Json]) -> None:
        super().__init__(f"{error['code']}: {error.get('message', '')}")
        self.code: str = error["code"]
        self.retry_ms: int | None = error.get("retry_ms")


class Stopped(Exception):
    """The client does not come back by itself. code: the close code, or 0."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}".rstrip())
        self.code, self.reason = code, reason


@dataclass(frozen=True, slots=True)
class Ack:
    """Of a publication. durable: it was on stable storage before this was said."""

    offset: int
    epoch: str
    durable: bool


class _Call:
    def __init__(self) -> None:
        self.done = trio.Event()
        self.value: Json = None
        self.error: dict[str, Json] | None = None


class Subscription:
    """A channel that is followed: iterate over it for its events. The last one is `Left`, when the server ends it."""

    def __init__(self, realtime: Realtime, channel: str) -> None:
        self._realtime = realtime
        self.channel = channel
        self._unread: deque[Event] = deque()
        self._heard = trio.Event()
        self._left = False
        self._epoch = ""
        self._missed: Gap | None = None  # behind what is unread

    @property
    def is_full(self) -> bool:
        return len(self._unread) >= UNREAD

    def told(self, event: Event, *, pressed: bool = False) -> None:
        """pressed: what comes is read for something else in it, whether there is room here or not."""
        if pressed and len(self._unread) >= MOST and isinstance(event, Publication | Member):
            if isinstance(event, Publication):
                first = event.offset if self._missed is None else self._missed.first
                self._missed = Gap(first, event.offset, self._epoch, 0)
            return
        if self._missed is not None:
            self._unread.append(self._missed)
            self._missed = None
        if isinstance(event, Joined | Gap):
            self._epoch = event.epoch
        self._unread.append(event)
        self._left = self._left or isinstance(event, Left)
        self._heard.set()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event:
        """Raises Stopped: the client does not come back by itself."""
        await trio.lowlevel.checkpoint()
        while not self._unread:
            if self._missed is not None:
                self._unread.append(self._missed)
                self._missed = None
                break
            if self._left:
                raise StopAsyncIteration
            self._realtime.check()
            self._heard = trio.Event()
            await self._heard.wait()
        event = self._unread.popleft()
        self._realtime.read()
        return event

    def wake(self) -> None:
        self._heard.set()

    async def publish(self, data: Json, **more: Any) -> Ack:
        """As Realtime.publish."""
        return await self._realtime.publish(self.channel, data, **more)

    async def history(self, **more: Any) -> Json:
        """As Realtime.history."""
        return await self._realtime.history(self.channel, **more)

    async def presence(self) -> Json:
        """As Realtime.presence."""
        return await self._realtime.presence(self.channel)


class Realtime:
    """One client; `connect` makes it. state: as of the machine."""

    def __init__(self, url: str, *, token: Token | None, name: str | None, context: ssl.SSLContext | None) -> None:
        self._url, self._token, self._context = url, token, context
        self._machine = Machine(random=random.random, key=lambda: token_urlsafe(12), has_token=token is not None, name=name)
        self._subscriptions: dict[str, Subscription] = {}
        self._calls: dict[int, _Call] = {}
        self._kick: trio.CancelScope | None = None
        self._nursery: trio.Nursery | None = None
        self._socket_scope: trio.CancelScope | None = None
        self._outgoing: trio.MemorySendChannel[str] | None = None
        self._room = trio.Event()
        self._changed = trio.Event()
        self._stopped: tuple[int, str] | None = None
        self.user: str | None = None
        self.client: str | None = None

    # -- for the application -------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        return self._machine.state

    async def connected(self) -> None:
        """Wait for a connection. Raises Stopped: there will be none."""
        while self.state != "connected":
            self.check()
            await self._changed.wait()

    async def changed(self) -> str:
        """Wait until the state is another; that one."""
        await self._changed.wait()
        return self.state

    @contextmanager
    def _following(self, channel: str, since: tuple[int, str] | None) -> Iterator[Subscription]:
        if channel in self._subscriptions:
            raise ValueError(f"{channel} is followed already")
        made = self._subscriptions[channel] = Subscription(self, channel)
        self._machine.subscribe(channel, self._now(), since)
        self._act()
        try:
            yield made
        finally:
            del self._subscriptions[channel]
            self._room.set()
            self._machine.unsubscribe(channel, self._now())
            self._act()

    @asynccontextmanager
    async def subscribe(self, channel: str, *, since: tuple[int, str] | None = None) -> AsyncIterator[Subscription]:
        """Follow a channel while the block runs. since: offset and epoch of the last publication that is known."""
        with self._following(channel, since) as subscription:
            yield subscription

    async def publish(
        self,
        channel: str,
        data: Json,
        *,
        conflate_key: str | None = None,
        idempotency_key: str | None = None,
        timeout: float = CALL_S,
    ) -> Ack:
        """Sent again over a new connection until it is acknowledged; happens once. Cancelled: it has happened, or does not.

        data: as it is now; what becomes of it later changes nothing. Raises Refused; TypeError, ValueError: it is no JSON.
        """
        body = {"channel": channel, "data": data}
        body |= {key: value for key, value in (("conflate_key", conflate_key), ("idempotency_key", idempotency_key)) if value is not None}
        return Ack(**await self._call("publish", body, timeout))

    async def history(
        self, channel: str, *, since: tuple[int, str] | None = None, limit: int | None = None, timeout: float = CALL_S
    ) -> Json:
        """`{publications, offset, epoch, more}`, ascending, behind `since`. Raises Refused."""
        body: dict[str, Json] = {"channel": channel}
        if since is not None:
            body["since"] = {"offset": since[0], "epoch": since[1]}
        if limit is not None:
            body["limit"] = limit
        return await self._call("history", body, timeout)

    async def presence(self, channel: str, *, timeout: float = CALL_S) -> Json:
        """`{count, members, more}`. Raises Refused."""
        return await self._call("presence", {"channel": channel}, timeout)

    def wake(self) -> None:
        """The network is back: do not wait for the next try."""
        self._machine.wake(self._now())
        self._act()

    def check(self) -> None:
        """Raises Stopped."""
        if self._stopped is not None:
            raise Stopped(*self._stopped)

    # -- inside --------------------------------------------------------------------------------------------------------

    def read(self) -> None:
        """The application has taken an event."""
        self._room.set()

    def _now(self) -> int:
        return int(trio.current_time() * 1000)

    async def _call(self, kind: str, body: dict[str, Json], timeout: float) -> Json:
        self.check()
        text = _json(body)  # now: what cannot be sent would fail whoever sends it later, and all that goes with it
        if len(text.encode()) > COMMAND:
            raise Refused({"code": "too_large", "message": f"a call has at most {COMMAND} bytes"})
        ticket = self._machine.call(kind, json.loads(text), self._now(), int(timeout * 1000))
        call = self._calls[ticket] = _Call()
        self._room.set()  # the reply comes behind what is not read
        try:
            self._act()
            await call.done.wait()
        finally:
            del self._calls[ticket]
            self._machine.withdraw(ticket)
        if call.error is not None:
            raise Refused(call.error)
        return call.value

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as self._nursery:
            self._machine.start(self._now())
            self._act()
            task_status.started()
            while True:
                deadline = self._machine.deadline
                with trio.CancelScope(deadline=float("inf") if deadline is None else (deadline + 1) / 1000) as self._kick:
                    await trio.sleep_forever()
                self._machine.tick(self._now())
                self._act()

    def _act(self) -> None:
        """Do what the machine wants."""
        for effect in self._machine.effects():
            if "send" in effect:
                if self._outgoing is not None:
                    for text in _frames(effect["send"]):
                        self._outgoing.send_nowait(text)
            elif "event" in effect:
                self._tell(effect)
            elif "resolve" in effect or "reject" in effect:
                call = self._calls.get(effect.get("resolve") or effect["reject"])
                if call is not None:
                    call.value, call.error = effect.get("value"), effect.get("error")
                    call.done.set()
            elif "open" in effect:
                assert self._nursery is not None
                self._nursery.start_soon(self._connect)
            elif "close" in effect:
                if self._socket_scope is not None:
                    self._socket_scope.cancel()
            elif "token" in effect:
                assert self._nursery is not None
                self._nursery.start_soon(self._ask_token)
        if self._kick is not None:
            self._kick.cancel()

    def _tell(self, told: dict[str, Json]) -> None:
        if told["event"] == "state":
            if told["state"] == "connected":
                self.user, self.client = told["user"], told["client"]
            elif told["state"] == "stopped":
                self._stopped = (told["code"], told["reason"])
                for subscription in self._subscriptions.values():
                    subscription.wake()
            self._changed.set()
            self._changed = trio.Event()
        elif (found := self._subscriptions.get(told["channel"])) is not None:
            found.told(events.read(told), pressed=bool(self._calls))

    async def _ask_token(self) -> None:
        value: str | None = None
        if isinstance(self._token, str):
            value = self._token
        elif self._token is not None:
            with suppress(OSError):  # none to be had now: it is asked for again with the next try
                value = await self._token()
        self._machine.token(value, self._now())
        self._act()

    async def _connect(self) -> None:
        code, reason = 1006, ""
        with trio.CancelScope() as scope:
            self._socket_scope = scope
            try:
                await self._serve(await open_socket(self._url, self._context))
            except SocketClosed as closed:
                code, reason = closed.code, closed.reason
        if self._socket_scope is scope:
            self._socket_scope = None
            if not scope.cancelled_caught:
                self._machine.closed(code, reason, self._now())
                self._act()

    async def _serve(self, socket: Socket) -> None:
        """One connection, to its end. Raises SocketClosed."""
        # As many frames as there are effects: the machine bounds what is unanswered.
        self._outgoing, outgoing = trio.open_memory_channel[str](float("inf"))
        closed: list[SocketClosed] = []
        try:
            async with trio.open_nursery() as nursery:

                async def write() -> None:
                    with suppress(SocketClosed):  # the reader hears of it, and why
                        async for text in outgoing:
                            await socket.send(text)

                nursery.start_soon(write)
                self._machine.opened(self._now())
                self._act()
                try:
                    while True:
                        for text in await socket.receive():
                            self._machine.received(json.loads(text), self._now())
                            self._act()
                        await self._wait_for_room()
                except SocketClosed as end:
                    closed.append(end)
                nursery.cancel_scope.cancel()
        finally:
            self._outgoing = None
            await socket.close(1000)
        raise closed[0]

    async def _wait_for_room(self) -> None:
        while not self._calls and any(subscription.is_full for subscription in self._subscriptions.values()):
            self._room = trio.Event()
            with trio.move_on_after(HOLD):
                await self._room.wait()
            self._machine.hold(self._now())


def _frames(commands: Iterable[Json]) -> Iterator[str]:
    """Arrays of commands, none longer than FRAME unless it is one command alone."""
    together: list[str] = []
    size = 0
    for command in commands:
        text = _json(command)
        length = len(text.encode()) + 1
        if together and size + length > FRAME:
            yield f"[{','.join(together)}]"
            together, size = [], 0
        together.append(text)
        size += length
    yield f"[{','.join(together)}]"


@asynccontextmanager
async def connect(
    url: str, *, token: Token | None = None, name: str | None = None, context: ssl.SSLContext | None = None
) -> AsyncIterator[Realtime]:
    """A client that is connected while the block runs, again and again if need be.

    url: `wss://host/v1/ws`. token: a bearer token, or what gets a new one (None or an OSError: none can be had now). name: of a guest.
    context: for wss, when the system's authorities are not the ones.
    """
    realtime = Realtime(url, token=token, name=name, context=context)
    async with trio.open_nursery() as nursery:
        await nursery.start(realtime.run)
        try:
            yield realtime
        finally:
            nursery.cancel_scope.cancel()
