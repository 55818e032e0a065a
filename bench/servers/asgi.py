"""Servers of Python applications: Hypercorn's trio worker, and our reactor alone."""

import sys
from importlib.metadata import version
from pathlib import Path

from bench.method.results import our_version
from bench.servers.process import Server, free_port


class Hypercorn(Server):
    """Hypercorn on trio, one worker, keep-alive without a limit, no access log."""

    def __init__(self, folder: Path, app: str) -> None:
        super().__init__(folder)
        self.name = f"hypercorn {version('hypercorn')} on trio"
        self.port = free_port()
        self.ports = [self.port]
        self.app = app
        (folder / "hypercorn.toml").write_text("keep_alive_max_requests = 1000000000\nkeep_alive_timeout = 300\nbacklog = 4096\n")

    def command(self) -> list[str]:
        options = ["-k", "trio", "-w", "1", "-b", f"127.0.0.1:{self.port}", "-c", str(self.folder / "hypercorn.toml")]
        return [sys.executable, "-m", "hypercorn", *options, self.app]


class OurReactor(Server):
    """One I/O thread and trio; `files` (path -> bytes) are objects, everything else goes to the small JSON application."""

    def __init__(
        self, folder: Path, files: dict[str, bytes] | None = None, certificate: tuple[Path, Path] | None = None, *extra: str
    ) -> None:
        super().__init__(folder)
        self.name = our_version()
        self.port, self.tls_port = free_port(), free_port()
        self.ports = [self.port, self.tls_port] if certificate else [self.port]
        self.options = ["--port", str(self.port), *extra]
        if certificate:
            self.options += ["--tls-port", str(self.tls_port), "--cert", str(certificate[0]), "--key", str(certificate[1])]
        if files:
            for name, data in files.items():
                path = folder / "www" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            self.options += ["--files", str(folder / "www")]

    def command(self) -> list[str]:
        return [sys.executable, "-m", "bench.apps.reactor", *self.options]
