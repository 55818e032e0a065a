"""What a subscription tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Joined:
    """The channel is followed from `offset` on. again: after a broken connection. recovered: then nothing was missed."""

    offset: int
    epoch: str
    recovered: bool
    again: bool


@dataclass(frozen=True, slots=True)
class Publication:
    """at: Unix milliseconds. info: written by the server. replayed: it is older than the subscription."""

    offset: int
    data: Any
    at: int
    info: Any
    replayed: bool


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets `first` to `last` were missed; `recovered` of them were told before this. Another epoch: 0 and 0."""

    first: int
    last: int
    epoch: str
    recovered: int


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody came, or left."""

    user: str | None
    client: str
    came: bool


@dataclass(frozen=True, slots=True)
class Left:
    """The last event: the server has ended the subscription. code: as a close code, 0 for an error reply."""

    code: int
    reason: str


Event = Joined | Publication | Gap | Member | Left


def read(told: dict[str, Any]) -> Event:
    """Of the machine's."""
    kind = told["event"]
    if kind == "publication":
        return Publication(told["offset"], told["data"], told["at"], told["info"], told["replayed"])
    if kind == "joined":
        return Joined(told["offset"], told["epoch"], told["recovered"], told["again"])
    if kind == "gap":
        return Gap(told["from"], told["to"], told["epoch"], told["recovered"])
    if kind == "left":
        return Left(told["code"], told["reason"])
    return Member(told["user"], told["client"], kind == "join")
