"""The pages beside a stand-in for the API whose state a test sets: what a real server shows only after trouble.

The real server's own pages are tested in tests/e2e.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from nova.surface.http import pages
from nova.surface.http.headers import PAGE_POLICY
from tests.web.origin import Origin

WEB = Path(__file__).parents[2] / "web"
PAGES = {
    r"/": "index.html",
    r"/status": "status.html",
    r"/watch/[^/]+": "watch.html",
    r"/go-live": "go-live.html",
    r"/room(?:/[^/]+)?": "room.html",
}
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
}

Answer = tuple[int, Any]


def stream(number: int, **changes: Any) -> dict[str, Any]:
    """A live stream as the API shows it."""
    id = f"01890000-0000-7000-8000-{number:012d}"
    return {
        "id": id,
        "title": f"Stream {number}",
        "description": "",
        "tags": [],
        "visibility": "public",
        "owner": "ada",
        "status": "live",
        "viewers": number,
        "started_at": "2026-01-01T10:00:00Z",
        "created_at": "2026-01-01T09:00:00Z",
        "watch_url": f"http://elsewhere.invalid/watch/{id}",
        "hls_url": f"http://elsewhere.invalid/live/{id}/index.m3u8",
        "thumb_url": f"http://elsewhere.invalid/live/{id}/thumb.jpg",
    } | changes


def problem(status: int, code: str, detail: str, **more: Any) -> Answer:
    """An RFC 9457 answer."""
    return status, {"type": "about:blank", "title": code, "status": status, "code": code, "detail": detail, **more}


@dataclass
class State:
    """What the stand-in answers. Tests change it while pages look."""

    streams: dict[str, dict[str, Any]] = field(default_factory=dict)
    session: dict[str, Any] | None = None
    codes: set[str] = field(default_factory=set)
    keys: list[dict[str, Any]] = field(default_factory=list)
    broken: Answer | None = None  # every /v1 call gets it
    asked: list[tuple[str, str, Any]] = field(default_factory=list)  # method, path with query, body
    origin: Origin | None = None  # what /live/… answers
    ingest: dict[str, Any] | None = None  # what analytics tell of the publisher
    cdn: dict[str, Any] | None = None  # metrics of the CDN; None: nobody who may see them is signed in

    def add(self, *streams: dict[str, Any]) -> None:
        for each in streams:
            self.streams[each["id"]] = each

    def answer(self, method: str, path: str, query: str, body: Any) -> Answer:
        if self.broken is not None:
            return self.broken
        for verb, pattern, handler in ROUTES:
            if verb == method and (found := re.fullmatch(pattern, path)):
                return handler(self, body, query, *found.groups())
        return problem(404, "not_found", "There is no such route.")


def _session(state: State, body: Any, query: str) -> Answer:
    return (200, state.session) if state.session else problem(401, "unauthenticated", "No session.")


def _sign_in(state: State, body: Any, query: str) -> Answer:
    if body.get("code") in state.codes:
        state.codes.discard(body["code"])
        state.session = {"user": "ada", "scopes": ["stream:write", "chat"], "expires_at": "2030-01-01T00:00:00Z"}
        return 201, state.session
    if "name" in body:
        state.session = {"user": f"guest-{body['name']}", "scopes": ["chat"], "expires_at": "2030-01-01T00:00:00Z"}
        return 201, state.session
    return problem(401, "unauthenticated", "Unknown code.")


def _sign_out(state: State, body: Any, query: str) -> Answer:
    state.session = None
    return 204, None


def _list(state: State, body: Any, query: str) -> Answer:
    items = list(state.streams.values())
    if "status=live" in query:
        items = [each for each in items if each["status"] == "live"]
    if word := re.search(r"q=([^&]+)", query):
        items = [each for each in items if word[1].lower() in each["title"].lower()]
    return 200, {"items": items, "cursor": None}


def _create(state: State, body: Any, query: str) -> Answer:
    if not body["title"]:
        return problem(
            400, "bad_request", "Some fields are wrong.", errors=[{"pointer": "/title", "code": "empty", "detail": "A title is needed."}]
        )
    made = stream(len(state.streams) + 1, **body, status="idle", started_at=None)
    state.add(made)
    return 201, made | _new_key(state, None, "", made["id"])[1]


def _get(state: State, body: Any, query: str, id: str) -> Answer:
    return (200, state.streams[id]) if id in state.streams else problem(404, "not_found", "There is no such stream.")


def _join(state: State, body: Any, query: str, id: str) -> Answer:
    if state.streams.get(id, {}).get("status") != "live":
        return problem(404, "stream_not_live", "The stream is not live.")
    return 200, {
        "session": "s",
        "hls_url": f"http://elsewhere.invalid/live/~s/{id}/index.m3u8",
        "expires_at": "2030-01-01T00:00:00Z",
        "viewers": 1,
    }


def _analytics(state: State, body: Any, query: str, id: str) -> Answer:
    return 200, {"viewers": 3, "ingest": state.ingest}


def _leave(state: State, body: Any, query: str, id: str) -> Answer:
    return 204, None


def _stop(state: State, body: Any, query: str, id: str) -> Answer:
    state.streams[id]["status"] = "ended"
    return 200, state.streams[id]


def _keys(state: State, body: Any, query: str, id: str) -> Answer:
    return 200, {"items": state.keys, "cursor": None}


def _new_key(state: State, body: Any, query: str, id: str) -> Answer:
    number = len(state.keys) + 1
    state.keys.append({"key_id": f"k{number}", "hint": f"sk_{number}", "created_at": "2026-01-01T09:00:00Z", "used_at": None})
    key = f"sk_{number}secretsecretsecret"
    return 201, {
        "key": key,
        "key_id": f"k{number}",
        "rtmp_server": "rtmp://127.0.0.1:1935/live",
        "rtmp_url": f"rtmp://127.0.0.1:1935/live/{key}",
    }


def _remove_key(state: State, body: Any, query: str, id: str, key_id: str) -> Answer:
    state.keys = [key for key in state.keys if key["key_id"] != key_id]
    return 204, None


def _cdn_metrics(state: State, body: Any, query: str) -> Answer:
    return (200, state.cdn) if state.cdn else problem(401, "unauthenticated", "No session.")


def _cdn_edges(state: State, body: Any, query: str) -> Answer:
    edge = {
        "edge": "here",
        "region": "local",
        "url": "http://h",
        "healthy": True,
        "load": 0.25,
        "version": "abc",
        "seen_at": "2026-01-01T09:00:00Z",
    }
    return 200, {"items": [edge], "cursor": None}


ROUTES: list[tuple[str, str, Callable[..., Answer]]] = [
    ("GET", "/v1/cdn/metrics", _cdn_metrics),
    ("GET", "/v1/cdn/edges", _cdn_edges),
    ("GET", "/v1/session", _session),
    ("POST", "/v1/session", _sign_in),
    ("DELETE", "/v1/session", _sign_out),
    ("GET", "/v1/streams", _list),
    ("POST", "/v1/streams", _create),
    ("GET", "/v1/streams/([^/]+)", _get),
    ("POST", "/v1/streams/([^/]+)/join", _join),
    ("POST", "/v1/streams/([^/]+)/stop", _stop),
    ("POST", "/v1/streams/([^/]+)/leave", _leave),
    ("GET", "/v1/streams/([^/]+)/analytics", _analytics),
    ("GET", "/v1/streams/([^/]+)/keys", _keys),
    ("POST", "/v1/streams/([^/]+)/keys", _new_key),
    ("DELETE", "/v1/streams/([^/]+)/keys/([^/]+)", _remove_key),
]


class Handler(BaseHTTPRequestHandler):
    """Pages and files from web/, the API from the state."""

    protocol_version = "HTTP/1.1"
    state: ClassVar[State]

    def _serve(self) -> None:
        path, _, query = self.path.partition("?")
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if path.startswith("/v1/"):
            body = json.loads(sent) if sent else None
            self.state.asked.append((self.command, self.path, body))
            status, value = self.state.answer(self.command, path, query, body)
            self._send(status, b"" if value is None else json.dumps(value).encode(), "application/json")
            return
        if path.startswith("/live/") and self.state.origin is not None:
            self._send(*self.state.origin.answer(path, dict(parse_qsl(query))))
            return
        status, file = self._file(path)
        body = pages.page(file) if file.parent == WEB else file.read_bytes()
        self._send(status, body, TYPES.get(file.suffix, "application/octet-stream"))

    do_GET = do_POST = do_DELETE = do_PATCH = _serve

    def _file(self, path: str) -> tuple[int, Path]:
        for pattern, name in PAGES.items():
            if re.fullmatch(pattern, path):
                return 200, WEB / name
        file = (WEB / path.lstrip("/")).resolve()
        inside = path.startswith(("/static/", "/vendor/")) and file.is_relative_to(WEB) and file.is_file()
        return (200, file) if inside else (404, WEB / "error.html")

    def _send(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Security-Policy", PAGE_POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(BrokenPipeError, ConnectionResetError):  # the page went elsewhere meanwhile
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: failures show in the page."""


class Site:
    """The stand-in on a free port of loopback, until closed."""

    def __init__(self) -> None:
        self.state = State()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"state": self.state}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
