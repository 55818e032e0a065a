"""`nova publish FILE`: a media file as RTMP, at the pace of its time stamps, to the running server or to any other."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nova.surface.cli.common import ask_async, load, say
from nova.surface.cli.progress import Progress

if TYPE_CHECKING:
    import trio


def arguments(parser: argparse.ArgumentParser, shared: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="FLV, or whatever holds H.264 and AAC")
    parser.add_argument("--stream", metavar="ID", help="publish to this stream, with a new key (default: a new stream)")
    parser.add_argument("--to", metavar="rtmp://HOST/live/KEY", help="publish there instead of to the server of the data directory")
    parser.add_argument("--loop", action="store_true", help="over and over, until stopped")


def run(given: argparse.Namespace) -> int:
    import trio

    trio.run(_publish, given)
    return 0


async def _publish(given: argparse.Namespace) -> None:
    import trio

    from nova.core.errors import BadRequest, Unavailable
    from nova.core.offload import Offload
    from nova.media import libav
    from nova.media.rtmp.client import Target
    from nova.media.rtmp.files import publish_file
    from nova.surface.datadir import open_data_dir

    if not given.file.is_file():
        raise BadRequest(detail=f"there is no file {given.file}")
    url = given.to
    if url is None:
        loaded = load(given)
        data = open_data_dir(Path(loaded.settings.data.dir), create=False)
        if data.serving() is None:
            raise Unavailable(detail=f"no server runs in {data.path}: start `nova serve`, or name another with --to")
        if given.stream is not None:
            made = await ask_async(loaded, "stream_key", {"stream": given.stream})
        else:
            made = (await ask_async(loaded, "stream_create", {"draft": {"title": given.file.stem[:200] or "File"}}))[0]
        url = made["rtmp_url"]
        if url is None:
            raise Unavailable(detail="the server takes no RTMP: set rtmp.listen")
        say(given, {"event": "publishing", "id": made["id"], "watch_url": made["watch_url"]}, f"watch: {made['watch_url']}")
    progress = Progress(sys.stderr, str(given.file))
    stopping = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(_watch_signals, stopping, nursery.cancel_scope)
        try:
            await publish_file(
                given.file, Target.parse(url), offload=Offload(), remux=libav.remux_flv, loop=given.loop,
                sent=lambda tag: progress.step(tag.timestamp / 1000, len(tag.data)), stopped=stopping.is_set,
            )  # fmt: skip
        finally:
            progress.done()
        nursery.cancel_scope.cancel()


async def _watch_signals(stopping: trio.Event, scope: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
    """The first signal ends the stream cleanly, so that viewers do not wait for its return; a second one ends at once."""
    import trio

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            if stopping.is_set():
                scope.cancel()
                return
            stopping.set()
