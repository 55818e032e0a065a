"""A site in front of Nova's own media: live playlists, segments and pictures come through it, byte by byte as they are."""

import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from tests.media.images import material
from tests.serving import serve


def get(url: str, data: bytes | None = None, **fields: str) -> tuple[int, dict[str, str], bytes]:
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=30) as answer:
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, {}, error.read()


def until(look: Callable[[], Any]) -> Any:
    end = time.monotonic() + 60
    while not (found := look()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)
    return found


def test_live_and_pictures_come_through_a_site(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sites = [{"name": "own", "listen": "127.0.0.1:0", "origins": [{"url": f"http://127.0.0.1:{port}"}], "host": "origin"}]
    arguments = ("--demo", "--set", f"http.listen=127.0.0.1:{port}", "--set", f"cdn.sites={json.dumps(sites)}")
    with serve(tmp_path / "data", *arguments) as served:
        own = f"http://127.0.0.1:{port}"
        site = "http://{}:{}".format(*served.address("site:own"))
        (stream,) = until(lambda: json.loads(get(f"{own}/v1/streams?status=live")[2])["items"])

        # Live: a player that knows the site alone.
        first = f"{site}/live/{stream['id']}/index.m3u8"
        multivariant = until(lambda: (found := get(first))[0] == 200 and found)[2].decode()
        media = urljoin(first, next(line for line in multivariant.splitlines() if line and not line.startswith("#")))
        names = until(lambda: segments(media))
        segment = urljoin(media, names[-1])
        status, headers, through = get(segment)
        assert (status, headers["cache-status"].startswith("nova; ")) == (200, True)
        assert through == get(segment.replace(site, own))[2]
        assert get(segment)[1]["cache-status"].startswith("nova; hit")

        # A reload that waits for what comes next waits through the site, too, and its part is there then.
        msn = int(re.findall(r"seg-(\d+)", names[-1])[0]) + 2
        reloaded = get(f"{media}?_HLS_msn={msn}&_HLS_part=0")
        assert (reloaded[0], f"part-{msn}.0.m4s".encode() in reloaded[2]) == (200, True)
        assert get(urljoin(media, f"part-{msn}.0.m4s"))[0] == 200
        until(lambda: segments(media)[-1] != names[-1])  # the window moves on

        # Pictures: the same bytes, and kept.
        token = said("token", "--user", "ada", "--data", str(tmp_path / "data"))
        picture = material.saved(material.photo(320, 200), "jpeg")
        made = json.loads(get(f"{own}/v1/images", picture, Authorization=f"Bearer {token}", Content_Type="image/jpeg")[2])
        url = next(iter(made["urls"].values())).replace(own, site)
        status, headers, picture = get(url)
        assert (status, picture) == (200, get(url.replace(site, own))[2])
        assert get(url)[1]["cache-status"].startswith("nova; hit")


def segments(playlist: str) -> list[str]:
    return [line for line in get(playlist)[2].decode().splitlines() if line.startswith("seg-")]


def said(*arguments: str) -> str:
    return subprocess.run([sys.executable, "-m", "nova", *arguments], check=True, capture_output=True, text=True).stdout.strip()
