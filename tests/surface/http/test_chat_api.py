"""`/v1/streams/{id}/comments` and moderation over HTTP."""

import pytest

from tests.surface.http.conftest import Site

NOTHING = "018f0000-0000-7000-8000-000000000000"


async def test_comments_are_written_read_and_deleted(site: Site) -> None:
    stream = (await site.stream())["id"]
    path = f"/v1/streams/{stream}/comments"
    made = await site.ask("POST", path, {"text": "hello"}, user="bob")
    assert made.status == 201 and made["location"] == f"{path}/{made.json['id']}"
    assert {**made.json, "at": 0} == {"id": made.json["id"], "user": "bob", "name": "bob", "badges": [], "text": "hello", "at": 0}
    assert (await site.ask("GET", made["location"])).json == made.json
    assert (await site.ask("GET", f"{path}/none")).status == 404
    epoch, _, offset = made.json["id"].partition(".")
    assert offset == "1" and 0 < len(epoch) <= 16
    owner = await site.ask("POST", path, {"text": "welcome"}, user="alice")
    assert owner.json["badges"] == ["owner"]
    listed = (await site.ask("GET", f"{path}?limit=1")).json
    assert [each["text"] for each in listed["items"]] == ["welcome"]
    listed = (await site.ask("GET", f"{path}?cursor={listed['cursor']}")).json
    assert [each["text"] for each in listed["items"]] == ["hello"] and listed["cursor"] is None
    history = (await site.ask("GET", f"/v1/channels/stream:{stream}/history")).json
    assert [(each["offset"], each["data"], each["info"]["user"]) for each in history["publications"]] == [
        (1, {"text": "hello"}, "bob"), (2, {"text": "welcome"}, "alice"),
    ]  # fmt: skip
    assert (await site.ask("DELETE", f"{path}/{made.json['id']}", user="eve")).json["code"] == "forbidden"
    assert (await site.ask("DELETE", f"{path}/{made.json['id']}", user="bob")).status == 204
    assert (await site.ask("DELETE", f"{path}/{made.json['id']}", user="bob")).status == 404
    assert (await site.ask("GET", made["location"])).status == 404


async def test_deleted_stream_takes_its_comments_along(site: Site) -> None:
    stream = (await site.stream())["id"]
    await site.ask("POST", f"/v1/streams/{stream}/comments", {"text": "hello"}, user="bob")
    assert (await site.ask("DELETE", f"/v1/streams/{stream}", user="alice")).status == 204
    assert (await site.ask("GET", f"/v1/streams/{stream}/comments")).status == 404
    assert await site.realtime.chat._store.page(stream, None, 10) == []


async def test_comment_needs_a_token_with_its_scope_and_a_stream_one_may_see(site: Site) -> None:
    stream = (await site.stream(visibility="private"))["id"]
    path = f"/v1/streams/{stream}/comments"
    assert (await site.ask("POST", path, {"text": "x"})).status == 401
    assert (await site.ask("POST", path, {"text": "x"}, token=await site.token("bob", "notify"))).json["code"] == "missing_scope"
    assert (await site.ask("POST", path, {"text": "x"}, user="bob")).status == 404 == (await site.ask("GET", path)).status
    said = await site.ask("POST", path, {"text": "x"}, user="alice")
    assert (await site.ask("GET", said["location"], user="bob")).status == 404
    assert (await site.ask("GET", said["location"], user="alice")).json["text"] == "x"
    assert (await site.ask("POST", f"/v1/streams/{NOTHING}/comments", {"text": "x"}, user="bob")).status == 404
    assert (await site.ask("GET", "/v1/streams/x/comments")).status == 404
    assert (await site.ask("POST", path, {"text": ""}, user="alice")).status == 400


@pytest.mark.parametrize("site", [["limits.api_rate=100/s"]], indirect=True)
async def test_moderators_ban_and_change_the_chat(site: Site) -> None:
    stream = (await site.stream())["id"]
    one = f"/v1/streams/{stream}"
    assert (await site.ask("PUT", f"{one}/moderators/mod", user="bob")).status == 403
    assert (await site.ask("PUT", f"{one}/moderators/mod", user="alice")).status == 204
    assert (await site.ask("PATCH", f"{one}/chat", {"slow_mode_s": 5}, user="bob")).status == 403
    site.clock.advance(1)
    changed = await site.ask("PATCH", f"{one}/chat", {"slow_mode_s": 5}, user="mod")
    assert changed.json == {"enabled": True, "slow_mode_s": 5, "guests": True}
    for user, moderator in (("mod", True), ("alice", True), ("bob", False), ("", False)):
        assert (await site.ask("GET", f"{one}/chat", user=user)).json == {**changed.json, "moderator": moderator}, user
    assert (await site.ask("PATCH", f"{one}/chat", {"slow": 5}, user="mod")).json["errors"][0]["code"] == "unknown_field"
    assert (await site.ask("POST", f"{one}/comments", {"text": "1"}, user="bob")).status == 201
    slow = await site.ask("POST", f"{one}/comments", {"text": "2"}, user="bob")
    assert (slow.status, slow.json["code"], slow["retry-after"]) == (429, "slow_mode", "5")
    site.clock.advance(9)
    assert (await site.ask("PUT", f"{one}/bans/bob", {"seconds": 60, "reason": "spam"}, user="mod")).status == 204
    assert (await site.ask("POST", f"{one}/comments", {"text": "3"}, user="bob")).json["code"] == "banned"
    assert (await site.ask("GET", f"{one}/comments")).json["items"] == []
    assert (await site.ask("DELETE", f"{one}/bans/bob", user="mod")).status == 204
    assert (await site.ask("POST", f"{one}/comments", {"text": "4"}, user="bob")).status == 201
    site.clock.advance(9)
    assert (await site.ask("PUT", f"{one}/bans/alice", {}, user="mod")).status == 403
    assert (await site.ask("PUT", f"{one}/bans/b@b", {}, user="mod")).status == 400
    assert (await site.ask("DELETE", f"{one}/moderators/mod", user="alice")).status == 204
    assert (await site.ask("DELETE", f"{one}/moderators/mod", user="alice")).status == 404
