"""Servers of one room: ours, and the programs that it is compared with."""

import sys
from importlib.metadata import version
from pathlib import Path

from bench.method.results import our_version
from bench.servers.asgi import Hypercorn
from bench.servers.process import Server, free_port


class OurRoom(Server):
    """One I/O thread and trio, the channel protocol in JSON."""

    def __init__(self, folder: Path, *extra: str) -> None:
        super().__init__(folder)
        self.name = our_version()
        self.port = free_port()
        self.ports = [self.port]
        self.extra = extra
        self.load: list[object] = ["-p", self.port, "-C", "public:bench"]  # what the generator has to say to it

    def command(self) -> list[str]:
        return [sys.executable, "-m", "bench.apps.room", "--port", str(self.port), *self.extra]


class Other(Server):
    """library: socketify, picows or websockets."""

    def __init__(self, folder: Path, library: str, *extra: str) -> None:
        super().__init__(folder)
        self.name = f"{library} {version(library)}"
        self.library, self.extra = library, extra
        self.port = free_port()
        self.ports = [self.port]
        self.load: list[object] = ["-p", self.port, "-q", "/sub", "-Q", "/pub"]

    def command(self) -> list[str]:
        return [sys.executable, "-m", "bench.apps.rooms_of_others", self.library, str(self.port), *self.extra]


class HypercornRoom(Hypercorn):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "bench.apps.rooms_of_others:app")
        self.load: list[object] = ["-p", self.port, "-q", "/sub", "-Q", "/pub"]
