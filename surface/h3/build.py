"""HTTP/3 by the settings. Importing this loads aioquic."""

from __future__ import annotations

import socket
from pathlib import Path

from nova.core.clock import Clock
from nova.core.limits import Networks
from nova.core.settings_table import Settings
from nova.surface.h3 import quic
from nova.surface.h3 import server as h3
from nova.surface.h3.connection import Limits
from nova.surface.h3.exchange import App
from nova.surface.h3.stream import Patience
from nova.surface.identity import certificates


def build(sock: socket.socket, app: App, settings: Settings, data: Path, clock: Clock) -> h3.H3Server:
    """A server on `sock` with the certificate of https. Raises OSError, ValueError: it cannot be read."""
    https, http, wanted = settings.https, settings.http, settings.h3
    cert, key = https.cert, https.key
    if cert is None or key is None:
        made = certificates.ensure(data, clock)
        cert, key = made.cert, made.key
    limits = Limits(
        max_head=http.max_head, streams=wanted.streams, unsent=wanted.unsent, handshake=https.handshake_timeout, idle=http.keep_alive
    )
    configuration = quic.configuration(
        str(cert), str(key), idle=http.keep_alive, datagram=wanted.datagram, window=limits.window, stream_window=limits.stream_window
    )
    given = h3.Settings(
        limits,
        Patience(http.body_timeout, http.reader_least_rate),
        most=wanted.connections,
        per_address=settings.limits.connections_per_address,
        exempt=Networks((*settings.limits.exempt, *http.trusted_proxies)),
        retry=wanted.retry,
        share=wanted.cpu_percent / 100,
        ping=settings.realtime.ping,
        silence=settings.realtime.silence,
    )
    return h3.H3Server(sock, app, configuration, given, clock)
