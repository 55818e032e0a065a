"""A room in two browsers, and the chat beside a live stream, as people use them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.error import HTTPError

import pytest
import trio

from nova.realtime.client import Joined, Publication, connect
from tests.browser.chromium import Browser, Page
from tests.e2e.test_pages import at_peace, base
from tests.realtime.client.proxy import Proxy
from tests.realtime.roads import ask, token
from tests.serving import Served

pytestmark = pytest.mark.browser

CONNECTED = "document.querySelector('#standing')?.dataset.state === 'connected'"


def says(text: str) -> str:
    """An expression: this message is there, and read back from the channel."""
    lines = "[...document.querySelectorAll('.message')].filter((each) => each.dataset.state !== 'sending')"
    return f"{lines}.filter((each) => each.innerText.includes({json.dumps(text)})).length === 1"


async def write(page: Page, text: str) -> None:
    await page.type("input[name=message]", text)
    await page.key("Enter")


async def test_room_in_two_windows(browser: Browser, nova: Served) -> None:
    desk, phone = await browser.page(), await browser.page(width=390, height=844, phone=True)
    for page in (desk, phone):
        await page.open(f"{base(nova)}/room/two")
        await page.until(CONNECTED)
    await desk.until("document.querySelectorAll('#members li').length === 2")
    await write(desk, "Hello <b>there</b>")
    for page in (desk, phone):
        await page.until(says("Hello <b>there</b>"))
    await write(phone, "Hello desk")
    for page in (desk, phone):
        await page.until(says("Hello desk"))
    for page, other in ((desk, phone), (phone, desk)):  # members are called what they call themselves
        called = json.dumps(["you", await other.evaluate("document.querySelector('.room-name input').value")])
        await page.until(f"{called}.every(name => [...document.querySelectorAll('#members li')].some(e => e.textContent === name))")
    copy = "document.querySelector('#address button').getBoundingClientRect()"
    assert await desk.evaluate(f"{copy}.left > document.querySelector('#address input').getBoundingClientRect().right")
    late = await browser.page()
    await late.open(f"{base(nova)}/room/two")
    await late.until(says("Hello desk"))  # what was said before
    for page in (desk, phone, late):
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        at_peace(page, nova)


async def test_words_from_right_to_left_leave_name_and_time_where_they_are(browser: Browser, nova: Served) -> None:
    page = await browser.page()
    await page.open(f"{base(nova)}/room/bidi")
    await page.until(CONNECTED)
    await write(page, "مرحبا بالجميع")
    await page.until(says("مرحبا بالجميع"))
    parts = "[...document.querySelector('.message:has(.message-time)').children]"
    places = f"{parts}.map(e => [...e.getClientRects()].map(r => [r.left, r.right]))"
    (name,), (text,), (time,) = await page.evaluate(places)
    assert name[1] <= text[0] + 1 <= text[1] <= time[0] + 1


@pytest.mark.slow
async def test_room_comes_back_and_misses_nothing(browser: Browser, nova: Served) -> None:
    one, two = await browser.page(), await browser.page()
    for page in (one, two):
        await page.open(f"{base(nova)}/room/back")
        await page.until(CONNECTED)
    # The page's own client, told that its connection broke; what is written meanwhile goes out later.
    await one.evaluate(
        "import('/static/js/lib/realtime.js').then(({ Realtime }) => {"
        " const realtime = globalThis.mine = new Realtime('/v1/ws'); const room = realtime.subscribe('public:back');"
        " globalThis.read = []; room.addEventListener('publication', ({ detail }) => read.push(detail.data.text));"
        " return new Promise((done) => room.addEventListener('joined', done, { once: true })).then(() => 0); })"
    )
    await one.evaluate("mine.socket.close(4001)")
    for number in range(3):
        await write(two, f"while away {number}")
        await two.until(says(f"while away {number}"))
    await one.until("JSON.stringify(read) === JSON.stringify(['while away 0', 'while away 1', 'while away 2'])")
    await one.evaluate("mine.stop()")


async def test_chat_beside_the_player(browser: Browser, nova: Served) -> None:
    stream = nova.wait_for("stream")["id"]
    viewer, writer = await browser.page(width=390, height=844, phone=True), await browser.page()
    await writer.open(f"{base(nova)}/watch/{stream}")
    await writer.click(".chat-enter")
    await writer.type("dialog[open] input[name=name]", "Grace")
    await writer.key("Enter")
    await writer.until("document.querySelector('.composer') !== null")
    await viewer.open(f"{base(nova)}/watch/{stream}")  # the same browser: the guest's session, another connection
    await viewer.until("!document.querySelector('#chat').hidden")
    await write(writer, "What a star")
    for page in (writer, viewer):
        await page.until(says("What a star"))
    assert await viewer.text(".message-name") == "Grace"
    await viewer.click(".reaction")
    await writer.until("document.querySelector('.float') !== null")
    await writer.click(".message-act")
    for page in (writer, viewer):
        await page.until("![...document.querySelectorAll('.message')].some((each) => each.innerText.includes('What a star'))")
    await viewer.until("document.querySelector('[data-fact=viewers]').innerText.includes('viewer')")
    for page in (writer, viewer):
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        at_peace(page, nova)
    await writer.evaluate("fetch('/v1/session', { method: 'DELETE' }).then(() => 0)")


# What the JavaScript client of a page does, through a network that cuts its connections. It waits as little as it can.
CLIENT = """import('/static/js/lib/realtime.js').then(({ Realtime }) => {
  const mine = globalThis.mine = new Realtime('/v1/ws');
  const wait = (after) => setTimeout(() => { if (mine.state === 'waiting') { mine.looked(); wait(100); } }, after);
  mine.addEventListener('state', ({ detail }) => { if (detail.state === 'waiting') wait(0); });
  globalThis.read = []; globalThis.gaps = 0; globalThis.sent = 0;
  return 0;
})"""


@asynccontextmanager
async def client_through(browser: Browser, nova: Served, *cuts: int | None) -> AsyncIterator[tuple[Page, Proxy]]:
    proxy = Proxy(nova.address("http"), [None])
    async with trio.open_nursery() as nursery:
        await nursery.start(proxy.run)
        page = await browser.page()
        await page.open(f"http://127.0.0.1:{proxy.port}/healthz")  # a document that opens nothing by itself
        await page.evaluate("import('/static/js/lib/realtime.js').then(() => 0)")  # before the cuts, which are for its connections
        proxy.limit(*cuts)
        with trio.fail_after(120):
            await page.evaluate(CLIENT)
            yield page, proxy
            await page.evaluate("mine.stop()")
        nursery.cancel_scope.cancel()


def direct(nova: Served) -> str:
    return f"ws://127.0.0.1:{nova.address('http')[1]}/v1/ws"


# A browser's upgrade and its answer are some 800 bytes: cuts fall into both, the greeting, the subscription, and messages.
CUTS = pytest.mark.parametrize(
    "cut", [900, *(pytest.param(cut, marks=pytest.mark.slow) for cut in (1, 400, 700, 800, 1000, 1100, 1200, 1300, 1500, 1800))]
)


@CUTS
async def test_page_reads_everything_once_over_connections_that_are_cut(browser: Browser, nova: Served, cut: int) -> None:
    channel = f"public:js-read-{cut}"
    async with client_through(browser, nova, *(cut + 60 * number for number in range(6)), None) as (page, proxy):
        before = proxy.connections
        async with connect(direct(nova)) as writer:
            place = (await writer.publish(channel, "begin")).offset
            since = json.dumps({"offset": place, "epoch": (await writer.history(channel))["epoch"]})
            await page.evaluate(
                f"(() => {{ const room = mine.subscribe('{channel}', {{ since: {since} }});"
                " room.addEventListener('publication', ({ detail }) => read.push(detail.data));"
                " room.addEventListener('gap', () => gaps++); return 0; })()"
            )
            for number in range(60):
                await writer.publish(channel, number)
        await page.until("read.length >= 60", within=60)
        assert await page.evaluate("read") == list(range(60)) and await page.evaluate("gaps") == 0
        assert proxy.connections - before >= 3


@CUTS
async def test_page_publishes_everything_once_over_connections_that_are_cut(browser: Browser, nova: Served, cut: int) -> None:
    channel = f"public:js-write-{cut}"
    async with client_through(browser, nova, *(cut + 60 * number for number in range(6)), None) as (page, proxy):
        before = proxy.connections
        async with connect(direct(nova)) as reader, reader.subscribe(channel) as events:
            assert isinstance(await anext(events), Joined)
            await page.evaluate(f"(async () => {{ for (; sent < 20; sent++) await mine.publish('{channel}', sent); }})() && 0")
            found = []
            while len(found) < 20:
                event = await anext(events)
                if isinstance(event, Publication):
                    found.append(event.data)
        await page.until("sent === 20", within=60)
        assert found == list(range(20)) and proxy.connections - before >= 3


async def test_page_says_why_a_comment_is_refused(browser: Browser, nova: Served) -> None:
    boss = await trio.to_thread.run_sync(token, nova, "boss")

    async def call(method: str, path: str, body: object = None) -> Any:
        return await trio.to_thread.run_sync(ask, nova, method, path, body, boss)

    stream = (await call("POST", "/v1/streams", {"title": "Quiet"}))["id"]
    guest = await browser.page()
    await guest.open(f"{base(nova)}/watch/{stream}")
    await guest.click(".chat-enter")
    await guest.type("dialog[open] input[name=name]", "Max")
    await guest.key("Enter")
    await guest.until("document.querySelector('.composer') !== null")
    await call("PATCH", f"/v1/streams/{stream}/chat", {"slow_mode_s": 600})
    await guest.until("document.querySelector('input[name=message]').placeholder.includes('600 s')")
    await write(guest, "first")
    await guest.until(says("first"))
    await write(guest, "second")
    await guest.until("/you can write again in \\d+ s/.test(document.querySelector('.composer-note').innerText)")
    assert await guest.evaluate("document.querySelector('input[name=message]').value") == "second"  # nothing that somebody wrote is lost
    user = (await call("GET", f"/v1/streams/{stream}/comments"))["items"][0]["user"]
    await call("PUT", f"/v1/streams/{stream}/bans/{user if isinstance(user, str) else user['id']}", {"seconds": 600})
    await guest.until("document.querySelectorAll('.message').length === 0")
    await guest.key("Enter")
    await guest.until("document.querySelector('.composer-note').innerText === 'You may not write in this chat.'")


async def test_moderators_have_what_they_may_do_beside_every_comment(browser: Browser, nova: Served) -> None:
    boss = await trio.to_thread.run_sync(token, nova, "boss")
    troll = await trio.to_thread.run_sync(token, nova, "troll")

    async def call(method: str, path: str, body: object = None, who: str = boss) -> Any:
        return await trio.to_thread.run_sync(ask, nova, method, path, body, who)

    stream = (await call("POST", "/v1/streams", {"title": "Watched over"}))["id"]
    page = await browser.page(width=390, height=844, phone=True)
    await page.open(f"{base(nova)}/watch/{stream}")
    await page.evaluate("fetch('/v1/session', { method: 'DELETE' }).then(() => 0)")
    mod = await page.evaluate(
        "fetch('/v1/session', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ name: 'Mo' }) })"
        ".then((answer) => answer.json()).then(({ user }) => user)"
    )
    acts = "[...document.querySelectorAll('.message-act')].map((each) => each.innerText)"
    for text, wanted in (("before", []), ("spam", ["Delete", "Time out", "Ban"])):
        await call("POST", f"/v1/streams/{stream}/comments", {"text": text}, troll)
        await page.open(f"{base(nova)}/watch/{stream}")
        await page.until(says(text))
        await page.until(f"JSON.stringify({acts}.slice(-3)) === {json.dumps(json.dumps(wanted, separators=(',', ':')))}")
        await call("PUT", f"/v1/streams/{stream}/moderators/{mod}")
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await page.evaluate(f"{acts.replace('.map((each) => each.innerText)', '')}.find((each) => each.innerText === 'Time out').click()")
    await page.until("document.querySelectorAll('.message').length === 0")
    with pytest.raises(HTTPError, match="403"):
        await call("POST", f"/v1/streams/{stream}/comments", {"text": "again"}, troll)
    await page.evaluate("fetch('/v1/session', { method: 'DELETE' }).then(() => 0)")
    at_peace(page, nova)
