"""The OpenAPI 3.1 document of the route table."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from nova import __version__
from nova.core.errors import TABLE
from nova.surface.http.route import Route
from nova.surface.http.schema import Object, objects_in

Json = Any

# What any route may answer; named once in the components.
EVERYWHERE: Final = ("bad_request", "unauthenticated", "rate_limited", "internal", "unavailable")
PROBLEM: Final = {
    "type": "object",
    "description": "RFC 9457 problem details.",
    "required": ["type", "title", "status", "detail", "code", "correlation_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "enum": sorted(TABLE)},
        "correlation_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "code", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "JSON Pointer into the body, or `?name` of a query parameter."},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}
_CONTENT: Final = {"json": "application/json", "patch": "application/merge-patch+json", "form": "application/x-www-form-urlencoded"}


def document(routes: Iterable[Route]) -> dict[str, Json]:
    """routes: those with `shown` get in."""
    paths: dict[str, dict[str, Json]] = {}
    schemas: dict[str, Json] = {"Problem": PROBLEM}
    tags: dict[str, None] = {}
    for route in routes:
        if not route.shown:
            continue
        tags[route.tag] = None
        paths.setdefault(re.sub(":path}", "}", route.path), {})[route.method.lower()] = _operation(route)
        for shape in (route.body, *route.answers.values()):
            for found in objects_in(shape) if shape is not None else ():
                schemas[found.name] = found.inner_schema()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Nova core",
            "version": __version__,
            "description": "Media and realtime core of Nova. `/api/v1/…` and `/api/…` answer as `/v1/…`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": name} for name in tags],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "session": {"type": "apiKey", "in": "cookie", "name": "nova_session"},
            },
        },
    }


def _operation(route: Route) -> dict[str, Json]:
    out: dict[str, Json] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.tag],
        "responses": _responses(route),
    }
    text = [route.description] if route.description else []
    if route.scope:
        text.append(f"Needs the scope `{route.scope}`.")
    if text:
        out["description"] = " ".join(text)
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in route.parameters]
    for name, query in route.query.items():
        parameters.append({"name": name, "in": "query", "required": False, "description": query.doc, "schema": query.schema})
    if route.idempotent:
        parameters.append({"name": "Idempotency-Key", "in": "header", "required": False, "schema": {"type": "string", "maxLength": 255}})
    if parameters:
        out["parameters"] = parameters
    if route.body is not None:
        needed = isinstance(route.body, Object) and "required" in route.body.inner_schema()
        out["requestBody"] = {"required": needed, "content": {_CONTENT[route.kind]: {"schema": route.body.schema()}}}
    credentials: list[dict[str, list[str]]] = [{"bearer": []}, {"session": []}]
    if route.access == "open" and not route.scope:
        credentials.append({})
    out["security"] = [] if route.access == "secret" else credentials
    return out


def _responses(route: Route) -> dict[str, Json]:
    out: dict[str, Json] = {}
    for status, shape in route.answers.items():
        answer: dict[str, Json] = {"description": _reason(status) + (" Shown this once." if route.secret else "")}
        if shape is not None:
            answer["content"] = {"application/json": {"schema": shape.schema()}}
        if status in (201, 302):
            answer["headers"] = {"Location": {"schema": {"type": "string"}}}
        out[str(status)] = answer
    codes = {*EVERYWHERE, *route.errors} if route.path.startswith("/v1/") else {*route.errors}
    if route.scope:
        codes.add("missing_scope")
    by_status: dict[int, list[str]] = {}
    for code in sorted(codes):
        by_status.setdefault(TABLE[code].status, []).append(code)
    for status, found in sorted(by_status.items()):
        out[str(status)] = {
            "description": ", ".join(found),
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return out


def _reason(status: int) -> str:
    return {200: "Done.", 201: "Made.", 202: "Begun.", 204: "Done; nothing to say.", 302: "Yes."}.get(status, "Answer.")
