"""What commands share: settings, errors as one line, output for people or programs, and the way to the server."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from nova.core import settings as settings_
from nova.core.errors import BadRequest, NovaError
from nova.core.settings import Loaded

Json = Any

INTERRUPTED: Final = 130  # what a shell expects of a program that Ctrl-C ended


def guarded(run: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Run a command; its errors become one line on stderr and an exit code."""
    try:
        return run(arguments)
    except NovaError as error:
        return fail(error)
    except BaseExceptionGroup as group:
        if group.split(KeyboardInterrupt)[1] is None:
            return INTERRUPTED
        known, others = group.split(NovaError)
        if known is None or others is not None:
            raise
        return fail(first(known))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        sys.stdout = None  # whoever read it has left; nothing may be flushed into it at exit
        return 1


def first(group: BaseExceptionGroup[NovaError]) -> NovaError:
    """The first error within nested groups."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, NovaError)
    return error


def fail(error: NovaError) -> int:
    """One line on stderr. 2: the settings or the arguments can not work; 1: anything else."""
    detail = error.detail or error.row.title
    more = [f"{field.pointer.lstrip('/')} {field.detail}" for field in error.fields if field.detail not in detail]
    line = " ".join(f"nova: {'; '.join([detail, *more])}".split())
    sys.stderr.write(line + "\n")
    return 2 if error.code == "bad_settings" or isinstance(error, BadRequest) else 1


def load(arguments: argparse.Namespace, extra: tuple[str, ...] = ()) -> Loaded:
    """The settings for a command: file, environment, `--set`, and last its own flags. Raises SettingsError."""
    overrides = [*arguments.overrides, *extra]
    if arguments.data is not None:
        overrides.append(f"data.dir={arguments.data}")
    return settings_.load(arguments.config, overrides=overrides)


def say(arguments: argparse.Namespace, value: Json, text: str) -> None:
    """A result: one JSON object a line, or text."""
    sys.stdout.write((json.dumps(value, ensure_ascii=False, separators=(",", ":")) if arguments.json else text) + "\n")
    sys.stdout.flush()


def ask(arguments: argparse.Namespace, command: str, **given: Json) -> Json:
    """What the operator's `command` answers: of the running server of the data directory, else beside its store.

    Raises NovaError.
    """
    import trio

    return trio.run(ask_async, load(arguments), command, given)


async def ask_async(loaded: Loaded, command: str, given: Json) -> Json:
    """As `ask`, for a command that runs trio itself."""
    from nova.surface import control
    from nova.surface.datadir import Locked, open_data_dir

    settings = loaded.settings
    data = open_data_dir(Path(settings.data.dir), create=False)
    try:
        with data.lock("command"):
            from nova.core.clock import SystemClock
            from nova.surface.services import NothingRuns, open_services

            async with open_services(settings, data, SystemClock(), NothingRuns()) as services:
                address = settings.http.listen or settings.https.listen
                if address is not None:
                    services.urls.listener = f"{'http' if settings.http.listen else 'https'}://{address}"
                services.urls.rtmp_port = None if settings.rtmp.listen is None else settings.rtmp.listen.port
                return await services.operator.run(command, given)
    except Locked as busy:
        if busy.holder != "serve":
            raise
    return await control.ask(data.control, command, given)
