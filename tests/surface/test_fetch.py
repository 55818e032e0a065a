"""Pictures from elsewhere: which addresses are asked, and that redirects are looked at again."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from nova.core.errors import Forbidden, NotFound, NovaError, Unavailable
from nova.surface.fetch import CheckedFetch, checked, public


class Elsewhere(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        to = {"/pics/away": "http://198.51.100.1/pics/a", "/pics/on": "/pics/a", "/pics/loop": "/pics/loop"}.get(self.path)
        if to:
            self.send_response(302)
            self.send_header("Location", to)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = b"x" * 5000 if self.path == "/pics/a" else b""
        self.send_response(200 if body else 404 if self.path == "/pics/none" else 500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def base() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Elsewhere)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/pics/"
    server.shutdown()
    thread.join()
    server.server_close()


async def test_what_lies_below_a_prefix_is_fetched(base: str) -> None:
    fetch = CheckedFetch([base])
    assert await fetch(base + "a", limit=10_000) == b"x" * 5000
    assert await fetch(base + "on", limit=10_000) == b"x" * 5000
    with pytest.raises(Unavailable):
        await fetch(base + "a", limit=100)
    with pytest.raises(NotFound):
        await fetch(base + "none", limit=100)
    with pytest.raises(Unavailable):
        await fetch(base + "broken", limit=100)


async def test_redirects_are_looked_at_again(base: str) -> None:
    fetch = CheckedFetch([base])
    for name in ("away", "loop"):
        with pytest.raises(Forbidden) as refused:
            await fetch(base + name, limit=100)
        assert refused.value.code == "source_forbidden"


async def test_a_name_may_not_lead_to_a_private_address() -> None:
    with pytest.raises(NovaError) as refused:
        await checked("localhost")
    assert refused.value.code == "source_forbidden"
    assert await checked("127.0.0.1") == "127.0.0.1", "its operator wrote it so"


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("93.184.215.14", True), ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True), ("10.0.0.1", False), ("127.0.0.1", False),
        ("::1", False),
        ("169.254.169.254", False), ("100.64.0.1", False), ("0.0.0.0", False), ("224.0.0.1", False), ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False), ("2002:a00:1::", False), ("fe80::1", False), ("fc00::1", False), ("192.168.1.1", False),
    ],
)  # fmt: skip
def test_addresses_of_the_internet(address: str, wanted: bool) -> None:
    assert public(address) is wanted
