"""A picture's URL that is hot, beside nginx's static file; an upload, beside nginx's PUT."""

from __future__ import annotations

import http.client
import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

from bench import measure
from bench.method.results import Question, Sample
from bench.method.versus import Versus
from bench.pictures import photo
from bench.servers.check import fetch
from bench.servers.nginx import StaticFiles, Uploads
from bench.servers.nova import Nova

HEAD = b"\0\0\0\x18ftypisom\0\0\0\0isommp42"  # a video is kept as it is: nothing is decoded
SIZE = 32 << 20
TUS = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}


class User:
    """Somebody with a token, on one connection."""

    def __init__(self, nova: Nova) -> None:
        token = nova.nova("token", "--user", "ada")[0]["token"]
        self._headers = {"Authorization": f"Bearer {token}"}
        self._connection = http.client.HTTPConnection("127.0.0.1", nova.addresses["http"], timeout=30)

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
        self._connection.request(method, path, body, self._headers | headers)
        answer = self._connection.getresponse()
        data = answer.read()
        assert answer.status < 300, data
        return answer, data


@pytest.mark.parametrize("ext", ["webp", ""], ids=["whole", "negotiated"])
def bench_picture_hit(versus: Versus, ram: Path, seconds: float, generator_core: int, ext: str) -> None:
    with Nova(ram / "nova") as nova:
        user = User(nova)
        image = json.loads(user.ask("POST", "/v1/images", photo(1800, 1200))[1])["id"]
        wanted = json.dumps({"options": "rs:inside:320:320", "ext": ext or None}).encode()
        url = json.loads(user.ask("POST", f"/v1/images/{image}/url", wanted, **{"Content-Type": "application/json"})[1])["url"]
        path = urlsplit(url).path
        data = fetch(nova.addresses["http"], path)
        assert Image.open(io.BytesIO(data)).width == 320
        with StaticFiles(ram / "nginx", {"picture": data}) as nginx:
            assert fetch(nginx.port, "/picture") == data

            def run(server: Nova | StaticFiles) -> Sample:
                port, asked = (nginx.port, "/picture") if server is nginx else (nova.addresses["http"], path)
                return measure.http(server, port, [asked], seconds=seconds, core=generator_core)

            versus(
                Question(
                    f"picture-hit{'' if ext else '-negotiated'}", f"a hot picture of {len(data) >> 10} KiB{'' if ext else ' by Accept'}",
                    "requests per server-CPU-second", "higher", 1.0,
                ),
                anchor=lambda: run(nginx),
                ours=lambda: run(nova),
                anchor_name=f"{nginx.name}, static file, open_file_cache",
            )  # fmt: skip


def bench_upload(versus: Versus, ram: Path, seconds: float) -> None:
    """One after the other, on a file system in RAM. Ours stores what it says it has, hashes it, and makes a record of it."""
    data = HEAD + os.urandom(SIZE - len(HEAD))
    with Nova(ram / "nova") as nova, Uploads(ram / "nginx") as nginx:
        user = User(nova)

        def sample(server: Nova | Uploads, once: Callable[[], float]) -> Sample:
            done, cpu, wall, sending = 0, server.cpu(), time.perf_counter(), 0.0
            while time.perf_counter() - wall < seconds:
                sending += once()
                done += 1
            cpu_s = cpu.until(server.cpu())
            also = {"sent_mb_per_second": done * SIZE / sending / 1e6, "cpu_ms_per_mb": cpu_s * 1000 / (done * SIZE / 1e6)}
            return Sample(done * SIZE, cpu_s, time.perf_counter() - wall, done * SIZE / cpu_s, also)

        def by_nginx() -> float:
            connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=30)
            began = time.perf_counter()
            connection.request("PUT", "/film", data)
            answer = connection.getresponse()
            answer.read()
            assert answer.status in (201, 204)
            connection.close()
            return time.perf_counter() - began

        def by_tus() -> float:
            answer, _ = user.ask("POST", "/v1/uploads", **{"Tus-Resumable": "1.0.0", "Upload-Length": str(SIZE)})
            path = urlsplit(answer.headers["Location"]).path
            began = time.perf_counter()
            user.ask("PATCH", path, data, **TUS, **{"Upload-Offset": "0"})
            took = time.perf_counter() - began
            while (state := json.loads(user.ask("GET", path)[1]))["status"] == "processing":
                time.sleep(0.002)
            assert state["status"] == "ready", state
            user.ask("DELETE", f"/v1/videos/{state['result']['id']}")
            return took

        versus(
            Question("upload-32m", "a video of 32 MiB by tus", "bytes per server-CPU-second", "higher"),
            anchor=lambda: sample(nginx, by_nginx),
            ours=lambda: sample(nova, by_tus),
            anchor_name=f"{nginx.name}, PUT into a file",
        )
