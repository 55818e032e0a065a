"""Uploads by others' client in a browser, cut and resumed; and uploads across the death of the server."""

import hashlib
import http.client
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.browser.chromium import Browser
from tests.e2e.test_images import sign_in
from tests.e2e.test_pages import at_peace
from tests.serving import Served, serve

CLIENT = Path(__file__).parents[1] / "browser/vendor/tus-js-client/tus.min.js"
# An animation of noise would be slow to decode; a video is kept as it is.
HEAD = b"\0\0\0\x18ftypisom\0\0\0\0isommp42"

START = """
window.file = (() => {
  const bytes = new Uint8Array(%d);
  for (let at = 0; at < bytes.length; at += 65536) crypto.getRandomValues(bytes.subarray(at, Math.min(at + 65536, bytes.length)));
  bytes.set([%s]);
  return new File([bytes], "film.mp4", { type: "video/mp4" });
})();
window.log = [];
window.make = (more) => new tus.Upload(window.file, {
  endpoint: "/v1/uploads", chunkSize: 200000, retryDelays: [0, 200, 500], metadata: { filename: "film.mp4", kind: "video", title: "Film" },
  onError: (error) => log.push("error " + error), onSuccess: () => log.push("success"), ...more,
});
window.first = window.make({ onProgress: (sent, total) => { if (sent > total / 2) { window.first.abort(); log.push("cut"); } } });
window.first.start();
"""
RESUME = """
(async () => {
  const upload = window.second = window.make({ uploadSize: window.file.size });
  const known = await upload.findPreviousUploads();
  log.push("known " + known.length);
  upload.resumeFromPreviousUpload(known[0]);
  upload.start();
})()
"""
DIGEST = """
(async () => {
  const hash = await crypto.subtle.digest("SHA-256", await window.file.arrayBuffer());
  window.digest = [...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  window.state = await (await fetch(new URL(window.second.url).pathname)).json();
  window.video = window.state.result && await (await fetch("/v1/videos/" + window.state.result.id)).json();
})()
"""


@pytest.mark.browser
async def test_a_browsers_tus_client_is_cut_and_goes_on(browser: Browser, nova: Served) -> None:
    page = await browser.page()
    await page.open(sign_in(nova))
    await page.until("document.querySelector('#account-menu') !== null")
    await page.evaluate(CLIENT.read_text(encoding="utf-8"))
    await page.evaluate(START % (3_000_000, ",".join(map(str, HEAD))))
    await page.until("log.includes('cut')")
    await page.evaluate(RESUME)
    await page.until("log.includes('success')", within=30)
    assert "known 1" in await page.evaluate("log.join()")
    await page.until(f"(() => {{ {DIGEST}; return window.state?.status === 'ready' && window.video }})()", within=20)
    assert await page.evaluate("window.video.digest === window.digest && window.video.size_bytes === window.file.size")
    at_peace(page, nova)


def test_the_client_is_the_one_that_the_table_says() -> None:
    table = (CLIENT.parents[1] / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(CLIENT.read_bytes()).hexdigest() in table
    assert CLIENT.with_name("LICENSE").is_file()


class Client:
    """A bare HTTP client with a user's token."""

    def __init__(self, served: Served) -> None:
        self.host, self.port = served.address("http")
        command = [sys.executable, "-m", "nova", "token", "--user", "ada", "--json", "--data", str(served.data)]
        self.token = json.loads(subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout)["token"]

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=20)

    def headers(self, **more: str) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self.token}",
            "Tus-Resumable": "1.0.0",
            **{key.replace("_", "-"): value for key, value in more.items()},
        }

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = self.connect()
        connection.request(method, path, body or None, self.headers(**headers))
        answer = connection.getresponse()
        found = answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
        connection.close()
        return found

    def state(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask("GET", path)[2])
        return found


def _until(client: Client, path: str, wanted: str) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while not eval(wanted, {}, state := client.state(path)):
        assert time.monotonic() < deadline, state
        time.sleep(0.02)
    return state


@pytest.mark.slow
def test_an_upload_goes_on_after_kill_9(tmp_path: Path) -> None:
    data = HEAD + os.urandom(20 << 20)
    path = ""
    with suppress(AssertionError), serve(tmp_path / "data") as served:  # that it did not end well is the point
        client = Client(served)
        headers = {"Upload_Length": str(len(data)), "Content_Length": "0"}
        status, answered, _ = client.ask("POST", "/v1/uploads", **headers)
        path = "/v1/uploads/" + answered["location"].rpartition("/")[2]
        connection = client.connect()
        connection.putrequest("PATCH", path)
        told = {"Upload_Offset": "0", "Content_Type": "application/offset+octet-stream", "Content_Length": str(len(data))}
        for name, value in client.headers(**told).items():
            connection.putheader(name, value)
        connection.endheaders()
        connection.send(data[: 14 << 20])
        _until(client, path, "offset > 0")
        served.process.kill()
        served.process.wait(10)
    assert path
    with serve(tmp_path / "data") as served:
        client = Client(served)
        status, answered, _ = client.ask("HEAD", path)
        offset = int(answered["upload-offset"])
        assert status == 200
        assert 8 << 20 <= offset <= 14 << 20
        more = {"Upload_Offset": str(offset), "Content_Type": "application/offset+octet-stream"}
        assert client.ask("PATCH", path, data[offset:], **more)[0] == 204
        state = _until(client, path, "status not in ('uploading', 'processing')")
        assert state["status"] == "ready"
        video = json.loads(client.ask("GET", f"/v1/videos/{state['result']['id']}")[2])
        assert video["digest"] == hashlib.sha256(data).hexdigest()


def _children(served: Served) -> list[str]:
    tasks = Path(f"/proc/{served.process.pid}/task").glob("*/children")
    return [pid for each in tasks for pid in each.read_text().split()]


@pytest.mark.slow
def test_pictures_over_the_network_are_hot_and_leave_no_process(tmp_path: Path) -> None:
    from tests.media.images import material

    with serve(tmp_path / "data") as served:
        client = Client(served)
        deadline = time.monotonic() + 20
        while not (children := _children(served)):  # a worker is ready before the first picture comes
            assert time.monotonic() < deadline
            time.sleep(0.02)
        status, _, body = client.ask("POST", "/v1/images", material.saved(material.photo(900, 700), "jpeg"), Content_Type="image/jpeg")
        assert status == 201
        image = json.loads(body)
        signed = client.ask(
            "POST", f"/v1/images/{image['id']}/url", b'{"options":"rs:cover:64:64","ext":"webp"}', Content_Type="application/json"
        )
        url = "/" + json.loads(signed[2])["url"].split("/", 3)[3]
        negotiated = "/" + image["urls"]["thumb"].split("/", 3)[3]
        for each, accept, kind in ((url, "", "webp"), (negotiated, "image/avif,*/*", "avif"), (negotiated, "*/*", "jpeg")):
            answers = [client.ask("GET", each, Accept=accept) for _ in range(3)]
            assert {(status, body) for status, _, body in answers} == {(200, answers[0][2])}
            assert {(found["etag"], found["content-type"], found.get("vary")) for _, found, _ in answers} == {
                (answers[0][1]["etag"], f"image/{kind}", None if each == url else "Accept")
            }
            assert answers[-1][1]["cache-status"].startswith("nova; hit"), "without Python"
            assert client.ask("GET", each, Accept=accept, If_None_Match=answers[0][1]["etag"])[0] == 304
            status, headers, part = client.ask("GET", each, Accept=accept, Range="bytes=0-9")
            assert (status, part) == (206, answers[0][2][:10])
            assert headers["access-control-allow-origin"] == "*"
        assert set(children) <= set(_children(served)), "it has worked, and stays"
        children = _children(served)
        libraries = Path(f"/proc/{served.process.pid}/maps").read_text()
        assert "PIL/_imaging" not in libraries, "no decoder is loaded into the server"
        assert client.ask("DELETE", f"/v1/images/{image['id']}")[0] == 204
        assert {client.ask("GET", each)[0] for each in (url, negotiated)} == {404}
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
