"""HTTP/3: small JSON answers and a download of 100 MB, beside Hypercorn's own on the same aioquic; and what the thread has left."""

import json
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from bench.method.results import Question, Sample, our_version
from bench.method.versus import Versus
from bench.servers import certificate
from bench.servers.check import fetch
from bench.servers.process import Server, free_port


class _Quic(Server):
    """A server on a UDP port."""

    ports = ()

    def __init__(self, folder: Path, pair: tuple[Path, Path]) -> None:
        super().__init__(folder)
        self.port = free_port()
        self.cert, self.key = pair

    def wait_ready(self) -> None:
        deadline = time.monotonic() + 30
        while f":{self.port:04X} " not in Path("/proc/net/udp").read_text():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not listen: {self.said()}")
            time.sleep(0.02)


class OurH3(_Quic):
    name = our_version()

    def __init__(self, folder: Path, pair: tuple[Path, Path], *extra: str) -> None:
        super().__init__(folder, pair)
        self.extra = extra

    def command(self) -> list[str]:
        words = ["--port", str(self.port), "--cert", str(self.cert), "--key", str(self.key), *self.extra]
        return [sys.executable, "-m", "bench.apps.h3", *words]


class HypercornH3(_Quic):
    name = f"hypercorn {version('hypercorn')} on trio"

    def command(self) -> list[str]:
        bind = ["--bind", f"127.0.0.1:{free_port()}", "--quic-bind", f"127.0.0.1:{self.port}"]
        tls = ["--certfile", str(self.cert), "--keyfile", str(self.key)]
        return [sys.executable, "-m", "hypercorn", "-k", "trio", "-w", "1", *bind, *tls, "bench.apps.h3:app"]


def _run(server: _Quic, path: str, *, seconds: float, core: int, streams: int) -> Sample:
    command = ["taskset", "-c", str(core), sys.executable, "-m", "bench.load.h3_load", "--port", str(server.port), "--ca", str(server.cert)]
    command += ["--seconds", str(seconds), "--path", path, "--streams", str(streams)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as load:
        assert load.stdin is not None
        assert load.stdout is not None
        if load.stdout.readline() != "go\n":
            raise RuntimeError(f"no answer from {server.name}: {server.said()}")
        began = server.cpu()
        load.stdin.write("\n")
        load.stdin.flush()
        said = json.loads(load.stdout.readline())
        cpu_s = began.until(server.cpu())
    work = said["bytes"] / 1e6 if path == "/big" else said["answers"]
    also = {"per_second": work / said["seconds"], "server_load": cpu_s / said["seconds"]}
    return Sample(work, cpu_s, said["seconds"], work / cpu_s, also)


def bench_h3_small_json(versus: Versus, ram: Path, seconds: float, generator_core: int) -> None:
    pair = certificate.make(ram / "tls")
    with HypercornH3(ram / "hypercorn", pair) as hypercorn, OurH3(ram / "ours", pair) as ours:
        versus(
            Question("h3-small-json", "small JSON over HTTP/3, 16 requests under way", "requests per server-CPU-second", "higher", 1.5),
            anchor=lambda: _run(hypercorn, "/v1/small", seconds=seconds, core=generator_core, streams=16),
            ours=lambda: _run(ours, "/v1/small", seconds=seconds, core=generator_core, streams=16),
            anchor_name=f"{hypercorn.name}, the same Quart-Trio application",
        )


def bench_h3_download(versus: Versus, ram: Path, seconds: float, generator_core: int) -> None:
    pair = certificate.make(ram / "tls")
    with OurH3(ram / "ours", pair) as ours:

        def hypercorn() -> Sample:
            # It buffers the whole body, and goes on working for readers that have left: each window gets a fresh one.
            with HypercornH3(ram / "hypercorn", pair) as fresh:
                return _run(fresh, "/big", seconds=seconds, core=generator_core, streams=1)

        versus(
            Question("h3-download", "a download of 100 MB over HTTP/3", "MB per server-CPU-second", "higher", 2.0),
            anchor=hypercorn,
            ours=lambda: _run(ours, "/big", seconds=seconds, core=generator_core, streams=1),
            anchor_name=HypercornH3.name,
        )


def bench_h3_awake(versus: Versus, ram: Path, seconds: float, generator_core: int) -> None:
    """A download takes all that it may; whoever writes the parts of live streams sleeps and wakes in the same thread."""
    port = free_port()
    with OurH3(ram / "ours", certificate.make(ram / "tls"), "--share", "0.5", "--awake", str(port)) as ours:

        def run() -> Sample:
            fetch(port, "/")  # what came before does not count
            sample = _run(ours, "/big", seconds=seconds, core=generator_core, streams=2)
            late = json.loads(fetch(port, "/"))
            also = {"p50_ms": late["p50_ms"], "max_ms": late["max_ms"], **sample.also}
            return Sample(late["wakes"], sample.cpu_s, sample.wall_s, late["p99_ms"], also)

        asks = "a sleep of 1 ms beside a download over HTTP/3"
        versus(Question("h3-awake", asks, "ms late, p99", "lower", limits={"figure": 10}), ours=run)
