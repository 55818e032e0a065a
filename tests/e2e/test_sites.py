"""A site of `nova.toml` in front of a real origin: served, cached, changed while it runs."""

import http.client
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.serving import serve


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        if "echo" in self.headers.get("upgrade", ""):
            self.connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
            while data := self.connection.recv(4096):
                self.connection.sendall(data.upper())
            self.close_connection = True
            return
        self.asked.append(f"{self.command} {self.path}")
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length) or (b"<html>" + b"nova " * 1000 if self.path == "/page" else self.path.encode())
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "max-age=60" if self.command == "GET" else "no-store")
        self.send_header("Content-Type", "text/html")
        if self.path == "/cookie":
            self.send_header("Set-Cookie", "a=b")
        self.send_header("X-Host", self.headers["host"])
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def origin() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def ask(
    address: tuple[str, int], path: str, method: str = "GET", body: bytes | None = None, **fields: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(*address, timeout=20)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in fields.items()})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


SITE = """
[[cdn.sites]]
name = "one"
listen = "127.0.0.1:0"
prefix = "/cdn/s/one/"
origins = [{{url = "{url}"}}]
{more}
"""


def test_site_serves_caches_and_follows_its_settings(tmp_path: Path) -> None:
    config = tmp_path / "nova.toml"
    with origin() as url:
        config.write_text(SITE.format(url=url, more=""))
        # No address is exempt from limits, as loopback else is.
        with serve(tmp_path / "data", "--config", str(config), "--set", "limits.exempt=[]") as served:
            site = served.address("site:one")
            status, headers, body = ask(site, "/a?b")
            assert (status, body, headers["cache-status"]) == (200, b"/a?b", "nova; fwd=uri-miss; stored")
            assert headers["x-host"] == f"{site[0]}:{site[1]}"
            assert ask(site, "/a?b")[1]["cache-status"].startswith("nova; hit")
            assert ask(site, "/a", "POST", b"sent")[2] == b"sent"
            assert Handler.asked == ["GET /a?b", "POST /a"]

            # The same on the main listener: sandboxed, without cookies.
            status, headers, body = ask(served.address("http"), "/cdn/s/one/cookie")
            assert (status, body) == (200, b"/cookie")
            assert headers["content-security-policy"] == "sandbox"
            assert headers["x-content-type-options"] == "nosniff"
            assert "set-cookie" not in headers

            # And over HTTP/2.
            host, port = served.address("https")
            said = subprocess.run(
                ["curl", "-sik", "--http2", f"https://{host}:{port}/cdn/s/one/a?b"], capture_output=True, check=True, timeout=20
            ).stdout
            assert said.startswith(b"HTTP/2 200")
            assert b"content-security-policy: sandbox" in said
            assert said.endswith(b"/a?b")

            # An upgrade passes, with what the client has sent ahead, and says what the origin took of what was asked for.
            with socket.create_connection(site, timeout=20) as raw:
                raw.sendall(b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: other/2, echo\r\n\r\nahead")
                got = b""
                while not got.endswith(b"AHEAD"):
                    got += raw.recv(4096)
                assert got.startswith(b"HTTP/1.1 101")
                assert [line.lower() for line in got.split(b"\r\n") if line.lower().startswith(b"upgrade:")] == [b"upgrade: echo"]
                raw.sendall(b"more")
                assert raw.recv(4096) == b"MORE"

            # Texts are kept compressed too.
            ask(site, "/page")
            until = time.monotonic() + 20
            while time.monotonic() < until:
                _, headers, body = ask(site, "/page", Accept_Encoding="br, gzip")
                if headers.get("content-encoding") == "br":
                    break
            assert headers["content-encoding"] == "br"
            assert headers["vary"] == "Accept-Encoding"
            assert len(body) < 500

            config.write_text(SITE.format(url=url, more="client_rate = '1/d'"))
            until = time.monotonic() + 20
            while ask(site, "/limited?" + str(time.monotonic_ns()))[0] != 429:
                assert time.monotonic() < until, "the new rules did not come"
            assert ask(site, "/a?b")[1]["cache-status"].startswith("nova; hit")  # what is here costs the origin nothing

            signing = "signing = 'token'\nsigning_keys = [{id = 'k1', secret = '0123456789abcdef'}]"
            config.write_text(SITE.format(url=url, more=signing))
            until = time.monotonic() + 20
            while ask(site, "/a?b")[0] != 403:  # also what is here
                assert time.monotonic() < until, "the new rules did not come"
