"""The shield beside nginx's proxy_cache and Varnish: hits, and a thousand clients at once on one cold object."""

import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest

from bench import measure
from bench.load import run
from bench.method.results import Question, Sample
from bench.method.versus import Versus
from bench.servers.check import fetch
from bench.servers.nginx import ProxyCache, StaticFiles
from bench.servers.nova import Nova
from bench.servers.origin import SlowOrigin, site
from bench.servers.process import Server
from bench.servers.varnish import Varnish

FILES = {"1k.bin": os.urandom(1024), "10k.bin": os.urandom(10 * 1024), "2m.bin": os.urandom(2 << 20), "6m.bin": os.urandom(6 << 20)}
CLIENTS = 1000
IDLE = 10_000
WARM = 64  # connections that load what the first ones of a server load
DELAY_MS = 500
MOST = {"http.max_head": "32KiB", "limits.connections_per_address": "100000"}


class Both(NamedTuple):
    anchor: Server
    ours: Nova

    def port(self, server: Server) -> int:
        return server.addresses["site:bench"] if isinstance(server, Nova) else server.ports[0]


def nova(folder: Path, origin: int, **more: Any) -> Nova:
    return Nova(folder, site(origin, **more), *(f"{key}={value}" for key, value in MOST.items()))


@pytest.fixture
def caches(ram: Path) -> Iterator[Both]:
    """Both in front of the same files, everything of it in their caches."""
    with (
        StaticFiles(ram / "origin", FILES) as origin,
        ProxyCache(ram / "nginx", origin.port) as anchor,
        nova(ram / "ours", origin.port, heuristic_most="1h") as ours,
    ):
        both = Both(anchor, ours)
        for name in FILES:  # the origin says nothing of freshness; an old Last-Modified is enough for both
            os.utime(ram / "origin" / "www" / name, (1_600_000_000, 1_600_000_000))
        for server in (anchor, ours):
            for name, data in FILES.items():
                for _ in range(3):
                    assert fetch(both.port(server), f"/{name}") == data
        yield both


@pytest.mark.parametrize(("size", "goal"), [("1k", 1.3), ("10k", 1.15)])
def bench_shield_hit(versus: Versus, caches: Both, seconds: float, generator_core: int, size: str, goal: float) -> None:
    def once(server: Server) -> Sample:
        return measure.http(server, caches.port(server), [f"/{size}.bin"], seconds=seconds, core=generator_core, connections=64)

    versus(
        Question(
            f"shield-hit-{size}",
            f"{size[:-1]} KiB hit of a caching proxy, full feature path",
            "requests per server-CPU-second",
            "higher",
            goal,
        ),
        anchor=lambda: once(caches.anchor),
        ours=lambda: once(caches.ours),
        anchor_name=caches.anchor.name,
    )


@pytest.mark.parametrize("size", ["1k", "10k"])
def bench_shield_p99(versus: Versus, caches: Both, seconds: float, generator_core: int, size: str) -> None:
    def once(server: Server) -> Sample:
        found = measure.http(server, caches.port(server), [f"/{size}.bin"], seconds=seconds, core=generator_core, connections=64)
        return Sample(found.work, found.cpu_s, found.wall_s, found.also["p99_ms"], found.also)

    versus(
        Question(f"shield-p99-{size}", f"{size[:-1]} KiB hit of a caching proxy, 64 connections", "p99, ms", "lower", 1.0),
        anchor=lambda: once(caches.anchor),
        ours=lambda: once(caches.ours),
        anchor_name=caches.anchor.name,
    )


@pytest.mark.parametrize("size", ["2m", "6m"])
def bench_shield_large(versus: Versus, caches: Both, seconds: float, generator_core: int, size: str) -> None:
    def once(server: Server) -> Sample:
        return measure.http(
            server, caches.port(server), [f"/{size}.bin"], seconds=seconds, core=generator_core, connections=16, per_byte=True
        )

    versus(
        Question(f"shield-hit-{size}", f"{size[:-1]} MiB hit of a caching proxy", "bytes per server-CPU-second", "higher", 1.0),
        anchor=lambda: once(caches.anchor),
        ours=lambda: once(caches.ours),
        anchor_name=caches.anchor.name,
    )


def _herd(server: Server, port: int, origin: SlowOrigin, path: str, core: int, fetches: int | None) -> Sample:
    before, _ = origin.said()
    start = server.cpu()
    said = run("herd", core, "-p", port, "-c", CLIENTS, path)
    cpu_s = start.until(server.cpu())
    after, began = origin.said()
    asked = after - before
    assert said["failed"] == 0, f"{server.name}: {said}"
    assert fetches is None or asked == fetches, f"{server.name}: {asked} fetches"
    also = {name: said[name] for name in ("first_p50_ms", "first_p99_ms", "p50_ms", "max_ms")} | {"fetches": asked}
    if asked == 1:
        also["first_p99_behind_ms"] = said["first_p99_ms"] - (began - said["asked_ns"]) / 1e6  # behind the origin's first byte
    return Sample(CLIENTS, cpu_s, said["max_ms"] / 1000, said["p99_ms"], also)


def bench_shield_herd(versus: Versus, ram: Path, generator_core: int) -> None:
    numbers = count()
    with SlowOrigin(2 << 20, DELAY_MS) as origin, Varnish(ram / "varnish", origin.port) as anchor, nova(ram / "ours", origin.port) as ours:
        versus(
            Question(
                "shield-herd-2m", "1000 clients at once, one cold 2 MiB object, origin's first byte after 500 ms: one fetch",
                "p99 of completion, ms", "lower", 1.0, {"first_p99_behind_ms": 10},
            ),
            anchor=lambda: _herd(anchor, anchor.port, origin, f"/{next(numbers)}", generator_core, 1),
            ours=lambda: _herd(ours, ours.addresses["site:bench"], origin, f"/{next(numbers)}", generator_core, 1),
            anchor_name=anchor.name,
        )  # fmt: skip


def bench_shield_uncacheable(versus: Versus, ram: Path, generator_core: int) -> None:
    """Nobody may wait in a line behind an answer that is not shared. Both may have a connection to the origin for every client."""
    numbers = count()
    with (
        SlowOrigin(10_240, DELAY_MS, "no-store") as origin,
        Varnish(ram / "varnish", origin.port) as anchor,
        nova(ram / "ours", origin.port, fetch_slots=CLIENTS, connections=CLIENTS) as ours,
    ):
        versus(
            Question(
                "shield-herd-uncacheable", "1000 clients at once, one object that may not be kept, origin's first byte after 500 ms",
                "p99 of completion, ms", "lower", None, {"p99_over_origin": 2.3},
            ),
            anchor=lambda: _herd(anchor, anchor.port, origin, f"/{next(numbers)}", generator_core, None),
            ours=lambda: _over(_herd(ours, ours.addresses["site:bench"], origin, f"/{next(numbers)}", generator_core, CLIENTS)),
            anchor_name=anchor.name,
        )  # fmt: skip


def bench_shield_idle(versus: Versus, ram: Path, smoke: bool) -> None:
    """Connections that have had an answer each, and wait for nothing; a new server each time, for one keeps its table of connections."""
    count = 200 if smoke else IDLE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, count + 500), hard), hard))

    def run() -> Sample:
        with TemporaryDirectory(dir=ram) as folder, SlowOrigin(1024, 0) as origin, ExitStack() as open_:
            ours = open_.enter_context(nova(Path(folder), origin.port))
            port = ours.addresses["site:bench"]
            clients = [open_.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(WARM)]
            for _ in range(3):
                ask(clients)
            time.sleep(1 if smoke else 3)  # what a server loads after it is ready is there
            before, began = ours.memory(), time.perf_counter()
            clients = [open_.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(count)]
            ask(clients)
            held = (ours.memory() - before) / count
            return Sample(count, 0.0, time.perf_counter() - began, held)

    def ask(clients: list[socket.socket]) -> None:
        for client in clients:
            client.sendall(b"GET /idle HTTP/1.1\r\nHost: bench\r\n\r\n")
        for client in clients:
            got = client.recv(4096)
            while len(got) < got.index(b"\r\n\r\n") + 4 + 1024:
                got += client.recv(4096)

    versus(
        Question("shield-idle", f"{count} idle connections of a site", "bytes of the server each", "lower", limits={"figure": 2048.0}),
        ours=run,
    )


def _over(sample: Sample) -> Sample:
    return Sample(sample.work, sample.cpu_s, sample.wall_s, sample.figure, sample.also | {"p99_over_origin": sample.figure / DELAY_MS})
