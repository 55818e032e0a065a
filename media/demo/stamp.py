"""The time as a row of squares at the foot of the picture, for programs: a camera (or a test) reads from the screen when
the frame was made, and so knows the whole delay from glass to glass.

48 squares, white = 1: `1010`, then 36 bits of the time in ms since 1970 (most significant first; it wraps after two
years), then 8 bits: the sum of those 36 bits' value taken byte by byte, modulo 256.
"""

from typing import Final

BITS: Final = 48
TIME_BITS: Final = 36
_START: Final = 0b1010


def encode(at_ms: int) -> tuple[bool, ...]:
    """The squares, left to right, for a time in ms since 1970."""
    value = at_ms & ((1 << TIME_BITS) - 1)
    word = _START << (BITS - 4) | value << 8 | sum(value.to_bytes(5, "big")) & 0xFF
    return tuple(bool(word >> (BITS - 1 - i) & 1) for i in range(BITS))


def decode(squares: tuple[bool, ...], now_ms: int) -> int | None:
    """The time in ms since 1970, the latest one not after `now_ms`; None when the squares do not add up."""
    word = sum(bit << (BITS - 1 - i) for i, bit in enumerate(squares))
    value = word >> 8 & ((1 << TIME_BITS) - 1)
    if len(squares) != BITS or word >> (BITS - 4) != _START or sum(value.to_bytes(5, "big")) & 0xFF != word & 0xFF:
        return None
    return now_ms - ((now_ms - value) & ((1 << TIME_BITS) - 1))
