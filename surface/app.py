"""The composition root: everything is built here, in the order in which it comes up, and passed down. Nothing imports it but
the command line.

Down it goes in the reverse order: the demo and the commands, gRPC, publishers (with a clean end for their viewers), requests
under way, then the services and the store.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import trio

from nova import __version__
from nova.core import awake
from nova.core.clock import Clock, SystemClock, rfc3339
from nova.core.errors import Unavailable, Unprocessable
from nova.core.guard import guard
from nova.core.lifecycle import Component, Lifecycle, State
from nova.core.log import Log, Sink
from nova.core.metrics import Metrics
from nova.core.reactor import Feed, RawStream, Reactor
from nova.core.reactor.resident import ResidentObjects
from nova.core.settings_table import Settings
from nova.core.values import Address
from nova.ext.buffer import Buffer
from nova.ext.engine import MOST_THREADS
from nova.media.door import LocalRunning, StreamDoor
from nova.media.live import muxers
from nova.media.live.manager import LiveStreams
from nova.media.live.stream import Shape
from nova.media.rtmp import session as rtmp_session
from nova.media.rtmp.reasons import REASONS
from nova.media.rtmp.server import RtmpServer, Timeouts
from nova.media.streams.model import KeyId, StreamId
from nova.media.streams.service import Streams
from nova.surface import listeners, realtime
from nova.surface.certificate_watch import CertificateWatch
from nova.surface.control import ControlServer
from nova.surface.datadir import DataDir
from nova.surface.h3.door import H3Door, advertising, alt_svc
from nova.surface.lazy import App, LazyApp
from nova.surface.listeners import Opened
from nova.surface.realtime import Realtime
from nova.surface.services import Services, open_services

if TYPE_CHECKING:
    import socket

    from nova.cdn.sites import Sites
    from nova.realtime.seam import Sockets
    from nova.surface.cdn_control import CdnControl
    from nova.surface.grpc.server import GrpcServer
    from nova.surface.h2 import H2
    from nova.surface.h3.server import H3Server
    from nova.surface.http.pages import Asset

SPREAD_MS: Final = 2000  # over which those who are sent away are told

Tell = Callable[[Mapping[str, Any]], None]

_log = Log("nova.app")


def io_threads(wanted: int, cores: int) -> int:
    """How many I/O threads `reactor.threads` asks for on a machine with so many cores."""
    return wanted or max(1, min(cores - 1, MOST_THREADS))


class Reload(NamedTuple):
    """How the settings are read again. path: the file whose changes are followed, None: there is none."""

    path: Path | None
    load: Callable[[], Settings]


class Server:
    """`nova serve`: one per process.

    tell: gets each event of the stdout protocol. sink: the log's, settled once the server is ready. reload: reads the settings again.
    """

    def __init__(
        self,
        settings: Settings,
        data: DataDir,
        *,
        demo: bool,
        tell: Tell,
        sink: Sink,
        clock: Clock | None = None,
        reload: Reload | None = None,
    ) -> None:
        self._reload = reload
        self._certificates: CertificateWatch | None = None
        self._wanted_reload, self._reloads = trio.open_memory_channel[None](1)
        self._settings, self._data, self._demo, self._tell, self._sink = settings, data, demo, tell, sink
        self._clock = clock or SystemClock()
        self._began = time.monotonic()
        self._descriptors = listeners.raise_descriptor_limit()
        self._running = LocalRunning(self._clock)
        self._opened: dict[str, Address] = {}
        self._services: Services
        self._reactor: Reactor
        self._live: LiveStreams
        self._realtime: Realtime | None = None
        self._sites: Sites | None = None
        self._cdn: CdnControl | None = None
        self._rtmp: RtmpServer[Feed]
        self._app = LazyApp(self._load, self._serve_assets)
        self._assets: list[Asset] = []
        self._h2: H2 | None = None
        self._h3 = H3Door(self._make_h3)
        self._over_tcp: App = self._app
        self._alt_svc: bytes | None = None
        self._resident: ResidentObjects
        self._grpc: GrpcServer
        self._ready = trio.Event()
        self._announced = trio.Event()
        components = [
            Component("services", self._run_services),
            Component("reactor", self._run_reactor, self._drain_reactor),
            Component("h3", self._h3.run, self._h3.drain),
            Component("live", self._run_live, self._drain_live),
            Component("realtime", self._run_realtime, self._drain_realtime),
            Component("cdn", self._run_cdn, self._drain_cdn),
            Component("http", self._run_http),
            Component("rtmp", self._run_rtmp, self._drain_rtmp),
            Component("certificates", self._run_certificates),
            Component("control", self._run_control),
            Component("announcement", self._run_announcement),
        ]
        if settings.grpc.listen is not None:
            components.insert(-2, Component("grpc", self._run_grpc, self._drain_grpc))
        if demo:
            components.append(Component("demo", self._run_demo))
        self.lifecycle = Lifecycle(components, grace=settings.shutdown.grace, log=_log, ready=self._ready.set)

    async def run(self) -> None:
        """Serve until `stop`. Raises NovaError: something cannot start; the text has the remedy."""
        awake.short_turns()
        await self.lifecycle.run()

    @property
    def was_ready(self) -> bool:
        """Whether everything has been up."""
        return self._ready.is_set()

    def stop(self) -> None:
        """Drain, then end."""
        self.lifecycle.stop()

    def reload(self) -> None:
        """Read the settings again, and the certificates; the sites of the CDN follow the former."""
        if self._certificates is not None:
            self._certificates.look()
        with suppress(trio.WouldBlock, trio.BrokenResourceError):
            self._wanted_reload.send_nowait(None)

    # Components, in the order of their start.

    async def _run_services(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with open_services(self._settings, self._data, self._clock, self._running) as services:
            self._services = services
            await services.run(task_status=task_status)

    async def _run_reactor(self, *, task_status: trio.TaskStatus[None]) -> None:
        wanted = self._settings.reactor
        self._reactor = reactor = Reactor(
            self._clock,
            threads=io_threads(wanted.threads, os.cpu_count() or 1),
            event_ring=_power(wanted.event_ring),
            command_ring=_power(wanted.command_ring),
            uring=wanted.uring is not False,
            viewer_window=math.ceil(self._settings.live.viewer_window),
        )
        identity = self._services.identity
        reactor.engine.identity(identity.table, identity.session_keys)
        listeners.bound(reactor, self._settings)
        reactor.websockets.configure(listeners.websockets(self._settings, identity.host_rules))
        await reactor.run(task_status=task_status)

    async def _run_live(self, *, task_status: trio.TaskStatus[None]) -> None:
        settings, services = self._settings, self._services
        self._live = live = LiveStreams(
            self._reactor.objects,
            self._clock,
            shape=_shape(settings),
            make_muxer=lambda: muxers.make(settings.live.writer),
            watcher=_Watcher(services.streams, self._tell_status),
            is_private=lambda stream: services.streams.is_private(StreamId(stream)),
            most=settings.limits.publishers,
        )
        self._rtmp = RtmpServer(
            StreamDoor(services.streams, live),
            self._reactor,
            new_sequence=lambda: self._reactor.feed(window_bytes=settings.rtmp.play_window),
            guesses=services.guesses,
            limits=rtmp_session.Limits(settings.rtmp.chunk_size, settings.rtmp.window_ack),
            timeouts=Timeouts(settings.rtmp.publish_timeout, settings.rtmp.idle_timeout),
            ended=_rtmp_ends(services.metrics),
        )
        self._measure(services.metrics)
        self._reactor.on_render(live.render)
        self._running.attach(live, self._rtmp, self._reactor.viewers)
        await live.run(task_status=task_status)

    async def _run_realtime(self, *, task_status: trio.TaskStatus[None]) -> None:
        services = self._services
        found = realtime.build(
            self._settings, services.sql, services.streams, services.identity, self._clock, services.ids, bus=services.shared,
            inner=cast("Sockets", self._reactor.websockets),  # its channels are its own kind; nobody gives it others
        )  # fmt: skip
        self._reactor.websockets.serve(found.hub)
        self._measure_realtime(found, services.metrics)
        self._realtime = found
        forget = services.identity.revocations.listen(found.revoked)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(found.hub.run)
                services.media.announcer.attach(found.hub.say)
                await nursery.start(found.own.run)
                if found.nodes is not None:
                    await nursery.start(found.nodes.run)
                task_status.started()
        finally:
            forget()

    def _tell_status(self, stream: str, status: str) -> None:
        """Viewers in the chat learn how their stream is."""
        if self._realtime is not None:
            self._realtime.own.status(stream, status)

    async def _run_cdn(self, *, task_status: trio.TaskStatus[None]) -> None:
        services = self._services
        if not self._settings.cdn.sites:
            # What a change of the settings may bring is loaded when everything else is up.
            task_status.started()
            await self._ready.wait()
            task_status = trio.TASK_STATUS_IGNORED
        control: CdnControl  # the sites are made with it, and it stands on them
        nursery: trio.Nursery
        cdn = await trio.to_thread.run_sync(import_module, "nova.surface.cdn")
        controls = await trio.to_thread.run_sync(import_module, "nova.surface.cdn_control")
        self._sites = sites = cdn.build(
            self._reactor,
            self._settings,
            self._data.path,
            self._clock,
            services.offload,
            descriptors=self._descriptors,
            opened=lambda opened: self._tell_opened([opened]),
            admission=lambda site: control.admission(site),
            fetcher=lambda site: control.fetcher(site),
            before=lambda: nursery.start(control.run),
            called=lambda site: control.called(site),
        )
        self._cdn = control = controls.CdnControl(
            self._settings, sites, services.sql, services.bus, self._clock, services.ids, services.offload, services.metrics,
            services.urls, self._opened, self._data.path,
        )  # fmt: skip
        services.media.images.delivery.attach(cdn.HotPictures(sites.keeper, self._clock))
        async with trio.open_nursery() as nursery:
            await nursery.start(sites.run)
            task_status.started()
            if self._reload is not None:
                await cdn.follow_settings(sites, self._reload.path, self._reload.load, self._reloads)

    async def _drain_cdn(self) -> None:
        if self._sites is not None:
            await self._sites.drain()

    def _behind_sites(self, app: App) -> App:
        """`app` with the sites of the CDN before it, from when there may be any."""
        behind: list[App] = []

        async def serve(scope: Any, receive: Any, send: Any) -> None:
            if not behind and self._sites is not None:
                behind.append(self._sites.before(app))
            await (behind[0] if behind else app)(scope, receive, send)

        return serve

    def _behind_assets(self, app: App) -> App:
        """`app` with the registered assets of the CDN before it, from when there may be any."""
        behind: list[App] = []

        async def serve(scope: Any, receive: Any, send: Any) -> None:
            if not behind and self._cdn is not None:
                behind.append(self._cdn.before(app))
            await (behind[0] if behind else app)(scope, receive, send)

        return serve

    async def _run_http(self, *, task_status: trio.TaskStatus[None]) -> None:
        services = self._services
        opened, udp = listeners.open_http(
            self._reactor, self._settings, self._serve_app, self._serve_h2, self._data.path, self._clock, self._descriptors
        )
        self._tell_opened(opened)
        if udp is not None and self._settings.https.advertise_h3:
            self._alt_svc = alt_svc(self._opened["h3"].port)
            self._over_tcp = advertising(self._app, self._alt_svc)
        self._over_tcp = self._behind_assets(self._over_tcp)
        address = self._opened.get("http") or self._opened.get("https")
        if address is not None:
            scheme = "http" if "http" in self._opened else "https"
            services.urls.listener = f"{scheme}://{_reachable(address)}"
        self._resident = ResidentObjects(
            self._reactor.objects,
            self._reactor.viewers,
            self._clock,
            sessions=services.identity.session_keys,
            render=self._live.render,
            wait=self._settings.live.target_duration * self._settings.live.playlist_timeout_targets,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(self._resident.run)
            await nursery.start(self._app.run)
            if udp is not None:
                self._h3.open(udp)
            task_status.started()
            await self._ready.wait()
            self._app.want()
            await guard(_log, services.media.images.warm)  # the first picture shall not wait for a process to start

    async def _run_rtmp(self, *, task_status: trio.TaskStatus[None]) -> None:
        self._tell_opened(listeners.open_rtmp(self._reactor, self._settings, self._rtmp, self._data.path, self._clock, self._descriptors))
        urls = self._services.urls
        for name in ("rtmps", "rtmp"):  # the plain one is what everybody's encoder speaks
            if name in self._opened:
                urls.rtmp_scheme, urls.rtmp_port = name, self._opened[name].port
        task_status.started()
        await self._rtmp.run()

    async def _run_certificates(self, *, task_status: trio.TaskStatus[None]) -> None:
        self._certificates = CertificateWatch(self._reactor, self._settings, self._data.path, self._clock, self._h3.renew)
        await self._certificates.run(task_status=task_status)

    async def _run_grpc(self, *, task_status: trio.TaskStatus[None]) -> None:
        # Loaded in a thread: it takes as long as everything else, and the sockets that are open are served meanwhile.
        self._grpc = server = await trio.to_thread.run_sync(self._make_grpc)
        async with trio.open_nursery() as nursery:
            self._tell_opened([Opened("grpc", await nursery.start(server.run))])
            task_status.started()
            await self._ready.wait()
            server.set_serving(True)

    def _make_grpc(self) -> GrpcServer:
        from nova.surface.grpc.auth import AuthService, bearer
        from nova.surface.grpc.cdn import CdnService
        from nova.surface.grpc.media import MediaService
        from nova.surface.grpc.realtime import RealtimeService
        from nova.surface.grpc.server import Config, GrpcServer
        from nova.surface.grpc.streaming import StreamingService
        from nova.surface.grpc.tls import Tls

        wanted, services = self._settings.grpc, self._services
        assert wanted.listen is not None
        assert self._realtime is not None
        tls = wanted.tls
        mutual = None
        if tls.cert is not None and tls.key is not None and tls.client_ca is not None:
            mutual = Tls(tls.cert, tls.key, tls.client_ca)
        handlers = {
            **StreamingService(services.streams, services.urls, services.replays, self._realtime).handlers(),
            **RealtimeService(self._realtime.hub).handlers(),
            **AuthService(services.identity).handlers(),
            **MediaService(services.media, services.urls).handlers(),
            **CdnService(lambda: self._cdn, services.urls).handlers(),
        }
        config = Config(wanted.listen, mutual, wanted.insecure, wanted.max_message, wanted.threads)
        return GrpcServer(config, handlers, bearer(services.identity), services.offload)

    async def _run_control(self, *, task_status: trio.TaskStatus[None]) -> None:
        services = self._services
        await ControlServer(self._data.control, lambda: services.operator, services.ids).run(task_status=task_status)

    async def _run_announcement(self, *, task_status: trio.TaskStatus[None]) -> None:
        addresses = {name: str(address) for name, address in self._opened.items()}
        facts = {
            "pid": os.getpid(),
            "version": __version__,
            "started_at": rfc3339(self._clock.wall()),
            "url": self._services.urls.public or self._services.urls.listener,
            "addresses": addresses,
        }
        with self._data.announced(facts):
            task_status.started()
            await self._ready.wait()
            self._tell({"event": "ready"})
            login = await self._services.operator.run("login", {})
            self._tell({"event": "sign_in", "url": login["url"]})
            self._announced.set()
            _log.info("ready", seconds=round(time.monotonic() - self._began, 3), version=__version__, **addresses)
            await trio.to_thread.run_sync(self._sink.settle)
            await trio.sleep_forever()

    async def _run_demo(self, *, task_status: trio.TaskStatus[None]) -> None:
        from nova.media.demo import publisher
        from nova.surface import demo_stream

        made = await demo_stream.obtain(self._services.operator, self._services.streams, self._data.path)
        url = made["rtmp_url"]
        if url is None:
            raise Unprocessable("bad_settings", "--demo publishes over RTMP: set rtmp.listen")
        task_status.started()
        await self._announced.wait()
        self._tell({"event": "stream", "id": made["id"], "watch_url": made["watch_url"], "hls_url": made["hls_url"]})
        # To our own listener, wherever the world reaches us.
        port = self._opened["rtmp"].port
        await publisher.run(f"rtmp://{_reachable(self._opened['rtmp']).rpartition(':')[0]}:{port}/live/{made['key']}")

    def _measure(self, metrics: Metrics) -> None:
        """What is counted elsewhere and read when somebody asks."""
        metrics.read("nova_publishers", "Streams that are published now.", "gauge", lambda: [((), self._live.publishers)])
        metrics.read("nova_rtmp_connections", "Open RTMP connections.", "gauge", lambda: [((), self._rtmp.connections)])
        metrics.read("nova_objects", "Names in the object table.", "gauge", lambda: [((), len(self._reactor.objects))])
        metrics.read("nova_h3", "HTTP/3: what is open; the others since the start.", "gauge", self._h3.stats, ("name",))
        metrics.read(
            "nova_reactor", "Counters of the I/O threads.", "gauge",
            lambda: [((name,), value) for name, value in self._reactor.engine.stats().items()], ("name",),
        )  # fmt: skip

    def _measure_realtime(self, found: Realtime, metrics: Metrics) -> None:
        metrics.read("nova_channels", "Channels in use.", "gauge", lambda: [((), len(found.hub.rooms))])
        metrics.read(
            "nova_realtime", "What happened on channels.", "gauge",
            lambda: [((name,), value) for name, value in self._realtime_counts(found)], ("name",),
        )  # fmt: skip

    def _realtime_counts(self, found: Realtime) -> Iterator[tuple[str, int]]:
        """What slow readers did not get is that of every road: of those in the I/O threads, and of those in trio."""
        yield from found.hub.counts.items()
        threads = self._reactor.websockets.stats()
        yield from ((name, value + threads[f"ws_{name}"]) for name, value in found.sockets.counts.items())
        yield "unadmitted", found.admission.refused

    # Drains, in the reverse order.

    async def _drain_rtmp(self) -> None:
        for name in ("rtmp", "rtmps"):
            self._reactor.unlisten(name)
        await self._rtmp.drain()

    async def _drain_realtime(self) -> None:
        """Those who live in trio are told when to come back; the reactor tells its own."""
        if self._realtime is None:
            return
        await self._realtime.sockets.drain(4002, "shutting_down", spread_ms=SPREAD_MS)

    async def _drain_live(self) -> None:
        """Players learn from their playlists that nothing follows: who waits at once, who polls with their next look."""
        self._live.close()
        if self._reactor.viewers.counts(int(self._clock.wall())):
            # RFC 8216bis, 6.3.4: a client looks again after a target duration at the latest.
            await trio.sleep(min(self._settings.live.target_duration, self._settings.shutdown.grace / 2))

    async def _drain_grpc(self) -> None:
        await self._grpc.drain()

    async def _drain_reactor(self) -> None:
        if self._h2 is not None:
            await self._h2.drain()
        await self._reactor.drain()

    # The application.

    def _load(self) -> App:
        """Imports Quart: a thread of its own, once."""
        from nova.surface.http import api, pages

        services = self._services
        assert self._realtime is not None
        self._assets = pages.web_assets()
        app = api.build(
            self._settings,
            api.Services(
                services.streams,
                services.identity,
                services.replays,
                services.addresses,
                services.rates,
                services.guesses,
                services.metrics,
                services.urls,
                services.ids,
                services.clock,
                self._checks,
                lambda: self._settings.http.listen is None or self._settings.http.listen.loopback,
                self._assets,
                pages.error_page(),
                self._realtime,
                services.media,
                services.bus,
                lambda: self._cdn,
            ),
        )
        awake.settle_memory()  # nothing larger is loaded from now on
        return app

    def _serve_assets(self) -> None:
        """Pages and their files are hot from now on: the I/O threads answer them by themselves."""
        offer = b"" if self._alt_svc is None else b"alt-svc: %s\r\n" % self._alt_svc
        for asset in self._assets:
            self._reactor.objects.put(
                asset.path,
                asset.headers + offer,
                [Buffer(asset.body)],
                etag=asset.etag,
                gzip=None if asset.compressed is None else Buffer(asset.compressed),
            )

    async def _checks(self) -> Mapping[str, tuple[bool, str]]:
        state = self.lifecycle.state
        try:
            await self._services.sql.one("SELECT 1")
            store = (True, "answers")
        except Unavailable as error:
            store = (False, error.code)
        checks = {"server": (state is State.READY, state.value), "store": store}
        if self._services.shared is not None:
            try:
                await self._services.shared.ping()
                checks["bus"] = (True, "answers")
            except Unavailable as error:
                checks["bus"] = (False, error.code)
        if self._cdn is not None:
            purges = self._cdn.jobs.current
            checks["cdn"] = (purges, "follows the purge log" if purges else "the purge log is away")
        return checks

    async def _serve_h2(self, stream: RawStream) -> None:
        if self._h2 is None:
            from nova.surface.h2 import H2

            self._h2 = H2(self._behind_sites(self._resident.before(self._serve_app)), self._settings)
        await self._h2.serve(stream)

    def _make_h3(self, sock: socket.socket) -> H3Server:
        from nova.surface.h3.build import build

        app = self._behind_sites(self._resident.before(self._behind_assets(self._app)))
        return build(sock, app, self._settings, self._data.path, self._clock)

    async def _serve_app(self, scope: Any, receive: Any, send: Any) -> None:
        """The application for connections over TCP."""
        await self._over_tcp(scope, receive, send)

    def _tell_opened(self, opened: Sequence[Opened]) -> None:
        for each in opened:
            self._opened[each.name] = each.address
            self._tell({"event": "listening", "name": each.name, "address": str(each.address)})


class _Watcher:
    """media.live.ports.Watcher: the live half's ids are plain texts."""

    def __init__(self, streams: Streams, tell: Callable[[str, str], None]) -> None:
        self._streams, self._tell = streams, tell

    def started(self, stream: str, key: str | None) -> None:
        self._streams.started(StreamId(stream), None if key is None else KeyId(key))
        self._tell(stream, "live")

    def lost(self, stream: str) -> None:
        self._streams.lost(StreamId(stream))
        self._tell(stream, "reconnecting")

    def ended(self, stream: str, reason: str) -> None:
        self._streams.ended(StreamId(stream), reason)
        self._tell(stream, "ended")


def _rtmp_ends(metrics: Metrics) -> Callable[[str], None]:
    ends = metrics.counter("nova_rtmp_ends", "RTMP connections that ended, by the reason.", {"reason": tuple(REASONS)})
    return lambda reason: ends.of(reason).inc()


def _shape(settings: Settings) -> Shape:
    live = settings.live
    return Shape(
        part_target=live.part_target,
        segment_target=live.segment_target,
        target_duration=live.target_duration,
        window_segments=live.window_segments,
        timeline_gap=live.timeline_gap,
        track_wait=live.track_wait,
        track_timeout=live.track_timeout,
        reconnect_grace=live.reconnect_grace,
        ended_linger=live.ended_linger,
        max_bitrate=live.max_bitrate,
        max_segment=live.max_segment,
    )


def _reachable(address: Address) -> str:
    """`address` as this machine itself reaches it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)
    return str(Address(host, address.port))


def _power(size: int) -> int:
    """The rings' sizes are powers of two: the next one."""
    return 1 << (size - 1).bit_length()
