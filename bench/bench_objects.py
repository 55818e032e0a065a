"""Resident bytes to browsers: a small hit and live segments, plain and over TLS, beside nginx's static files."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bench import measure
from bench.method.results import Question
from bench.method.versus import Versus
from bench.servers import certificate
from bench.servers.asgi import OurReactor
from bench.servers.check import fetch
from bench.servers.nginx import StaticFiles

FILES = {"1k.bin": os.urandom(1024), "2m.m4s": os.urandom(2 << 20), "6m.m4s": os.urandom(6 << 20)}


class Both(NamedTuple):
    nginx: StaticFiles
    ours: OurReactor


@pytest.fixture
def both(ram: Path) -> Iterator[Both]:
    pair = certificate.make(ram / "tls")
    with StaticFiles(ram / "nginx", FILES, pair) as nginx, OurReactor(ram / "ours", FILES, pair) as ours:
        for name, data in FILES.items():
            for tls in (False, True):
                assert fetch(nginx.tls_port if tls else nginx.port, f"/{name}", tls=tls) == data
                assert fetch(ours.tls_port if tls else ours.port, f"/{name}", tls=tls) == data
        yield Both(nginx, ours)


@pytest.mark.parametrize(("tls", "goal"), [(False, 1.3), (True, 0.9)], ids=["plain", "tls"])
def bench_object_hit_1k(versus: Versus, both: Both, seconds: float, generator_core: int, tls: bool, goal: float) -> None:
    def run(server: StaticFiles | OurReactor) -> measure.Sample:
        port = server.tls_port if tls else server.port
        return measure.http(server, port, ["/1k.bin"], seconds=seconds, core=generator_core, connections=64, tls=tls)

    versus(
        Question(
            f"object-hit-1k{'-tls' * tls}", f"1 KiB object from memory{', TLS' * tls}", "requests per server-CPU-second", "higher", goal
        ),
        anchor=lambda: run(both.nginx),
        ours=lambda: run(both.ours),
        anchor_name=f"{both.nginx.name}, static file, open_file_cache",
    )


@pytest.mark.parametrize(("tls", "goal"), [(False, 1.0), (True, 0.9)], ids=["plain", "tls"])
@pytest.mark.parametrize("size", [2, 6])
def bench_segment(versus: Versus, both: Both, seconds: float, generator_core: int, size: int, tls: bool, goal: float) -> None:
    def run(server: StaticFiles | OurReactor) -> measure.Sample:
        port, path = server.tls_port if tls else server.port, f"/{size}m.m4s"
        return measure.http(server, port, [path], seconds=seconds, core=generator_core, connections=16, tls=tls, per_byte=True)

    versus(
        Question(f"segment-{size}m{'-tls' * tls}", f"{size} MiB segment{', TLS' * tls}", "bytes per server-CPU-second", "higher", goal),
        anchor=lambda: run(both.nginx),
        ours=lambda: run(both.ours),
        anchor_name=f"{both.nginx.name}, static file, sendfile",
    )
