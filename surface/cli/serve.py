"""`nova serve`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from nova.core import log
from nova.core.errors import BadRequest, NovaError
from nova.core.limits import parse_address
from nova.core.settings import FILE, Loaded
from nova.core.settings_table import Settings
from nova.core.values import Address
from nova.surface.cli.common import fail, first, load

BOUND: Final = ("http", "https", "rtmp", "rtmps")  # what --bind moves; gRPC only goes off loopback with mTLS, see docs/cli.md

_log = log.Log("nova.serve")


def arguments(parser: argparse.ArgumentParser, shared: argparse.ArgumentParser) -> None:
    parser.add_argument("--demo", action="store_true", help="publish a moving picture with a clock and a tone")
    parser.add_argument("--bind", metavar="ADDRESS", help="listen on this address instead of loopback (0.0.0.0 is all)")


def run(given: argparse.Namespace) -> int:
    loaded = load(given)
    if given.bind is not None:
        loaded = load(given, tuple(bound(loaded, given.bind)))
    settings = loaded.settings
    sink = log.configure(level=settings.log.level, format=settings.log.format, sample=settings.log.sample)

    import trio

    from nova.surface.app import Reload, Server
    from nova.surface.datadir import open_data_dir

    def tell(event: Mapping[str, Any]) -> None:
        sys.stdout.write((json.dumps(event, ensure_ascii=False, separators=(",", ":")) if given.json else line(event)) + "\n")
        sys.stdout.flush()

    def again() -> Settings:
        fresh = load(given)
        return (load(given, tuple(bound(fresh, given.bind))) if given.bind is not None else fresh).settings

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(_watch_signals, server, nursery.cancel_scope)
            await server.run()
            nursery.cancel_scope.cancel()

    data = open_data_dir(Path(settings.data.dir), create=True)
    with data.lock("serve"):
        server = Server(settings, data, demo=given.demo, tell=tell, sink=sink, reload=Reload(given.config or Path(FILE), again))
        try:
            trio.run(main)
        except BaseExceptionGroup as group:
            known, others = group.split(NovaError)
            if known is None or others is not None:
                raise
            code = fail(first(known))
            # What cannot start is a matter of settings, whatever failed; what ends later is not.
            return code if server.was_ready else 2
    return 0


async def _watch_signals(server: Any, scope: Any, *, task_status: Any) -> None:
    """The first signal drains, a second one ends at once; SIGHUP reads the settings again."""
    import trio

    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        task_status.started()
        stopping = False
        async for number in signals:
            if number == signal.SIGHUP:
                server.reload()
                continue
            if stopping:
                _log.warning("Stopping at once", signal=signal.Signals(number).name)
                scope.cancel()
                return
            stopping = True
            _log.info("Shutting down gracefully...", signal=signal.Signals(number).name)
            server.stop()


def bound(loaded: Loaded, host: str) -> list[str]:
    """Overrides that move every listener of BOUND to `host`, each on its port. Raises BadRequest."""
    plain = host.removeprefix("[").removesuffix("]")
    if parse_address(plain) is None and (":" in plain or not plain):
        raise BadRequest(detail=f"--bind {host}: an address without a port is wanted, such as 0.0.0.0 or ::")
    moved = []
    for name in BOUND:
        address = getattr(loaded.settings, name).listen
        if address is not None:
            moved.append(f"{name}.listen={Address(plain, address.port)}")
    return moved


def line(event: Mapping[str, Any]) -> str:
    """An event for people."""
    match event["event"]:
        case "listening":
            return f"listening: {event['name']} {event['address']}"
        case "sign_in":
            return f"sign in: {event['url']}"
        case "stream":
            return f"demo: {event['watch_url']}"
        case other:
            return str(other)
