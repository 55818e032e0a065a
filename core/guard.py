"""The one place that catches every error: one peer's errors end one peer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import ParamSpec, Self

from nova.core.errors import NovaError
from nova.core.log import Log

P = ParamSpec("P")


async def guard(log: Log, task: Callable[P, Awaitable[object]], *args: P.args, **kwargs: P.kwargs) -> None:
    """Run `task(*args)` and let none of its errors reach the nursery; cancellation passes.

    A peer's fault (NovaError but Internal, OSError) is information; anything else is a bug of ours and logged as an
    error with its traceback.
    """
    try:
        await task(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - the one place
        report(log, error)
    except BaseExceptionGroup as group:
        # A task was cancelled while another of its nursery failed: the failure ends here, the cancellation goes on.
        failures, rest = group.split(Exception)
        if failures is not None:
            report(log, failures)
        if rest is not None:
            raise rest from None


def report(log: Log, error: Exception) -> None:
    """Write down why a task ended: a group by its leaves, each in its own line."""
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            report(log, inner)
    elif isinstance(error, NovaError) and error.kind != "internal":
        log.peer("peer_ended", code=error.code, detail=error.detail)
    elif isinstance(error, OSError):
        log.peer("peer_ended", code="io", detail=error.strerror or type(error).__name__)
    else:
        log.error("task_failed", exc_info=error)


class guarded:
    """The same for calls that are no tasks, such as the reactor's into its handlers: `with guarded(log) as failed`.

    `caught`: the error, None while there is none; true when one was caught. A class, for it stands round every batch of a publisher.
    """

    __slots__ = ("_log", "caught")

    def __init__(self, log: Log) -> None:
        self._log = log
        self.caught: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __bool__(self) -> bool:
        return self.caught is not None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if not isinstance(error, Exception):
            return False
        report(self._log, error)
        self.caught = error
        return True
