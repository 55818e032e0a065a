"""The application: Quart-Trio, a table of routes, and the contract's conventions around every one of them.

`build` makes it from services; nothing here is global. The order for a request: path aliases, correlation id, preflight,
route, credential, scope, rate, body, idempotency, handler. Errors of every step become problem details (RFC 9457).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, Final, cast

from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as WerkzeugMethodNotAllowed
from werkzeug.routing import RequestRedirect

from nova.core.addresses import Addresses, Client
from nova.core.errors import BadRequest, Internal, MethodNotAllowed, NotFound, NovaError, TooLarge, problem
from nova.core.log import Log, correlation_id
from nova.surface.http import bodies, headers
from nova.surface.http.call import Call
from nova.surface.http.ports import Credentials, Gate, Observe, RateLimiter, Replays
from nova.surface.http.route import Reply, Route, read_query
from nova.surface.http.schema import read
from nova.surface.identity.principal import require

PROBLEM: Final = "application/problem+json"
CORRELATION: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
IDEMPOTENCY_KEY: Final = re.compile(r"[\x21-\x7e]{1,200}")
ALIAS: Final = re.compile(r"/api(?:/v1)?(?=/)")  # Nova's older callers
OTHER: Final = "other"  # the route label of what no route has

_log = Log("nova.http")


@dataclass(frozen=True, slots=True)
class Conventions:
    """What every route shares.

    base: of absolute URLs, from the scheme and host that the client used.
    """

    gate: Gate
    rates: RateLimiter
    replays: Replays
    cors: headers.Cors
    new_id: Callable[[], str]
    base: Callable[[str, str], str]
    addresses: Addresses
    observe: Observe
    max_body: int
    body_timeout: float


class Application(QuartTrio):
    """Quart-Trio with path aliases and a correlation id in front of everything.

    Its static file serving, templates, sessions and command line are not used.
    """

    def __init__(self, new_id: Callable[[], str]) -> None:
        super().__init__("nova", static_folder=None)
        self._new_id = new_id

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            path: str = scope["path"]
            if path.startswith("/api"):
                aliased = ALIAS.sub("/v1", path, count=1)
                scope = {**scope, "path": aliased, "raw_path": aliased.encode("utf-8", "surrogateescape")}
            given = next((value for name, value in scope["headers"] if name.lower() == b"x-correlation-id"), b"")
            text = given.decode("latin-1")
            scope["nova.correlation_id"] = text if CORRELATION.fullmatch(text) else self._new_id()
            correlation_id.set(scope["nova.correlation_id"])
        await super().__call__(scope, receive, send)


def build(routes: Sequence[Route], conventions: Conventions) -> Application:
    """The ASGI application with these routes. `/v1/…` also answers as `/api/v1/…` and `/api/…`."""
    app = Application(conventions.new_id)
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
    app.register_error_handler(HTTPException, _http_error)
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
        principal = await conventions.gate.admit(_credentials(client))
    if route.scope or route.access == "user":
        require(principal, route.scope)
    conventions.rates.check(None if principal is None else principal.user, client)
    data, body = b"", None
    if route.kind != "none":
        data = await request.get_data(cache=True, as_text=False, parse_form_data=False)
        body = _body(route, data, sent.get("Content-Type", ""))
    call = Call(
        route, params, read_query(route, request.args), body, principal, scope["nova.correlation_id"],
        conventions.base(client.scheme, host), address, cast("Mapping[str, str]", sent),
    )  # fmt: skip
    key = sent.get("Idempotency-Key", "") if route.idempotent else ""
    if not key:
        return _response(route, await route.handler(call))
    if not IDEMPOTENCY_KEY.fullmatch(key):
        raise BadRequest(detail="An Idempotency-Key has 1 to 200 visible ASCII characters.")
    owner = f"user {principal.user}" if principal is not None else f"address {address}"
    reply, replayed = await conventions.replays.run(
        owner, f"{route.method} {request.path}", key, data, partial(route.handler, call), secret=route.secret
    )
    response = _response(route, reply)
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


def _scope() -> dict[str, Any]:
    """Of the request under way, with what Application put into it."""
    return cast("dict[str, Any]", request.scope)


def _credentials(client: Client) -> Credentials:
    sent = request.headers
    token = (_scope().get("nova") or {}).get("token")
    return Credentials(
        request.method, client.host or "", str(client.address or ""), client.scheme in ("https", "wss"), sent.get("Origin", ""),
        sent.get("Authorization", ""), sent.get("Cookie", ""), token,
    )  # fmt: skip


def _body(route: Route, data: bytes, content_type: str) -> Any:
    """The body as the route's shape reads it; a route whose shape needs nothing may be asked without a body."""
    if not data and route.kind == "json":
        value: Any = {}
    elif route.kind == "form":
        value = bodies.read_form(data, content_type)
    else:
        value = bodies.read_json(data, content_type, bodies.PATCH_TYPES if route.kind == "patch" else bodies.JSON_TYPES)
    if route.kind == "patch":
        # Its members are checked after the merge: what they must look like is what the result must look like.
        if not isinstance(value, dict):
            raise BadRequest(detail="A merge patch of this resource is a JSON object.")
        return value
    return value if route.body is None else read(route.body, value)


def _response(route: Route, reply: Reply) -> Response:
    if reply.body is None:
        body = b""
    elif isinstance(reply.body, bytes):
        body = reply.body
    else:
        body = json.dumps(reply.body, ensure_ascii=False, separators=(",", ":")).encode()
    response = Response(body, reply.status, content_type=reply.content_type if reply.body is not None else None)
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


async def _http_error(error: HTTPException) -> Response:
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
    origin = request.headers.get("Origin", "")
    if origin and "Access-Control-Request-Method" in request.headers:
        media = request.path.startswith(("/live/", "/vod/"))
        for name, value in headers.media_preflight() if media else conventions.cors.preflight(origin, allowed):
            response.headers.add(name, value)
    return response


async def _finish(conventions: Conventions, response: Response) -> Response:
    """The headers of every answer, and its line in the metrics."""
    out: Headers = response.headers
    path = request.path
    out.setdefault(*headers.NO_SNIFF)
    if path.startswith("/v1/") or path == "/openapi.json":
        out["X-Correlation-ID"] = _scope()["nova.correlation_id"]
        out.setdefault(*headers.NO_STORE)
        if request.method != "OPTIONS":
            for name, value in conventions.cors.of_api(request.headers.get("Origin", "")):
                out.add(name, value)
    elif response.mimetype == "text/html":
        for name, value in headers.PAGE:
            out.setdefault(name, value)
    elif path.startswith(("/live/", "/vod/")) and request.method != "OPTIONS":
        for name, value in headers.of_media():
            out.setdefault(name, value)
    began: float = _scope().get("nova.began", 0.0)
    seconds = perf_counter() - began
    conventions.observe(_route(), response.status_code, seconds)
    _log.sample("request", route=_route(), method=request.method, status=response.status_code, ms=round(seconds * 1000, 1))
    return response
