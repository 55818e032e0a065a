"""Runs `nova serve` as its users do: a process of its own on free ports, stopped by SIGTERM."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

READY_SECONDS = 30  # far above the 0.6 s it takes: a busy machine may not fail a test


class Served:
    """A running server: the events that it wrote to stdout, by name."""

    def __init__(self, process: subprocess.Popen[bytes], data: Path) -> None:
        self.process = process
        self.data = data
        self.events: list[dict[str, Any]] = []
        self._lines: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def wait_for(self, event: str) -> dict[str, Any]:
        """The first event of that name, now or soon. Raises RuntimeError when the server ends before it."""
        for seen in self.events:
            if seen["event"] == event:
                return seen
        while line := self._lines.get(timeout=READY_SECONDS):
            self.events.append(json.loads(line))
            if self.events[-1]["event"] == event:
                return self.events[-1]
        raise RuntimeError(f"nova serve ended with {self.process.wait()} before {event!r}: see {self.data.parent}/stderr")

    def address(self, name: str) -> tuple[str, int]:
        """Host and port of the listener `name`: http, https, rtmp …"""
        self.wait_for("ready")
        found = next(event["address"] for event in self.events if event["event"] == "listening" and event["name"] == name)
        host, _, port = found.rpartition(":")
        return host.strip("[]"), int(port)

    def stop(self) -> int:
        """The exit code after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(READY_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@contextmanager
def serve(data: Path, *arguments: str, **settings: str) -> Iterator[Served]:
    """`nova serve` with data directory `data`; settings as `http__listen="…"` become NOVA_HTTP_LISTEN. Its logs go beside `data`.

    Raises AssertionError when it does not end with exit code 0.
    """
    free = ["http.listen", "https.listen", "rtmp.listen", "grpc.listen"]
    command = [sys.executable, "-m", "nova", "serve", "--json", "--data", str(data)]
    command += [word for key in free for word in ("--set", f"{key}=127.0.0.1:0")]
    environment = os.environ | {f"NOVA_{key.upper().replace('__', '_')}": value for key, value in settings.items()}
    with open(data.parent / "stderr", "wb") as log:
        process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=log, env=environment)
        served = Served(process, data)
        try:
            served.wait_for("ready")
            yield served
        finally:
            code = served.stop() if process.poll() is None else process.returncode
    assert code == 0, f"nova serve ended with {code}: see {data.parent}/stderr"
