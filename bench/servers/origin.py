"""Origins behind caches: one that answers after a while and counts (bench/load/slow_origin.c), on the generators' core."""

import subprocess
import time
from typing import Self

from bench.load import built
from bench.method import cpu
from bench.servers.check import fetch
from bench.servers.process import free_port


class SlowOrigin:
    """Answers `size` bytes after `delay_ms`; control: its Cache-Control."""

    def __init__(self, size: int, delay_ms: int, control: str = "max-age=3600") -> None:
        self.port = free_port()
        self._arguments = ["-p", str(self.port), "-b", str(size), "-d", str(delay_ms), "-c", control]

    def __enter__(self) -> Self:
        _, core = cpu.cores()
        self.process = subprocess.Popen(["taskset", "-c", str(core), str(built("slow_origin")), *self._arguments])
        for _ in range(500):
            try:
                self.said()
                return self
            except OSError:
                time.sleep(0.01)
        raise RuntimeError("the origin does not answer")

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def said(self) -> tuple[int, int]:
        """Requests so far, and when the latest of their answers began: nanoseconds of the monotonic clock."""
        count, began = fetch(self.port, "/count").split()
        return int(count), int(began)


def site(port: int, *, connections: int | None = None, **more: object) -> str:
    """The setting of a site `bench` in front of 127.0.0.1:`port`. connections: to the origin at most, idle ones included."""
    import json

    origin: dict[str, object] = {"url": f"http://127.0.0.1:{port}"}
    if connections is not None:
        origin |= {"max_connections": connections, "max_idle": connections}
    row = {"name": "bench", "listen": "127.0.0.1:0", "origins": [origin], **more}
    return "cdn.sites=" + json.dumps([row])
