"""Topics over HTTP: what becomes of streams is told, and what happens to users elsewhere is heard."""

from typing import Any

import pytest
import trio
import trio.testing

from nova.media.streams.model import StreamId
from tests.surface.http.conftest import Site


async def log(site: Site, token: str, **query: object) -> dict[str, Any]:
    text = "&".join(f"{name}={value}" for name, value in query.items())
    answer = await site.ask("GET", f"/v1/events/log?{text}", token=token)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json
    return found


async def test_the_life_of_a_stream_is_told_in_order(site: Site) -> None:
    service = await site.token("feed", "service")
    made = await site.stream("alice", title="First")
    id = StreamId(made["id"])
    await site.ask("PATCH", f"/v1/streams/{id}", {"title": "Second"}, user="alice")
    site.streams.started(id, None)
    site.streams.started(id, None)  # the same broadcast
    site.clock.advance(5)
    site.streams.ended(id, "unpublished")
    await site.ask("DELETE", f"/v1/streams/{id}", user="alice")
    await trio.testing.wait_all_tasks_blocked()
    page = await log(site, service, topic="nova.stream.events")
    kinds = [event["type"] for event in page["items"]]
    assert kinds == ["StreamCreated", "StreamUpdated", "StreamStarted", "StreamEnded", "StreamDeleted"]
    for event in page["items"]:
        assert set(event) >= {"id", "source", "type", "specversion", "time", "subject", "correlationid", "data"}
        assert event["correlationid"]
        assert (event["specversion"], event["source"], event["subject"]) == ("1.0", "nova-core", id)
    created, updated, started, ended, deleted = (event["data"] for event in page["items"])
    assert (created["title"], updated["title"], created["owner"], deleted) == ("First", "Second", "alice", {"owner": "alice"})
    assert started["broadcast_id"] == ended["broadcast_id"]
    assert ended["reason"] == "unpublished"
    assert page["gap"] is False


async def test_a_cursor_goes_on_where_the_page_before_ended_and_waits_for_more(site: Site) -> None:
    service = await site.token("feed", "service")
    await site.stream("alice")
    await trio.testing.wait_all_tasks_blocked()
    first = await log(site, service, topic="nova.stream.events", limit=1)
    assert len(first["items"]) == 1
    pages: list[dict[str, Any]] = []
    async with trio.open_nursery() as nursery:

        async def follow() -> None:
            pages.append(await log(site, service, topic="nova.stream.events", after=first["cursor"], wait=30))

        nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        assert pages == []
        await site.stream("bob")
    assert [event["data"]["owner"] for event in pages[0]["items"]] == ["bob"]
    assert (await log(site, service, topic="nova.user.events"))["items"] == []


async def test_only_services_read_and_tell(site: Site) -> None:
    user = await site.token("alice")
    for token, status in (("", 401), (user, 403)):
        assert (await site.ask("GET", "/v1/events/log?topic=nova.stream.events", token=token)).status == status
        assert (await site.ask("POST", "/v1/events/in/nova.user.events", {}, token=token)).status == status


@pytest.mark.parametrize(
    "event",
    [
        {"event_type": "UserDeleted", "user_id": "carol", "deleted_at": "2026-01-01T00:00:00Z"},
        {"specversion": "1.0", "id": "e-1", "source": "users", "type": "UserDeleted", "subject": "carol", "data": {}},
    ],
)
async def test_a_user_deleted_elsewhere_can_do_nothing_here_any_more(site: Site, event: dict[str, Any]) -> None:
    service = await site.token("users", "service")
    carol = await site.token("carol")
    assert (await site.ask("GET", "/v1/session", token=carol)).status == 200
    taken = await site.ask("POST", "/v1/events/in/nova.user.events", event, token=service, headers={"X-Correlation-ID": "c-7"})
    assert taken.status == 202, taken.body
    await trio.testing.wait_all_tasks_blocked()
    site.clock.advance(1)
    assert (await site.ask("GET", "/v1/session", token=carol)).status == 401
    kept = (await log(site, service, topic="nova.user.events"))["items"]
    assert [(each["type"], each["subject"], each["id"], each["correlationid"]) for each in kept] == [
        ("UserDeleted", "carol", taken.json["id"], "c-7")
    ]


@pytest.mark.parametrize(
    "event",
    [
        [],
        5,
        {},
        {"event_type": "UserDeleted"},
        {"event_type": "", "user_id": "x"},
        {"specversion": "0.3", "id": "1", "source": "s", "type": "t"},
        {"specversion": "1.0", "id": "1", "source": "s"},
        {"specversion": "1.0", "id": "x" * 300, "source": "s", "type": "t"},
    ],
)
async def test_what_is_no_event_is_refused(site: Site, event: Any) -> None:
    service = await site.token("users", "service")
    answer = await site.ask("POST", "/v1/events/in/nova.user.events", event, token=service)
    assert (answer.status, answer.json["code"]) == (400, "invalid_field")


async def test_other_topics_are_not_heard_and_not_kept(site: Site) -> None:
    service = await site.token("users", "service")
    flat = {"event_type": "UserDeleted", "user_id": "carol"}
    assert (await site.ask("POST", "/v1/events/in/nova.stream.events", flat, token=service)).status == 404
    assert (await site.ask("GET", "/v1/events/log?topic=other", token=service)).status == 400
    assert (await site.ask("GET", "/v1/events/log?topic=nova.stream.events&after=made-up", token=service)).json["code"] == "bad_cursor"
