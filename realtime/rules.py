"""What holds in a namespace: the one table of rules, and how settings change it.

A rule is written as words: `room subscribe=user publish=user history=200 ttl=1h rate=10/s`. What is left out of a built-in namespace
keeps its row here; what is left out of another one has the defaults of `Namespace`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal, get_args

from nova.core.errors import NotFound, Unprocessable
from nova.core.values import ByteSize, Rate, Seconds, parse_duration, parse_size
from nova.realtime import channels

# Who may do something. everyone: without a token too. user: with any token, guests among them. own: the user whose id the
# channel is called after. watch: who may see the stream. chat: who may write in the stream's chat. service: services of the
# platform and administrators, who may do everything everywhere anyway.
Audience = Literal["everyone", "user", "own", "watch", "chat", "service"]
Policy = Literal["drop_oldest", "conflate", "disconnect"]
_AUDIENCES: Final[tuple[str, ...]] = get_args(Audience)
_POLICIES: Final[tuple[str, ...]] = get_args(Policy)
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_MOST: Final = 100_000  # publications that one channel may keep


_DATA: Final = ByteSize(60 * 1024)  # with its envelope it stays below the 64 KiB of a message
# Above the window of those who read (1024, 1 MiB), so that who falls out of it finds what a gap names.
_MANY: Final = 4096
_KEPT: Final = ByteSize(2 << 20)
_HOUR: Final = Seconds(3600.0)
_PERSON: Final = Rate(20, Seconds(1.0))
_ROOM: Final = Rate(500, Seconds(1.0))


@dataclass(frozen=True, slots=True)
class Namespace:
    """The rules of its channels.

    history, bytes, ttl: a channel keeps at most so many publications, of so many bytes, for so long.
    replay: how many of them a subscriber gets that has nothing to recover.
    size: bytes of one publication's data.
    rate: publications of one user (an address without one) to one channel. channel_rate: of all to one channel. None: no limit.
    joins: join and leave are told while a channel has at most so many members; above it there is only the count.
    """

    name: str
    subscribe: Audience = "user"
    publish: Audience = "user"
    presence: Audience = "user"
    history_for: Audience = "user"
    history: int = _MANY
    bytes: ByteSize = _KEPT
    ttl: Seconds = _HOUR
    replay: int = 0
    size: ByteSize = _DATA
    rate: Rate | None = _PERSON
    channel_rate: Rate | None = _ROOM
    policy: Policy = "drop_oldest"
    joins: int = 100


BUILT_IN: Final = (
    # What viewers see is what the stream's owner lets them see. A person who writes fast manages a comment a second.
    Namespace(
        channels.STREAM, "watch", "chat", "watch", "watch", history=2048, ttl=Seconds(86400.0), replay=50, size=ByteSize(4096),
        rate=Rate(30, Seconds(10.0)), joins=0,
    ),
    Namespace(channels.USER, "own", "own", "own", "own", history=100, ttl=Seconds(86400.0), joins=0),
    # Made for trying things out and for what everybody may read.
    Namespace(channels.PUBLIC, "everyone", "everyone", "everyone", "everyone", rate=None, channel_rate=None),
)  # fmt: skip


class Rules:
    """The namespaces of this server."""

    def __init__(self, namespaces: Iterable[Namespace]) -> None:
        self._known: Mapping[str, Namespace] = {each.name: each for each in namespaces}

    def of(self, name: str) -> tuple[Namespace, str]:
        """The namespace of a channel, and the rest of its name. Raises BadRequest: no channel's name; NotFound: no such namespace."""
        space, rest = channels.split(name)
        found = self._known.get(space)
        if found is None:
            raise NotFound("not_found", f"there is no namespace {space}")
        return found, rest

    def find(self, space: str) -> Namespace | None:
        return self._known.get(space)

    def __iter__(self) -> Iterator[Namespace]:
        return iter(self._known.values())


def read(lines: Iterable[str]) -> Rules:
    """The built-in namespaces with what `lines` change and add. Raises Unprocessable `bad_settings` with what is wrong."""
    known = {each.name: each for each in BUILT_IN}
    for line in lines:
        name, *words = line.split() or [""]
        if not _NAME.fullmatch(name):
            raise _wrong(f"{name[:40]!r} is no name of a namespace")
        known[name] = replace(known.get(name) or Namespace(name), **dict(_pair(name, word) for word in words))
    return Rules(known.values())


def _pair(name: str, word: str) -> tuple[str, Any]:
    key, equals, value = word.partition("=")
    reader = _READERS.get(key)
    if reader is None or not equals:
        raise _wrong(f"{name}: {word[:60]!r} is none of {', '.join(sorted(_READERS))} with a value")
    try:
        return key, reader(value)
    except ValueError as error:
        raise _wrong(f"{name}: {key}: {error}") from None


def _one_of(words: tuple[str, ...]) -> Any:
    def read_word(text: str) -> str:
        if text not in words:
            raise ValueError(f"one of {', '.join(words)} is wanted")
        return text

    return read_word


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text[:9]) > _MOST:
        raise ValueError(f"a whole number up to {_MOST} is wanted")
    return int(text)


def _rate(text: str) -> Rate | None:
    return None if text == "off" else Rate.parse(text)


_WHO: Final = _one_of(_AUDIENCES)
_READERS: Final[dict[str, Any]] = {
    "subscribe": _WHO, "publish": _WHO, "presence": _WHO, "history_for": _WHO, "history": _count, "bytes": parse_size,
    "ttl": parse_duration, "replay": _count, "size": parse_size, "rate": _rate, "channel_rate": _rate, "policy": _one_of(_POLICIES),
    "joins": _count,
}  # fmt: skip
assert set(_READERS) == {field.name for field in fields(Namespace)} - {"name"}


def _wrong(detail: str) -> Unprocessable:
    return Unprocessable("bad_settings", f"realtime.namespaces: {detail}")
