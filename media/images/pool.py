"""Warm worker processes: the shell around `worker`.

So many processes, so many places to wait; one more is refused at once. A worker that dies, or takes too long, costs its job and is
replaced; a caller that leaves takes its worker with it, since its answer would come to the next job.
"""

from __future__ import annotations

import array
import json
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import trio

from nova.core import errors
from nova.core.guard import guard
from nova.core.lifecycle import cleanup
from nova.core.log import Log
from nova.media.images.job import MAX_MESSAGE, MAX_OUTPUTS, Done, Job, decode_done, sizes

WORN: Final = 500  # jobs after which a worker is replaced: what decoders leak has an end
RETRY_AFTER: Final = 1.0  # seconds
GRACE: Final = 1.0  # seconds between the processor's limit and the wall's
_KEPT: Final = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "TMPDIR", "ASAN_OPTIONS", "LD_PRELOAD")

Outcome = str  # ok, refused, failed, died, late
OUTCOMES: Final = ("ok", "refused", "failed", "died", "late")
Observe = Callable[[Outcome, float], None]

_log = Log("nova.images")


@dataclass(frozen=True, slots=True)
class Bounds:
    """workers: processes. queue: jobs that wait. memory: bytes of a process. seconds: of a job, processor and wall. result: bytes."""

    workers: int = 2
    queue: int = 64
    memory: int = 1 << 30
    seconds: float = 10.0
    result: int = 64 << 20


class _Worker:
    def __init__(self, process: trio.Process, channel: trio.socket.SocketType) -> None:
        self.process = process
        self.channel = channel
        self.jobs = 0

    def end(self) -> None:
        """It has no more to say."""
        self.channel.close()
        with suppress(ProcessLookupError):
            self.process.kill()


class Pool:
    """`run` is its task; `do` gives it jobs. observe: told how each job went, and after how many seconds."""

    def __init__(self, bounds: Bounds, *, observe: Observe = lambda outcome, seconds: None) -> None:
        self._bounds = bounds
        self._observe = observe
        self._free = trio.Semaphore(bounds.workers)
        self._waiting = 0
        self._warming = False
        self._idle: list[_Worker] = []
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Owns the processes; ends them when cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None
            for worker in self._idle:
                worker.end()
            self._idle.clear()

    async def warm(self) -> None:
        """Have one worker ready before the next job. Raises Unavailable: it cannot be started."""
        if not self._idle and not self._warming:
            self._warming = True
            try:
                self._idle.append(await self._start())
            finally:
                self._warming = False

    @property
    def load(self) -> tuple[int, int]:
        """Jobs that run, and that wait."""
        return self._bounds.workers - self._free.value, self._waiting

    async def do(self, job: Job, load: Callable[[], Awaitable[Sequence[int]]]) -> Done:
        """Run `job` once a worker is free. load: opens its files then (source, marks); this closes them.

        Raises Unavailable `overloaded`: no place to wait. What the worker found wrong, by its code; Unprocessable `image_too_costly`: it
        died or took too long. What `load` raises.
        """
        assert len(job.outputs) <= MAX_OUTPUTS
        began = trio.current_time()
        if self._waiting >= self._bounds.queue:
            self._observe("refused", 0.0)
            raise errors.Unavailable("overloaded", f"{self._bounds.queue} pictures wait already", retry_after=RETRY_AFTER)
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        outcome = "failed"
        try:
            done = await self._served(job, load)
            outcome = "ok"
            return done
        except _Died:
            outcome = "died"
            raise errors.Unprocessable("image_too_costly", "the decoder ended over this picture") from None
        except trio.TooSlowError:
            outcome = "late"
            raise errors.Unprocessable("image_too_costly", f"the picture takes more than {self._bounds.seconds:g} s") from None
        finally:
            self._free.release()
            self._observe(outcome, trio.current_time() - began)

    async def _served(self, job: Job, load: Callable[[], Awaitable[Sequence[int]]]) -> Done:
        files = await load()
        try:
            worker = self._idle.pop() if self._idle else await self._start()
            fresh = False
            try:
                with trio.fail_after(self._bounds.seconds + GRACE):
                    reply, results = await _ask(worker, job.encode(), files)
                fresh = True
            finally:
                worker.jobs += 1
                room = len(self._idle) < self._bounds.workers
                if fresh and room and worker.jobs < WORN and self._nursery is not None:
                    self._idle.append(worker)
                else:
                    worker.end()
                    if self._nursery is not None:  # the next job shall not wait for a process to start
                        self._nursery.start_soon(guard, _log, self.warm)
        finally:
            for fd in files:
                os.close(fd)
        try:
            if "error" in reply:
                raise _told(reply)
            return decode_done(reply, [os.pread(fd, size, 0) for fd, size in zip(results, sizes(reply), strict=True)])
        finally:
            for fd in results:
                os.close(fd)

    async def _start(self) -> _Worker:
        """A fresh process. Raises Unavailable: it cannot be started, or the pool has ended."""
        if self._nursery is None:
            raise errors.Unavailable("shutting_down", "no more pictures are made")
        bounds = self._bounds
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        arguments = [str(theirs.fileno()), str(bounds.memory), str(max(1, round(bounds.seconds))), str(bounds.result)]
        environment = {key: os.environ[key] for key in _KEPT if key in os.environ} | {"MALLOC_ARENA_MAX": "2"}
        try:
            started: trio.Process = await self._nursery.start(
                _own, [sys.executable, "-s", "-m", "nova.media.images.worker", *arguments], theirs, environment
            )
        except OSError as error:
            ours.close()
            raise errors.Unavailable("overloaded", f"no worker process: {error.strerror}", retry_after=RETRY_AFTER) from error
        finally:
            theirs.close()
        return _Worker(started, trio.socket.from_stdlib_socket(ours))


class _Died(Exception):
    """The worker's socket closed before its answer."""


async def _own(
    command: list[str], theirs: socket.socket, environment: dict[str, str], *, task_status: trio.TaskStatus[trio.Process]
) -> None:
    """One process, from its start until it is reaped."""
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=None, pass_fds=(theirs.fileno(),), env=environment
    )
    task_status.started(process)
    try:
        code = await process.wait()
        if code not in (0, -9):
            _log.warning("image_worker_died", code=code)
    finally:
        if process.returncode is None:
            process.kill()
            with cleanup():
                await process.wait()


async def _ask(worker: _Worker, message: bytes, files: Sequence[int]) -> tuple[dict[str, Any], list[int]]:
    assert len(message) <= MAX_MESSAGE
    fds = array.array("i", files)
    received = array.array("i")
    try:
        await worker.channel.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds.tobytes())])
        reply, ancillary, _, _ = await worker.channel.recvmsg(MAX_MESSAGE, socket.CMSG_LEN(MAX_OUTPUTS * fds.itemsize))
    except OSError:
        raise _Died from None
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            received.frombytes(data[: len(data) - len(data) % received.itemsize])
    if not reply:
        raise _Died
    return json.loads(reply), list(received)


def _told(reply: dict[str, Any]) -> errors.NovaError:
    """The error of a worker's answer; its own bug stands in the log already."""
    return errors.of(reply["error"], reply["detail"])


def memfd(parts: Sequence[bytes]) -> int:
    """A file in memory that holds `parts` and does not change any more."""
    import fcntl

    fd = os.memfd_create("nova-image", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for part in parts:
            left = memoryview(part)
            while left:
                left = left[os.write(fd, left) :]
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL)
    except BaseException:
        os.close(fd)
        raise
    return fd
