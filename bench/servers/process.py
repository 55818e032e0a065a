"""A server under measurement: a process tree pinned to its core, its CPU time and its memory.

It has a session of its own, as a service has. Linux weighs whole sessions first (autogroups): in ours, a server's share of its core would
depend on what the generators do on theirs (docs/decisions/0284-servers-are-measured-in-their-own-session.md).
"""

import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from bench.method import cpu, memory

START_SECONDS = 30


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """Starts with `with`, stops with SIGTERM at its end. Subclasses say the command and the ports."""

    name: str
    ports: Sequence[int]  # answered by all of them: ready

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.media: tuple[Path, ...] = ()  # directories on tmpfs that count as the server's memory

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str] | None:
        return None

    def __enter__(self) -> Self:
        core, _ = cpu.cores()
        self.log = open(self.folder / "log", "wb")
        command = ["setpriv", "--pdeathsig", "TERM", "taskset", "-c", str(core), *self.command()]  # nobody else ends it when we are killed
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, env=self.environment(), start_new_session=True)
        try:
            self.wait_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def wait_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        for port in self.ports:
            while True:
                if self.process.poll() is not None:
                    raise RuntimeError(f"{self.name} ended with {self.process.returncode}: {self.said()}")
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise RuntimeError(f"{self.name} does not listen on {port}: {self.said()}") from None
                    time.sleep(0.01)

    def said(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
        self.log.close()

    def cpu(self) -> cpu.Reading:
        return cpu.read(self.process.pid)

    def memory(self) -> int:
        return memory.bytes_held(self.process.pid, *self.media)
