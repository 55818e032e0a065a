"""How the commands reach the running server: a socket in its data directory, which nobody else may enter.

One JSON object a line: `{"command": …, "arguments": {…}}` down, `{"result": …}` or `{"error": {"code": …, "detail": …}}` up.
The directory's mode is the credential: who may read it holds the server's keys anyway.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import trio

from nova.core.errors import BadRequest, NovaError, of, problem
from nova.core.guard import guard
from nova.core.ids import Ids
from nova.core.log import Log, correlation_id
from nova.surface.datadir import unavailable
from nova.surface.operator import Operator

Json = Any

MAX_LINE: Final = 8 * 2**20  # bytes; the largest answer lists COUNT_MAX streams
DEADLINE: Final = 60.0  # seconds for a request; making thousands of streams takes a few
CONNECTIONS: Final = 32

_log = Log("nova.control")


class ControlServer:
    """Serves the operator's commands. `run` is a component of the program."""

    def __init__(self, path: Path, operator: Callable[[], Operator], ids: Ids) -> None:
        self._path, self._operator, self._ids = path, operator, ids

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with _short(self._path) as path:
            listening = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            with listening:
                before = os.umask(0o077)
                try:
                    await listening.bind(path)
                finally:
                    os.umask(before)
                listening.listen(CONNECTIONS)
                try:
                    async with trio.open_nursery() as nursery:
                        task_status.started()
                        while True:
                            peer, _ = await listening.accept()
                            nursery.start_soon(guard, _log, self._serve, trio.SocketStream(peer))
                finally:
                    self._path.unlink(missing_ok=True)

    async def _serve(self, stream: trio.SocketStream) -> None:
        correlation_id.set(self._ids.new())
        async with stream:
            with trio.move_on_after(DEADLINE):
                line = await _read_line(stream)
                await stream.send_all(json.dumps(await self._answer(line)).encode() + b"\n")

    async def _answer(self, line: bytes) -> Json:
        try:
            asked = json.loads(line)
            if not isinstance(asked, dict):
                raise BadRequest(detail="a command is a JSON object")
            command = str(asked.get("command"))
            result = await self._operator().run(command, asked.get("arguments", {}))
            _log.info("command", command=command)
            return {"result": result}
        except ValueError:
            return {"error": {"code": "bad_request", "detail": "a command is one line of JSON"}}
        except NovaError as error:
            told = problem(error, "")
            said = str(told["detail"])
            wrong = [f"{field.pointer.rpartition('/')[2]} {field.detail}" for field in error.fields if field.detail not in said]
            detail = "; ".join(wrong) or said
            return {"error": {"code": error.code, "detail": detail}}


async def ask(path: Path, command: str, arguments: Json) -> Json:
    """The running server's answer. Raises NovaError: what it raised, or Unavailable when it is not there."""
    with trio.move_on_after(DEADLINE):
        try:
            with _short(path) as short:
                peer = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                with peer:
                    await peer.connect(short)
                    stream = trio.SocketStream(peer)
                    await stream.send_all(json.dumps({"command": command, "arguments": arguments}).encode() + b"\n")
                    answer = json.loads(await _read_line(stream))
        except OSError as error:
            raise unavailable((error.strerror or "error").lower()) from None
        except ValueError:
            raise unavailable("it closed the connection") from None
        if "error" in answer:
            raise of(answer["error"]["code"], answer["error"]["detail"])
        return answer["result"]
    raise unavailable(f"{DEADLINE:.0f} s without an answer")


async def _read_line(stream: trio.SocketStream) -> bytes:
    data = bytearray()
    while not data.endswith(b"\n"):
        more = await stream.receive_some(65536)
        if not more or len(data) > MAX_LINE:
            raise ValueError("no line")
        data += more
    return bytes(data)


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name of `path` that fits into a socket address, which has room for 107 bytes."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
