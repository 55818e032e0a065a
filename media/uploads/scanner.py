"""The malware hook: a program of the operator's looks at a finished upload. Exit code 0: clean, 1: refused, others: it could not look."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import trio

from nova.core.errors import Unavailable, Unprocessable
from nova.core.log import Log
from nova.core.values import Seconds

_log = Log("nova.uploads")


class ProgramScanner:
    """ports.Scanner. command: the program and its arguments; the file's path is appended."""

    def __init__(self, command: Sequence[str], timeout: Seconds) -> None:
        self._command, self._timeout = list(command), timeout

    async def __call__(self, path: Path) -> None:
        try:
            with trio.fail_after(self._timeout):
                done = await trio.run_process(
                    [*self._command, str(path)], check=False, stdin=b"", capture_stdout=False, stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )  # fmt: skip
        except OSError as error:
            raise Unavailable("unavailable", f"the scanner cannot be started: {error.strerror}") from error
        except trio.TooSlowError:
            raise Unavailable("unavailable", f"the scanner took more than {self._timeout:g} s") from None
        if done.returncode == 1:
            _log.warning("upload_refused_by_scanner", upload=path.name)
            raise Unprocessable("malware", "the scanner refused the content")
        if done.returncode != 0:
            raise Unavailable("unavailable", f"the scanner ended with {done.returncode}")
