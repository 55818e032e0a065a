"""The application of the HTTP/3 benchmarks, and our server alone with it: `python -m bench.apps.h3 --port P --cert F --key F`.

`/v1/small` is the small JSON of the other benchmarks, `/big` 100 MB in messages of 64 KiB, as a server hands on a download.
With `--awake P`, TCP port P answers how late the same thread woke from sleeps of 1 ms since it was last asked.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import trio

from bench.apps.small_json import app as small_json
from nova.core import awake

BIG = 100_000_000
PIECE = bytes(65_536)


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http" or scope["path"] != "/big":
        await small_json(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % BIG)]})
    for at in range(0, BIG, len(PIECE)):
        left = BIG - at
        await send({"type": "http.response.body", "body": PIECE[:left], "more_body": left > len(PIECE)})


async def main(options: argparse.Namespace) -> None:
    from nova.core.clock import SystemClock
    from nova.core.limits import Networks
    from nova.surface.h3 import quic
    from nova.surface.h3.connection import Limits
    from nova.surface.h3.server import H3Server, Settings
    from nova.surface.h3.stream import Patience
    from nova.surface.h3.udp import bind

    limits = Limits()
    configuration = quic.configuration(
        str(options.cert), str(options.key), idle=75.0, datagram=1350, window=limits.window, stream_window=limits.stream_window
    )
    settings = Settings(limits, Patience(10.0, 4096), most=1000, per_address=1000, exempt=Networks(()), share=options.share)
    async with trio.open_nursery() as nursery:
        if options.awake:
            await nursery.start(_tell, options.awake)
        nursery.start_soon(H3Server(bind("127.0.0.1", options.port), app, configuration, settings, SystemClock()).run)


async def _tell(port: int, *, task_status: trio.TaskStatus[Any]) -> None:
    from bench.apps.reactor import Awake

    awake.short_turns()
    sleeper = Awake()

    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some(4096)
        body = sleeper.report()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleeper.run)
        task_status.started(await nursery.start(partial(trio.serve_tcp, answer, port, host="127.0.0.1")))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--cert", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--awake", type=int, default=0)
    trio.run(main, parser.parse_args())
