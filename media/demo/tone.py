"""The demo tone: a quiet hum, and a beep on every second of the clock, so that one hears whether sound and picture agree.

Pure. Samples are 32-bit floats, one channel; a second of them repeats without a seam, because every pitch is a whole
number of hertz.
"""

from __future__ import annotations

import math
from array import array
from functools import cache
from typing import Final

RATE: Final = 48000  # samples a second
HUM: Final = ((110.0, 0.020), (220.0, 0.008))  # hertz, amplitude (1 = full scale)
BEEP: Final = (880.0, 0.12)
BEEP_SAMPLES: Final = RATE // 12
FADE: Final = RATE // 100  # samples in which the beep comes and goes, or it would click


class Tone:
    """The sound from one moment on."""

    def __init__(self, at: float) -> None:
        """at: seconds since 1970 of the first sample."""
        self._second = _second()
        self._next = round(at % 1 * RATE) % RATE

    def read(self, samples: int) -> bytes:
        """The next `samples` samples, at most a second of them."""
        start, end = self._next, self._next + samples
        self._next = end % RATE
        taken = self._second[start:end]
        if end > RATE:
            taken += self._second[: end - RATE]
        return taken.tobytes()


@cache
def _second() -> array[float]:
    return array("f", (_sample(i) for i in range(RATE)))


def _sample(i: int) -> float:
    value = sum(amplitude * math.sin(2 * math.pi * pitch * i / RATE) for pitch, amplitude in HUM)
    if i < BEEP_SAMPLES:
        pitch, amplitude = BEEP
        value += amplitude * min(1.0, i / FADE, (BEEP_SAMPLES - i) / FADE) * math.sin(2 * math.pi * pitch * i / RATE)
    return value
