"""A request of a client as the shield sees it, read from its ASGI scope."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from nova.cdn.cache import fields as f
from nova.cdn.ports import Fields
from nova.core.reactor.stream import RawStream

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

SAFE: Final = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
# As the I/O threads read them of HTTP/1.1 (RFC 9112, 3.2; RFC 3986, 3.2.2); other protocols carry more. A slash in the host would be read
# as the beginning of the target, and the object as another host's.
_TARGET: Final = re.compile(rb"/[!-\"$-\[\]-~]*|\*")
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])?(?::[0-9]{1,5})?")
_OF_HTTP: Final = frozenset((b"http", b"h2", b"h2c", b"h3", b"tls"))


@dataclass(slots=True)
class Incoming:
    """target: origin-form as sent, without the prefix of the site. key: the name of the object. lead: the key that others wait for, None:
    nobody waits for this request. guarded: on the main listener. admitted: as an asset, its token is
    checked. minor: HTTP/1.minor. switch: of HTTP/1.1, which also takes any 1xx; hints: of a protocol that takes 103 alone."""

    method: str
    target: bytes
    host: bytes
    fields: list[tuple[bytes, bytes]]
    peer: str
    minor: int
    key: bytes
    lead: bytes | None
    guarded: bool
    admitted: bool
    has_body: bool
    length: int | None
    upgrade: bytes | None
    secure: bool
    switch: Callable[[Iterable[tuple[bytes, bytes]]], RawStream] | None
    hints: bool

    @property
    def readable(self) -> bool:
        """Whether target and host can be written down in only one way."""
        return _TARGET.fullmatch(self.target) is not None and _HOST.fullmatch(self.host) is not None


def read(scope: Scope, *, prefix: bytes, host_in_key: bool) -> Incoming:
    """prefix: of the site on the main listener, empty on one of its own."""
    fields: list[tuple[bytes, bytes]] = [(bytes(name), bytes(value)) for name, value in scope["headers"]]
    nova = scope.get("nova") or {}
    target = bytes(scope.get("raw_path") or scope["path"].encode())
    guarded = bool(prefix) and target.startswith(prefix)
    if guarded:
        target = b"/" + target[len(prefix) :]
    admitted = "nova.cdn" in scope
    if scope["query_string"]:
        target += b"?" + bytes(scope["query_string"])
    host = f.value(fields, b"host") or b""
    length = f.value(fields, b"content-length")
    chunked = f.value(fields, b"transfer-encoding") is not None
    upgrade = _upgrade(fields) if b"upgrade" in f.connection_named(fields) else None
    body = (
        chunked or (length is not None and length != b"0") or (scope["http_version"] not in ("1.0", "1.1") and scope["method"] not in SAFE)
    )
    return Incoming(
        scope["method"], target, host, fields, (scope.get("client") or ("", 0))[0], 0 if scope["http_version"] == "1.0" else 1,
        (host.lower() if host_in_key else b"") + target, nova.get("key"), guarded or admitted, admitted, body,
        int(length) if length is not None and length.isdigit() else None, upgrade, scope.get("scheme") == "https", nova.get("switch"),
        "http.response.early_hint" in (scope.get("extensions") or {}),
    )  # fmt: skip


def _upgrade(fields: Fields) -> bytes | None:
    """What the client would like to speak instead, as far as it passes. Not other forms of HTTP, nor TLS under it: through those a client
    would ask an origin for whatever it likes, behind every rule of the site (RFC 9113, 3.1 has given up `h2c`)."""
    wanted = [item for item in f.items(fields, b"upgrade") if item.partition(b"/")[0].lower() not in _OF_HTTP]
    return b", ".join(wanted) or None
