"""How fast a purge is: seen by ten edges behind one Redis, and what a tag of ten thousand objects costs the loop."""

import http.client
import json
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio

from bench.method import cpu
from bench.method.results import Question, Sample
from bench.method.versus import Versus
from bench.servers.nova import Nova
from bench.servers.origin import SlowOrigin, site
from nova.cdn.cache.entry import make
from nova.cdn.cache.freshness import Verdict
from nova.cdn.ports import Purge
from nova.cdn.sites import Sites
from nova.core.clock import SystemClock
from nova.core.offload import Offload
from nova.core.reactor import Reactor
from nova.core.settings_schema import make as settings
from nova.core.settings_table import Cdn
from tests.core.bus.redis_server import redis_server

EDGES = 10
OBJECTS = 10_000
LOOK = 0.002  # seconds between two rounds of questions: what asks too often has the core that the edges forget on


class Edge:
    """One connection to the site of an edge."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def hits(self, path: str) -> bool:
        """Ask, and say whether the answer was kept there."""
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
        got = b""
        while b"\r\n\r\n" not in got:
            got += self._socket.recv(65536)
        head, _, body = got.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        while len(body) < length:
            body += self._socket.recv(65536)
        return b"nova; hit" in head

    def close(self) -> None:
        self._socket.close()


def bench_purge_seen(versus: Versus, ram: Path, smoke: bool) -> None:
    """From the moment in which one edge is asked for a purge to that in which each of ten does not give out the object any more. The edges
    share one core, and are asked in turn every two milliseconds: the last answer from the cache is followed by the first one that is not,
    which the edge has fetched again. The next purge begins when every edge has said that it is done with the one before."""
    rounds = 3 if smoke else 30

    def run() -> Sample:
        folder = ram / f"purge-{time.monotonic_ns()}"
        with ExitStack() as stack:
            (folder / "redis").mkdir(parents=True)
            bus = stack.enter_context(redis_server(folder / "redis"))
            origin = stack.enter_context(SlowOrigin(1024, 0))
            row = site(origin.port, host="origin")
            edges = [
                stack.enter_context(Nova(folder / f"edge-{number}", row, f"cdn.edge=e{number}", f"bus.url={bus.url}"))
                for number in range(EDGES)
            ]
            token = said("token", "--user", "ada", "--scope", "cdn:admin", "--data", str(edges[0].folder / "data"))
            clients = [Edge(edge.addresses["site:bench"]) for edge in edges]
            for client in clients:
                stack.callback(client.close)
            until_all_follow(edges)
            began, before = time.perf_counter(), [cpu.read(edge.process.pid) for edge in edges]
            took = [each for number in range(rounds) for each in seen(edges[0], clients, token, f"/object/{number}")]
            used = sum(first.until(cpu.read(edge.process.pid)) for first, edge in zip(before, edges, strict=True))
            wall = time.perf_counter() - began
        took.sort()
        also = {"p50_ms": took[len(took) // 2] * 1e3, "p99_ms": took[int(len(took) * 0.99)] * 1e3, "most_ms": took[-1] * 1e3}
        return Sample(rounds, used, wall, also["p99_ms"], also)

    versus(Question("cdn-purge-seen", f"purge seen by {EDGES} edge processes", "p99 ms", "lower", None, {"p99_ms": 50.0}), ours=run)


def said(*arguments: str) -> str:
    return subprocess.run([sys.executable, "-m", "nova", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def until_all_follow(edges: list[Nova]) -> None:
    """Each edge knows of every other one."""
    end = time.monotonic() + 60
    for edge in edges:
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", edge.addresses["http"], timeout=20)
            connection.request("GET", "/readyz")
            ready = connection.getresponse().status == 200
            connection.close()
            if ready:
                break
            assert time.monotonic() < end, "an edge is not ready"
            time.sleep(0.05)


def seen(asked: Nova, clients: list[Edge], token: str, path: str) -> list[float]:
    """Seconds until each edge has forgotten. Returns when the job is done."""
    for client in clients:
        client.hits(path)
        assert client.hits(path)
    connection = http.client.HTTPConnection("127.0.0.1", asked.addresses["http"], timeout=20)
    connection.connect()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    began = time.perf_counter()
    connection.request("POST", "/v1/cdn/invalidations", json.dumps({"site": "bench", "urls": [path]}), headers)
    waiting, took = list(clients), []
    while waiting:
        for client in list(waiting):
            if not client.hits(path):
                took.append(time.perf_counter() - began)
                waiting.remove(client)
        assert time.perf_counter() - began < 20, "an edge does not forget"
        time.sleep(LOOK)
    answer = connection.getresponse()
    job = json.loads(answer.read())
    assert answer.status == 202
    while job["status"] == "pending":
        assert time.perf_counter() - began < 20, "an edge says nothing"
        time.sleep(0.1)
        connection.request("GET", f"/v1/cdn/invalidations/{job['id']}", headers=headers)
        job = json.loads(connection.getresponse().read())
    assert (job["status"], len(job["edges"])) == ("done", EDGES)
    connection.close()
    return took


class Steps(trio.abc.Instrument):
    """The longest time for which one task held the loop."""

    def __init__(self) -> None:
        self.longest, self._began = 0.0, time.perf_counter()  # a step is under way

    def before_task_step(self, task: object) -> None:
        del task
        self._began = time.perf_counter()

    def after_task_step(self, task: object) -> None:
        del task
        self.longest = max(self.longest, time.perf_counter() - self._began)


def bench_purge_tag(versus: Versus, smoke: bool) -> None:
    """step_ms: the longest time for which nobody else ran. figure: CPU time of the whole purge."""
    count = 500 if smoke else OBJECTS

    versus(
        Question("cdn-purge-tag", f"a tag of {OBJECTS} objects purged", "ms of CPU time", "lower", None, {"figure": 20.0, "step_ms": 20.0}),
        ours=lambda: trio.run(purge_tag, count),
    )


async def purge_tag(count: int) -> Sample:
    clock = SystemClock()
    reactor = Reactor(clock, threads=1)
    config = settings(Cdn, sites=[{"name": "one", "prefix": "/cdn/s/one/", "origins": [{"url": "http://127.0.0.1:1"}]}])
    sites = Sites(
        reactor, config, clock, Offload(), via=b"bench", fetcher=lambda site: Nobody(), listen=lambda site, number: None,
        close=lambda site: None,
    )  # fmt: skip
    async with trio.open_nursery() as nursery:
        await nursery.start(reactor.run)
        await nursery.start(sites.run)
        now = clock.wall()
        verdict = Verdict(True, "", now, now + 3600, 0.0, 0.0)
        fields = [(b"content-type", b"text/plain"), (b"surrogate-key", b"all film")]
        entry = make(200, b"OK", fields, verdict, received_at=now, total=100, via=b"bench")
        for number in range(2 * count):  # every second one has the tag
            tags = (b"all",) if number % 2 else (b"all", b"film")
            sites.keeper.keep(1, b"bench/object/%d" % number, replace(entry, tags=tags), [bytes(100)])
        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        wall, used = time.perf_counter(), time.thread_time()
        assert await sites.purge(Purge("tag", b"film", site="one")) == count
        wall, used = time.perf_counter() - wall, time.thread_time() - used
        trio.lowlevel.remove_instrument(steps)
        assert sites.keeper.table.count == count
        nursery.cancel_scope.cancel()
    return Sample(count, used, wall, used * 1e3, {"step_ms": steps.longest * 1e3, "wall_ms": wall * 1e3})


class Nobody:
    """Origins that are never asked."""

    def fetch(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("nobody asks")

    def down(self) -> bool:
        return False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await trio.sleep_forever()
