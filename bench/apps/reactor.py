"""The reactor alone, with what a benchmark needs: `python -m bench.apps.reactor --port P [--tls-port P --cert F --key F] [--files DIR]`.

Every file of DIR becomes an object of the table, above 64 KiB in a memfd as live segments are. Other paths go to the small JSON
application through the ASGI bridge. `/awake` answers how late trio woke from a sleep of 1 ms since it was last asked; with
`--offload N`, N threads compute under the GIL meanwhile.
"""

import argparse
import hashlib
import json
import signal
import threading
from pathlib import Path
from typing import Any

import trio

from bench.apps.small_json import app as small_json
from nova.core import awake
from nova.core.clock import SystemClock
from nova.core.reactor import Listen, Reactor
from nova.ext.buffer import Arena, Buffer
from nova.ext.tls import TlsContext

MEMFD_ABOVE = 65536


def fill(reactor: Reactor, folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            body = Arena(len(data) + 4096).append(data) if len(data) > MEMFD_ABOVE else Buffer(data)
            etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'.encode()
            reactor.objects.put(f"/{path.relative_to(folder)}".encode(), b"Content-Type: application/octet-stream\r\n", [body], etag=etag)


class Awake:
    """Sleeps 1 ms for ever and remembers how late it woke."""

    def __init__(self) -> None:
        self.late_ms: list[float] = []

    async def run(self) -> None:
        while True:
            due = trio.current_time() + 0.001
            await trio.sleep_until(due)
            self.late_ms.append((trio.current_time() - due) * 1000)

    def report(self) -> bytes:
        late, self.late_ms = sorted(self.late_ms), []
        if not late:
            return b"{}"
        found = {"wakes": len(late), "p50_ms": late[len(late) // 2], "p99_ms": late[int(len(late) * 0.99)], "max_ms": late[-1]}
        return json.dumps(found).encode()


async def main(options: argparse.Namespace) -> None:
    sleeper = Awake()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/awake":
            body = sleeper.report()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
            await send({"type": "http.response.body", "body": body})
        else:
            await small_json(scope, receive, send)

    reactor = Reactor(SystemClock(), threads=1)
    if options.files:
        fill(reactor, options.files)
    async with trio.open_nursery() as nursery:
        await nursery.start(reactor.run)
        reactor.listen(Listen("http", "127.0.0.1", options.port, app=app))
        if options.tls_port:
            tls = TlsContext(str(options.cert), str(options.key), alpn=("http/1.1",))
            reactor.listen(Listen("https", "127.0.0.1", options.tls_port, app=app, tls=tls))
        if options.awake:
            nursery.start_soon(sleeper.run)
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                break
        nursery.cancel_scope.cancel()


def compute() -> None:
    awake.step_back()  # as the threads of core.offload do
    while True:
        sum(i * i for i in range(1000))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tls-port", type=int)
    parser.add_argument("--cert", type=Path)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--files", type=Path)
    parser.add_argument("--awake", action="store_true")
    parser.add_argument("--offload", type=int, default=0)
    options = parser.parse_args()
    awake.short_turns()  # both as `nova serve` does
    awake.settle_memory()
    for _ in range(options.offload):
        threading.Thread(target=compute, daemon=True).start()
    trio.run(main, options)
