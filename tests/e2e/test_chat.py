"""A room in two browsers, and the chat beside a live stream, as people use them."""

import json

import pytest

from tests.browser.chromium import Browser, Page
from tests.e2e.test_pages import at_peace, base
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
    late = await browser.page()
    await late.open(f"{base(nova)}/room/two")
    await late.until(says("Hello desk"))  # what was said before
    for page in (desk, phone, late):
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        at_peace(page, nova)


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
