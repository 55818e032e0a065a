"""Small JSON from the Quart application: through our ASGI bridge and through Hypercorn, both on trio."""

import json
from pathlib import Path

from bench import measure
from bench.method.results import Question
from bench.method.versus import Versus
from bench.servers.asgi import Hypercorn, OurReactor
from bench.servers.check import fetch


def bench_small_json(versus: Versus, ram: Path, seconds: float, generator_core: int) -> None:
    with Hypercorn(ram / "hypercorn", "bench.apps.small_json:app") as hypercorn, OurReactor(ram / "ours") as ours:
        assert json.loads(fetch(hypercorn.port, "/v1/small")) == json.loads(fetch(ours.port, "/v1/small"))

        def run(server: Hypercorn | OurReactor) -> measure.Sample:
            return measure.http(server, server.port, ["/v1/small"], seconds=seconds, core=generator_core, connections=32)

        versus(
            Question("small-json", "small JSON through the ASGI bridge", "requests per server-CPU-second", "higher", 2.0),
            anchor=lambda: run(hypercorn),
            ours=lambda: run(ours),
            anchor_name=f"{hypercorn.name}, the same Quart-Trio application",
        )
