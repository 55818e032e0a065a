"""What every route shares: errors, correlation, replays, CORS, aliases, limits."""

import json
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest

from nova.core.errors import TABLE
from nova.core.log import Sink
from nova.surface.http import app as app_
from nova.surface.http import routes_not_yet
from nova.surface.http.route import Reply, Route
from tests.surface.http.asgi import STRANGER, ask
from tests.surface.http.conftest import Site

PROBLEM = {"type", "title", "status", "detail", "code", "correlation_id"}
ORIGIN = "https://app.example"
cors = pytest.mark.parametrize("site", [[f'http.cors_origins=["{ORIGIN}"]']], indirect=True)


async def test_every_error_is_a_problem_with_a_code_of_the_table(site: Site) -> None:
    made = await site.stream()
    for method, target, user, body, wanted in (
        ("GET", "/nothing", "", None, "not_found"),
        ("GET", "/v1/nothing", "", None, "not_found"),
        ("GET", "/v1/streams/x", "", None, "not_found"),
        ("PUT", "/v1/streams", "alice", None, "method_not_allowed"),
        ("POST", "/v1/streams", "", {"title": "t"}, "unauthenticated"),
        ("POST", "/v1/streams", "alice", {"x": 1}, "bad_request"),
        ("DELETE", f"/v1/streams/{made['id']}", "bob", None, "forbidden"),
        ("GET", "/v1/conversations", "", None, "not_yet"),
    ):
        answer = await site.ask(method, target, body, user=user)
        assert answer["content-type"] == "application/problem+json"
        problem = answer.json
        assert set(problem) - {"errors"} == PROBLEM
        row = TABLE[problem["code"]]
        assert (problem["code"], problem["status"], answer.status, problem["title"]) == (wanted, row.status, row.status, row.title)
        assert problem["detail"]
        assert problem["type"].endswith(problem["code"])


async def test_a_method_that_is_not_there_is_405_with_those_that_are(site: Site) -> None:
    answer = await site.ask("PUT", "/v1/streams", user="alice")
    assert answer.status == 405
    assert answer["allow"] == "GET, HEAD, OPTIONS, POST"


async def test_unauthenticated_says_how(site: Site) -> None:
    assert (await site.ask("POST", "/v1/streams", {"title": "t"}))["www-authenticate"] == "Bearer"
    wrong = await site.ask("GET", "/v1/streams", token="nonsense")
    assert wrong.status == 401


@pytest.mark.parametrize("body", [b"{", b"", b"[1]", b'"x"', b"nul", b'{"title": NaN}', b"\xff\xfe", b"[" * 100_000])
async def test_a_body_that_is_no_json_object_is_400(site: Site, body: bytes) -> None:
    answer = await site.ask("POST", "/v1/streams", body=body, user="alice", headers={"Content-Type": "application/json"})
    assert (answer.status, answer.json["code"]) == (400, "bad_request")


async def test_a_body_of_another_type_is_415(site: Site) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/merge-patch+json"):
        answer = await site.ask("POST", "/v1/streams", body=b'{"title":"t"}', user="alice", headers={"Content-Type": kind})
        assert (answer.status, answer.json["code"]) == (415, "unsupported_type")
    for kind in ("", "application/json; charset=utf-8", "Application/JSON"):
        headers = {"Content-Type": kind} if kind else {}
        assert (await site.ask("POST", "/v1/streams", body=b'{"title":"t"}', user="alice", headers=headers)).status == 201


@pytest.mark.parametrize("site", [["http.max_body=1KiB"]], indirect=True)
async def test_a_body_above_the_limit_is_413(site: Site) -> None:
    answer = await site.ask("POST", "/v1/streams", {"title": "t", "description": "x" * 2000}, user="alice")
    assert (answer.status, answer.json["code"]) == (413, "too_large")


async def test_a_correlation_id_is_taken_or_made_and_given_back(site: Site) -> None:
    assert (await site.ask("GET", "/v1/streams", headers={"X-Correlation-ID": "abc-1.2_3"}))["x-correlation-id"] == "abc-1.2_3"
    made = {(await site.ask("GET", "/v1/streams", headers=headers))["x-correlation-id"] for headers in (
        {}, {"X-Correlation-ID": ""}, {"X-Correlation-ID": "a b"}, {"X-Correlation-ID": "x" * 65},
    )}  # fmt: skip
    assert len(made) == 4
    problem = await site.ask("GET", "/v1/nothing", headers={"X-Correlation-ID": "mine"})
    assert problem.json["correlation_id"] == problem["x-correlation-id"] == "mine"


async def test_older_callers_find_everything_under_api(site: Site) -> None:
    made = await site.stream()
    for prefix in ("/api/v1", "/api"):
        assert (await site.ask("GET", f"{prefix}/streams/{made['id']}")).json["id"] == made["id"]
        assert (await site.ask("GET", f"{prefix}/conversations")).json["code"] == "not_yet"
    assert "x-correlation-id" in await site.ask("GET", "/api/streams")
    assert (await site.ask("GET", "/api/healthz")).status == 404


async def test_a_repeated_write_gets_the_stored_answer(site: Site) -> None:
    async def create(key: str, title: str = "t", user: str = "alice", path: str = "/v1/streams") -> Any:
        return await site.ask("POST", path, {"title": title}, user=user, headers={"Idempotency-Key": key})

    first, again = await create("k1"), await create("k1")
    assert first.status == again.status == 201
    assert again.json == first.json
    assert again["location"] == first["location"]
    assert again["content-type"] == first["content-type"] == "application/json"
    assert again["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first
    other = await create("k1", "other")
    assert (other.status, other.json["code"]) == (422, "idempotency_mismatch")
    assert (await create("k1", user="bob")).json["id"] != first.json["id"]
    assert (await create("k2")).json["id"] != first.json["id"]
    assert (await create("bad key")).status == 400
    site.clock.advance(86400 + 1)
    site.tokens.clear()
    assert (await create("k1")).json["id"] != first.json["id"]


async def test_a_write_that_failed_may_be_tried_again_with_its_key(site: Site) -> None:
    headers = {"Idempotency-Key": "k"}
    assert (await site.ask("POST", "/v1/streams", {}, user="alice", headers=headers)).status == 400
    assert (await site.ask("POST", "/v1/streams", {"title": "t"}, user="alice", headers=headers)).status == 201


async def test_the_same_key_on_another_path_is_another_request(site: Site) -> None:
    one, two = await site.stream(), await site.stream()
    headers = {"Idempotency-Key": "k"}
    assert (await site.ask("DELETE", f"/v1/streams/{one['id']}", user="alice", headers=headers)).status == 204
    again = await site.ask("DELETE", f"/v1/streams/{one['id']}", user="alice", headers=headers)
    assert (again.status, again.body, again["idempotency-replayed"]) == (204, b"", "true")
    assert (await site.ask("DELETE", f"/v1/streams/{two['id']}", user="alice", headers=headers)).status == 422


@cors
async def test_a_preflight_is_answered_before_anything_else(site: Site) -> None:
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization"}
    answer = await site.ask("OPTIONS", "/v1/streams/x", headers=asked, token="not a token at all")
    assert answer.status == 204
    assert answer["access-control-allow-origin"] == ORIGIN
    assert set(answer["access-control-allow-methods"].split(", ")) == {"GET", "HEAD", "PATCH", "DELETE", "OPTIONS"}
    assert "authorization" in answer["access-control-allow-headers"].lower()
    assert "Origin" in answer["vary"]
    stranger = await site.ask("OPTIONS", "/v1/streams", headers={**asked, "Origin": "https://evil.example"})
    assert stranger.status == 204
    assert "access-control-allow-origin" not in stranger


@cors
async def test_allowed_origins_may_read_and_others_not(site: Site) -> None:
    for target in ("/v1/streams", "/v1/nothing"):
        answer = await site.ask("GET", target, headers={"Origin": ORIGIN})
        assert answer["access-control-allow-origin"] == ORIGIN
        assert "X-Correlation-ID" in answer["access-control-expose-headers"]
        assert "access-control-allow-origin" not in await site.ask("GET", target, headers={"Origin": "https://evil.example"})
    assert (await site.ask("GET", "/v1/streams"))["vary"] == "Origin"


async def test_by_default_only_our_own_origin_reads(site: Site) -> None:
    answer = await site.ask("GET", "/v1/streams", headers={"Origin": ORIGIN})
    assert answer.status == 200
    assert "access-control-allow-origin" not in answer


async def test_media_may_be_preflighted_from_anywhere(site: Site) -> None:
    asked = {"Origin": "https://any.example", "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "range"}
    answer = await site.ask("OPTIONS", "/live/x/index.m3u8", headers=asked)
    assert (answer.status, answer["access-control-allow-origin"]) == (204, "*")
    assert "Range" in answer["access-control-allow-headers"]


async def test_options_without_an_origin_lists_the_methods(site: Site) -> None:
    answer = await site.ask("OPTIONS", "/v1/streams")
    assert (answer.status, answer["allow"]) == (204, "GET, HEAD, OPTIONS, POST")


async def test_api_answers_are_not_stored_by_caches(site: Site) -> None:
    answer = await site.ask("GET", "/v1/streams")
    assert answer["cache-control"] == "no-store"
    assert answer["x-content-type-options"] == "nosniff"


async def test_rates_count_by_user_and_by_address(site: Site) -> None:
    await site.ask("GET", "/v1/streams", user="alice")
    statuses = [(await site.ask("GET", "/v1/streams", peer=STRANGER)).status for _ in range(6)]
    assert statuses == [200] * 5 + [429]
    refused = await site.ask("GET", "/v1/streams", peer=STRANGER)
    assert (refused.json["code"], refused["retry-after"]) == ("rate_limited", "1")
    assert (await site.ask("GET", "/v1/streams", peer=STRANGER, user="alice")).status == 200
    assert (await site.ask("GET", "/v1/streams", peer="198.51.100.1")).status == 200
    assert [(await site.ask("GET", "/v1/streams")).status for _ in range(20)] == [200] * 20
    site.clock.advance(1)
    assert (await site.ask("GET", "/v1/streams", peer=STRANGER)).status == 200


async def test_urls_follow_the_host_and_a_trusted_proxy(site: Site) -> None:
    made = await site.stream()
    path = f"/v1/streams/{made['id']}"

    async def url(**more: Any) -> str:
        return str((await site.ask("GET", path, **more)).json["watch_url"]).partition("/watch/")[0]

    assert await url(host="live.example.org") == "http://live.example.org"
    assert await url(host="[::1]:8080") == "http://[::1]:8080"
    assert await url(scheme="https") == "https://nova.test:8080"
    forwarded = {"Forwarded": "for=203.0.113.9;proto=https;host=nova.example"}
    assert await url(headers=forwarded, peer="10.1.1.1") == "https://nova.example"
    assert await url(headers=forwarded, peer=STRANGER) == "http://nova.test:8080"
    for host in ("", "a b", "x/y", "evil.example@nova.test", "a" * 300):
        assert await url(host=host) == "http://127.0.0.1:8080"


async def test_a_token_in_the_query_goes_no_further(site: Site) -> None:
    token = await site.token("alice")
    seen = []

    async def handler(call: Any) -> Reply:
        seen.append(app_.request.query_string)
        return Reply(body={"user": None if call.principal is None else call.principal.user})

    conventions = replace(site.conventions, observe=lambda route, status, seconds: None)
    for query_token, user in ((True, "alice"), (False, None)):
        route = Route("GET", "/v1/probe", "probe", handler, "", "probe", query_token=query_token)
        app = app_.build([route], conventions)
        answer = await ask(app, "GET", f"/v1/probe?a=1&access_token={token}&b=2")
        assert answer.json == {"user": user}
    assert seen == [b"a=1&b=2"] * 2


async def test_a_bug_is_a_problem_without_its_text(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    written = StringIO()
    monkeypatch.setattr("nova.core.log._current", Sink(written, format="json"))

    async def handler(call: Any) -> Reply:
        raise RuntimeError("table users is broken")

    app = app_.build(
        [Route("GET", "/v1/bug", "bug", handler, "", "bug")], replace(site.conventions, observe=lambda route, status, seconds: None)
    )
    answer = await ask(app, "GET", "/v1/bug?secret=1")
    assert (answer.status, answer.json["code"]) == (500, "internal")
    assert b"users" not in answer.body
    assert "request_failed" in written.getvalue()
    assert "secret" not in written.getvalue()


async def test_everything_that_comes_later_says_so(site: Site) -> None:
    for route in routes_not_yet.table():
        target = route.path.replace("{rest:path}", "a/b").replace("{", "").replace("}", "")
        answer = await site.ask(route.method, target, body=b"whatever", headers={"Content-Type": "image/png"})
        assert (answer.status, answer.json["code"]) == (501, "not_yet"), (route.method, route.path)


async def test_requests_are_counted_by_route(site: Site) -> None:
    for _ in range(3):
        await site.ask("GET", "/v1/streams")
    await site.ask("GET", "/v1/nothing")
    text = (await site.ask("GET", "/metrics")).body.decode()
    assert 'nova_http_requests_total{route="list_streams",status="2xx"} 3.0' in text
    assert 'nova_http_requests_total{route="other",status="4xx"} 1.0' in text


async def test_json_of_answers_is_plain(site: Site) -> None:
    made = await site.stream(title="Ünïcode – ✓")
    answer = await site.ask("GET", f"/v1/streams/{made['id']}")
    assert json.loads(answer.body)["title"] == "Ünïcode – ✓"
    assert answer["content-type"] == "application/json"
