"""Absolute URLs that we give out: one place for their bases and their paths."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


@dataclass(slots=True)
class Urls:
    """public: base of every http URL, when the settings name one; else the request's own Host, else `listener`.

    rtmp_public: the same for RTMP; else the host of the request with the RTMP listener's port.
    listener, rtmp_port: told once the listeners have their addresses; rtmp_port None: RTMP is off.
    """

    public: str | None = None
    rtmp_public: str | None = None
    listener: str = "http://127.0.0.1:8080"
    rtmp_port: int | None = None
    rtmp_scheme: str = "rtmp"

    @property
    def listener_host(self) -> str:
        """The host of `listener`, an IPv6 address in brackets."""
        return self.listener.partition("://")[2].rpartition(":")[0]

    def base(self, scheme: str, host: str) -> str:
        """scheme, host: of the request; a Host that is none, or not there, gives the listener's."""
        if self.public is not None:
            return self.public
        if not _HOST.fullmatch(host):
            return self.listener
        return f"{'https' if scheme in ('https', 'wss') else 'http'}://{host}"

    def watch(self, base: str, stream: str) -> str:
        return f"{base}/watch/{stream}"

    def hls(self, base: str, stream: str, session: str | None = None) -> str:
        return f"{base}/live/{stream}/index.m3u8" if session is None else f"{base}/live/~{session}/{stream}/index.m3u8"

    def thumb(self, base: str, stream: str) -> str:
        return f"{base}/live/{stream}/thumb.jpg"

    def rtmp_server(self, host: str) -> str | None:
        """What goes into OBS as the server; None while RTMP is off.

        host: under which the caller knows us, without a port.
        """
        if self.rtmp_public is not None:
            return f"{self.rtmp_public.removesuffix('/live')}/live"
        if self.rtmp_port is None:
            return None
        return f"{self.rtmp_scheme}://{host}:{self.rtmp_port}/live"

    def sign_in(self, base: str, code: str) -> str:
        return f"{base}/#code={code}"
