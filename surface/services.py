"""The services below every edge: store, identity, streams. The server runs them; a command beside a stopped server opens them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

from nova.cdn.assets.store_sql import SCHEMA as CDN_ASSETS
from nova.cdn.invalidation.store_sql import SCHEMA as CDN_JOBS
from nova.core.addresses import Addresses
from nova.core.bus import Bus, MemoryBus
from nova.core.clock import Clock, rfc3339
from nova.core.errors import Unavailable, Unprocessable
from nova.core.idempotency import SCHEMA as IDEMPOTENCY
from nova.core.idempotency import Idempotency
from nova.core.ids import Ids
from nova.core.limits import Networks
from nova.core.log import Log
from nova.core.metrics import Metrics
from nova.core.offload import Offload
from nova.core.settings_table import Settings
from nova.core.sql import Sql, open_sqlite, parse_store_url
from nova.core.sql.url import DEFAULT
from nova.media.streams.model import KeyId, StreamId
from nova.media.streams.ports import Running
from nova.media.streams.service import Limits, Streams
from nova.media.streams.store_sql import SCHEMA as STREAMS
from nova.media.streams.store_sql import SqlStore
from nova.realtime.chat.store_sql import SCHEMA as CHAT
from nova.realtime.nodes import Nodes
from nova.surface import topics
from nova.surface.datadir import DataDir
from nova.surface.events import Events
from nova.surface.identity import service as identity_service
from nova.surface.identity.certificates import names_of_machine
from nova.surface.identity.service import Identity
from nova.surface.identity.store_sql import SCHEMA as IDENTITY
from nova.surface.identity.store_sql import SqlStore as IdentityStore
from nova.surface.limits import ApiRates, KeyGuesses
from nova.surface.media import SCHEMAS as MEDIA
from nova.surface.media import Media, open_blobs, open_media
from nova.surface.operator import Operator
from nova.surface.topics import UserEvents
from nova.surface.urls import Urls

if TYPE_CHECKING:
    from nova.core.bus.shared import RedisBus

SCHEMAS: Final = (CDN_ASSETS, CDN_JOBS, CHAT, IDEMPOTENCY, IDENTITY, STREAMS, *MEDIA)

_log = Log("nova.services")


@dataclass(frozen=True, slots=True)
class Services:
    """What the edges stand on."""

    settings: Settings
    data: DataDir
    clock: Clock
    ids: Ids
    offload: Offload
    metrics: Metrics
    sql: Sql
    bus: Bus
    shared: RedisBus | None
    identity: Identity
    streams: Streams
    media: Media
    stream_events: Events
    user_events: UserEvents
    replays: Idempotency
    addresses: Addresses
    rates: ApiRates
    guesses: KeyGuesses
    urls: Urls
    operator: Operator

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """What the services do by themselves; until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.identity.run)
            await nursery.start(self.stream_events.run)
            await nursery.start(self.user_events.run)
            await nursery.start(self.streams.run)
            await nursery.start(self.media.run)
            await nursery.start(self.replays.sweep)
            task_status.started()


class NothingRuns:
    """Running, of a process that serves nobody."""

    def stop(self, stream: StreamId, reason: str) -> bool:
        return False

    def drop_key(self, stream: StreamId, key: KeyId) -> bool:
        return False

    def hide(self, stream: StreamId, private: bool) -> None:
        """Nothing is served."""

    def viewers(self, stream: StreamId) -> int:
        return 0

    def gone(self, stream: StreamId, viewer: bytes) -> None:
        """Nobody is counted."""

    def numbers(self, stream: StreamId) -> Mapping[str, object]:
        return {}


@asynccontextmanager
async def shared_bus(settings: Settings) -> AsyncIterator[RedisBus | None]:
    """The bus that joins several processes; None: there is only this one. Raises Unprocessable, Unavailable."""
    if settings.bus.url is None:
        yield None
        return
    from nova.core.bus.shared import RedisBus

    try:
        bus = RedisBus(settings.bus.url, window=settings.bus.window, timeout=settings.bus.timeout)
    except ValueError:
        raise Unprocessable("bad_settings", "bus.url: redis://host:port/db or rediss://… is wanted") from None
    async with bus.opened():
        try:
            await bus.ping()
        except Unavailable as error:
            raise Unavailable("unavailable", f"bus.url: {error.detail}; start Redis or correct bus.url, or leave it unset") from None
        yield bus


@asynccontextmanager
async def open_services(settings: Settings, data: DataDir, clock: Clock, running: Running) -> AsyncIterator[Services]:
    """Open the store and load what is asked without awaiting. `data` is locked by the caller.

    Raises NovaError: the store or a key cannot be read, or is not ours.
    """
    ids, offload, metrics = Ids(clock), Offload(), Metrics()
    url = DEFAULT if settings.store.url is None else settings.store.url.text()
    exempt = Networks(settings.limits.exempt)
    path = parse_store_url(url, data.path).path
    async with AsyncExitStack() as stack:
        sql = await stack.enter_async_context(open_sqlite(path, SCHEMAS, offload, now=rfc3339(clock.wall())))
        shared = await stack.enter_async_context(shared_bus(settings))
        bus: Bus = MemoryBus(clock, window=settings.bus.window) if shared is None else shared
        identity = identity_service.build(settings, data.path, IdentityStore(sql), bus, clock, ids, machine=names_of_machine()[-1])
        await identity.open()
        limits = Limits(settings.limits.streams_per_user, settings.limits.keys_per_stream, settings.live.session_ttl)
        events = Events(bus, ids, clock)
        streams = Streams(
            SqlStore(sql),
            running,
            identity.path_sessions,
            clock=clock,
            new_id=ids.new,
            limits=limits,
            tell=lambda kind, stream, facts: events.tell(topics.STREAMS, kind, stream, facts),
        )
        stale = await streams.open()
        if stale:
            _log.warning("streams_ended_by_restart", count=stale)
        blobs = open_blobs(settings, data.path, offload)
        media = open_media(settings, data.path, sql, blobs, bus, clock, ids, offload, metrics)
        urls = Urls(settings.http.public_url, settings.rtmp.public_url)
        yield Services(
            settings,
            data,
            clock,
            ids,
            offload,
            metrics,
            sql,
            bus,
            shared,
            identity,
            streams,
            media,
            events,
            UserEvents(bus, identity),
            Idempotency(sql, clock, ids, ttl=settings.limits.idempotency_ttl),
            Addresses(Networks(settings.http.trusted_proxies), exempt),
            ApiRates(settings.limits.api_rate, clock),
            KeyGuesses(settings.limits.key_guesses, exempt, clock),
            urls,
            Operator(identity, streams, urls, clock, None if shared is None else Nodes(shared), sign_in_ttl=settings.auth.sign_in_ttl),
        )
