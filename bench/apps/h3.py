"""The application of the HTTP/3 benchmarks, and our server alone with it: `python -m bench.apps.h3 --port P --cert F --key F`.

`/v1/small` is the small JSON of the other benchmarks, `/big` 100 MB in messages of 64 KiB, as a server hands on a download.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import trio

from bench.apps.small_json import app as small_json

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
    settings = Settings(limits, Patience(10.0, 4096), most=1000, per_address=1000, exempt=Networks(()), share=1.0)
    await H3Server(bind("127.0.0.1", options.port), app, configuration, settings, SystemClock()).run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--cert", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    trio.run(main, parser.parse_args())
