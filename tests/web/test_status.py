"""The status page in a real browser: what it shows of sites, origins, edges and jobs, wide and narrow."""

from typing import Any

import pytest

from tests.browser.chromium import Browser
from tests.web.site import Site, problem

pytestmark = pytest.mark.browser
ADA = {"user": "ada", "scopes": ["stream:write", "chat"], "expires_at": "2030-01-01T00:00:00Z"}


def metrics(breaker: str = "closed") -> dict[str, Any]:
    origin = {
        "url": "http://10.0.0.1:8000",
        "backup": False,
        "weight": 1,
        "well": True,
        "breaker": breaker,
        "openings": 0,
        "requests": 12,
        "failures": 3,
        "busy": 0,
        "idle": 1,
        "p50_ms": 4.2,
        "p95_ms": 20.0,
        "p99_ms": None,
    }
    job = {
        "id": "01900000-0000-7000-8000-000000000001",
        "kind": "purge",
        "status": "pending",
        "created_at": "2026-01-01T09:00:00Z",
        "done_at": None,
        "edges": [{"edge": "here", "status": "acked", "objects": 4}, {"edge": "there", "status": "pending", "objects": 0}],
    }
    site = {
        "site": "films",
        "requests": 100,
        "hits": 93,
        "hit_ratio": 0.93,
        "down": breaker == "open",
        "retries": 1,
        "hedges": 2,
        "resumes": 0,
        "retry_budget": 9.5,
        "origins": [origin],
    }
    total = {"requests": 100, "hits": 93, "hit_ratio": 0.93, "fills": 7, "collapsed": 5, "stale": 0, "objects": 7, "bytes": 3 * 2**20}
    return {"edge": "here", "total": total, "sites": [site], "jobs": [job]}


@pytest.mark.parametrize(("width", "phone"), [(1280, False), (320, True)])
async def test_it_shows_hit_ratio_origins_breakers_and_jobs(browser: Browser, site: Site, width: int, phone: bool) -> None:
    site.state.cdn = metrics()
    page = await browser.page(width=width, height=800, phone=phone)
    await page.open(f"{site.url}/status")
    await page.until("document.querySelector('[data-site]') !== null")
    shown = await page.text("#main")
    for text in ("93.0 %", "films", "http://10.0.0.1:8000", "well", "4.2 ms", "3.0 MiB", "1 of 2 edges", "healthy", "25.0 %"):
        assert text in shown
    assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    site.state.cdn = metrics("open")
    await page.look_again()
    await page.until("document.querySelector('[data-site]').innerText.includes('left alone')")
    assert "no origin answers" in await page.text("#sites")
    assert page.problems == []


async def test_a_site_that_nobody_asked_yet_says_so(browser: Browser, site: Site) -> None:
    site.state.cdn = metrics()
    site.state.cdn["sites"][0].update(origins=[], hit_ratio=None, requests=0)
    site.state.session = ADA | {"scopes": ["chat", "metrics:read"]}
    page = await browser.page()
    await page.open(f"{site.url}/status")
    await page.until("document.querySelector('[data-site]') !== null")
    shown = await page.text("[data-site]")
    assert "nothing asked for yet" in shown and "once one of them was asked" in shown and "Failures" not in shown
    assert page.problems == []
    site.state.session = ADA  # who may not read metrics gets no origins and no jobs
    await page.open(f"{site.url}/status")
    await page.until("document.querySelector('[data-site]')?.innerText.includes('who may read metrics')")


# The session's answer comes behind all others, when the test lets it.
LATE_SESSION = """const real = fetch, known = new Promise((done) => (globalThis.tell = done));
globalThis.answered = 0;
globalThis.fetch = async (path, more) => {
  if (path.startsWith('/v1/session')) await known;
  const answer = await real(path, more);
  if (path.startsWith('/v1/cdn/')) answered++;
  return answer;
};"""


async def test_nothing_is_said_to_be_hidden_before_it_is_known_who_looks(browser: Browser, site: Site) -> None:
    site.state.cdn = metrics()
    site.state.cdn["sites"][0].update(origins=[])
    site.state.session = ADA | {"scopes": ["metrics:read"]}
    page = await browser.page()
    await page.call("Page.addScriptToEvaluateOnNewDocument", source=LATE_SESSION)
    await page.open(f"{site.url}/status")
    await page.until("answered >= 2")
    await page.evaluate("tell()")
    await page.until("document.querySelector('[data-site]') !== null")
    assert "who may read metrics" not in await page.text("[data-site]")


async def test_it_asks_who_is_nobody_to_sign_in_and_says_when_the_server_is_gone(browser: Browser, site: Site) -> None:
    page = await browser.page()
    await page.open(f"{site.url}/status")
    await page.until("document.querySelector('#note').innerText.includes('Sign in')")
    assert "Edges" not in await page.text("#main")  # nothing is said to be empty that was not asked for
    await page.click("#note button")
    await page.until("document.querySelector('dialog[open]') !== null")
    await page.key("Escape")
    site.state.cdn = metrics()
    await page.look_again()
    await page.until("document.querySelector('[data-site]') !== null && document.querySelector('#note').innerText === ''")
    site.state.broken = problem(503, "unavailable", "Shutting down.")
    await page.look_again()
    await page.until("document.querySelector('#note').innerText.includes('does not answer')")
    assert "films" in await page.text("#main")
