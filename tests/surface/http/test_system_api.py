"""Health, readiness, metrics, the API's description, and the pages."""

import gzip
import re
from pathlib import Path
from typing import Any

from nova.core.errors import TABLE
from nova.surface.http import docs_page, openapi
from nova.surface.http.pages import web_assets
from tests.surface.http.conftest import Site


async def test_health_says_only_that_we_live(site: Site) -> None:
    answer = await site.ask("GET", "/healthz", token="nonsense")
    assert (answer.status, answer.json) == (200, {"status": "ok"})


async def test_readiness_names_what_is_not_ready(site: Site) -> None:
    assert (await site.ask("GET", "/readyz")).json == {"status": "ready", "checks": {"store": {"ok": True, "detail": "open"}}}
    site.checks["store"] = (False, "draining")
    answer = await site.ask("GET", "/readyz")
    assert (answer.status, answer.json["status"], answer.json["checks"]["store"]["ok"]) == (503, "not_ready", False)


async def test_metrics_are_open_on_loopback_and_else_need_a_scope(site: Site) -> None:
    assert (await site.ask("GET", "/metrics")).status == 200
    site.open_metrics[0] = False
    assert (await site.ask("GET", "/metrics")).status == 401
    assert (await site.ask("GET", "/metrics", user="alice")).status == 403
    scraper = await site.token("scraper", "metrics:read")
    answer = await site.ask("GET", "/metrics", token=scraper)
    assert answer.status == 200
    assert answer["content-type"].startswith("text/plain")


async def test_the_document_describes_every_route_that_is_shown(site: Site) -> None:
    answer = await site.ask("GET", "/openapi.json")
    document = answer.json
    assert document["openapi"] == "3.1.0"
    described = {(method.upper(), path): operation for path, methods in document["paths"].items() for method, operation in methods.items()}
    assert set(described) == {(route.method, route.path.replace(":path", "")) for route in site.routes if route.shown}
    ids = [operation["operationId"] for operation in described.values()]
    assert len(ids) == len(set(ids))
    for (_, path), operation in described.items():
        named = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"}
        assert named == set(re.findall(r"\{(\w+)\}", path))
        assert operation["responses"]


async def test_every_reference_of_the_document_leads_somewhere(site: Site) -> None:
    document = (await site.ask("GET", "/openapi.json")).json

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if "$ref" in value else []
            return own + [found for inner in value.values() for found in references(inner)]
        return [found for inner in value for found in references(inner)] if isinstance(value, list) else []

    schemas = document["components"]["schemas"]
    assert {reference.rpartition("/")[2] for reference in references(document)} <= set(schemas)
    assert set(schemas["Problem"]["properties"]["code"]["enum"]) == set(TABLE)


async def test_answers_are_what_the_document_says(site: Site) -> None:
    document = (await site.ask("GET", "/openapi.json")).json
    made = await site.ask("POST", "/v1/streams", {"title": "t"}, user="alice")
    path = "/v1/streams/{id}"
    for operation, answer in (
        (document["paths"]["/v1/streams"]["post"], made),
        (document["paths"]["/v1/streams"]["get"], await site.ask("GET", "/v1/streams")),
        (document["paths"][path]["get"], await site.ask("GET", f"/v1/streams/{made.json['id']}")),
        (document["paths"][f"{path}/join"]["post"], await site.ask("POST", f"/v1/streams/{made.json['id']}/join")),
        (document["paths"][f"{path}/keys"]["get"], await site.ask("GET", f"/v1/streams/{made.json['id']}/keys", user="alice")),
        (document["paths"][f"{path}/analytics"]["get"], await site.ask("GET", f"/v1/streams/{made.json['id']}/analytics", user="alice")),
        (document["paths"]["/healthz"]["get"], await site.ask("GET", "/healthz")),
        (document["paths"]["/readyz"]["get"], await site.ask("GET", "/readyz")),
    ):
        schema = operation["responses"][str(answer.status)]["content"]["application/json"]["schema"]
        assert not list(unlike(answer.json, schema, document))


def unlike(value: Any, schema: Any, document: Any, at: str = "") -> Any:
    """Where `value` is not as `schema` says: enough of JSON Schema for our own document."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        if all(list(unlike(value, each, document, at)) for each in schema["anyOf"]):
            yield at
        return
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    python = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "object": dict, "array": list, "null": type(None)}
    if kinds and not any(isinstance(value, python[kind]) for kind in kinds):
        yield f"{at}: {value!r} is no {kinds}"
        return
    if isinstance(value, dict):
        for name in schema.get("required", []):
            if name not in value:
                yield f"{at}/{name} is missing"
        for name, inner in value.items():
            known = schema.get("properties", {})
            if name in known:
                yield from unlike(inner, known[name], document, f"{at}/{name}")
            elif known:
                yield f"{at}/{name} is not described"
    for number, inner in enumerate(value if isinstance(value, list) else []):
        yield from unlike(inner, schema["items"], document, f"{at}/{number}")
    if isinstance(value, str) and "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is not one of {schema['enum']}"


async def test_the_docs_page_needs_nothing_from_elsewhere(site: Site) -> None:
    answer = await site.ask("GET", "/docs")
    text = answer.body.decode()
    assert answer["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer["content-security-policy"]
    assert "<script" not in text
    assert "style=" not in text
    assert all(link.startswith("/") for link in re.findall(r'(?:href|src)="([^"]+)"', text))
    assert "/v1/streams/{id}/keys" in text


async def test_docs_api_md_is_made_from_the_routes(site: Site) -> None:
    written = (Path(__file__).parents[3] / "docs" / "api.md").read_text(encoding="utf-8")
    assert written.endswith(docs_page.markdown(openapi.document(site.routes))), "run `make docs`"


async def test_pages_have_a_policy_and_files_are_kept(site: Site) -> None:
    for path in ("/", "/go-live", "/watch/01234567-0000-7000-8000-000000000000"):
        answer = await site.ask("GET", path)
        assert (answer.status, answer["content-type"]) == (200, "text/html; charset=utf-8"), path
        policy = answer["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "http" not in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer["cache-control"] == "no-cache"
        again = await site.ask("GET", path, headers={"If-None-Match": answer["etag"]})
        assert (again.status, again.body) == (304, b"")
    script = await site.ask("GET", "/static/js/lib/api.js")
    assert script["content-type"] == "text/javascript; charset=utf-8"
    assert script["cache-control"] == "no-cache"  # a page never meets the modules of another release
    packed = await site.ask("GET", "/static/js/lib/api.js", headers={"Accept-Encoding": "br, gzip;q=0.5"})
    assert packed["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == script.body
    refused = await site.ask("GET", "/static/js/lib/api.js", headers={"Accept-Encoding": "gzip;q=0"})
    assert "content-encoding" not in refused


async def test_files_outside_the_web_folder_are_not_there(site: Site) -> None:
    for path in ("/static/../../pyproject.toml", "/static/%2e%2e/%2e%2e/pyproject.toml", "/static/", "/vendor", "/static/js", "/error"):
        assert (await site.ask("GET", path)).status == 404, path


async def test_a_page_that_is_not_there_is_a_page_for_a_browser_and_a_problem_for_a_program(site: Site) -> None:
    page = await site.ask("GET", "/nothing", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (page.status, page["content-type"]) == (404, "text/html; charset=utf-8")
    assert b"There is nothing here" in page.body
    assert "content-security-policy" in page
    program = await site.ask("GET", "/nothing", headers={"Accept": "*/*"})
    assert program["content-type"] == "application/problem+json"
    api = await site.ask("GET", "/v1/nothing", headers={"Accept": "text/html"})
    assert api["content-type"] == "application/problem+json"


def test_assets_are_ready_for_the_object_table() -> None:
    assets = {asset.path: asset for asset in web_assets()}
    assert b"/" in assets
    assert b"/go-live" in assets
    for asset in assets.values():
        assert asset.headers.endswith(b"\r\n")
        assert b"\r\n\r\n" not in asset.headers
        assert asset.etag.startswith(b'"')
        assert asset.compressed is None or gzip.decompress(asset.compressed) == asset.body
