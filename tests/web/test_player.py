"""The watch page with a picture: the demo, encoded before and released as if it were live, and what can happen to it."""

import json
import time
from collections.abc import AsyncIterator

import pytest
import trio

from nova.media.demo import stamp
from nova.media.demo.picture import Picture
from tests.browser.chromium import Browser, Page
from tests.web.origin import HEIGHT, STAMPED_FROM, WIDTH, Origin, Recording, record
from tests.web.site import Site, stream

pytestmark = [pytest.mark.browser, pytest.mark.ffmpeg]

SECONDS = 24  # of recorded stream: more than any test here takes
STREAM = stream(1, title="Live from the sky")
PLAYING = "document.querySelector('.player').dataset.state === 'playing'"


@pytest.fixture(scope="session")
def recording() -> Recording:
    return record(SECONDS)


@pytest.fixture
async def page(browser: Browser, site: Site, recording: Recording) -> AsyncIterator[Page]:
    """The watch page of a stream that is live for some seconds, playing."""
    site.state.add(STREAM.copy())
    site.state.origin = Origin(recording)
    page = await browser.page()
    await page.open(f"{site.url}/watch/{STREAM['id']}")
    await page.until(f"{PLAYING} && document.querySelector('video').currentTime > 0", within=20)
    yield page
    assert page.problems == []
    assert [url for url in page.requests if not url.startswith((site.url, "data:", "blob:", "about:"))] == []


async def stamped_ms(page: Page) -> int | None:
    """The time that the picture on the screen shows."""
    look = f"""(() => {{
        const canvas = document.createElement('canvas');
        [canvas.width, canvas.height] = [{WIDTH}, {HEIGHT}];
        const pen = canvas.getContext('2d');
        pen.drawImage(document.querySelector('video'), 0, 0);
        return {json.dumps(Picture(WIDTH, HEIGHT).squares())}.map(([x, y]) => pen.getImageData(x, y, 1, 1).data[0] > 125);
    }})()"""
    return stamp.decode(tuple(await page.evaluate(look)), int((STAMPED_FROM + SECONDS) * 1000))


async def advanced(page: Page, seconds: float) -> None:
    """Wait until the picture moved on by that much."""
    at = await page.evaluate("document.querySelector('video').currentTime")
    await page.until(f"document.querySelector('video').currentTime > {at + seconds}")


async def test_live_stream_plays_at_the_delay_that_the_page_shows(page: Page, site: Site) -> None:
    await advanced(page, 1)
    shown = await page.until("parseFloat(document.querySelector('[data-fact=latency]').textContent)")
    picture = await stamped_ms(page)
    assert picture is not None
    assert site.state.origin is not None
    # The text is up to half a second old, the picture a frame or two; both say the same otherwise.
    assert abs(site.state.origin.delay(picture, time.time()) - shown) < 1
    assert "216p" in await page.text(".controls")
    assert await page.evaluate("document.querySelector('.cover').hidden")


async def test_stream_that_ends_is_shown_to_its_end_and_starts_anew(page: Page, site: Site, recording: Recording) -> None:
    assert site.state.origin is not None
    site.state.origin.ends = time.time() - site.state.origin.began + 0.4
    site.state.streams[STREAM["id"]]["status"] = "ended"
    await page.until("document.querySelector('.cover').innerText.includes('has ended')", within=20)
    assert await page.evaluate("document.querySelector('video').ended")
    site.state.origin = Origin(recording)
    site.state.streams[STREAM["id"]]["status"] = "live"
    await page.look_again()
    await page.until(f"{PLAYING} && document.querySelector('.cover').hidden", within=20)
    await advanced(page, 0.5)


async def test_publisher_that_drops_and_comes_back_is_waited_for(page: Page, site: Site) -> None:
    origin = site.state.origin
    assert origin is not None
    origin.frozen = time.time() - origin.began
    site.state.streams[STREAM["id"]]["status"] = "reconnecting"
    await page.look_again()
    await page.until("document.querySelector('.cover').innerText.includes('connection dropped')", within=20)
    origin.frozen = None
    site.state.streams[STREAM["id"]]["status"] = "live"
    await page.until(PLAYING, within=20)
    await advanced(page, 0.5)


async def test_server_that_fails_for_a_while_is_asked_again(page: Page, site: Site) -> None:
    assert site.state.origin is not None
    site.state.origin.broken = 500
    await page.until("document.querySelector('.player').dataset.state !== 'playing'")
    site.state.origin.broken = 0
    await page.until(PLAYING, within=25)
    await advanced(page, 0.5)


async def test_session_that_is_over_is_replaced_at_once(page: Page, site: Site) -> None:
    def joins() -> int:
        return sum(method == "POST" and path.endswith("/join") for method, path, _ in site.state.asked)

    assert site.state.origin is not None
    before = joins()
    site.state.origin.broken = 404
    with trio.fail_after(15):
        while joins() == before:
            await page.evaluate("document.title")
    site.state.origin.broken = 0
    await page.until(PLAYING, within=20)
    await advanced(page, 0.5)


WATCH = """(async () => {
    const { Player } = await import('/static/js/player/player.js');
    const video = document.createElement('video');
    video.muted = true;
    document.body.append(video);
    window.player = new Player(video);
    window.jumps = [];
    player.load(async () => '/live/%s/index.m3u8');
})()"""
TAPPED = """(() => {
    const { backend } = player;
    const jump = backend.goLive.bind(backend);
    backend.goLive = () => { jumps.push(backend.hls.latency); jump(); };
})()"""


@pytest.fixture
async def player(browser: Browser, site: Site, recording: Recording) -> Page:
    """A page with nothing but the player, playing; `jumps`: how far behind it was at each jump to the live edge, in seconds."""
    page = await browser.page()
    await page.open(f"{site.url}/nowhere")
    site.state.add(STREAM.copy())
    site.state.origin = Origin(recording)
    await page.evaluate(WATCH % STREAM["id"])
    await page.until("player.state === 'playing'", within=20)
    await page.evaluate(TAPPED)
    return page


async def test_fetching_that_stopped_is_begun_again_before_the_viewer_is_far_behind(player: Page) -> None:
    await player.evaluate("player.backend.hls.stopLoad()")
    await player.until("jumps.length > 0", within=20)
    assert await player.evaluate("jumps[0]") < 6  # what a viewer who is merely late may be
    await advanced(player, 0.5)


@pytest.mark.slow
async def test_what_was_played_is_let_go_and_play_goes_on(browser: Browser, site: Site) -> None:
    page = await browser.page()
    await page.open(f"{site.url}/nowhere")
    site.state.add(STREAM.copy())
    site.state.origin = Origin(record(60), head_start=3)
    await page.evaluate(WATCH % STREAM["id"])
    await page.until("player.state === 'playing'", within=20)
    await page.evaluate(TAPPED)
    await page.until("player.video.buffered.length && player.video.buffered.start(0) > 8 && player.video.currentTime > 33", within=60)
    assert await page.evaluate("jumps.length") == 0
    await advanced(page, 2)


async def test_viewer_who_leaves_gives_up_the_session(page: Page, site: Site) -> None:
    await page.click("a.brand")
    await page.until("document.title === 'Nova · live streams'")

    def left() -> list[object]:
        return [body for method, path, body in site.state.asked if method == "POST" and path.endswith("/leave")]

    with trio.fail_after(15):  # a beacon travels on its own: the next page may be there before it
        while not left():
            await page.evaluate("document.title")
    assert left() == [{"session": "s"}]


async def test_pause_is_respected_and_resuming_goes_to_the_live_edge(page: Page) -> None:
    await page.click("button[aria-label=Pause]")
    await page.until("document.querySelector('video').paused")
    at = await page.evaluate("document.querySelector('video').currentTime")
    await page.until("performance.now() > (window.then ??= performance.now() + 1500)")
    assert await page.evaluate("document.querySelector('video').paused")
    await page.click("button[aria-label=Play]")
    await page.until(f"{PLAYING} && document.querySelector('video').currentTime > {at + 1}")


async def test_keys_mute_pause_and_go_live(page: Page) -> None:
    await page.evaluate("document.querySelector('.player').focus()")
    muted = await page.evaluate("document.querySelector('video').muted")
    await page.key("m")
    await page.until(f"document.querySelector('video').muted !== {json.dumps(muted)}")
    await page.key("k")
    await page.until("document.querySelector('video').paused")
    await page.key("l")
    await page.until("!document.querySelector('video').paused")
