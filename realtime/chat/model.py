"""What the chat of a stream is made of."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from nova.core.errors import BadRequest, FieldError, NotFound
from nova.realtime.history import Place

TEXT_MAX: Final = 500  # characters of a comment
REACTION_MAX: Final = 16  # characters; an emoji is up to a dozen code points
SLOW_MODE_MAX: Final = 3600  # seconds between two comments of one user
BAN_MAX: Final = 10 * 366 * 86400  # seconds; without a time a ban holds until it is taken back
REASON_MAX: Final = 200
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_COMMENT_ID: Final = re.compile(r"([A-Za-z0-9_-]{1,16})\.([1-9][0-9]{0,15})")


@dataclass(frozen=True, slots=True)
class Comment:
    """One comment. id: internal, in the order of writing. place: where it stands in the channel; None: not told yet. at: Unix ms."""

    id: str
    stream: str
    user: str
    name: str
    badges: tuple[str, ...]
    text: str
    at: int
    place: Place | None = None

    @property
    def public_id(self) -> str:
        return "" if self.place is None else f"{self.place.epoch}.{self.place.offset}"


@dataclass(frozen=True, slots=True)
class Mode:
    """How a chat runs. slow_mode_s: least seconds between two comments of one user, 0 switches it off."""

    enabled: bool = True
    slow_mode_s: int = 0
    guests: bool = True


@dataclass(frozen=True, slots=True)
class Ban:
    """until: Unix milliseconds; None: until it is taken back."""

    user: str
    until: int | None
    reason: str
    by: str
    at: int


class Said(NamedTuple):
    """What a client published: one of the two."""

    text: str
    reaction: str


def read(data: bytes) -> Said:
    """{text} or {reaction}. Raises BadRequest."""
    value: Any = json.loads(data)
    if not isinstance(value, dict):
        raise _wrong("", "bad_request", "{text} or {reaction} is wanted")
    unknown = [name for name in value if name not in ("text", "reaction")]
    if unknown:
        raise _wrong(f"/{unknown[0][:40]}", "unknown_field", "the chat takes {text} or {reaction}")
    if len(value) != 1:
        raise _wrong("/text", "missing_field", "the chat takes {text} or {reaction}")
    if "text" in value:
        return Said(clean(value["text"], "/text", TEXT_MAX), "")
    return Said("", clean(value["reaction"], "/reaction", REACTION_MAX))


def clean(text: object, pointer: str, most: int) -> str:
    """`text` without signs that move or hide others. Raises BadRequest `invalid_field`."""
    if not isinstance(text, str):
        raise _wrong(pointer, "invalid_field", "must be a string")
    found = _CONTROL.sub("", text).strip()
    if not 0 < len(found) <= most:
        raise _wrong(pointer, "invalid_field", f"must have 1 to {most} characters")
    return found


def place_of(comment: str) -> Place:
    """The place that a comment's id names. Raises NotFound."""
    found = _COMMENT_ID.fullmatch(comment)
    if found is None:
        raise NotFound("not_found", "there is no such comment")
    return Place(int(found[2]), found[1])


def _wrong(pointer: str, code: str, detail: str) -> BadRequest:
    return BadRequest(code, detail, fields=[FieldError(pointer, code, detail)])
