"""Varnish from Debian: its cache in memory, one pool of threads."""

import re
import subprocess
from pathlib import Path

from bench.servers.process import Server, free_port

VCL = """
vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{origin}"; .max_connections = 2000; .first_byte_timeout = 60s; }}
"""


def version() -> str:
    said = subprocess.run(["varnishd", "-V"], capture_output=True, text=True, check=True).stderr
    found = re.search(r"varnish-(\S+)", said)
    return f"Varnish {found[1] if found else '?'}"


class Varnish(Server):
    """In front of 127.0.0.1:`origin`."""

    def __init__(self, folder: Path, origin: int) -> None:
        super().__init__(folder)
        self.name = version()
        self.port = free_port()
        self.ports = [self.port]
        (folder / "default.vcl").write_text(VCL.format(origin=origin))

    def command(self) -> list[str]:
        parameters = ["thread_pools=1", "thread_pool_min=1200", "thread_pool_max=4000", "thread_queue_limit=4000"]
        words = [word for each in parameters for word in ("-p", each)]
        return [
            "varnishd", "-F", "-n", str(self.folder / "work"), "-a", f"127.0.0.1:{self.port}", "-f", str(self.folder / "default.vcl"),
            "-s", "malloc,1G", *words,
        ]  # fmt: skip
