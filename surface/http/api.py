"""All routes of this program, and the application over them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from nova.core.addresses import Addresses
from nova.core.bus import Bus
from nova.core.clock import Clock
from nova.core.ids import Ids
from nova.core.limits import Networks
from nova.core.metrics import Metrics
from nova.core.settings_table import Settings
from nova.media.streams.service import Streams
from nova.media.uploads import tus
from nova.surface.http import app, docs_page, headers, openapi, routes_not_yet
from nova.surface.http.pages import Asset
from nova.surface.http.ports import Replays
from nova.surface.http.route import Route
from nova.surface.http.routes_cdn import CdnRoutes, FindCdn
from nova.surface.http.routes_channels import ChannelRoutes
from nova.surface.http.routes_chat import ChatRoutes
from nova.surface.http.routes_events import EventRoutes
from nova.surface.http.routes_identity import IdentityRoutes
from nova.surface.http.routes_images import ImageRoutes
from nova.surface.http.routes_live import LiveRoutes
from nova.surface.http.routes_pages import PageRoutes
from nova.surface.http.routes_realtime import RealtimeRoutes
from nova.surface.http.routes_rtmp import RtmpRoutes
from nova.surface.http.routes_streams import StreamRoutes
from nova.surface.http.routes_system import Checks, SystemRoutes
from nova.surface.http.routes_topics import TopicRoutes
from nova.surface.http.routes_uploads import PATH as UPLOADS
from nova.surface.http.routes_uploads import UploadRoutes
from nova.surface.http.routes_videos import VideoRoutes
from nova.surface.http.websocket import WebSockets
from nova.surface.identity.attempts import Attempts
from nova.surface.identity.service import Identity
from nova.surface.limits import ApiRates, KeyGuesses
from nova.surface.media import Media
from nova.surface.realtime import Realtime
from nova.surface.urls import Urls

Json = Any


@dataclass(frozen=True, slots=True)
class Services:
    """What the routes stand on.

    checks: what `/readyz` asks. open_metrics: whether http listens on loopback only.
    """

    streams: Streams
    identity: Identity
    replays: Replays
    addresses: Addresses
    rates: ApiRates
    guesses: KeyGuesses
    metrics: Metrics
    urls: Urls
    ids: Ids
    clock: Clock
    checks: Checks
    open_metrics: Callable[[], bool]
    assets: Sequence[Asset]
    error_page: bytes
    realtime: Realtime
    media: Media
    bus: Bus
    cdn: FindCdn


def routes(settings: Settings, services: Services) -> list[Route]:
    """Every route, in the order of the documents."""

    @cache
    def describe() -> tuple[bytes, bytes]:
        document = openapi.document(table)
        return json.dumps(document, ensure_ascii=False).encode(), docs_page.page(document)

    realtime = services.realtime
    attempts = Attempts(settings.limits.sign_in_attempts, Networks(settings.limits.exempt), services.clock)
    table = [
        *StreamRoutes(services.streams, services.urls).table(),
        *IdentityRoutes(services.identity, attempts, services.urls).table(),
        *RtmpRoutes(services.streams, services.guesses, settings.rtmp.hook_secret).table(),
        *LiveRoutes(services.streams).table(),
        *ChatRoutes(realtime.chat, realtime.hub).table(),
        *ChannelRoutes(realtime.hub).table(),
        *EventRoutes(realtime, services.clock).table(),
        *RealtimeRoutes(realtime.hub).table(),
        *ImageRoutes(services.media.images).table(),
        *UploadRoutes(services.media.uploads).table(),
        *VideoRoutes(services.media.library, services.media.poster).table(),
        *TopicRoutes(services.bus, services.ids, services.clock).table(),
        *CdnRoutes(services.cdn).table(),
        *routes_not_yet.table(),
        *SystemRoutes(services.checks, services.metrics, services.open_metrics, describe).table(),
        *PageRoutes(services.assets).table(),
    ]
    return table


def described(settings: Settings) -> Json:
    """The OpenAPI document without a server: a route's row says all of it."""
    nothing: Any = None
    services = Services(
        streams=nothing, identity=nothing, replays=nothing, addresses=nothing, rates=nothing, guesses=nothing, metrics=nothing,
        urls=nothing, ids=nothing, clock=nothing, checks=nothing, open_metrics=nothing, assets=(), error_page=b"", bus=nothing,
        realtime=Realtime(nothing, nothing, nothing, nothing, nothing, nothing, nothing),
        media=Media(nothing, nothing, nothing, nothing, nothing, nothing), cdn=nothing,
    )  # fmt: skip
    return openapi.document(routes(settings, services))


def build(settings: Settings, services: Services) -> app.Application:
    """The ASGI application."""
    table = routes(settings, services)
    return app.build(table, conventions(settings, services, table), sockets(services))


def sockets(services: Services) -> WebSockets:
    """What serves `websocket` scopes."""
    return WebSockets(services.realtime, services.identity, services.addresses, services.clock)


def conventions(settings: Settings, services: Services, table: Sequence[Route]) -> app.Conventions:
    """What the routes of `table` share."""
    labels = sorted({label(route.name) for route in table} | {app.OTHER})
    requests = services.metrics.counter(
        "nova_http_requests", "Requests that reached the application, by route and kind of status.",
        {"route": labels, "status": ("1xx", "2xx", "3xx", "4xx", "5xx")},
    )  # fmt: skip
    seconds = services.metrics.histogram("nova_http_request_seconds", "Time until the answer was made.", {"route": labels})

    def observe(route: str, status: int, took: float) -> None:
        shown = label(route)
        requests.of(shown, f"{status // 100}xx").inc()
        seconds.of(shown).observe(took)

    return app.Conventions(
        services.identity,
        services.rates,
        services.replays,
        headers.Cors(settings.http.cors_origins),
        services.ids.new,
        services.urls.base,
        services.addresses,
        observe,
        services.error_page,
        settings.http.max_body,
        max(settings.images.max_file, settings.uploads.max_size),
        settings.http.body_timeout,
        ((UPLOADS, tus.options(settings.uploads.max_size)),),
    )


def label(route: str) -> str:
    """A route's name in metrics; what is not there yet has one together."""
    return "not_yet" if route.startswith("not_yet_") else route
