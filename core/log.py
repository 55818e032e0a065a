"""Structured logging to stderr: redacted, correlated, sampled; rendered by structlog.

The rendering half is loaded with the first warning or by `settle`, not at start: it costs more than the rest of the
core together. Lines that come before are kept, in order, with the time they were made.
"""

from __future__ import annotations

import atexit
import json
import logging
import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from threading import RLock
from typing import Any, Final, Literal, TextIO

from nova.core.clock import Clock, SystemClock, rfc3339
from nova.core.redact import redact, redact_text
from nova.core.values import Seconds

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "console", "json"]
LEVELS: Final[Mapping[str, int]] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
EARLY_LINES: Final = 1000  # kept until the renderer is there; more than a start writes
MAX_TRACEBACK: Final = 16384  # characters
PEER_LINES: Final = 20  # lines a second about one kind of peer's fault: a flood of peers is one line, not a full disk

correlation_id: ContextVar[str | None] = ContextVar("correlation_id", default=None)
"""The id of the request, call or job that this task works for; every line carries it."""

Renderer = Callable[[dict[str, Any]], str]


class Sink:
    """Where lines end up. One for a process; `configure` makes it.

    level, format, sample: the settings of section `log`.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        level: Level = "info",
        format: Format = "auto",
        sample: int = 100,
        clock: Clock | None = None,
        early: bool = False,
    ) -> None:
        self.threshold = LEVELS[level]
        self.sample_every = sample
        self.clock = clock or SystemClock()
        self._stream = stream
        self._json = format == "json" or (format == "auto" and not stream.isatty())
        self._render: Renderer | None = None
        self._early: deque[dict[str, Any]] = deque(maxlen=EARLY_LINES)
        self._settled = not early
        self._lock = RLock()

    def write(self, level: Level, event: dict[str, Any]) -> None:
        with self._lock:
            if self._render is None and not self._settled and LEVELS[level] < LEVELS["warning"]:
                self._early.append(event)
                return
            self.settle()
            self._put(event)

    def settle(self) -> None:
        """Load the renderer and write what was kept. Costs some 60 ms once; safe to call from any thread."""
        with self._lock:
            self._settled = True
            if self._render is None:
                self._render = _json_renderer() if self._json else _console_renderer(self._stream.isatty())
            while self._early:
                self._put(self._early.popleft())

    def _put(self, event: dict[str, Any]) -> None:
        assert self._render is not None
        try:
            self._stream.write(self._render(event) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            # stderr is closed or its disk is full: a server does not end because nobody listens to it.
            return


def _json_renderer() -> Renderer:
    from structlog.processors import JSONRenderer

    def encode(event: dict[str, Any], **_: object) -> str:
        return json.dumps(event, ensure_ascii=False, separators=(",", ":"), default=str)

    renderer = JSONRenderer(serializer=encode)
    return lambda event: str(renderer(None, "", event))


def _console_renderer(colors: bool) -> Renderer:
    from structlog.dev import ConsoleRenderer, plain_traceback

    # Not the rich traceback: it prints local variables, which hold keys.
    renderer = ConsoleRenderer(colors=colors, exception_formatter=plain_traceback)
    return lambda event: str(renderer(None, "", event))


class Log:
    """A logger of one part of the program, with fields that every line of it carries.

    Events are names (`stream_started`), facts are fields; no content, keys or tokens in either.
    """

    __slots__ = ("_counts", "_fields", "_peers", "_sink", "name")

    def __init__(self, name: str, sink: Sink | None = None, fields: Mapping[str, object] | None = None) -> None:
        self.name = name
        self._sink = sink
        self._fields = dict(fields or {})
        self._counts: dict[str, int] = {}
        self._peers: dict[str, _Second] = {}

    def bind(self, **fields: object) -> Log:
        """The same logger with more fields; its counts for sampling and floods are shared with this one."""
        bound = Log(self.name, self._sink, {**self._fields, **fields})
        bound._counts, bound._peers = self._counts, self._peers
        return bound

    def debug(self, event: str, **fields: object) -> None:
        self._log("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._log("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._log("warning", event, fields)

    def error(self, event: str, *, exc_info: BaseException | bool | None = None, **fields: object) -> None:
        """A bug of ours. exc_info: the error, or True for the one being handled."""
        self._log("error", event, fields, exc_info)

    def sample(self, event: str, **fields: object) -> None:
        """Information that comes with every request or message: one in `log.sample` is written."""
        seen = self._counts.get(event, 0)
        self._counts[event] = seen + 1
        every = self._target().sample_every
        if seen % every == 0:
            self._log("info", event, {**fields, "sampled": every})

    def peer(self, event: str, **fields: object) -> None:
        """A peer's fault: information, at most PEER_LINES a second for each event; the next line counts the others."""
        now = self._target().clock.monotonic()
        second = self._peers.setdefault(event, _Second())
        suppressed = second.admit(now)
        if suppressed is not None:
            self._log("info", event, {**fields, "suppressed": suppressed} if suppressed else fields)

    def _target(self) -> Sink:
        return self._sink or _process_sink()

    def _log(self, level: Level, event: str, fields: Mapping[str, object], exc_info: BaseException | bool | None = None) -> None:
        sink = self._target()
        if LEVELS[level] < sink.threshold:
            return
        line: dict[str, Any] = {
            "timestamp": rfc3339(sink.clock.wall()),
            "level": level,
            "logger": self.name,
            "event": redact_text(event),
        }
        if (correlation := correlation_id.get()) is not None:
            line["correlation_id"] = redact_text(correlation)
        for name, value in {**self._fields, **fields}.items():
            line[name] = redact(name, value)
        error = sys.exception() if exc_info is True else exc_info
        if isinstance(error, BaseException):
            line["exception"] = _traceback(error)
        sink.write(level, line)


class _Second:
    """Counts one event within the second that began with its first."""

    __slots__ = ("_lines", "_start", "_suppressed")

    def __init__(self) -> None:
        self._start = Seconds(float("-inf"))
        self._lines = self._suppressed = 0

    def admit(self, now: Seconds) -> int | None:
        """None: not this one. Else the number of those that were not written since the last line."""
        if now - self._start >= 1.0:
            self._start, self._lines = now, 0
        if self._lines >= PEER_LINES:
            self._suppressed += 1
            return None
        self._lines += 1
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed


def _traceback(error: BaseException) -> str:
    from traceback import TracebackException

    # Without the local variables: they hold keys. The end of it says most.
    text = "".join(TracebackException.from_exception(error, capture_locals=False).format())
    return redact_text(text[-MAX_TRACEBACK:], MAX_TRACEBACK, lines=True)


class _Forward(logging.Handler):
    """What libraries say through `logging` (hypercorn, grpc, asyncio): redacted and rendered as our own lines."""

    def emit(self, record: logging.LogRecord) -> None:
        level: Level = "error" if record.levelno >= 40 else "warning" if record.levelno >= 30 else "info"
        log = Log(record.name)
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            text = str(record.msg)  # arguments that do not fit: the bare message is better than a second error
        log._log(level, text, {}, record.exc_info[1] if record.exc_info else None)


_current: Sink | None = None


def _process_sink() -> Sink:
    global _current  # the process has one stderr
    if _current is None:
        _current = Sink(sys.stderr)
    return _current


def configure(*, level: Level, format: Format, sample: int, early: bool = True, stream: TextIO | None = None) -> Sink:
    """Make the process's sink from the settings of section `log` and take over what libraries log.

    early: keep lines below warning until `settle`, which the server calls when it is ready; they are written at exit
    in any case.
    """
    global _current
    _current = Sink(stream or sys.stderr, level=level, format=format, sample=sample, early=early)
    atexit.register(_current.settle)
    root = logging.getLogger()
    root.handlers[:] = [_Forward()]
    root.setLevel(logging.DEBUG if level == "debug" else logging.WARNING)
    return _current
