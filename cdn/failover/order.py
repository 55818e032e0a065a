"""In which order the origins of a site are asked: by priority, and within one by weight.

Pure. Smooth weighted round robin (as nginx since 1.3.1): over any stretch each one gets its share, and never two bursts in a row.
"""

from __future__ import annotations

from collections.abc import Sequence


class Order:
    """weights: one for each origin. backups: those that come behind all others."""

    def __init__(self, weights: Sequence[int], backups: Sequence[bool]) -> None:
        self._weights = list(weights)
        self._backups = list(backups)
        self._current = [0] * len(self._weights)

    def next(self, ready: Sequence[bool]) -> list[int]:
        """Every origin that is `ready`, the one whose turn it is first; backups last."""
        if len(ready) == 1:
            return [0] if ready[0] else []
        return [*self._turn([at for at, yes in enumerate(ready) if yes and not self._backups[at]]),
                *self._turn([at for at, yes in enumerate(ready) if yes and self._backups[at]])]  # fmt: skip

    def _turn(self, among: list[int]) -> list[int]:
        if not among:
            return []
        total = 0
        for at in among:
            self._current[at] += self._weights[at]
            total += self._weights[at]
        among.sort(key=lambda at: (-self._current[at], at))
        self._current[among[0]] -= total
        return among
