"""The way to Redis: one thread, one connection that pipelines a batch of calls a turn, one that listens. The only door to redis-py.

The thread blocks, trio never does: calls go down a deque with a doorbell, results and messages come back in one batch a turn. When
Redis cannot be reached or does not answer, a call fails within the deadline of the link, those that wait behind it fail with it, and until
the next attempt every other one fails at once: nobody waits for what is not there.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from hashlib import sha1
from typing import Any, Final

import redis
import trio

from nova.core.errors import Unavailable
from nova.core.log import Log
from nova.core.secret import SecretUrl

TIMEOUT: Final = 2.0  # seconds that Redis may take to connect or to answer, where no setting says it
BATCH: Final = 512  # calls of one pipeline
WAITING: Final = 65_536  # calls that wait; one more is refused
BACK_OFF: Final = (0.1, 0.25, 0.5, 1.0, 2.0)  # seconds between attempts, the last one for ever
RETRY_AFTER: Final = 2.0

Command = tuple[Any, ...]
Message = tuple[str, bytes]  # channel, data

_log = Log("nova.bus")


class Script:
    """Lua that Redis keeps once it has had it, and then knows by its digest."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = sha1(text.encode(), usedforsecurity=False).hexdigest()


class _Call:
    """Commands that belong together, and who waits for them."""

    __slots__ = ("commands", "done", "error", "results")

    def __init__(self, commands: Sequence[Command]) -> None:
        self.commands = commands
        self.done = trio.Event()
        self.results: list[Any] = []
        self.error: Unavailable | None = None


class Link:
    """Redis at `url`. Trio thread only, but for the thread that is its own.

    messages: told what came on channels that are listened to. back: told when listening was interrupted: messages were missed.
    timeout: seconds that Redis may take to connect or to answer.
    """

    def __init__(
        self, url: SecretUrl, messages: Callable[[list[Message]], None], back: Callable[[], None], *, timeout: float = TIMEOUT
    ) -> None:
        """Raises ValueError: not a Redis URL."""
        pool = redis.ConnectionPool.from_url(
            url.text(), socket_timeout=timeout, socket_connect_timeout=timeout, protocol=2, socket_keepalive=True, retry=None
        )
        # Not by the pool, which makes a hundred and never one more: it counts what nobody gave back, also what never came to be.
        self._connection: Callable[[], Any] = partial(pool.connection_class, **pool.connection_kwargs)
        self._messages, self._back = messages, back
        self._calls: deque[_Call] = deque()
        self._listening: deque[tuple[bool, str, _Call]] = deque()
        self._bell, self._ear = socket.socketpair()
        self._rung = False
        self._closing = False
        self._commands: Any = None
        self._ears: Any = None
        self._wanted: set[str] = set()
        self._confirming: dict[str, list[_Call]] = {}
        self._attempts = 0
        self._not_before = 0.0
        self._missed = False
        self._ever = self.up = False
        self._listens = False  # the present connection for it has been answered
        self._refusal = ""  # what it said last, which is logged once
        self._refused = False  # by the last attempt, for its password
        self._silent = False  # it was reached, and did not answer in time

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """The thread runs within."""
        self._token = trio.lowlevel.current_trio_token()
        thread = threading.Thread(target=self._run, name="nova-bus", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._closing = True
            self._ring()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(thread.join)
            self._bell.close()
            self._ear.close()

    async def call(self, *commands: Command) -> list[Any]:
        """Their replies, in order; an error reply is a redis.ResponseError among them.

        Raises Unavailable: whether they were done is unknown.
        """
        if len(self._calls) >= WAITING:
            raise Unavailable("overloaded", "too many calls wait for Redis", retry_after=RETRY_AFTER)
        call = _Call(commands)
        self._calls.append(call)
        self._ring()
        await call.done.wait()
        if call.error is not None:
            raise call.error
        return call.results

    async def one(self, *command: Any) -> Any:
        """The reply of one command. Raises Unavailable, also for an error reply: all of ours are well-formed."""
        return self._sound((await self.call(command))[0], command[0])

    async def run(self, script: Script, keys: int, *rest: Any) -> Any:
        """The reply of a script; `rest` are so many keys and then what it is told. Raises Unavailable, as `one`.

        A Redis that was restarted or told to forget its scripts has not run anything, and is sent the whole.
        """
        reply = (await self.call(("EVALSHA", script.digest, keys, *rest)))[0]
        if isinstance(reply, redis.exceptions.NoScriptError):
            return await self.one("EVAL", script.text, keys, *rest)
        return self._sound(reply, "a script")

    def _sound(self, reply: Any, command: str) -> Any:
        """Raises Unavailable: it is an error, whose words are for whoever runs Redis."""
        if isinstance(reply, redis.ResponseError):
            if (said := str(reply)[:200]) != self._refusal:
                self._refusal = said
                _log.warning("redis_refuses", command=command, detail=said)
            raise Unavailable("unavailable", f"Redis refuses {command}", retry_after=RETRY_AFTER)
        return reply

    async def listen(self, channel: str) -> None:
        """From its return on, messages of this channel come. Raises Unavailable."""
        call = _Call(())
        self._listening.append((True, channel, call))
        self._ring()
        await call.done.wait()
        if call.error is not None:
            raise call.error

    def unlisten(self, channel: str) -> None:
        self._listening.append((False, channel, _Call(())))
        self._ring()

    def _ring(self) -> None:
        if not self._rung:
            self._rung = True
            self._bell.send(b"!")

    # -- the thread --------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing:
            ears = [self._ear] if self._ears is None else [self._ear, self._ears._sock]
            # Without a connection to listen on, but with channels to listen to: look again soon.
            wait = max(0.01, self._not_before - time.monotonic()) if self._ears is None and self._wanted else 5.0
            with suppress(OSError, ValueError):
                if self._ear in select.select(ears, [], [], wait)[0]:
                    self._ear.recv(4096)
                    self._rung = False  # behind the read: who rings from here on is heard by the next turn, who did before by this one
            done: list[_Call] = []
            heard: list[Message] = []
            self._change_ears(done)
            self._hear(done, heard)
            self._do_calls(done)
            missed, self._missed = self._missed and self._ears is not None, self._missed and self._ears is None
            if done or heard or missed:
                with suppress(trio.RunFinishedError):
                    self._token.run_sync_soon(self._deliver, done, heard, missed)
        for connection in (self._commands, self._ears):
            if connection is not None:
                connection.disconnect()

    def _connected(self) -> Any:
        """A new connection. Raises redis.RedisError; at once while the last attempt was short ago."""
        now = time.monotonic()
        if now < self._not_before:
            raise redis.ConnectionError("not reachable")
        connection: Any = self._connection()
        try:
            connection.connect()
        except (redis.RedisError, OSError) as error:
            self._lost(error)
            self._refused = isinstance(error, redis.AuthenticationError)
            raise redis.ConnectionError("not reachable") from None
        self._refused = self._silent = False
        if self._ever and not self.up:
            _log.info("redis_back")
        self._ever = self.up = True
        return connection

    def _lost(self, error: Exception) -> None:
        self._later()
        self._silent = isinstance(error, TimeoutError | redis.TimeoutError)
        if self.up:  # the first attempt is its caller's to tell
            self.up = False
            _log.warning("redis_lost", detail=type(error).__name__)

    def _later(self) -> None:
        """The next attempt is not at once."""
        self._not_before = time.monotonic() + BACK_OFF[min(self._attempts, len(BACK_OFF) - 1)]
        self._attempts += 1

    def _away(self) -> Unavailable:
        why = "refuses the name or password of its URL" if self._refused else "does not answer" if self._silent else "cannot be reached"
        return Unavailable("unavailable", f"Redis {why}", retry_after=RETRY_AFTER)

    def _do_calls(self, done: list[_Call]) -> None:
        while self._calls:
            batch = [self._calls.popleft() for _ in range(min(BATCH, len(self._calls)))]
            done += batch
            try:
                self._pipeline(batch)
            except (redis.RedisError, OSError) as error:
                if self._commands is not None:
                    self._commands.disconnect()
                    self._commands = None
                    if isinstance(error, TimeoutError | redis.TimeoutError):  # a new connection would wait as long, for whoever waits
                        self._lost(error)
                for call in batch:
                    if len(call.results) < len(call.commands):
                        call.error = self._away()

    def _pipeline(self, batch: list[_Call]) -> None:
        if self._commands is not None and self._commands.can_read(timeout=0):
            # Nothing was asked, so this is its end: Redis was restarted.
            self._commands.disconnect()
            self._commands = None
        if self._commands is None:
            self._commands = self._connected()
        connection = self._commands
        packed = connection.pack_commands([command for call in batch for command in call.commands])
        connection.send_packed_command(packed, check_health=False)
        for call in batch:
            for _ in call.commands:
                try:
                    call.results.append(connection.read_response())
                except redis.ResponseError as error:
                    call.results.append(error)
        self._attempts = 0

    def _change_ears(self, done: list[_Call]) -> None:
        """Listen to what is wanted now, and to nothing else."""
        changes: list[tuple[str, str]] = []
        while self._listening:
            wanted, channel, call = self._listening.popleft()
            if not wanted:
                self._wanted.discard(channel)
                changes.append(("SUNSUBSCRIBE", channel))
                continue
            self._wanted.add(channel)
            self._confirming.setdefault(channel, []).append(call)
            changes.append(("SSUBSCRIBE", channel))
        if self._ears is None and self._wanted:
            try:
                self._ears, self._listens = self._connected(), False
                changes = [("SSUBSCRIBE", channel) for channel in self._wanted]
            except redis.RedisError:
                self._deaf(done)
                return
        if changes and self._ears is not None:
            try:
                self._ears.send_packed_command(self._ears.pack_commands(changes), check_health=False)
            except (redis.RedisError, OSError):
                self._deaf(done)

    def _deaf(self, done: list[_Call]) -> None:
        """Not listening any more: who waits for a confirmation is told, and what is missed is told later."""
        if self._ears is not None:
            self._ears.disconnect()
            self._ears = None
            if not self._listens:  # it connects, and refuses: for want of a password
                self._later()
        self._missed = True
        for calls in self._confirming.values():
            for call in calls:
                call.error = self._away()
                done.append(call)
        self._confirming.clear()

    def _hear(self, done: list[_Call], heard: list[Message]) -> None:
        try:
            while self._ears is not None and self._ears.can_read(timeout=0):
                kind, channel, data = self._ears.read_response()[:3]
                if kind == b"smessage":
                    heard.append((channel.decode(), data))
                elif kind == b"ssubscribe":
                    self._attempts, self._listens = 0, True
                    done += self._confirming.pop(channel.decode(), [])
        except (redis.RedisError, OSError):
            self._deaf(done)

    # -- back in trio ------------------------------------------------------------------------------------------------------

    def _deliver(self, done: list[_Call], heard: list[Message], missed: bool) -> None:
        if missed:
            self._back()
        if heard:
            self._messages(heard)
        for call in done:
            call.done.set()
