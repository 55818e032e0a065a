"""A real redis-server on a free port of 127.0.0.1, which can be killed and started again with what it had written down."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class RedisServer:
    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        program = shutil.which("redis-server")
        assert program is not None, "redis-server is missing: make setup installs it"
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder), "--appendonly", "yes", "--appendfsync",
                     "always", "--save", ""]  # fmt: skip
        self._process = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                    probe.sendall(b"PING\r\n")
                    if probe.recv(7).startswith(b"+PONG"):
                        return
            except OSError:
                pass
            assert time.monotonic() < until and self._process.poll() is None, "redis-server does not start"
            time.sleep(0.02)

    def say(self, line: str) -> bytes:
        """The reply to one command, as it comes; a short one."""
        with socket.create_connection(("127.0.0.1", self.port)) as to:
            to.sendall(line.encode() + b"\r\n")
            return to.recv(65536)

    def kill(self) -> None:
        """As a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It is there and answers nothing meanwhile."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def copy(self, to: Path) -> None:
        """What it has written down until now; it may go on writing."""
        shutil.copytree(self._folder, to)

    def go_back(self, copy: Path) -> None:
        """While it is down: to what it had then, as one does that was not to write down everything at once, or a backup."""
        self.forget()
        shutil.copytree(copy, self._folder, dirs_exist_ok=True)

    def forget(self) -> None:
        """While it is down: all that it had."""
        for path in self._folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    server = RedisServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()
