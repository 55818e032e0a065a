"""The same rules over the wire: `nova serve`, a real publisher, and a client that blocks, hints and fetches as players do."""

from __future__ import annotations

import gzip
import http.client
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conformance.rfc8216bis import rules
from tests.e2e.test_one_stream import Site, published, until
from tests.media.live.m3u8 import Media, media
from tests.serving import Served

pytestmark = pytest.mark.ffmpeg
PATIENCE_S = 30


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One keep-alive connection to a live stream's folder."""

    def __init__(self, address: tuple[str, int], folder: str) -> None:
        self._connection = http.client.HTTPConnection(*address, timeout=PATIENCE_S)
        self._folder = folder

    def close(self) -> None:
        self._connection.close()

    def get(self, name: str, *, method: str = "GET", **headers: str) -> Answer:
        self._connection.request(method, f"{self._folder}/{name}", headers={k.replace("_", "-"): v for k, v in headers.items()})
        answer = self._connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def playlist(self, msn: int | None = None, part: int | None = None) -> Media:
        query = "" if msn is None else f"?_HLS_msn={msn}" + ("" if part is None else f"&_HLS_part={part}")
        answer = self.get(f"video.m3u8{query}")
        assert answer.status == 200, answer
        return media(answer.body.decode())


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.flv"
    made = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]
    coding = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "30", "-pix_fmt", "yuv420p", "-c:a", "aac", "-t", "6"]
    subprocess.run(["ffmpeg", "-v", "error", *made, *coding, str(path)], check=True, timeout=60)
    return path


@pytest.fixture(scope="module")
def live(served: Served, film: Path) -> Iterator[Client]:
    site = Site(served)
    stream = site.stream()
    with published(film, stream["rtmp_url"]):
        until(lambda: site.ask("GET", stream["hls_url"])[0] == 200)
        client = Client(served.address("http"), f"/live/{stream['id']}")
        yield client
        client.close()


def test_every_version_that_blocking_reloads_bring_keeps_every_rule(live: Client) -> None:
    seen = [live.playlist()]
    while len(seen) < 25:
        last = seen[-1]
        fresh = live.playlist(last.next_msn, len(last.parts))
        assert (fresh.next_msn, len(fresh.parts)) > (last.next_msn, len(last.parts))
        seen.append(fresh)
    for playlist in seen:
        for check in rules.on_playlist.values():
            check(playlist)
    for before, after in pairwise(seen):
        for check in rules.on_change.values():
            check(before, after)
    whole = seen[-1].segments[-1]
    init, segment = live.get(whole.map).body, live.get(whole.uri).body
    parts = [live.get(part.uri).body for part in whole.parts]
    for check in rules.on_media.values():
        check(init, segment, parts)


def test_4_4_5_3_a_hinted_part_may_be_asked_for_before_it_is_there(live: Client) -> None:
    now = live.playlist()
    part = live.get(now.hint)
    assert part.status == 200
    after = live.playlist()
    assert now.hint in {each.uri for _, _, each in rules.parts_of(after)}


def test_6_2_5_2_nonsense_is_refused(live: Client) -> None:
    now = live.playlist()
    assert live.get("video.m3u8?_HLS_part=1").status == 400
    assert live.get(f"video.m3u8?_HLS_msn={now.next_msn + 9}").status == 400
    assert live.get("video.m3u8?_HLS_msn=x").status == 400


def test_media_answers_ranges_heads_and_conditions(live: Client) -> None:
    segment = live.playlist().segments[-1]
    whole = live.get(segment.uri)
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.headers["access-control-allow-origin"] == "*"
    assert live.get(segment.uri, method="HEAD").headers["content-length"] == str(len(whole.body))
    piece = live.get(segment.uri, Range="bytes=100-299")
    assert (piece.status, piece.body) == (206, whole.body[100:300])
    assert live.get(segment.uri, If_None_Match=whole.headers["etag"]).status == 304


def test_playlists_are_compressed_for_those_who_take_it(live: Client) -> None:
    answer = live.get("video.m3u8", Accept_Encoding="gzip")
    assert answer.headers["content-encoding"] == "gzip"
    assert media(gzip.decompress(answer.body).decode()).segments is not None


def test_the_multivariant_playlist_leads_to_the_media_playlist(live: Client) -> None:
    lines = live.get("index.m3u8").body.decode().splitlines()
    assert lines[0] == "#EXTM3U"
    assert lines[-1] == "video.m3u8"
    assert 'CODECS="avc1.42c00d,mp4a.40.2",RESOLUTION=320x180,FRAME-RATE=30.000' in lines[-2]
