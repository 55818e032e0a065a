"""`/v1/streams` as the contract draws it."""

import re
from typing import Any

import pytest

from nova.media.streams.model import KeyId, StreamId
from tests.surface.http.asgi import STRANGER
from tests.surface.http.conftest import Site

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
STREAM = {
    "id", "title", "description", "tags", "visibility", "owner", "status", "viewers", "started_at", "created_at", "watch_url", "hls_url",
    "thumb_url", "record", "ended_at",
}  # fmt: skip


async def test_a_new_stream_has_the_contracts_shape(site: Site) -> None:
    answer = await site.ask("POST", "/v1/streams", {"title": " First "}, user="alice")
    assert answer.status == 201
    made = answer.json
    assert set(made) == STREAM | {"key", "key_id", "rtmp_server", "rtmp_url"}
    assert UUID7.fullmatch(made["id"])
    assert answer["location"] == f"/v1/streams/{made['id']}"
    assert re.fullmatch("sk_[a-z0-9]{25,}", made["key"])
    assert made["title"] == "First"
    assert (made["visibility"], made["status"], made["viewers"], made["owner"], made["started_at"]) == ("public", "idle", 0, "alice", None)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", made["created_at"])
    assert made["rtmp_server"] == "rtmp://nova.test:1935/live"
    assert made["rtmp_url"] == f"{made['rtmp_server']}/{made['key']}"
    assert made["hls_url"] == f"http://nova.test:8080/live/{made['id']}/index.m3u8"
    assert made["watch_url"] == f"http://nova.test:8080/watch/{made['id']}"
    assert made["thumb_url"] == f"http://nova.test:8080/live/{made['id']}/thumb.jpg"
    again = await site.ask("GET", answer["location"])
    assert again.json == {name: made[name] for name in STREAM}
    assert made["key"].encode() not in again.body


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({}, "/title", "missing_field"),
        ({"title": ""}, "/title", "invalid_field"),
        ({"title": "x" * 201}, "/title", "invalid_field"),
        ({"title": 1}, "/title", "invalid_field"),
        ({"title": "a\u0000b"}, "/title", "invalid_field"),
        ({"title": "t", "tags": ["a", ""]}, "/tags/1", "invalid_field"),
        ({"title": "t", "tags": ["a", "a"]}, "/tags", "invalid_field"),
        ({"title": "t", "visibility": "secret"}, "/visibility", "invalid_field"),
        ({"title": "t", "record": "yes"}, "/record", "invalid_field"),
        ({"title": "t", "ti/tle~": 1}, "/ti~1tle~0", "unknown_field"),
        ({"title": "t", "key": "sk_mine"}, "/key", "unknown_field"),
    ],
)
async def test_a_field_that_is_wrong_is_named(site: Site, body: Any, pointer: str, code: str) -> None:
    answer = await site.ask("POST", "/v1/streams", body, user="alice")
    assert answer.status == 400
    assert answer["content-type"] == "application/problem+json"
    assert answer.json["code"] == "bad_request"
    assert [(error["pointer"], error["code"]) for error in answer.json["errors"]] == [(pointer, code)]


async def test_every_wrong_field_is_named_at_once(site: Site) -> None:
    answer = await site.ask("POST", "/v1/streams", {"titel": "t", "record": 1, "tags": {}}, user="alice")
    assert {error["pointer"] for error in answer.json["errors"]} == {"/title", "/titel", "/record", "/tags"}


async def test_writing_needs_a_token_with_the_scope(site: Site) -> None:
    assert (await site.ask("POST", "/v1/streams", {"title": "t"})).status == 401
    chat_only = await site.token("carol", "chat")
    answer = await site.ask("POST", "/v1/streams", {"title": "t"}, token=chat_only)
    assert (answer.status, answer.json["code"]) == (403, "missing_scope")


async def test_others_get_403_and_of_a_private_stream_404(site: Site) -> None:
    public, private = await site.stream(), await site.stream(visibility="private")
    for method, path, body in (
        ("PATCH", "", {"title": "x"}),
        ("PATCH", "", {"titel": "x"}),
        ("DELETE", "", None),
        ("POST", "/stop", None),
        ("POST", "/keys", None),
        ("GET", "/keys", None),
        ("DELETE", f"/keys/{public['key_id']}", None),
        ("GET", "/analytics", None),
        ("PUT", "/grants/bob", None),
    ):
        assert (await site.ask(method, f"/v1/streams/{public['id']}{path}", body, user="bob")).status == 403, (method, path)
        hidden = await site.ask(method, f"/v1/streams/{private['id']}{path}", body, user="bob")
        assert (hidden.status, hidden.json["code"]) == (404, "not_found"), (method, path)
        assert (await site.ask(method, f"/v1/streams/{public['id']}{path}", body)).status == 401
    for user in ("", "bob"):
        assert (await site.ask("GET", f"/v1/streams/{private['id']}", user=user)).status == 404
        assert (await site.ask("POST", f"/v1/streams/{private['id']}/join", user=user)).status == 404
    assert (await site.ask("GET", f"/v1/streams/{private['id']}", user="alice")).status == 200
    operator = await site.token("root", "admin")
    assert (await site.ask("DELETE", f"/v1/streams/{private['id']}", token=operator)).status == 204


async def test_what_is_no_id_is_not_found(site: Site) -> None:
    for id in ("nothing", "0", "%00", "a" * 300, "01234567-0000-7000-8000-000000000000"):
        assert (await site.ask("GET", f"/v1/streams/{id}")).status == 404


async def test_a_patch_is_a_merge_patch(site: Site) -> None:
    made = await site.stream(description="long", tags=["a"], visibility="unlisted")
    path = f"/v1/streams/{made['id']}"

    async def patch(body: Any, **more: Any) -> Any:
        return await site.ask("PATCH", path, body, user="alice", headers={"Content-Type": "application/merge-patch+json"}, **more)

    assert (await patch({"title": "New"})).json["title"] == "New"
    changed = (await patch({"description": None, "tags": None, "visibility": None})).json
    assert (changed["title"], changed["description"], changed["tags"], changed["visibility"]) == ("New", "", [], "public")
    assert (await patch({})).json == changed
    assert (await site.ask("PATCH", path, {"title": "Newer"}, user="alice")).json["title"] == "Newer"
    wrong = (({"title": None}, "/title"), ({"id": "x"}, "/id"), ({"bogus": None}, "/bogus"), ({"tags": [1]}, "/tags/0"))
    for body, pointer in wrong:
        refused = await patch(body)
        assert refused.status == 400
        assert [error["pointer"] for error in refused.json["errors"]] == [pointer]
    assert (await patch(["title"])).status == 400
    assert (await site.ask("PATCH", path, user="alice", body=b"title=x", headers={"Content-Type": "text/plain"})).status == 415


async def test_lists_are_newest_first_with_an_opaque_cursor(site: Site) -> None:
    made = [(await site.stream(title=f"Stream {number}"))["id"] for number in range(5)]
    seen, cursor, pages = [], "", 0
    while cursor is not None:
        answer = (await site.ask("GET", f"/v1/streams?limit=2&cursor={cursor}")).json
        assert set(answer) == {"items", "cursor"}
        assert all(set(item) == STREAM for item in answer["items"])
        seen += [item["id"] for item in answer["items"]]
        cursor, pages = answer["cursor"], pages + 1
    assert (seen, pages) == (made[::-1], 3)


@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "limit=ten", "status=dead", "q=" + "x" * 201])
async def test_a_query_parameter_that_is_wrong_is_named(site: Site, query: str) -> None:
    answer = await site.ask("GET", f"/v1/streams?{query}")
    assert answer.status == 400
    assert answer.json["errors"][0]["pointer"] == "?" + query.partition("=")[0]


@pytest.mark.parametrize("cursor", ["x", "AAAA", "%F0%9F", "dXNlcnMAeA"])
async def test_a_cursor_of_somebody_else_is_refused(site: Site, cursor: str) -> None:
    answer = await site.ask("GET", f"/v1/streams?cursor={cursor}")
    assert (answer.status, answer.json["code"]) == (400, "bad_cursor")


async def test_a_limit_above_the_most_is_the_most(site: Site) -> None:
    assert (await site.ask("GET", "/v1/streams?limit=100000")).status == 200


async def test_lists_filter_by_status_words_and_owner(site: Site) -> None:
    piano = await site.stream(title="Morning Piano", tags=["Music"])
    chess = await site.stream("bob", title="Blitz chess")
    site.streams.started(StreamId(chess["id"]), KeyId(chess["key_id"]))

    async def found(query: str, user: str = "") -> list[str]:
        return [item["title"] for item in (await site.ask("GET", f"/v1/streams?{query}", user=user)).json["items"]]

    assert await found("status=live") == ["Blitz chess"]
    assert await found("status=idle") == ["Morning Piano"]
    assert await found("q=music%20PIANO") == ["Morning Piano"]
    assert await found("q=checkers") == []
    assert await found("owner=bob") == ["Blitz chess"]
    await site.ask("PATCH", f"/v1/streams/{piano['id']}", {"visibility": "private"}, user="alice")
    assert await found("") == ["Blitz chess"]
    assert await found("", "alice") == ["Blitz chess", "Morning Piano"]
    assert await found("owner=alice", "bob") == []


async def test_keys_are_listed_without_their_text_and_can_be_revoked(site: Site) -> None:
    made = await site.stream()
    path = f"/v1/streams/{made['id']}/keys"
    answer = await site.ask("POST", path, user="alice")
    assert answer.status == 201
    assert answer["location"] == f"{path}/{answer.json['key_id']}"
    assert answer.json["rtmp_url"] == f"rtmp://nova.test:1935/live/{answer.json['key']}"
    listed = await site.ask("GET", path, user="alice")
    assert [item["key_id"] for item in listed.json["items"]] == [answer.json["key_id"], made["key_id"]]
    assert all(made["key"].startswith(item["hint"]) for item in listed.json["items"][1:])
    assert made["key"].encode() not in listed.body
    assert site.streams.authorize(made["key"]) is not None
    assert (await site.ask("DELETE", f"{path}/{made['key_id']}", user="alice")).status == 204
    assert site.streams.authorize(made["key"]) is None
    assert ("drop_key", made["id"], made["key_id"]) in site.running.told
    assert (await site.ask("DELETE", f"{path}/{made['key_id']}", user="alice")).status == 404


async def test_stop_ends_the_broadcast_and_answers_with_the_stream(site: Site) -> None:
    made = await site.stream()
    answer = await site.ask("POST", f"/v1/streams/{made['id']}/stop", user="alice")
    assert (answer.status, answer.json["id"]) == (200, made["id"])
    assert site.running.told == [("stop", made["id"], "stopped")]


async def test_delete_is_204_and_final(site: Site) -> None:
    made = await site.stream()
    answer = await site.ask("DELETE", f"/v1/streams/{made['id']}", user="alice")
    assert (answer.status, answer.body) == (204, b"")
    assert (await site.ask("GET", f"/v1/streams/{made['id']}", user="alice")).status == 404
    assert (await site.ask("DELETE", f"/v1/streams/{made['id']}", user="alice")).status == 404


async def test_joining_gives_a_signed_prefix_that_leaving_ends(site: Site) -> None:
    made = await site.stream()
    site.running.watching[made["id"]] = 7
    answer = await site.ask("POST", f"/v1/streams/{made['id']}/join")
    assert answer.status == 200
    joined = answer.json
    assert set(joined) == {"session", "hls_url", "expires_at", "viewers"}
    assert joined["hls_url"] == f"http://nova.test:8080/live/~{joined['session']}/{made['id']}/index.m3u8"
    assert joined["viewers"] == 7
    assert site.identity.path_sessions.viewer(joined["session"].encode(), made["id"].encode()) is not None
    left = await site.ask("POST", f"/v1/streams/{made['id']}/leave", {"session": joined["session"]})
    assert left.status == 204
    assert site.identity.path_sessions.viewer(joined["session"].encode(), made["id"].encode()) is None
    nameless = await site.ask("POST", f"/v1/streams/{made['id']}/leave")
    assert (nameless.status, nameless.json["errors"][0]["pointer"]) == (400, "/session")
    assert (await site.ask("POST", f"/v1/streams/{made['id']}/leave", user="bob")).status == 204


async def test_granted_users_watch_a_private_stream(site: Site) -> None:
    made = await site.stream(visibility="private")
    path = f"/v1/streams/{made['id']}"
    assert (await site.ask("PUT", f"{path}/grants/bob", user="alice")).status == 204
    assert (await site.ask("GET", f"{path}/grants", user="alice")).json == {"items": [{"user": "bob"}], "cursor": None}
    assert (await site.ask("GET", path, user="bob")).status == 200
    joined = (await site.ask("POST", f"{path}/join", user="bob")).json
    with_session = await site.ask("GET", f"/live/~{joined['session']}/{made['id']}/index.m3u8")
    assert with_session.json["code"] == "stream_not_live"
    assert (await site.ask("DELETE", f"{path}/grants/bob", user="alice")).status == 204
    assert (await site.ask("GET", path, user="bob")).status == 404
    without = await site.ask("GET", f"/live/~{joined['session']}/{made['id']}/index.m3u8")
    assert without.json["code"] == "not_found"
    assert (await site.ask("PUT", f"{path}/grants/b%2Fob", user="alice")).status in (400, 404)


async def test_media_of_a_stream_that_is_not_live_says_when_to_come_back(site: Site) -> None:
    made = await site.stream()
    for path in ("index.m3u8", "seg-1.m4s"):
        answer = await site.ask("GET", f"/live/{made['id']}/{path}", headers={"Origin": "https://elsewhere.example"})
        assert (answer.status, answer.json["code"]) == (404, "stream_not_live")
        assert int(answer["retry-after"]) >= 1
        assert answer["access-control-allow-origin"] == "*"
    private = await site.stream(visibility="private")
    hidden = await site.ask("GET", f"/live/{private['id']}/index.m3u8")
    nothing = await site.ask("GET", "/live/01234567-0000-7000-8000-000000000000/index.m3u8")
    assert hidden.status == nothing.status == 404
    assert {**hidden.json, "correlation_id": ""} == {**nothing.json, "correlation_id": ""}


async def test_renditions_that_come_later_are_not_yet_there_for_any_stream(site: Site) -> None:
    made = await site.stream()
    session = (await site.ask("POST", f"/v1/streams/{made['id']}/join")).json["session"]
    for prefix in (made["id"], f"~{session}/{made['id']}", "01234567-0000-7000-8000-000000000000"):
        for name in ("ts/index.m3u8", "ts/seg-1.ts", "thumb.jpg"):
            answer = await site.ask("GET", f"/live/{prefix}/{name}")
            assert (answer.status, answer.json["code"]) == (501, "not_yet")


async def test_an_ended_session_of_a_live_stream_is_told_so_and_not_to_wait(site: Site) -> None:
    made = await site.stream()
    site.streams.started(StreamId(made["id"]), KeyId(made["key_id"]))
    session = (await site.ask("POST", f"/v1/streams/{made['id']}/join")).json["session"]
    path = f"/live/~{session}/{made['id']}/index.m3u8"
    assert (await site.ask("GET", path)).json["code"] == "stream_not_live"  # its first part is under way
    await site.ask("POST", f"/v1/streams/{made['id']}/leave", {"session": session})
    answer = await site.ask("GET", path)
    assert (answer.status, answer.json["code"]) == (404, "not_found")
    assert "join" in answer.json["detail"]
    assert "retry-after" not in answer


async def test_status_and_analytics_follow_the_publisher(site: Site) -> None:
    made = await site.stream()
    site.streams.started(StreamId(made["id"]), KeyId(made["key_id"]))
    site.running.watching[made["id"]] = 2
    live = (await site.ask("GET", f"/v1/streams/{made['id']}")).json
    assert (live["status"], live["viewers"]) == ("live", 2)
    assert live["started_at"] is not None
    site.clock.advance(10)
    numbers = (await site.ask("GET", f"/v1/streams/{made['id']}/analytics", user="alice")).json
    assert (numbers["viewers"], numbers["viewer_seconds"], numbers["live_seconds"]) == (2, 20.0, 10.0)
    assert [each["ended_at"] for each in numbers["broadcasts"]] == [None]


async def test_the_hooks_of_another_rtmp_server_need_the_secret(site: Site) -> None:
    made = await site.stream()
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    async def hook(body: str, target: str = "/v1/rtmp/auth", **more: Any) -> Any:
        return await site.ask("POST", target, body=body.encode(), headers={**form, **more.pop("headers", {})}, **more)

    right = await hook(f"call=publish&app=live&flashver=x&name={made['key']}&secret=hook-secret")
    assert (right.status, right["location"]) == (302, made["id"])
    assert (await hook(f"name={made['key']}", "/v1/rtmp/auth?secret=hook-secret")).status == 302
    assert (await hook(f"name={made['key']}", headers={"Authorization": "Bearer hook-secret"})).status == 302
    for body in (f"name={made['key']}", f"name={made['key']}&secret=wrong", f"name={made['key']}&secret="):
        refused = await hook(body)
        assert (refused.status, refused.json["code"]) == (403, "forbidden")
    wrong = await hook("name=sk_wrongwrongwrongwrongwrongwrong&secret=hook-secret")
    assert (wrong.status, wrong.json["code"]) == (403, "bad_stream_key")
    assert (await hook("secret=hook-secret")).status == 403
    assert (await hook("name=x&secret=hook-secret", "/v1/rtmp/done")).status == 204
    assert (await hook("name=x", "/v1/rtmp/done")).status == 403


async def test_guessing_keys_is_slowed_down_by_address(site: Site) -> None:
    made = await site.stream()
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    async def hook(key: str, addr: str) -> int:
        body = f"name={key}&addr={addr}&secret=hook-secret".encode()
        return (await site.ask("POST", "/v1/rtmp/auth", body=body, headers=form)).status

    assert [await hook("sk_" + "a" * 30, STRANGER) for _ in range(4)] == [403, 403, 403, 429]
    assert await hook(made["key"], STRANGER) == 429
    assert await hook(made["key"], "198.51.100.1") == 302
    assert [await hook("sk_" + "a" * 30, "127.0.0.1") for _ in range(5)] == [403] * 5
