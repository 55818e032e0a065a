"""How late trio wakes while the reactor is saturated, the bridge is busy and a thread computes under the GIL."""

import json
import subprocess
from pathlib import Path

from bench.load import built
from bench.method.results import Question, Sample
from bench.method.versus import Versus
from bench.servers.asgi import OurReactor
from bench.servers.check import fetch


def bench_awake(versus: Versus, ram: Path, seconds: float, generator_core: int) -> None:
    with OurReactor(ram / "ours", {"1k.bin": bytes(1024)}, None, "--awake", "--offload", "1") as ours:

        def run() -> Sample:
            fetch(ours.port, "/awake")  # what came before does not count
            before = ours.cpu()
            load = [
                subprocess.Popen(
                    [
                        "taskset",
                        "-c",
                        str(generator_core),
                        built("http_load"),
                        "-p",
                        str(ours.port),
                        "-c",
                        connections,
                        "-d",
                        str(seconds),
                        path,
                    ],
                    stdout=subprocess.DEVNULL,
                )
                for connections, path in (("64", "/1k.bin"), ("8", "/v1/small"))
            ]
            assert [process.wait() for process in load] == [0, 0]
            late = json.loads(fetch(ours.port, "/awake"))
            return Sample(
                late["wakes"], before.until(ours.cpu()), seconds, late["p99_ms"], {"p50_ms": late["p50_ms"], "max_ms": late["max_ms"]}
            )

        versus(
            Question("awake", "a sleep of 1 ms under full load", "ms late, p99", "lower", limits={"figure": 5}),
            ours=run,
        )
