"""The pages' rules without a page: each module's functions, called in the browser that runs them."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.browser.chromium import Browser
from tests.web.site import Site

pytestmark = pytest.mark.browser

Call = Callable[..., Awaitable[Any]]


@pytest.fixture
async def call(browser: Browser, site: Site) -> Call:
    """`await call("lib/poll.js", "pause", 1000, 0, 0, 0.5)` runs an exported function in a page of the site."""
    page = await browser.page()
    await page.open(f"{site.url}/static/img/icon.svg")

    async def run(module: str, function: str, *arguments: Any) -> Any:
        given = ", ".join(map(json.dumps, arguments))
        return await page.evaluate(f"import('/static/js/{module}').then(module => module.{function}({given}))")

    return run


async def test_pause_doubles_with_failures_and_respects_retry_after(call: Call) -> None:
    assert [await call("lib/poll.js", "pause", 1000, failures, 0, 0.5) for failures in range(7)] == [
        1000,
        2000,
        4000,
        8000,
        16000,
        30000,
        30000,
    ]
    assert await call("lib/poll.js", "pause", 1000, 1, 7000, 0.5) == 7000
    assert 850 <= await call("lib/poll.js", "pause", 1000, 0, 0, 0) < await call("lib/poll.js", "pause", 1000, 0, 0, 1) <= 1150
    assert await call("lib/poll.js", "pause", 60_000, 3, 0, 0.5) == 60_000


async def test_latency_is_by_date_only_while_the_clocks_can_agree(call: Call) -> None:
    async def latency(by_date: float | None, by_edge: float | None) -> Any:
        return await call("player/latency.js", "liveLatency", by_date, by_edge)

    assert await latency(None, None) is None
    assert await latency(1.4, None) == 1.4
    assert await latency(None, 1.1) == 1.1
    assert await latency(1.4, 1.1) == 1.4
    assert await latency(-3600, 1.1) == 1.1  # this machine's clock is an hour slow
    assert await latency(90, 1.1) == 1.1  # … or a minute and a half fast
    assert await latency(-5, None) is None


async def test_catching_up_is_gentle_stops_in_time_and_jumps_when_far(call: Call) -> None:
    async def rate(behind: float, buffered: float = 1, now: float = 1) -> Any:
        return await call("player/latency.js", "catchUp", behind, 1.0, buffered, now)

    assert [await rate(1.0), await rate(1.2), await rate(1.5), await rate(3)] == [1, 1, 1.05, 1.1]
    assert [await rate(1.1, now=1.05), await rate(1.05, now=1.05)] == [1.05, 1]
    assert await rate(3, buffered=0.1) == 1
    assert await rate(20) == "jump"
    assert [await rate(0.75, 0.1), await rate(0.85), await rate(0.9, now=0.95), await rate(0.97, now=0.95)] == [0.95, 1, 0.95, 1]


async def test_starving_is_nothing_to_play_with_something_to_fetch(call: Call) -> None:
    async def starving(behind: float, buffered: float) -> Any:
        return await call("player/latency.js", "starving", behind, buffered)

    assert await starving(2, 0.04)
    assert not await starving(2, 0.3)
    assert not await starving(0.2, 0)  # the next part is on its way


async def test_what_was_played_goes_in_larger_pieces(call: Call) -> None:
    assert await call("player/latency.js", "superfluous", 0, 19) is None
    assert await call("player/latency.js", "superfluous", 2, 30) == 18


async def test_cover_tells_what_the_stream_is_about_unless_there_is_a_picture(call: Call) -> None:
    async def cover(status: str | None, player: str) -> Any:
        return await call("player/cover.js", "coverFor", status, player)

    assert await cover(None, "loading") == "connecting"
    assert await cover("live", "loading") == "connecting"
    assert await cover("live", "waiting") == "buffering"
    assert await cover("live", "failed") == "trouble"
    assert await cover("idle", "failed") == "offline"
    assert await cover("reconnecting", "waiting") == "reconnecting"
    assert await cover("ended", "finished") == "ended"
    assert {await cover(status, "playing") for status in ("live", "reconnecting", "ended")} == {"none"}


async def test_warnings_name_the_remedy(call: Call) -> None:
    ingest = {"bitrate": 3e6, "codecs": "avc1.640020,mp4a.40.2", "sample_rate": 48000, "warnings": []}
    assert await call("parts/warnings.js", "standing", ingest) == []
    found = await call("parts/warnings.js", "standing", {"bitrate": 12e6, "codecs": "avc1.640020", "warnings": []})
    assert [each["id"] for each in found] == ["silent", "bitrate"]
    assert "12.0 Mbit/s" in found[1]["text"]


async def test_sign_in_code_is_found_in_a_link_or_alone(call: Call) -> None:
    assert await call("lib/session.js", "codeIn", " http://127.0.0.1:8080/#code=abc_D-1 ") == "abc_D-1"
    assert await call("lib/session.js", "codeIn", "abc") == "abc"
    assert await call("lib/session.js", "codeIn", "http://127.0.0.1:8080/#nothing") == ""


async def test_times_and_counts_read_well(call: Call) -> None:
    now = 1_767_225_600_000
    since = [await call("lib/format.js", "since", "2026-01-01T00:00:00Z", now + 1000 * s) for s in (-5, 59, 60, 3599, 7500, 86400 * 3)]
    assert since == ["0 s", "59 s", "1 min", "59 min", "2 h 05 min", "3 days"]
    assert [await call("lib/format.js", "viewers", n) for n in (0, 1, 1500)] == ["0 viewers", "1 viewer", "1.5K viewers"]
    assert [await call("lib/format.js", "bitrate", n) for n in (900_000, 3_140_000)] == ["900 kbit/s", "3.1 Mbit/s"]
