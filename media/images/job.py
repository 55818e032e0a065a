"""What goes between the server and a worker process: one message each way, files beside it as descriptors. Pure.

Messages are JSON: a few hundred bytes for each picture, which nobody needs faster, and everybody can read in a trace.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from nova.core import errors
from nova.media.images.options import Options, canonical, parse
from nova.media.images.sniff import Limits

MAX_MESSAGE: Final = 65_536  # bytes; sixteen results with the longest options stay below
MAX_OUTPUTS: Final = 16
MAX_MARKS: Final = 4


@dataclass(frozen=True, slots=True)
class Output:
    """One result that is wanted. format: one of options.FORMATS."""

    options: Options
    format: str


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker does with one source. The descriptors that come with it: the source, then one for each of `marks`.

    facts: whether Facts are wanted, placeholders included.
    """

    outputs: Sequence[Output] = ()
    facts: bool = False
    marks: Sequence[str] = ()
    limits: Limits = field(default_factory=Limits)

    def encode(self) -> bytes:
        value = {
            "outputs": [[canonical(each.options), each.format] for each in self.outputs],
            "facts": self.facts,
            "marks": list(self.marks),
            "limits": asdict(self.limits),
        }
        return json.dumps(value).encode()

    @classmethod
    def decode(cls, data: bytes) -> Job:
        value = json.loads(data)
        outputs = [Output(parse(text)[0], kind) for text, kind in value["outputs"]]
        return cls(outputs, value["facts"], value["marks"], Limits(**value["limits"]))


@dataclass(frozen=True, slots=True)
class Facts:
    """What a picture is. width, height: upright. alpha: whether anything shines through. thumbhash: bytes. color: `#rrggbb`."""

    format: str
    width: int
    height: int
    frames: int
    orientation: int
    alpha: bool
    color: str
    thumbhash: bytes


@dataclass(frozen=True, slots=True)
class Made:
    """One result."""

    format: str
    width: int
    height: int
    quality: int
    ms: float
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Done:
    """The answer to a job: its results in the order of `outputs`."""

    facts: Facts | None
    made: Sequence[Made]


def encode_done(done: Done) -> bytes:
    """Without the bytes of the results: they go beside."""
    facts: dict[str, Any] | None = None
    if done.facts is not None:
        facts = asdict(done.facts) | {"thumbhash": done.facts.thumbhash.hex()}
    made = [
        {"format": each.format, "width": each.width, "height": each.height, "quality": each.quality, "ms": each.ms, "size": len(each.data)}
        for each in done.made
    ]
    return json.dumps({"facts": facts, "made": made}).encode()


def encode_error(error: errors.NovaError) -> bytes:
    return json.dumps({"error": error.code, "detail": error.detail}).encode()


def sizes(reply: Mapping[str, Any]) -> list[int]:
    """Bytes of each result in a decoded reply."""
    return [int(each["size"]) for each in reply["made"]]


def decode_done(reply: Mapping[str, Any], data: Sequence[bytes]) -> Done:
    """data: the bytes of the results."""
    facts = reply["facts"]
    made = [
        Made(each["format"], each["width"], each["height"], each["quality"], each["ms"], content)
        for each, content in zip(reply["made"], data, strict=True)
    ]
    return Done(None if facts is None else Facts(**(facts | {"thumbhash": bytes.fromhex(facts["thumbhash"])})), made)
