"""Listeners by the settings: what the reactor is told to open, and what a person is told when it cannot."""

from __future__ import annotations

import errno
import resource
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nova.core.clock import Clock
from nova.core.errors import Unprocessable
from nova.core.log import Log
from nova.core.reactor import Listen, RawStream, Reactor, RtmpHandler, WsRules
from nova.core.settings_table import CdnSite, Settings
from nova.core.values import Address
from nova.ext.tls import TlsContext, TlsError
from nova.surface.identity import certificates
from nova.surface.identity.hosts import HostRules

App = Callable[[Any, Any, Any], Awaitable[None]]

TRIES: Final = 16  # free ports tried until one is free for TCP and UDP
RESERVE: Final = 10  # of RLIMIT_NOFILE, one in this many descriptors is for files, stores and neighbours

_log = Log("nova.listeners")


class CannotListen(Unprocessable):
    """A listener that cannot start; the text is one line with the remedy."""

    code = "bad_settings"


@dataclass(frozen=True, slots=True)
class Opened:
    """A listener with the address that it got."""

    name: str
    address: Address


def raise_descriptor_limit() -> int:
    """Set RLIMIT_NOFILE to its hard limit; that limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def limits(settings: Settings, descriptors: int) -> dict[str, int]:
    """The bounds of a connection, as the reactor takes them. descriptors: RLIMIT_NOFILE."""
    http, live = settings.http, settings.live
    return {
        "max_head": http.max_head,
        "head_ms": _ms(http.head_timeout),
        "body_ms": _ms(http.body_timeout),
        "idle_ms": _ms(http.keep_alive),
        "park_ms": _ms(live.target_duration * live.playlist_timeout_targets),
        "min_rate": http.reader_least_rate,
        "handshake_ms": _ms(settings.https.handshake_timeout),
        "max_conns": settings.limits.connections or descriptors - descriptors // RESERVE,
    }


def bound(reactor: Reactor, settings: Settings) -> None:
    """What holds over all listeners. A trusted proxy stands for many: its connections are not counted."""
    reactor.bound(
        connections_per_address=settings.limits.connections_per_address,
        exempt=(*settings.limits.exempt, *settings.http.trusted_proxies),
        pinned_bytes=settings.limits.pinned_bytes,
        proxies=settings.http.trusted_proxies if settings.http.proxy_protocol else (),
    )
    rate, proxies = settings.realtime.connect_rate, settings.http.trusted_proxies
    # What comes through a proxy is counted, wherever the proxy is: its clients are not exempt by its address.
    free = [net for net in settings.limits.exempt if not any(net.version == each.version and net.overlaps(each) for each in proxies)]
    reactor.admit_websockets(rate.events, rate.per, free)


def websockets(settings: Settings, hosts: HostRules) -> WsRules:
    """What holds for WebSockets."""
    names, any_address = hosts.names
    asks = settings.realtime.hook_url is not None and "connect" in settings.realtime.hook_asks
    wanted = settings.realtime
    return WsRules(
        echo=wanted.echo, deflate=wanted.deflate, ask_connect=asks, ping_s=wanted.ping,
        connect_ms=_ms(wanted.connect_timeout), silent_ms=_ms(wanted.silence),
        lifetime_s=wanted.lifetime, max_channels=wanted.connection_channels, reconnect_ms=_ms(wanted.reconnect_window),
        hosts=names, hosts_open=any_address, origins=hosts.origins,
    )  # fmt: skip


def open_http(
    reactor: Reactor, settings: Settings, app: App, h2: Callable[[RawStream], Awaitable[None]], data: Path, clock: Clock, descriptors: int
) -> tuple[list[Opened], socket.socket | None]:
    """HTTP, HTTPS and, when it is wanted, the UDP socket of HTTP/3. Raises CannotListen."""
    bounds = limits(settings, descriptors)
    opened = []
    if settings.http.listen is not None:
        opened.append(_open(reactor, "http", settings.http.listen, settings, limits=bounds, app=app, websockets=True))
    wanted = settings.https.listen
    if wanted is None:
        return opened, None
    tls = https_context(settings, data, clock)
    for left in reversed(range(TRIES)):
        udp = None if not settings.h3.enabled else _bind_udp(wanted)
        # TCP and UDP share the number: a free one of UDP may be taken in TCP.
        port = wanted.port if udp is None else udp.getsockname()[1]
        try:
            address = Address(wanted.host, port)
            opened.append(_open(reactor, "https", address, settings, limits=bounds, app=app, h2=h2, tls=tls, websockets=True))
        except CannotListen:
            if udp is not None:
                udp.close()
            if wanted.port or not left:
                raise
            continue
        if udp is not None:
            opened.append(Opened("h3", opened[-1].address))
        return opened, udp
    raise AssertionError("unreachable")


def _bind_udp(wanted: Address) -> socket.socket:
    from nova.surface.h3.udp import bind

    try:
        return bind(wanted.host, wanted.port)
    except OSError as error:
        detail = refusal("https", wanted, error)
        raise CannotListen(detail=detail.replace(": ", ": UDP (HTTP/3; h3.enabled = false does without), ", 1)) from None


def open_site(reactor: Reactor, settings: Settings, site: CdnSite, number: int, descriptors: int) -> Opened:
    """The listener of a site of the CDN: it waits for another's fetch as long as the site says. Raises CannotListen."""
    assert site.listen is not None
    bounds = limits(settings, descriptors) | {"park_ms": _ms(site.max_wait)}
    return _open(reactor, f"site:{site.name}", site.listen, settings, limits=bounds, site=number)


def open_rtmp(reactor: Reactor, settings: Settings, handler: RtmpHandler, data: Path, clock: Clock, descriptors: int) -> list[Opened]:
    """RTMP and RTMPS. Raises CannotListen."""
    rtmp = settings.rtmp
    bounds = limits(settings, descriptors) | {
        "handshake_ms": _ms(rtmp.handshake_timeout),
        "stall_ms": _ms(rtmp.idle_timeout),
        "max_message": rtmp.max_message,
        "max_chunk_streams": rtmp.max_chunk_streams,
    }
    opened = []
    if settings.rtmp.listen is not None:
        opened.append(_open(reactor, "rtmp", settings.rtmp.listen, settings, protocol="rtmp", limits=bounds, rtmp=handler))
    if settings.rtmps.listen is not None:
        tls = rtmps_context(settings, data, clock)
        opened.append(_open(reactor, "rtmps", settings.rtmps.listen, settings, protocol="rtmp", limits=bounds, rtmp=handler, tls=tls))
    return opened


def https_context(settings: Settings, data: Path, clock: Clock, resume: TlsContext | None = None) -> TlsContext:
    """The certificate of the settings, else the self-made one. Raises CannotListen."""
    https = settings.https
    if https.cert is None or https.key is None:
        made = certificates.ensure(data, clock)
        return _context("https", made.cert, made.key, ("h2", "http/1.1"), resume)
    return _context("https", https.cert, https.key, ("h2", "http/1.1"), resume)


def rtmps_context(settings: Settings, data: Path, clock: Clock, resume: TlsContext | None = None) -> TlsContext:
    """The certificate of the settings, else that of https. Raises CannotListen."""
    rtmps, https = settings.rtmps, settings.https
    if rtmps.cert is not None and rtmps.key is not None:
        return _context("rtmps", rtmps.cert, rtmps.key, (), resume)
    if https.cert is not None and https.key is not None:
        return _context("https", https.cert, https.key, (), resume)
    made = certificates.ensure(data, clock)
    return _context("https", made.cert, made.key, (), resume)


def try_context(section: str, cert: Path, key: Path) -> None:
    """Raises CannotListen: this pair of files cannot be served."""
    _context(section, cert, key, (), None)


def _context(section: str, cert: Path, key: Path, alpn: tuple[str, ...], resume: TlsContext | None) -> TlsContext:
    try:
        return TlsContext(str(cert), str(key), alpn=alpn, resume=resume)
    except (TlsError, OSError) as error:
        detail = f"{section}.cert: {cert} and {key} cannot be used: {error}; give a PEM chain and its key without a pass phrase"
        raise CannotListen(detail=detail) from None


def _open(reactor: Reactor, name: str, wanted: Address, settings: Settings, **rest: Any) -> Opened:
    try:
        host, port = reactor.listen(Listen(name, wanted.host, wanted.port, backlog=settings.reactor.backlog, **rest))
    except OSError as error:
        raise CannotListen(detail=refusal(name, wanted, error)) from None
    return Opened(name, Address(host, port))


def refusal(name: str, wanted: Address, error: OSError) -> str:
    """Why a listener cannot be had, and what to do."""
    key = f"{name}.listen"
    if error.errno == errno.EADDRINUSE:
        another = "`listen` in its table [[cdn.sites]]" if name.startswith("site:") else f"with --set {key}={wanted.host}:0"
        return f"{key}: {wanted} is in use by another program; stop it, or choose another {another}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{key}: this user may not listen on {wanted}; choose a port above 1023, or give the program CAP_NET_BIND_SERVICE"
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return f"{key}: {wanted.host} is not an address of this machine; 0.0.0.0 is all of them"
    return f"{key}: cannot listen on {wanted}: {(error.strerror or str(error)).lower()}"


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
