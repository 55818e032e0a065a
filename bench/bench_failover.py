"""What clients see of an origin's trouble, with one of two real origins killed or frozen; and what a token costs."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import trio

from bench import measure
from bench.method.results import Question, Sample
from bench.method.versus import Versus
from bench.servers.check import fetch
from bench.servers.nova import Nova
from bench.servers.origin import SlowOrigin
from bench.servers.origin import site as stand_in
from nova.cdn.errors import OriginError
from nova.cdn.origins.fetcher import Origins
from nova.core import log
from nova.ext.cdn_token import CdnTokenKeys
from tests.cdn.origins.running import Process, fetching, get, processes, site, who, whole

CLIENTS = 32
HEDGE = 0.1  # seconds
CONNECT = 0.25


def bench_token(versus: Versus) -> None:
    """One admission from Python: find the token, check it, give the target without it."""
    keys = CdnTokenKeys()
    keys.add(b"k1", b"0123456789abcdef0123456789abcdef")
    target = b"/vod/film/segment-000123.m4s"
    asked = target + b"?cdn_token=" + keys.mint(target, 2**33)
    assert keys.admit(asked, b"", 1_790_000_000) == target

    def run() -> Sample:
        wall, cpu, count = time.perf_counter(), time.process_time(), 200_000
        for _ in range(count):
            keys.admit(asked, b"", 1_790_000_000)
        took = time.process_time() - cpu
        return Sample(count, took, time.perf_counter() - wall, count / took, {"us_each": took / count * 1e6})

    versus(
        Question("cdn-token", "tokens of the CDN checked", "checks per CPU-second", "higher", None, {"us_each": 1e6 / 300_000}), ours=run
    )


def bench_primary_killed(versus: Versus, seconds: float) -> None:
    """32 clients in a closed loop; the primary is killed in the middle."""
    versus(
        Question(
            "cdn-primary-killed",
            "primary origin killed under load",
            "requests per CPU-second",
            "higher",
            None,
            {"first_ms": 50.0, "failed": 0},
        ),
        ours=lambda: trio.run(trouble, Process.kill_at_once, max(seconds, 2.0)),
    )


def bench_primary_frozen(versus: Versus, seconds: float) -> None:
    """The same, but the primary stays connected and says nothing: the worst answer is bounded by the hedge and the connect deadline."""
    versus(
        Question(
            "cdn-primary-frozen",
            "primary origin frozen under load",
            "requests per CPU-second",
            "higher",
            None,
            {"slowest_ms": (HEDGE + CONNECT) * 1000, "failed": 0},
        ),
        ours=lambda: trio.run(trouble, Process.freeze, max(seconds, 2.0)),
    )


def bench_primary_black_hole(versus: Versus, seconds: float) -> None:
    """Nothing is known of the primary, and its network takes no connection and refuses none: every answer, from the first on."""
    versus(
        Question(
            "cdn-primary-black-hole",
            "primary origin in a black hole from the start",
            "requests per CPU-second",
            "higher",
            None,
            {"slowest_ms": (HEDGE + CONNECT) * 1000, "failed": 0},
        ),
        ours=lambda: trio.run(black_hole, max(seconds, 2.0)),
    )


def bench_all_dead(versus: Versus, ram: Path, seconds: float, generator_core: int) -> None:
    """200 stale objects whose only origin is dead: the generator takes nothing but 200 for an answer."""
    paths = [f"/{number}" for number in range(200)]

    def run() -> Sample:
        with TemporaryDirectory(dir=ram) as folder, ExitStack() as servers:
            with SlowOrigin(10_240, 0, "max-age=1, stale-if-error=3600") as origin:
                ours = servers.enter_context(Nova(Path(folder), stand_in(origin.port)))
                port = ours.addresses["site:bench"]
                for path in paths:
                    fetch(port, path)
            time.sleep(2.1)
            return measure.http(ours, port, paths, seconds=seconds, core=generator_core, connections=64)

    versus(
        Question(
            "cdn-all-dead", "10 KiB objects, stale, their origin dead: every one answered (stale-if-error)",
            "requests per server-CPU-second", "higher",
        ),
        ours=run,
    )  # fmt: skip


async def trouble(what: Callable[[Process], None], seconds: float) -> Sample:
    """first_ms: from the deed to the secondary's first answer. slowest_ms: of every answer after it."""
    wall, cpu = time.perf_counter(), time.process_time()
    with processes("one", "two") as pair:
        seen = await watched(pair[0].url, pair[1].url, lambda: what(pair[0]), seconds)
    assert seen.first is not None
    took = time.process_time() - cpu
    also = {"first_ms": seen.first * 1000, "slowest_ms": seen.slowest * 1000, "failed": float(seen.failed)}
    return Sample(seen.answers, took, time.perf_counter() - wall, seen.answers / took, also)


async def black_hole(seconds: float) -> Sample:
    """slowest_ms: of every answer."""
    wall, cpu = time.perf_counter(), time.process_time()
    with processes("two") as [two], hole() as url:
        seen = await watched(url, two.url, None, seconds)
    took = time.process_time() - cpu
    also = {"slowest_ms": seen.slowest * 1000, "failed": float(seen.failed)}
    return Sample(seen.answers, took, time.perf_counter() - wall, seen.answers / took, also)


@contextmanager
def hole() -> Iterator[str]:
    """The URL of a listener that nobody empties and whose queue is full: the kernel drops what would connect."""
    with ExitStack() as open_, socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        for _ in range(4):
            filling = open_.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


async def watched(primary: str, secondary: str, what: Callable[[], None] | None, seconds: float) -> Seen:
    """32 clients for `seconds`. what: the deed in the middle, from which on is watched; None: from the start."""
    log.configure(level="info", format="json", sample=100).settle()  # as a server does when it is ready: it costs 60 ms once
    tables = [{"url": primary, "connect_timeout": CONNECT}, {"url": secondary, "backup": True}]
    seen = Seen()
    async with fetching(site(tables, hedge_after=HEDGE)) as origins, trio.open_nursery() as clients:
        if what is None:
            seen.when = time.perf_counter()
        for number in range(CLIENTS):
            clients.start_soon(client, origins, seen, number)
        await trio.sleep(seconds / 2)
        if what is not None:
            seen.when = time.perf_counter()
            what()
        await trio.sleep(seconds / 2)
        clients.cancel_scope.cancel()
    return seen


class Seen:
    """What clients saw. when: the moment from which on it counts."""

    def __init__(self) -> None:
        self.failed, self.answers, self.slowest = 0, 0, 0.0
        self.first: float | None = None
        self.when = float("inf")


async def client(origins: Origins, seen: Seen, number: int) -> None:
    while True:
        began = time.perf_counter()
        try:
            _, fields, _ = await whole(origins, get(f"/size/10240?{number}"))
        except OriginError:
            seen.failed += 1
            continue
        now = time.perf_counter()
        seen.answers += 1
        if now > seen.when:
            seen.slowest = max(seen.slowest, now - began)
            if seen.first is None and who(fields) == "two":
                seen.first = now - seen.when
