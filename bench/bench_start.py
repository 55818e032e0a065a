"""From the command to `ready`, on a machine that has run it before."""

import time
from pathlib import Path

from bench.method.results import Question, Sample
from bench.method.versus import Versus
from bench.servers.nova import Nova


def bench_warm_start(versus: Versus, ram: Path) -> None:
    def run() -> Sample:
        begin = time.monotonic()
        with Nova(ram / "nova") as nova:
            took = time.monotonic() - begin
            cpu_s = nova.cpu().ticks
        return Sample(1, cpu_s, took, took * 1000)

    versus(Question("warm-start", "`nova serve` until `ready`", "ms", "lower", limits={"figure": 600}), ours=run)
