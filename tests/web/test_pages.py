"""The pages in a real browser beside a stand-in API: what people see and do, and what they never do."""

import pytest

from tests.browser.chromium import Browser, Page
from tests.web.site import Site, problem, stream

pytestmark = pytest.mark.browser

ADA = {"user": "ada", "scopes": ["stream:write", "chat"], "expires_at": "2030-01-01T00:00:00Z"}


def at_peace(page: Page, site: Site) -> None:
    """Nothing went wrong in the page, and it asked nobody but its own server."""
    assert page.problems == []
    assert [url for url in page.requests if not url.startswith((site.url, "data:", "blob:", "about:"))] == []


async def test_home_lists_who_is_live_and_follows_changes(browser: Browser, site: Site) -> None:
    site.state.add(stream(1, title="Morning piano", viewers=1234, tags=["music"]), stream(2, status="idle"))
    page = await browser.page()
    await page.open(site.url)
    await page.until("document.querySelectorAll('.card[data-stream]').length === 1")
    shown = await page.text("#streams")
    assert "Morning piano" in shown
    assert "1.2K" in shown
    site.state.add(stream(3, title="A second one"))
    await page.look_again()
    await page.until("document.querySelectorAll('.card[data-stream]').length === 2")
    at_peace(page, site)
    assert [url for status, url in page.answers if status >= 400 and "/v1/session" not in url] == []  # a console without noise


async def test_home_says_when_nobody_is_live_and_when_nothing_matches(browser: Browser, site: Site) -> None:
    page = await browser.page()
    await page.open(site.url)
    await page.until("document.body.innerText.includes('Nobody is live right now')")
    site.state.add(stream(1, title="Morning piano"))
    await page.type("#search", "harp")
    await page.until("document.body.innerText.includes('No live stream matches')")
    assert any("q=harp" in path for _, path, _ in site.state.asked)
    at_peace(page, site)


async def test_home_keeps_its_cards_and_recovers_while_the_server_is_down(browser: Browser, site: Site) -> None:
    site.state.add(stream(1))
    page = await browser.page()
    await page.open(site.url)
    await page.until("document.querySelector('.card[data-stream]') !== null")
    site.state.broken = problem(503, "unavailable", "Shutting down.")
    await page.look_again()
    await page.until("document.body.innerText.includes('The server does not answer')")
    assert await page.evaluate("document.querySelectorAll('.card[data-stream]').length") == 1
    site.state.broken = None
    await page.look_again()
    await page.until("!document.body.innerText.includes('The server does not answer')")
    at_peace(page, site)


async def test_sign_in_link_is_consumed_once_and_leaves_the_address_bar(browser: Browser, site: Site) -> None:
    site.state.codes.add("c0de")
    page = await browser.page()
    await page.open(f"{site.url}/#code=c0de")
    await page.until("document.querySelector('#account-menu')?.innerText.includes('ada')")
    assert await page.evaluate("location.href") == f"{site.url}/"
    assert [body for method, path, body in site.state.asked if (method, path) == ("POST", "/v1/session")] == [{"code": "c0de"}]
    await page.click("#account-menu")
    await page.click("#sign-out")
    await page.until("document.querySelector('#sign-in') !== null")
    assert site.state.session is None
    at_peace(page, site)


async def test_used_sign_in_link_says_how_to_get_a_new_one(browser: Browser, site: Site) -> None:
    page = await browser.page()
    await page.open(f"{site.url}/#code=old")
    await page.until("document.querySelector('.toast')?.innerText.includes('nova login')")
    assert "code" not in await page.evaluate("location.href")
    at_peace(page, site)


async def test_guest_enters_by_name_and_may_not_go_live(browser: Browser, site: Site) -> None:
    page = await browser.page()
    await page.open(site.url)
    await page.click("#sign-in")
    await page.type("dialog input[name=name]", "Grace")
    await page.key("Enter")
    await page.until("document.querySelector('#account-menu') !== null")
    await page.open(f"{site.url}/go-live")
    await page.until("document.body.innerText.includes('As a guest you can watch')")
    at_peace(page, site)


async def test_going_live_makes_a_stream_and_shows_its_key_once(browser: Browser, site: Site) -> None:
    site.state.session = ADA
    page = await browser.page()
    await page.open(f"{site.url}/go-live")
    await page.type("#title", "<b>Piano</b>")
    await page.type("#tags", "music, piano, music")
    await page.click("#create")
    await page.until("document.querySelector('#connection') !== null")
    fields = await page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('[data-value]')].map(e => [e.dataset.value, [e.value, e.type]]))"
    )
    assert fields["Server"] == ["rtmp://127.0.0.1:1935/live", "text"]
    assert fields["Stream key"] == ["sk_1secretsecretsecret", "password"]
    assert fields["Full URL"] == ["rtmp://127.0.0.1:1935/live/sk_1secretsecretsecret", "password"]
    [made] = [body for method, path, body in site.state.asked if (method, path) == ("POST", "/v1/streams")]
    assert made == {"title": "<b>Piano</b>", "description": "", "tags": ["music", "piano"], "visibility": "public"}
    await page.until("document.querySelector('h1').textContent === '<b>Piano</b>'")
    assert "Waiting for your stream" in await page.text("#state")
    assert "secret" not in await page.evaluate("location.href")
    assert "secret" not in await page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    at_peace(page, site)


async def test_streamer_sees_what_arrives_and_what_to_change(browser: Browser, site: Site) -> None:
    site.state.session = ADA
    site.state.add(stream(1, status="live"))
    trouble = {"code": "key_distance", "count": 4, "text": "Set the encoder to one every 2 seconds."}
    site.state.ingest = {"bitrate": 2_500_000, "frame_rate": 30, "key_frame_interval_s": 8.333, "codecs": "avc1.640020,mp4a.40.2"}
    site.state.ingest |= {"width": 1280, "height": 720, "sample_rate": 48000, "warnings": [trouble]}
    page = await browser.page()
    await page.open(f"{site.url}/go-live?stream={stream(1)['id']}")
    await page.until("document.querySelector('[data-warning=key_distance]')?.innerText.includes('every 2 seconds')")
    told = await page.text("#arrival")
    assert "1280 × 720, 30 fps" in told
    assert "2.5 Mbit/s" in told
    assert "every 8.3 s" in told
    at_peace(page, site)


async def test_wrong_title_is_shown_at_its_field(browser: Browser, site: Site) -> None:
    site.state.session = ADA
    page = await browser.page()
    await page.open(f"{site.url}/go-live")
    await page.type("#title", "   ")
    await page.click("#create")
    await page.until("document.querySelector('#title-error').innerText === 'A title is needed.'")
    assert await page.evaluate("document.querySelector('#title').getAttribute('aria-invalid')") == "true"
    at_peace(page, site)


async def test_reopened_stream_hides_the_key_and_makes_a_new_one(browser: Browser, site: Site) -> None:
    site.state.session = ADA
    site.state.add(stream(1, status="idle", started_at=None))
    page = await browser.page()
    await page.open(f"{site.url}/go-live?stream={stream(1)['id']}")
    await page.click("#new-key")
    await page.until("document.querySelector('[data-value=\"Stream key\"]')?.value.startsWith('sk_1')")
    await page.until("document.querySelectorAll('#keys li').length === 1")
    at_peace(page, site)


@pytest.mark.parametrize(
    ("status", "words"),
    [("idle", "Not live yet"), ("reconnecting", "connection dropped"), ("ended", "has ended")],
)
async def test_watch_page_says_why_there_is_no_picture(browser: Browser, site: Site, status: str, words: str) -> None:
    site.state.add(stream(1, status=status))
    page = await browser.page()
    await page.open(f"{site.url}/watch/{stream(1)['id']}")
    await page.until(f"document.querySelector('.cover').innerText.includes('{words}')")
    at_peace(page, site)


async def test_watch_page_of_an_unknown_stream_says_so(browser: Browser, site: Site) -> None:
    page = await browser.page()
    await page.open(f"{site.url}/watch/{stream(9)['id']}")
    await page.until("document.querySelector('h1').innerText === 'There is no such stream'")
    at_peace(page, site)


async def test_unknown_address_shows_the_error_page(browser: Browser, site: Site) -> None:
    page = await browser.page()
    await page.open(f"{site.url}/nothing/here")
    await page.until("document.querySelector('h1').innerText === 'There is nothing here'")
    at_peace(page, site)


async def test_chosen_theme_survives_a_reload(browser: Browser, site: Site) -> None:
    page = await browser.page(dark=True)
    await page.open(site.url)
    await page.click("#theme")
    assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(247, 246, 243)"
    await page.open(f"{site.url}/go-live")
    assert await page.evaluate("document.documentElement.dataset.theme") == "light"
    at_peace(page, site)


@pytest.mark.parametrize("path", ["/", "/go-live", "/status", "/watch/01890000-0000-7000-8000-000000000001", "/nothing"])
async def test_nothing_is_wider_than_a_small_phone(browser: Browser, site: Site, path: str) -> None:
    site.state.session = ADA
    site.state.add(stream(1, title="A title that goes on and on" * 6, status="idle", tags=["some", "tags"]))
    page = await browser.page(width=320, height=640, phone=True)
    await page.open(site.url + path)
    await page.until("document.querySelector('h1') !== null")
    assert await page.evaluate("document.documentElement.scrollWidth") <= 320
    at_peace(page, site)


@pytest.mark.parametrize("signed_in", [True, False])
@pytest.mark.parametrize("path", ["/", "/go-live", "/status", "/room", "/nothing"])
async def test_a_phones_header_has_a_name_for_everything(browser: Browser, site: Site, path: str, signed_in: bool) -> None:
    if signed_in:
        site.state.session = ADA
    page = await browser.page(width=390, height=800, phone=True)
    await page.open(site.url + path)
    await page.until(f"document.querySelector('{'#account-menu' if signed_in else '#sign-in'}') !== null")
    controls = "[...document.querySelectorAll('header :is(a, button, summary)')].filter(e => e.checkVisibility())"
    unnamed = f"{controls}.filter(e => !(e.ariaLabel || e.innerText.trim())).map(e => e.outerHTML)"
    assert await page.evaluate(unnamed) == []
