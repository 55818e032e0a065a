"""How long a failure of an object is remembered: doubled with each further one.

Pure; bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

_MOST: Final = 10_000  # objects; the ones that failed first are forgotten


class _Failures(NamedTuple):
    times: int
    until: float


class Backoff:
    def __init__(self, first: float, most: float) -> None:
        self._first, self._most = first, most
        self._failed: OrderedDict[bytes, _Failures] = OrderedDict()

    def failed(self, key: bytes, now: float) -> float:
        """Seconds for which the origin is left alone with this object."""
        before = self._failed.pop(key, _Failures(0, 0.0))
        seconds: float = min(self._first * 2.0 ** min(before.times, 30), self._most)
        self._failed[key] = _Failures(before.times + 1, now + seconds)
        if len(self._failed) > _MOST:
            self._failed.popitem(last=False)
        return seconds

    def left(self, key: bytes, now: float) -> float:
        """Seconds for which it is still left alone."""
        found = self._failed.get(key)
        return 0.0 if found is None else max(0.0, found.until - now)

    def worked(self, key: bytes) -> None:
        self._failed.pop(key, None)
