"""One stream, end to end, through nothing but what users have: the command line, RTMP, HTTP."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.serving import Served, serve
from tests.surface.cli.test_commands import nova

pytestmark = pytest.mark.ffmpeg
SECONDS = 60  # until something has happened; far above what it takes


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds of picture and tone."""
    path = tmp_path_factory.mktemp("film") / "film.flv"
    source = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]
    coding = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "60", "-pix_fmt", "yuv420p", "-c:a", "aac", "-t", "6"]
    subprocess.run(["ffmpeg", "-v", "error", *source, *coding, str(path)], check=True, timeout=SECONDS)
    return path


class Site:
    """The running server, as its owner uses it."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.base = "http://{}:{}".format(*served.address("http"))
        self.token = nova("token", "--user", "alice", "--data", str(served.data)).stdout.strip()

    def ask(self, method: str, url: str, body: Any = None, *, token: str | None = None) -> tuple[int, Any]:
        """Status and JSON (or text) of an answer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data else {}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        url = url if url.startswith("http") else self.base + url
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=SECONDS) as answer:
                status, content = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, content = error.code, error.read()
        try:
            return status, json.loads(content)
        except ValueError:
            return status, content.decode("utf-8", "replace")

    def own(self, method: str, url: str, body: Any = None) -> Any:
        status, answer = self.ask(method, url, body, token=self.token)
        assert status < 300, answer
        return answer

    def stream(self, **fields: Any) -> Any:
        return self.own("POST", "/v1/streams", {"title": "T", **fields})

    def status(self, stream: Any) -> str:
        return str(self.own("GET", f"/v1/streams/{stream['id']}")["status"])


def until(true: Callable[[], bool]) -> None:
    """Waits for what another process does."""
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


@contextmanager
def published(film: Path, url: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "nova", "publish", str(film), "--to", url, "--loop"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=SECONDS)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serve(tmp_path_factory.mktemp("e2e") / "data") as served:
        yield Site(served)


def playable(site: Site, url: str) -> bool:
    return site.ask("GET", url)[0] == 200


def test_a_stream_goes_live_is_watched_and_is_stopped(site: Site, film: Path) -> None:
    stream = site.stream()
    assert site.ask("GET", stream["hls_url"])[1]["code"] == "stream_not_live"
    with published(film, stream["rtmp_url"]) as publisher:
        until(lambda: playable(site, stream["hls_url"]))
        assert site.status(stream) == "live"
        assert [each["id"] for each in site.own("GET", "/v1/streams?status=live")["items"]] == [stream["id"]]
        media = stream["hls_url"].replace("index.m3u8", "video.m3u8")
        _, playlist = site.ask("GET", media)
        part = next(line.partition('URI="')[2].partition('"')[0] for line in playlist.splitlines() if line.startswith("#EXT-X-PART:"))
        assert playable(site, media.replace("video.m3u8", part))
        until(lambda: site.own("GET", f"/v1/streams/{stream['id']}")["viewers"] >= 1)
        numbers = site.own("GET", f"/v1/streams/{stream['id']}/analytics")
        assert (numbers["ingest"]["width"], numbers["ingest"]["height"]) == (320, 180)
        site.own("POST", f"/v1/streams/{stream['id']}/stop")
        assert publisher.wait(SECONDS) != 0
    until(lambda: site.status(stream) == "ended")
    assert "#EXT-X-ENDLIST" in site.ask("GET", media)[1]
    assert site.own("GET", f"/v1/streams/{stream['id']}/keys")["items"][0]["used_at"] is not None


def test_a_revoked_key_ends_its_publisher_and_lets_nobody_in(site: Site, film: Path) -> None:
    stream = site.stream()
    with published(film, stream["rtmp_url"]) as publisher:
        until(lambda: site.status(stream) == "live")
        site.own("DELETE", f"/v1/streams/{stream['id']}/keys/{stream['key_id']}")
        assert publisher.wait(SECONDS) != 0
    until(lambda: site.status(stream) == "ended")
    refused = nova("publish", str(film), "--to", stream["rtmp_url"])
    assert refused.returncode == 1
    assert refused.stderr.startswith("nova: ")


def test_a_private_stream_plays_for_sessions_only(site: Site, film: Path) -> None:
    stream = site.stream(visibility="private")
    with published(film, stream["rtmp_url"]):
        until(lambda: site.status(stream) == "live")
        joined = site.own("POST", f"/v1/streams/{stream['id']}/join")
        until(lambda: playable(site, joined["hls_url"]))
        hidden = site.ask("GET", stream["hls_url"])
        assert (hidden[0], hidden[1]["code"]) == (404, "not_found")
        site.own("POST", f"/v1/streams/{stream['id']}/leave", {"session": joined["session"]})
        assert not playable(site, joined["hls_url"])
        # It becomes public, and private again: what was open closes.
        site.own("PATCH", f"/v1/streams/{stream['id']}", {"visibility": "public"})
        assert playable(site, stream["hls_url"])
        _, guest = site.ask("POST", f"/v1/streams/{stream['id']}/join")
        assert playable(site, guest["hls_url"])
        site.own("PATCH", f"/v1/streams/{stream['id']}", {"visibility": "private"})
        assert not playable(site, stream["hls_url"])
        assert not playable(site, guest["hls_url"])
        site.own("DELETE", f"/v1/streams/{stream['id']}")
        assert site.ask("GET", joined["hls_url"])[0] == 404


def test_publishing_by_the_command_line_alone(site: Site, film: Path) -> None:
    stream = site.stream()
    sent = nova("publish", str(film), "--stream", stream["id"], "--data", str(site.served.data), "--json")
    assert sent.returncode == 0, sent.stderr
    assert json.loads(sent.stdout)["id"] == stream["id"]
    until(lambda: site.status(stream) == "ended")
    broadcast = site.own("GET", f"/v1/streams/{stream['id']}/analytics")["broadcasts"][0]
    assert broadcast["reason"] == "unpublished"


def test_sigterm_gives_publishers_and_viewers_a_clean_end(tmp_path: Path, film: Path) -> None:
    with serve(tmp_path / "data") as served:
        site = Site(served)
        stream = site.stream()
        with published(film, stream["rtmp_url"]) as publisher:
            until(lambda: playable(site, stream["hls_url"]))
            served.process.terminate()
            playlist = ""
            with suppress(urllib.error.URLError):
                while served.process.poll() is None and "#EXT-X-ENDLIST" not in playlist:
                    _, playlist = site.ask("GET", stream["hls_url"].replace("index", "video"))
            assert "#EXT-X-ENDLIST" in playlist  # also for players that poll
            assert served.process.wait(SECONDS) == 0
            assert publisher.wait(SECONDS) != 0
    with serve(tmp_path / "data") as served:
        again = Site(served)
        assert again.status(stream) == "ended"
        broadcast = again.own("GET", f"/v1/streams/{stream['id']}/analytics")["broadcasts"][0]
        assert broadcast["reason"] == "shutdown"
