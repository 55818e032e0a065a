"""The application: Quart-Trio, a table of routes, and the contract's conventions around every one of them.

`build` makes it from services; nothing here is global. The order for a request: path aliases, correlation id, preflight,
route, credential, scope, rate, body, idempotency, handler. Errors of every step become problem details (RFC 9457).
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from time import perf_counter
from typing import Any, Final, cast
from urllib.parse import unquote_plus

import trio
from quart import Response, request
from quart.wrappers.base import BaseRequestWebsocket
from quart.wrappers.response import DataBody
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as WerkzeugMethodNotAllowed
from werkzeug.routing import MapAdapter, RequestRedirect

from nova.core.addresses import Addresses, Client
from nova.core.errors import BadRequest, Internal, MethodNotAllowed, NotFound, NovaError, TooLarge, problem
from nova.core.idempotency import Answer, Claim
from nova.core.log import Log, correlation_id
from nova.surface.http import bodies, headers, multipart
from nova.surface.http.call import Call
from nova.surface.http.ports import Credentials, Gate, Observe, RateLimiter, Replays
from nova.surface.http.route import Reply, Route, Stream, read_query
from nova.surface.http.schema import read
from nova.surface.identity.principal import require

PROBLEM: Final = "application/problem+json"
CORRELATION: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
ALIAS: Final = re.compile(r"/api(?:/v1)?(?=/)")  # Nova's older callers
SECURE: Final = ("https", "wss")
Sockets = Callable[[Any, Any, Any], Awaitable[None]]  # an ASGI application for `websocket` scopes
MEDIA: Final = ("/live/", "/vod/", "/img/")  # of public objects: any origin may read them
OTHER: Final = "other"  # the route label of what no route has

_log = Log("nova.http")


@dataclass(frozen=True, slots=True)
class Conventions:
    """What every route shares.

    base: of absolute URLs, from the scheme and host that the client used.
    error_page: HTML that a browser gets where there is nothing.
    max_body, max_stream: bytes of a body that is read whole, and of one that a handler reads as it comes.
    protocols: below these paths OPTIONS answers with these headers, and every answer has the first of them (tus).
    """

    gate: Gate
    rates: RateLimiter
    replays: Replays
    cors: headers.Cors
    new_id: Callable[[], str]
    base: Callable[[str, str], str]
    addresses: Addresses
    observe: Observe
    error_page: bytes
    max_body: int
    max_stream: int
    body_timeout: float
    protocols: Sequence[tuple[str, Sequence[tuple[str, str]]]] = ()


class Streamed(Response):
    """An answer that is written piece by piece, for as long as its client stays."""

    def __init__(self, stream: Stream, closed: Callable[[], None] | None, status: int, content_type: str) -> None:
        super().__init__(b"", status, content_type=content_type)
        self.headers.pop("Content-Length", None)
        self.stream, self.closed = stream, closed


class Connection(TrioASGIHTTPConnection):
    """Quart's, but an answer whose body is there goes out in one message: the client has it before the server hears of its end."""

    async def __call__(self, receive: Any, send: Any) -> None:
        self.scope["nova.receive"] = receive  # type: ignore[typeddict-unknown-key]
        await super().__call__(receive, send)

    async def handle_messages(self, nursery: trio.Nursery, request: Any, receive: Any) -> None:  # type: ignore[override]
        if cast("Application", self.app).streams(request.method, request.path):
            # Quart would take the whole body into memory; the handler asks for it piece by piece.
            await trio.sleep_forever()
        await super().handle_messages(nursery, request, receive)

    async def _send_response(self, send: Any, response: Any) -> None:
        body = getattr(response, "response", None)
        if isinstance(response, Streamed):
            await self._send_stream(send, response)
            return
        if not isinstance(body, DataBody):
            await super()._send_response(send, response)
            return
        fields = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
        await send({"type": "http.response.start", "status": response.status_code, "headers": fields})
        await send({"type": "http.response.body", "body": body.data, "more_body": False})

    async def _send_stream(self, send: Any, response: Streamed) -> None:
        async def piece(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        fields = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
        try:
            await send({"type": "http.response.start", "status": response.status_code, "headers": fields})
            await response.stream(piece)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            if response.closed is not None:
                response.closed()


class Application(QuartTrio):
    """Quart-Trio with path aliases and a correlation id in front of everything.

    Its static file serving, templates, sessions and command line are not used.
    """

    asgi_http_class = Connection

    def __init__(self, new_id: Callable[[], str], sockets: Sockets | None = None, streams: Sequence[Route] = ()) -> None:
        """streams: routes whose handlers read the body themselves."""
        super().__init__("nova", static_folder=None)
        self._new_id = new_id
        self._sockets = sockets
        self._streams = [(route.method, re.compile(re.sub(r"\{[a-z_]+\}", "[^/]+", route.path))) for route in streams]

    def streams(self, method: str, path: str) -> bool:
        """Whether the body of such a request is left to its handler."""
        return any(method == each and form.fullmatch(path) for each, form in self._streams)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            scope = {**scope, "nova.correlation_id": self._correlation(scope["headers"])}
            if scope["path"].startswith("/api/"):
                scope["path"] = ALIAS.sub("/v1", scope["path"], count=1)
            if b"access_token=" in scope["query_string"]:
                scope["nova.access_token"], scope["query_string"] = _without_token(scope["query_string"])
            correlation_id.set(scope["nova.correlation_id"])
        if scope["type"] == "websocket" and self._sockets is not None:
            await self._sockets(scope, receive, send)
            return
        await super().__call__(scope, receive, send)

    def create_url_adapter(self, request: BaseRequestWebsocket | None) -> MapAdapter | None:
        """Routes do not depend on the Host: what a peer claims there is not looked at for them."""
        if request is None:
            return None
        return self.url_map.bind("nova", url_scheme=request.scheme, default_method=request.method, path_info=request.path)

    def _correlation(self, sent: Iterable[tuple[bytes, bytes]]) -> str:
        for name, value in sent:
            if name.lower() == b"x-correlation-id" and CORRELATION.fullmatch(text := value.decode("latin-1")):
                return text
        return self._new_id()


def _without_token(query: bytes) -> tuple[str, bytes]:
    """The access token of a query string, and the rest of it: the token goes no further than here."""
    token, rest = "", []
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")
        if unquote_plus(name.decode("latin-1")) == "access_token":
            token = unquote_plus(value.decode("latin-1"))
        else:
            rest.append(pair)
    return token, b"&".join(rest)


def build(routes: Sequence[Route], conventions: Conventions, sockets: Sockets | None = None) -> Application:
    """The ASGI application with these routes. `/v1/…` also answers as `/api/v1/…` and `/api/…`. sockets: serves WebSockets."""
    app = Application(conventions.new_id, sockets, [route for route in routes if route.kind == "stream"])
    app.config["MAX_CONTENT_LENGTH"] = conventions.max_body
    app.config["BODY_TIMEOUT"] = conventions.body_timeout
    app.config["RESPONSE_TIMEOUT"] = None  # the reactor watches readers; a long answer is no mistake
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    for route in routes:
        app.add_url_rule(
            _rule(route.path),
            endpoint=route.name,
            view_func=partial(_view, app, route, conventions),
            methods=[route.method],
            provide_automatic_options=False,
        )
    app.before_request(partial(_options, app, conventions))
    app.after_request(partial(_finish, conventions))
    app.register_error_handler(HTTPException, partial(_http_error, conventions))
    app.register_error_handler(NovaError, _nova_error)
    app.register_error_handler(Exception, _bug)
    return app


def _rule(path: str) -> str:
    """A route's template as Werkzeug spells it; `{rest:path}` takes several segments."""
    return re.sub(r"\{([a-z_]+)(:path)?\}", lambda found: f"<path:{found[1]}>" if found[2] else f"<{found[1]}>", path)


async def _view(app: Application, route: Route, conventions: Conventions, **params: str) -> Response:
    """One request of one route, through every convention, to its answer."""
    scope, sent = _scope(), request.headers
    client = conventions.addresses.client(
        (scope.get("client") or ("",))[0], scope["headers"], scheme=scope["scheme"], host=sent.get("Host")
    )
    host, address = client.host or "", str(client.address or "")
    principal = None
    if route.access != "secret":
        principal = await conventions.gate.admit(_credentials(route, client))
    if route.scope or route.access == "user":
        require(principal, route.scope)
    if route.rated:
        conventions.rates.check(None if principal is None else principal.user, client)
    key = sent.get("Idempotency-Key", "") if route.idempotent else ""
    kind, data, body = sent.get("Content-Type", ""), b"", None
    if route.kind == "stream":
        unwrap = None
        if route.form_field and multipart.is_form(kind):
            # Senders draw a new boundary for the same file: what is inside is what they send.
            unwrap, kind = partial(multipart.file_of, content_type=kind, name=route.form_field), multipart.FORM
        body = bodies.Incoming(
            scope["nova.receive"], request.content_length, conventions.body_timeout, unwrap=unwrap, hashed=bool(key),
            most=conventions.max_stream,
        )  # fmt: skip
    elif route.kind != "none":
        data = await request.get_data(cache=True, as_text=False, parse_form_data=False)
        body = _body(route, data, kind)
    call = Call(
        route,
        params,
        read_query(route, request.args),
        body,
        principal,
        scope["nova.correlation_id"],
        conventions.base(client.scheme, host),
        address,
        cast("Mapping[str, str]", sent),
        host,
        client.scheme in SECURE,
        scope.get("raw_path", b"").partition(b"?")[0].decode("latin-1"),
        request.method,
    )
    if not key:
        return _response(await route.handler(call))
    owner = f"user {principal.user}" if principal is not None else f"address {address}"
    told = "\0".join((kind, *(sent.get(name, "") for name in route.asks)))
    asked = sha256(b"\0".join((scope["path"].encode(), scope["query_string"], told.encode(), data))).digest()
    content = body.digest if isinstance(body, bodies.Incoming) else None

    async def work(claim: Claim) -> Answer:
        reply = await route.handler(call)
        return Answer(reply.status, {"Content-Type": reply.content_type, **dict(reply.headers)}, _encoded(reply))

    answer, replayed = await conventions.replays.once(owner, f"{route.method} {route.path}", key, asked, work, content=content)
    kept = tuple((name, value) for name, value in answer.headers.items() if name != "Content-Type")
    response = _response(Reply(answer.status, answer.body or None, kept, answer.headers["Content-Type"]))
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


def _scope() -> dict[str, Any]:
    """Of the request under way, with what Application put into it."""
    return cast("dict[str, Any]", request.scope)


def _credentials(route: Route, client: Client) -> Credentials:
    scope, sent = _scope(), request.headers
    nova = scope.get("nova") or {}
    return Credentials(
        request.method,
        client.host or "",
        str(client.address or ""),
        client.scheme in SECURE,
        sent.get("Origin", ""),
        sent.get("Authorization", ""),
        sent.get("Cookie", ""),
        scope.get("nova.access_token", "") if route.query_token else "",
        nova.get("token") or (nova.get("query_token") if route.query_token else None),
    )


def _body(route: Route, data: bytes, content_type: str) -> Any:
    """The body as the route's shape reads it; a route whose shape needs nothing may be asked without a body."""
    if not data and route.kind == "json":
        value: Any = {}
    elif route.kind == "form":
        value = bodies.read_form(data, content_type)
    else:
        value = bodies.read_json(data, content_type, bodies.PATCH_TYPES if route.kind == "patch" else bodies.JSON_TYPES)
    if route.kind == "patch":
        # Its members are checked by schema.read_patch and after the merge: once the caller is known to be allowed to.
        if not isinstance(value, dict):
            raise BadRequest(detail="A merge patch of this resource is a JSON object.")
        return value
    return value if route.body is None else read(route.body, value)


def _encoded(reply: Reply) -> bytes:
    if reply.body is None or isinstance(reply.body, bytes):
        return reply.body or b""
    return json.dumps(reply.body, ensure_ascii=False, separators=(",", ":")).encode()


def _response(reply: Reply) -> Response:
    if reply.stream is not None:
        return Streamed(reply.stream, reply.closed, reply.status, reply.content_type)
    response = Response(_encoded(reply), reply.status, content_type=reply.content_type)
    if reply.body is None:
        response.headers.pop("Content-Type", None)
    for name, value in reply.headers:
        response.headers.add(name, value)
    return response


def problem_response(error: NovaError, correlation_id: str) -> Response:
    """`error` as RFC 9457 problem details."""
    body = json.dumps(problem(error, correlation_id), ensure_ascii=False, separators=(",", ":")).encode()
    response = Response(body, error.row.status, content_type=PROBLEM)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, round(error.retry_after)))
    if error.row.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"  # RFC 9110 section 15.5.2
    return response


async def _nova_error(error: NovaError) -> Response:
    if error.kind == "internal":
        return await _bug(error)
    return problem_response(error, _scope()["nova.correlation_id"])


async def _http_error(conventions: Conventions, error: HTTPException) -> Response:
    """What Quart and Werkzeug raise themselves: no route, no method, a body above its limit or too late."""
    allow: list[str] = []
    known: NovaError
    if isinstance(error, RequestRedirect):
        known = NotFound(detail="There is nothing at this path.")
    elif isinstance(error, WerkzeugMethodNotAllowed):
        allow = sorted({*(error.valid_methods or ()), "OPTIONS"})
        known = MethodNotAllowed(detail=f"This path takes {', '.join(allow)}.")
    elif error.code == 404:
        known = NotFound(detail="There is nothing at this path.")
    elif error.code == 413:
        known = TooLarge(detail="The body is above the limit of this route.")
    elif error.code == 408:
        known = BadRequest(detail="The body did not arrive in time.")
    else:
        known = BadRequest(detail="The request cannot be read.")
    if known.kind == "not_found" and not request.path.startswith("/v1/") and "text/html" in request.headers.get("Accept", ""):
        return Response(conventions.error_page, 404, content_type="text/html; charset=utf-8")
    response = problem_response(known, _scope()["nova.correlation_id"])
    if allow:
        response.headers["Allow"] = ", ".join(allow)
    return response


async def _bug(error: BaseException) -> Response:
    _log.error("request_failed", route=_route(), exc_info=error)
    return problem_response(Internal(), _scope()["nova.correlation_id"])


def _route() -> str:
    return request.endpoint or OTHER


async def _options(app: Application, conventions: Conventions) -> Response | None:
    """OPTIONS of every path, and a CORS preflight before any credential is looked at."""
    _scope()["nova.began"] = perf_counter()
    if request.method != "OPTIONS":
        return None
    adapter = app.url_map.bind("nova")
    allowed: Collection[str] = {*adapter.allowed_methods(request.path), "OPTIONS"}
    response = Response(b"", 204)
    response.headers.pop("Content-Type", None)
    response.headers["Allow"] = ", ".join(sorted(allowed))
    for prefix, lines in conventions.protocols:
        if request.path.startswith(prefix):
            response.headers.extend(lines)
    origin = request.headers.get("Origin", "")
    if origin and "Access-Control-Request-Method" in request.headers:
        media = request.path.startswith(MEDIA)
        for name, value in headers.media_preflight() if media else conventions.cors.preflight(origin, allowed):
            response.headers.add(name, value)
    return response


async def _finish(conventions: Conventions, response: Response) -> Response:
    """The headers of every answer, and its line in the metrics."""
    out: Headers = response.headers
    path = request.path
    out.setdefault(*headers.NO_SNIFF)
    for prefix, lines in conventions.protocols:
        if path.startswith(prefix):
            out.setdefault(*lines[0])
    if path.startswith("/v1/") or path == "/openapi.json":
        out["X-Correlation-ID"] = _scope()["nova.correlation_id"]
        out.setdefault(*headers.NO_STORE)
        if request.method != "OPTIONS":
            for name, value in conventions.cors.of_api(request.headers.get("Origin", "")):
                out.add(name, value)
    elif response.mimetype == "text/html":
        for name, value in headers.PAGE:
            out.setdefault(name, value)
    elif path.startswith(MEDIA) and request.method != "OPTIONS":
        for name, value in headers.of_media():
            out.setdefault(name, value)
    began: float = _scope().get("nova.began", 0.0)
    seconds = perf_counter() - began
    conventions.observe(_route(), response.status_code, seconds)
    _log.sample("request", route=_route(), method=request.method, status=response.status_code, ms=round(seconds * 1000, 1))
    return response
