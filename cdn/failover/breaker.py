"""A circuit breaker: an origin that fails is left alone, tried with one request at a time, and taken back when it holds.

Pure. `now` is monotonic seconds.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

TRIALS: Final = 2  # answers in a row that close it: one good answer may be luck
LONGEST: Final = 30.0  # seconds between two trials
CALM: Final = 10.0  # times the last wait without a new opening, after which the next opening begins with the shortest wait


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """failures: in a row, that open it. wait: seconds until the first trial; doubled with every opening that comes soon after the last.

    Every `allow` that says True is followed by exactly one of `success`, `failure` and `cancel`, with what `trial` was right behind it.
    Of one that is half open only its trials decide: what was asked before it opened, or though it is, says nothing of how it is now, and
    frees nobody's trial.
    """

    def __init__(self, failures: int, wait: float) -> None:
        self._most, self._shortest = failures, wait
        self._failures = 0
        self._wait = wait
        self._until = 0.0  # of an open one: the next trial
        self._closed_at = float("-inf")
        self._trial = False
        self._passed = 0
        self.state = State.CLOSED
        self.openings = 0

    def ready(self, now: float) -> bool:
        """Whether `allow` would say yes."""
        if self.state is State.CLOSED:
            return True
        return not self._trial and (self.state is State.HALF_OPEN or now >= self._until)

    def allow(self, now: float) -> bool:
        """Whether one request may go there now."""
        if not self.ready(now):
            return False
        if self.state is not State.CLOSED:
            self.state, self._trial = State.HALF_OPEN, True
        return True

    @property
    def trial(self) -> int:
        """The number of the trials that decide now, 0: none do."""
        return self.openings if self.state is State.HALF_OPEN else 0

    def success(self, now: float, trial: int) -> None:
        self._failures = 0
        if trial and trial == self.trial:
            self._trial = False
            self._passed += 1
            if self._passed >= TRIALS:
                self.state, self._closed_at = State.CLOSED, now

    def failure(self, now: float, trial: int) -> None:
        self._failures += 1
        if (trial and trial == self.trial) or (self.state is State.CLOSED and self._failures >= self._most):
            self._open(now)

    def cancel(self, trial: int) -> None:
        """The request ended without a word about the origin."""
        if trial and trial == self.trial:
            self._trial = False

    def _open(self, now: float) -> None:
        # One that flaps waits longer each time; one that held for a while begins anew.
        calm = self.state is State.CLOSED and now - self._closed_at > CALM * self._wait
        self._wait = self._shortest if calm or not self.openings else min(self._wait * 2, max(LONGEST, self._shortest))
        self.state, self._until = State.OPEN, now + self._wait
        self._trial, self._passed, self._failures = False, 0, 0
        self.openings += 1

    @property
    def retry_at(self) -> float:
        """When the next trial is due; of a closed one 0."""
        return self._until if self.state is State.OPEN else 0.0
