"""hls.js in headless Chromium, with the settings of our watch page: how soon there is a picture, how far behind live it plays."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from bench.bench_latency import publishing
from bench.hls import frames
from bench.method.results import Question, Sample
from bench.method.versus import Versus
from bench.servers.nova import Nova
from tests.browser import chromium

# Our own player on an empty page of the same origin. It loads the stream as soon as the server has it.
WATCH = """(async () => {
    const { Player } = await import('/static/js/player/player.js');
    const video = document.createElement('video');
    video.muted = true;
    document.body.append(video);
    const seen = window.bench = { picture: null, latencies: [], player: new Player(video) };
    video.requestVideoFrameCallback((now) => { seen.picture = performance.timeOrigin + now; });
    const pause = (ms) => new Promise((done) => setTimeout(done, ms));
    (async () => {
        while ((await fetch('%s', { cache: 'no-store' })).status !== 200) await pause(20);
        seen.player.load(async () => '%s');
        for (;;) {
            await pause(250);
            const facts = seen.player.facts();
            if (seen.picture !== null && facts.byDate !== null) seen.latencies.push(facts.byDate);
        }
    })();
})()"""
TOLD = "({ picture: bench.picture, latencies: bench.latencies, stalls: bench.player.stalls, state: bench.player.state })"
SETTLE_S = 5.0  # the start is judged by its picture; the delay once the player has found its place


@pytest.fixture
def browser(ram: Path) -> Iterator[chromium.Process]:
    program = chromium.find()
    if program is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    process = chromium.Process(program, ram / "chromium")
    yield process
    process.close()


def bench_player(versus: Versus, ram: Path, smoke: bool, generator_core: int, browser: chromium.Process) -> None:
    watch_s = 10.0 if smoke else 60.0

    async def watch(nova: Nova, log: Path) -> tuple[dict[str, Any], float]:
        """(what the page saw, unix ms at which the first IDR was sent)."""
        async with browser.browser() as context:
            page = await context.page()
            await page.open(f"http://127.0.0.1:{nova.addresses['http']}/")
            [(stream, key)] = nova.streams(1)
            url = f"/live/{stream}/index.m3u8"
            await page.evaluate(WATCH % (url, url))
            with publishing(nova, 1, watch_s + 30, generator_core, log, streams=[(stream, key)]):
                await page.until("bench.picture", within=20)
                await trio.sleep(watch_s)
                told: dict[str, Any] = await page.evaluate(TOLD)
            idr = next(frame for frame in frames(log) if frame.size > 1000)  # what is smaller is the sequence header
            return told, (time.time_ns() - (time.monotonic_ns() - idr.sent_ns)) / 1e6

    def run() -> Sample:
        with Nova(ram / "nova") as nova:
            before = nova.cpu()
            told, first_idr_ms = trio.run(watch, nova, ram / "frames")
            cpu_s = before.until(nova.cpu())
        latencies = sorted(told["latencies"][int(SETTLE_S / 0.25) :])
        assert latencies, told
        also = {"picture_s": (told["picture"] - first_idr_ms) / 1000, "stalls": told["stalls"], "max_s": latencies[-1]}
        return Sample(watch_s, cpu_s, watch_s, statistics.median(latencies), also)

    limits = {"figure": 1.35, "picture_s": 0.7, "stalls": 0.0}
    versus(Question("player", "hls.js in Chromium, 200 ms parts", "s behind live, median", "lower", limits=limits), ours=run)
