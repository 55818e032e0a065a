"""When a client comes back, and whether it does. Pure; docs/close-codes.md is where the ranges come from."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

FIRST_MS: Final = 500  # pause before the first try; doubles with each
LONGEST_MS: Final = 30_000
STABLE_MS: Final = 10_000  # a connection that held for so long starts the pauses anew
TRANSIENT: Final = frozenset({"unavailable", "overloaded", "shutting_down", "rate_limited", "internal", "deadline"})
TOKEN: Final = frozenset({"unauthenticated", "bad_token", "token_expired", "token_revoked"})


class Next(Enum):
    """What to do after something ended."""

    BACK_OFF = "back off"
    TOKEN = "token"  # noqa: S105 - a word, not a secret
    STOP = "stop"


def after_close(code: int) -> Next:
    """Of a close code or of `unsub`; 1006 is a connection that broke."""
    if 4000 <= code <= 4199 or code in (1001, 1006, 1011, 1012, 1013):
        return Next.BACK_OFF
    return Next.TOKEN if 4200 <= code <= 4299 else Next.STOP


def after_error(error: Mapping[str, Any]) -> Next:
    """Of an error reply to `connect`, `subscribe`, or the `history` that fills a gap."""
    if error.get("code") in TOKEN:
        return Next.TOKEN
    return Next.BACK_OFF if "retry_ms" in error or error.get("code") in TRANSIENT else Next.STOP


def pause(tries: int, random: float) -> int:
    """ms before the next try, after `tries` that failed in a row. random: 0 to 1; half of the pause is chance."""
    return round(min(LONGEST_MS, FIRST_MS << min(tries, 10)) * (0.5 + random / 2))


def advised(after_ms: int, random: float) -> int:
    """ms to wait when the server has said `reconnect_after_ms`: about so long, spread over a window around it."""
    return round(after_ms * (0.75 + random / 2))
