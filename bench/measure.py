"""One measured window of one server, for every kind of load."""

from bench.load import run
from bench.method.cpu import Reading
from bench.method.results import Sample
from bench.servers.process import Server


def http(
    server: Server,
    port: int,
    paths: list[str],
    *,
    seconds: float,
    core: int,
    connections: int = 64,
    tls: bool = False,
    per_byte: bool = False,
) -> Sample:
    """Closed loop over keep-alive connections; figure: requests (per_byte: bytes) per server-CPU-second."""
    start: list[Reading] = []
    options: list[object] = ["-p", port, "-c", connections, "-d", seconds, *(["-t"] if tls else []), *paths]
    said = run("http_load", core, *options, at_go=lambda: start.append(server.cpu()))
    cpu_s = start[0].until(server.cpu())
    work = said["bytes"] if per_byte else said["answers"]
    also = {
        "p50_ms": said["p50_us"] / 1000,
        "p99_ms": said["p99_us"] / 1000,
        "per_second": work / said["seconds"],
        "server_load": cpu_s / said["seconds"],
        "reconnects": said["reconnects"],
    }
    return Sample(work, cpu_s, said["seconds"], work / cpu_s, also)
