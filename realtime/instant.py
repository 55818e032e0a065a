"""Async functions that do not await: run at once, without a task."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def instantly(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which may not wait for anything. Raises RuntimeError when it does: a bug of its caller."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise RuntimeError("this was to answer at once")
