"""Why the server closes a WebSocket: one row per code, and what a client does then.

`docs/close-codes.md`, the metric label `reason` and the client libraries are made from this table. Codes are added, never reused.
The error of `core.errors` that ends a connection names its code there; the framing's own codes come from `ext.ws`.

Sources: RFC 6455 section 7.4 and the IANA registry for 1000 to 1014; the contract's ranges for the others.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple


class Advice(Enum):
    """What a client does after a close; its value is the sentence of the docs."""

    BACK_OFF = "come back, with growing, random delays"
    NEW_TOKEN = "get a new token first, then come back"  # noqa: S105 -- no password
    STAY_AWAY = "do not come back by itself: the same would happen again"


RANGES: Final[dict[Advice, range]] = {
    Advice.BACK_OFF: range(4000, 4200),
    Advice.NEW_TOKEN: range(4200, 4300),
    Advice.STAY_AWAY: range(4300, 4500),
}


class CloseCode(NamedTuple):
    code: int
    name: str  # metric label and the reason in the close frame, unless the framing has a finer one
    meaning: str


# fmt: off
TABLE: Final[dict[int, CloseCode]] = {row[0]: CloseCode(*row) for row in (
    (1000, "normal",             "The client closed first, or everything was said."),
    (1002, "protocol",           "A frame broke RFC 6455; the reason names the rule."),
    (1003, "kind",               "A text on a binary subprotocol, or a binary on a text one."),
    (1007, "content",            "A text is not UTF-8, or deflated data is damaged."),
    (1008, "policy",             "An endless message of empty frames."),
    (1009, "too_large",          "A message above the limit, counted over its fragments and after inflating."),
    (1011, "no_memory",          "The machine is out of memory."),
    (4000, "internal",           "The server failed."),
    (4001, "unavailable",        "The service, or something that it needs, is not available now."),
    (4002, "shutting_down",      "The server ends or moves its clients; `bye` said when to come back."),
    (4003, "rate_limited",       "Too many messages, commands or connections."),
    (4004, "deadline",           "Something that the connection depends on took too long."),
    (4005, "slow_reader",        "The client took its messages too slowly: a channel's policy is `disconnect`, or too much waits for it."),
    (4006, "silent",             "No sign of life: neither a pong nor anything else in time."),
    (4007, "lifetime",           "The connection reached its greatest age; coming back spreads the load."),
    (4008, "not_connected",      "No `connect` in time, and the URL has no token."),
    (4009, "asked_to_reconnect", "A service of the platform asked that the client connect again."),
    (4200, "unauthenticated",    "Credentials are missing or not valid."),
    (4201, "bad_token",          "The token is not valid."),
    (4202, "token_expired",      "The token has expired, and no `refresh` came in time."),
    (4203, "token_revoked",      "The token was revoked."),
    (4204, "bad_sign_in_code",   "The sign-in code is not valid any more."),
    (4300, "bad_request",        "A frame that is not understood: no reply could name its command; the reason says what is wrong."),
    (4301, "forbidden",          "This is not allowed."),
    (4302, "bad_origin",         "Pages of this origin are not allowed."),
    (4303, "missing_scope",      "The token lacks the scope that this needs."),
    (4304, "guests_forbidden",   "Guests are not admitted."),
    (4305, "bad_stream_key",     "The stream key is not valid."),
    (4306, "not_found",          "There is nothing here."),
    (4307, "method_not_allowed", "The method is not allowed here."),
    (4308, "conflict",           "This conflicts with what exists."),
    (4309, "unsupported_type",   "The media type is not supported."),
    (4310, "unprocessable",      "The request cannot be carried out as it is."),
    (4311, "not_yet",            "This is not available yet."),
    (4312, "disconnected",       "A service of the platform ended the connection, and the client is not welcome back."),
)}
# fmt: on

_STANDARD: Final = {1001: Advice.BACK_OFF, 1006: Advice.BACK_OFF, 1011: Advice.BACK_OFF, 1012: Advice.BACK_OFF, 1013: Advice.BACK_OFF}


def advice(code: int) -> Advice:
    """What a client does after `code`, also one that this version does not know; 1006 is a connection that broke."""
    for what, codes in RANGES.items():
        if code in codes:
            return what
    return _STANDARD.get(code, Advice.STAY_AWAY)


def markdown() -> str:
    """The table, for the docs."""
    lines = ["| code | name | meaning | the client should |\n|---|---|---|---|\n"]
    lines += (f"| {row.code} | `{row.name}` | {row.meaning} | {advice(row.code).value} |\n" for row in TABLE.values())
    return "".join(lines)
