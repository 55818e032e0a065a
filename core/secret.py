"""A value that must not be seen: it prints as `***` and compares in constant time."""

from __future__ import annotations

import os
import re
from hmac import compare_digest
from pathlib import Path
from typing import NoReturn, Self

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

    @classmethod
    def refer(cls, text: str) -> Self:
        """The secret that a setting names: `file:PATH` (one trailing newline is dropped), `env:NAME`, else the text.

        Raises ValueError: there is no such file or variable, or it is empty.
        """
        scheme, colon, rest = text.partition(":")
        if colon and scheme == "file":
            try:
                value = Path(rest).expanduser().read_text(encoding="utf-8").removesuffix("\n")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
                raise ValueError(f"the secret file {rest} cannot be read: {reason}") from None
        elif colon and scheme == "env":
            value = os.environ.get(rest, "")
        else:
            value = text
        if not value:
            raise ValueError("a secret may not be empty; use file:PATH or env:NAME to keep it elsewhere")
        return cls(value)

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


class SecretUrl(Secret):
    """The URL of a service: shown without its password and without its query."""

    __slots__ = ()

    def text(self) -> str:
        """The whole URL, password included. Keep it local; never format it."""
        return self.reveal().decode()

    def __str__(self) -> str:
        # Greedy up to the last `@`: a password may hold any of `:/?@` when its writer forgot to encode it.
        return re.sub(r"(//[^/@:]*):.*@", rf"\1:{MASK}@", self.text()).partition("?")[0]

    def __repr__(self) -> str:
        return str(self)

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)
