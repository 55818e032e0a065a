"""A request's head as an ASGI scope. Pure. RFC 9114, 4.3 (pseudo-header fields); RFC 9220 (extended CONNECT); ASGI 3."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote_to_bytes

from nova.core.errors import BadRequest, MethodNotAllowed, NotYet, NovaError
from nova.surface.h3.connection import Fields, Peer

METHOD: Final = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


def scope_of(fields: Fields, peer: Peer, server: Peer) -> dict[str, Any]:
    """`http`, or `websocket` for RFC 9220. Raises NovaError: what to answer instead."""
    pseudo = {name: value for name, value in fields if name[:1] == b":"}
    headers, cookies, hosts = [], [], []
    for name, value in fields:
        if name[:1] == b":":
            continue
        if name == b"cookie":
            cookies.append(value)
        elif name == b"host":
            hosts.append(value)
        else:
            headers.append((name, value))
    method, authority = pseudo[b":method"], pseudo[b":authority"]
    if not method or not METHOD.issuperset(method) or any(host.lower() != authority.lower() for host in hosts):
        raise BadRequest(detail="the request's head contradicts itself")
    headers.insert(0, (b"host", authority))
    if cookies:  # RFC 9114, 4.2.1: they may come in pieces
        headers.append((b"cookie", b"; ".join(cookies)))
    websocket = method == b"CONNECT"
    if websocket:
        if b":protocol" not in pseudo:
            raise MethodNotAllowed(detail="this is no proxy")
        if pseudo[b":protocol"] != b"websocket":
            raise NotYet(detail="only WebSockets are opened by CONNECT")
        if dict(headers).get(b"sec-websocket-version") != b"13":
            raise BadRequest(detail="the WebSocket version is 13")
    elif b":protocol" in pseudo:
        raise BadRequest(detail=":protocol belongs to CONNECT")
    target = pseudo.get(b":path", b"")
    if b":scheme" not in pseudo or not (target.startswith(b"/") or (target == b"*" and method == b"OPTIONS")):
        raise BadRequest(detail="the request names no path")
    path, _, query = target.partition(b"?")
    if not target.isascii() or any(byte <= 32 or byte == 127 for byte in target) or b"#" in target:
        raise BadRequest(detail="the path has characters that it may not have")
    scope: dict[str, Any] = {
        "type": "websocket" if websocket else "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "3",
        "scheme": "wss" if websocket else "https",
        "path": path.decode("ascii") if b"%" not in path else unquote_to_bytes(path).decode("utf-8", "replace"),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": peer[:2],
        "server": server,
        "extensions": {},
    }
    if websocket:
        offered = b",".join(value for name, value in headers if name == b"sec-websocket-protocol").decode("latin-1")
        scope["subprotocols"] = [word for item in offered.split(",") if (word := item.strip())]
        scope["extensions"] = {"websocket.http.response": {}}
    else:
        scope["method"] = method.decode("ascii")
    return scope


def too_large() -> NovaError:
    """431 has no row of its own in the table of errors: its status is set by who answers."""
    return BadRequest(detail="the request's head is too large")
