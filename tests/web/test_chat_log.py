"""What a chat shows, as functions in the browser that runs them."""

import json
from typing import Any

import pytest

from tests.browser.chromium import Browser, Page
from tests.web.site import Site

pytestmark = pytest.mark.browser


@pytest.fixture
async def page(browser: Browser, site: Site) -> Page:
    page = await browser.page()
    await page.open(f"{site.url}/static/img/icon.svg")
    return page


async def _log(page: Page, *publications: dict[str, Any]) -> Any:
    """What each publication changes, and the texts that are left."""
    told = json.dumps([{"replayed": False, "info": None, "at": each["offset"], **each} for each in publications])
    return await page.evaluate(
        "import('/static/js/lib/chat-log.js').then(({ ChatLog }) => { const log = new ChatLog(); log.joined('e');"
        f" const changes = {told}.map((each) => log.add(each)); return [changes, log.comments.map((each) => each.text)]; }})"
    )


def _said(offset: int, text: str, user: str = "ada") -> dict[str, Any]:
    return {"offset": offset, "data": {"text": text}, "info": {"user": user, "name": user.title(), "badges": []}}


async def test_comments_get_the_id_of_their_place(page: Page) -> None:
    [change], texts = await _log(page, _said(7, "hello"))
    assert change == {"comments": [{"id": "e.7", "user": "ada", "name": "Ada", "badges": [], "text": "hello", "at": 7}]}
    assert texts == ["hello"]


async def test_deleting_and_clearing_take_out(page: Page) -> None:
    changes, texts = await _log(
        page, _said(1, "one"), _said(2, "two", "bob"), _said(3, "three"), _said(4, "four", "bob"),
        {"offset": 5, "data": {"type": "delete", "id": "e.1"}}, {"offset": 6, "data": {"type": "clear", "user": "bob"}},
    )  # fmt: skip
    assert changes[-2:] == [{"removed": ["e.1"]}, {"removed": ["e.2", "e.4"]}]
    assert texts == ["three"]


async def test_what_clients_say_is_never_taken_for_the_servers_word(page: Page) -> None:
    forged = {"offset": 2, "data": {"type": "clear", "user": "ada", "text": "x"}, "info": {"user": "eve", "name": "Eve", "badges": []}}
    changes, texts = await _log(page, _said(1, "one"), forged)
    assert "removed" not in changes[1]
    assert texts == ["one", "x"]
    anonymous = {"offset": 1, "data": {"text": "no name"}}
    assert await _log(page, anonymous) == [[{}], []]


async def test_viewers_status_mode_and_reactions_are_told(page: Page) -> None:
    mode = {"type": "mode", "enabled": True, "slow_mode_s": 10, "guests": False}
    heart = {"offset": 4, "data": {"reaction": "❤️"}, "info": {"user": "ada", "name": "Ada", "badges": []}}
    changes, _ = await _log(
        page,
        {"offset": 1, "data": {"type": "viewers", "count": 3}},
        {"offset": 2, "data": {"type": "status", "status": "ended"}},
        {"offset": 3, "data": mode},
        heart,
        {**heart, "offset": 5, "replayed": True},
    )
    assert changes == [{"viewers": 3}, {"status": "ended"}, {"mode": mode}, {"reaction": "❤️"}, {}]


async def test_history_and_channel_meet_without_doubles(page: Page) -> None:
    found = await page.evaluate(
        "import('/static/js/lib/chat-log.js').then(({ ChatLog }) => { const log = new ChatLog(); log.joined('e');"
        " const info = { user: 'ada', name: 'Ada', badges: [] };"
        " log.load([{ id: 'e.2', user: 'ada', name: 'Ada', badges: [], text: 'two', at: '1970-01-01T00:00:00.002Z' },"
        " { id: 'd.9', user: 'ada', name: 'Ada', badges: [], text: 'old', at: '1970-01-01T00:00:00.001Z' }]);"
        " log.add({ offset: 2, at: 2, data: { text: 'two' }, info, replayed: true });"
        " log.add({ offset: 3, at: 3, data: { text: 'three' }, info, replayed: true });"
        " return log.comments.map((each) => each.text); })"
    )
    assert found == ["old", "two", "three"]


async def test_an_endless_chat_keeps_the_newest(page: Page) -> None:
    _, texts = await _log(page, *(_said(number, str(number)) for number in range(1, 251)))
    assert texts == [str(number) for number in range(51, 251)]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ({"code": "slow_mode", "message": "", "retryMs": 2500}, "3 s"),
        ({"code": "banned", "message": ""}, "may not write"),
        ({"code": "deadline", "message": ""}, "did not get through"),
        ({"code": "something_new", "message": "The server's own words"}, "The server's own words"),
    ],
)
async def test_refusals_are_sentences(page: Page, error: dict[str, Any], said: str) -> None:
    assert said in await page.evaluate(f"import('/static/js/lib/chat-log.js').then(m => m.refusal({json.dumps(error)}))")
