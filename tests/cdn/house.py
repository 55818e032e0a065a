"""A site behind a real reactor with scripted origins, and clients that speak to it byte by byte."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import trio

from nova.cdn.cache.keeper import Keeper
from nova.cdn.shield.site import Site
from nova.core.clock import FakeClock
from nova.core.reactor import Feed, Listen, Reactor
from nova.core.settings_schema import make
from nova.core.settings_table import CdnSite

HERE = Path(__file__).resolve().parent


def load(path: Path) -> ModuleType:
    name = "cdn_" + path.stem
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


origin = load(HERE / "origin.py")
served = load(HERE.parent / "core" / "reactor" / "served.py")


class House:
    """clock: of the site and of the I/O threads; it stands still."""

    def __init__(self, reactor: Reactor, site: Site, keeper: Keeper, address: tuple[str, int], fetcher: Any, clock: FakeClock) -> None:
        self.reactor, self.site, self.keeper, self.address, self.origin, self.clock = reactor, site, keeper, address, fetcher, clock

    def advance(self, seconds: float) -> None:
        """Both clocks; an I/O thread looks at its own before it looks at a request."""
        self.clock.advance(seconds)
        self.reactor.engine.set_clock(unix=int(self.clock.wall()))

    def stats(self) -> dict[str, int]:
        return self.reactor.engine.site_stats(1)

    def client(self, **options: Any) -> Any:
        return served.connect(self.address, **options)

    async def get(self, path: str, *fields: str) -> tuple[int, dict[str, str], bytes]:
        async with served.connect(self.address) as client:
            return await client.get(path, *fields)


@asynccontextmanager
async def site(
    script: Any,
    *,
    capacity: int = 64 << 20,
    policy: str = "s3fifo",
    compressor: Any = None,
    disk: Any = None,
    threads: int = 1,
    uring: bool = False,
    **config: Any,
) -> AsyncIterator[House]:
    """A running site with a listener of its own."""
    clock = FakeClock()
    reactor = Reactor(clock, threads=threads, event_ring=1 << 20, command_ring=1 << 20, uring=uring)
    keeper = Keeper(reactor.objects, policy=policy, capacity=capacity)
    row = make(CdnSite, **({"name": "one", "listen": "127.0.0.1:0", "origins": [{"url": "http://origin"}], "compress": False} | config))
    fetcher = script if isinstance(script, origin.Origin) else origin.Origin(script)

    def feed() -> Feed:
        return reactor.feed(window_items=0, window_bytes=0)

    made = Site(1, row, fetcher, keeper, clock, via=b"nova-test", feed=feed, compressor=compressor, disk=disk)
    async with trio.open_nursery() as nursery:
        await nursery.start(reactor.run)
        reactor.engine.set_clock(unix=int(clock.wall()))
        await nursery.start(made.run)
        reactor.serve_site(1, "one", made, host_in_key=made.host_in_key, directives=row.request_directives, always_up=False)
        address = reactor.listen(Listen("site:one", "127.0.0.1", 0, site=1))
        try:
            yield House(reactor, made, keeper, address, fetcher, clock)
        finally:
            nursery.cancel_scope.cancel()
