"""A value that must not be seen: it prints as `***` and compares in constant time."""

from __future__ import annotations

from hmac import compare_digest
from typing import NoReturn

MASK = "***"


class Secret:
    """Text or bytes that no log line, error body, traceback or `nova config` may show.

    `reveal` is the only way to the value; a reviewer finds every use by that word.
    """

    __slots__ = ("_value",)
    # Equality is constant time, a hash would not be: a secret is never a key of a dict.
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: str | bytes) -> None:
        self._value = value.encode() if isinstance(value, str) else bytes(value)

    def reveal(self) -> bytes:
        """The value itself, as bytes. Keep it local; never format it."""
        return self._value

    def __eq__(self, other: object) -> bool:
        """Constant time in the content (the length may show); `str` and `bytes` are compared as values."""
        if isinstance(other, Secret):
            return compare_digest(self._value, other._value)
        if isinstance(other, str):
            return compare_digest(self._value, other.encode("utf-8", "surrogatepass"))
        if isinstance(other, bytes | bytearray | memoryview):
            return compare_digest(self._value, bytes(other))
        return NotImplemented

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return MASK

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")
