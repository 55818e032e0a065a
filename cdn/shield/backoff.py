"""How long a failure of an object is remembered: doubled with each further one.

Pure; bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

_MOST: Final = 4 << 20  # bytes of one site's: some 20,000 objects; those that failed first are forgotten, and clients make long names up
_NAME: Final = 150  # bytes that an object takes beside its name


class _Failures(NamedTuple):
    times: int
    until: float


class Backoff:
    def __init__(self, first: float, most: float) -> None:
        self._first, self._most = first, most
        self._failed: OrderedDict[bytes, _Failures] = OrderedDict()
        self._bytes = 0

    def failed(self, key: bytes, now: float) -> float:
        """Seconds for which the origin is left alone with this object."""
        before = self._pop(key) or _Failures(0, 0.0)
        seconds: float = min(self._first * 2.0 ** min(before.times, 30), self._most)
        self._failed[key] = _Failures(before.times + 1, now + seconds)
        self._bytes += len(key) + _NAME
        while self._bytes > _MOST:
            self._pop(next(iter(self._failed)))
        return seconds

    def left(self, key: bytes, now: float) -> float:
        """Seconds for which it is still left alone."""
        found = self._failed.get(key)
        return 0.0 if found is None else max(0.0, found.until - now)

    def worked(self, key: bytes) -> None:
        self._pop(key)

    def _pop(self, key: bytes) -> _Failures | None:
        found = self._failed.pop(key, None)
        if found is not None:
            self._bytes -= len(key) + _NAME
        return found
