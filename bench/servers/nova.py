"""`nova serve` as it is shipped, with streams made for publishers."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from bench.method.results import our_version
from bench.servers.process import START_SECONDS, Server


class Nova(Server):
    """`settings`: `section.key=value`, as --set takes them. Waits for `ready`."""

    ports = ()

    def __init__(self, folder: Path, *settings: str) -> None:
        super().__init__(folder)
        self.name = our_version()
        self.settings = list(settings)
        self.addresses: dict[str, int] = {}  # listener: port
        self.events: list[dict[str, Any]] = []

    def command(self) -> list[str]:
        settings = [f"{name}.listen=127.0.0.1:0" for name in ("http", "https", "rtmp", "grpc")] + self.settings
        words = [word for setting in settings for word in ("--set", setting)]
        return [sys.executable, "-m", "nova", "serve", "--json", "--data", str(self.folder / "data"), *words]

    def environment(self) -> dict[str, str]:
        return os.environ | {"NO_COLOR": "1"}

    def wait_ready(self) -> None:
        assert self.process.stdout is not None
        ready = threading.Timer(START_SECONDS, self.process.kill)
        ready.start()
        for line in self.process.stdout:
            event = json.loads(line)
            self.events.append(event)
            if event["event"] == "listening":
                self.addresses[event["name"]] = int(event["address"].rpartition(":")[2])
            elif event["event"] == "ready":
                break
        else:
            raise RuntimeError(f"nova serve ended before it was ready: {self.said()}")
        ready.cancel()
        threading.Thread(target=self.process.stdout.read, daemon=True).start()  # nobody waits for a full pipe

    def nova(self, *arguments: str) -> list[Any]:
        """What a `nova` command prints with --json."""
        command = [sys.executable, "-m", "nova", *arguments, "--json", "--data", str(self.folder / "data")]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = [json.loads(line) for line in said.splitlines() if line.strip()]
        return found[0] if len(found) == 1 and isinstance(found[0], list) else found

    def streams(self, count: int) -> list[tuple[str, str]]:
        """(stream id, key) of new streams."""
        made = self.nova("stream", "create", "--title", "bench", "--count", str(count))
        return [(stream["id"], stream["key"]) for stream in made]

    def keys(self, streams: list[tuple[str, str]]) -> Path:
        """A file that the RTMP generators read."""
        path = self.folder / "keys"
        path.write_text("".join(f"{key}\n" for _, key in streams))
        return path
