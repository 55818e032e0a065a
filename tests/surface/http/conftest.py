"""The whole application over services in memory."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import trio

from nova.core import settings as settings_
from nova.core.addresses import Addresses
from nova.core.blobs.files import FileBlobs
from nova.core.bus import MemoryBus
from nova.core.clock import FakeClock
from nova.core.idempotency import SCHEMA as IDEMPOTENCY
from nova.core.idempotency import Idempotency
from nova.core.ids import Ids
from nova.core.limits import Networks
from nova.core.metrics import Metrics
from nova.core.offload import Offload
from nova.core.sql import open_sqlite
from nova.core.values import Rate, Seconds
from nova.media.streams.service import Streams
from nova.media.streams.store_memory import MemoryStore
from nova.realtime.chat.store_sql import SCHEMA as CHAT
from nova.surface import realtime as realtime_
from nova.surface.events import Events
from nova.surface.http import api, pages
from nova.surface.http import app as app_
from nova.surface.http.app import Application, Conventions
from nova.surface.http.route import Route
from nova.surface.identity import service as identity_
from nova.surface.identity.store_memory import MemoryStore as IdentityMemory
from nova.surface.limits import ApiRates, KeyGuesses
from nova.surface.media import SCHEMAS as MEDIA
from nova.surface.media import Media, open_media
from nova.surface.realtime import Realtime
from nova.surface.topics import STREAMS, UserEvents
from nova.surface.urls import Urls
from tests.media.streams.fakes import FakeRunning
from tests.surface.http.asgi import Answer, ask

HOOK_SECRET = "hook-secret"


@dataclass
class Site:
    """The application and what a test wants to turn."""

    app: Application
    routes: list[Route]
    conventions: Conventions
    clock: FakeClock
    running: FakeRunning
    streams: Streams
    identity: identity_.Identity
    metrics: Metrics
    checks: dict[str, tuple[bool, str]]
    open_metrics: list[bool]
    realtime: Realtime
    media: Media
    tokens: dict[str, str] = field(default_factory=dict)

    async def token(self, user: str, *scopes: str) -> str:
        """A token; without scopes a user's."""
        return (await self.identity.mint(user, scopes)).text

    async def ask(self, method: str, target: str, json_body: Any = None, *, user: str = "", **more: Any) -> Answer:
        """One request; `user` sends a user's token."""
        if user and user not in self.tokens:
            self.tokens[user] = await self.token(user)
        return await ask(self.app, method, target, json_body=json_body, token=self.tokens.get(user, "") or more.pop("token", ""), **more)

    async def stream(self, user: str = "alice", **fields: Any) -> dict[str, Any]:
        """A new stream of `user`, as the API answered."""
        answer = await self.ask("POST", "/v1/streams", {"title": "T", **fields}, user=user)
        assert answer.status == 201, answer.body
        made: dict[str, Any] = answer.json
        return made


@pytest.fixture(scope="session")
def assets() -> list[pages.Asset]:
    return pages.web_assets()


@pytest.fixture
async def site(tmp_path: Path, assets: list[pages.Asset], request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    """Settings of a test: `@pytest.mark.parametrize("site", [["http.cors_origins=…"]], indirect=True)`."""
    overrides = ['http.trusted_proxies=["10.0.0.0/8"]', "rtmp.hook_secret=" + HOOK_SECRET, "images.workers=1"]
    overrides += getattr(request, "param", [])
    settings = settings_.load(environ={}, overrides=overrides).settings
    clock = FakeClock()
    ids = Ids(clock)
    bus = MemoryBus(clock)
    identity = identity_.build(settings, tmp_path, IdentityMemory(), bus, clock, ids)
    await identity.open()
    running = FakeRunning()
    events = Events(bus, ids, clock)
    streams = Streams(
        MemoryStore(),
        running,
        identity.path_sessions,
        clock=clock,
        new_id=ids.new,
        tell=lambda kind, stream, facts: events.tell(STREAMS, kind, stream, facts),
    )
    await streams.open()
    exempt = Networks(settings.limits.exempt)
    metrics, checks, open_metrics = Metrics(), {"store": (True, "open")}, [True]

    async def read_checks() -> dict[str, tuple[bool, str]]:
        return checks

    offload = Offload()
    async with (
        open_sqlite(tmp_path / "nova.db", [IDEMPOTENCY, CHAT, *MEDIA], offload, now="2026-01-01T00:00:00Z") as sql,
        trio.open_nursery() as nursery,
    ):
        realtime = realtime_.build(settings, sql, streams, identity, clock, ids)
        blobs = FileBlobs(tmp_path / "blobs", offload)
        media = open_media(settings, tmp_path, sql, blobs, bus, clock, ids, offload, metrics)
        await nursery.start(media.run)
        await nursery.start(events.run)
        await nursery.start(UserEvents(bus, identity).run)
        services = api.Services(
            streams,
            identity,
            Idempotency(sql, clock, ids, ttl=Seconds(86400)),
            Addresses(Networks([ip_network("10.0.0.0/8")]), exempt),
            ApiRates(Rate(5, Seconds(1)), clock),
            KeyGuesses(Rate(3, Seconds(60)), exempt, clock),
            metrics,
            Urls(rtmp_port=1935),
            ids,
            clock,
            read_checks,
            lambda: open_metrics[0],
            assets,
            pages.error_page(),
            realtime,
            media,
            bus,
            lambda: None,  # its routes are asked of a whole server (tests/e2e/test_cdn_api.py)
        )
        routes = api.routes(settings, services)
        conventions = api.conventions(settings, services, routes)
        app = app_.build(routes, conventions, api.sockets(services))
        yield Site(app, routes, conventions, clock, running, streams, identity, metrics, checks, open_metrics, realtime, media)
        nursery.cancel_scope.cancel()
