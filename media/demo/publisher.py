"""What the server starts for `--demo`: keeps the publishing process running until it is told to stop."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

import trio

from nova.core.log import Log

_log = Log("nova.demo")

COMMAND: Final = (sys.executable, "-m", "nova.media.demo")
FAREWELL_S: Final = 3.0  # for the clean end of the stream, before the process is killed
AGAIN_FIRST_S: Final = 0.5  # pause before the second start; doubles with every failure
AGAIN_MOST_S: Final = 10.0
STEADY_S: Final = 30.0  # a process that ran this long was well: the pause begins anew
SAID_MAX: Final = 2000  # characters of its last words that go into the log


async def run(url: str, *, command: Sequence[str] = COMMAND) -> None:
    """Publish the demo to `url` (rtmp://host:port/app/key) until cancelled; restart it whenever it ends.

    command: what to run; it gets the address as its first line of input, and stops when its input ends.
    """
    wait = AGAIN_FIRST_S
    while True:
        began = trio.current_time()
        code, said = await _once(url, command)
        if trio.current_time() - began > STEADY_S:
            wait = AGAIN_FIRST_S
        _log.warning("demo_ended", exit_code=code, said=said.replace(url, "***"), again_in_s=wait)
        await trio.sleep(wait)
        wait = min(wait * 2, AGAIN_MOST_S)


async def _once(url: str, command: Sequence[str]) -> tuple[int, str]:
    """One process, from start to end: its exit code and its last words. Cancelled: it ends the stream cleanly first."""
    process = await trio.lowlevel.open_process(
        list(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C in the terminal is the server's to handle; it then stops us in its own order
    )
    assert process.stdin is not None
    assert process.stderr is not None
    said = b""
    try:
        with contextlib.suppress(trio.BrokenResourceError):  # it ended at once; its last words say why
            await process.stdin.send_all(url.encode() + b"\n")
        async for data in process.stderr:
            said = (said + data)[-SAID_MAX:]
        return await process.wait(), said.decode(errors="replace").strip()
    finally:
        with trio.move_on_after(FAREWELL_S) as farewell:
            farewell.shield = True
            await process.stdin.aclose()
            async for _ in process.stderr:
                pass  # a full pipe would keep it from ending
            await process.wait()
        if process.returncode is None:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
        await process.stderr.aclose()
