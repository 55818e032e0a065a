"""The presets: sizes that have a name. The one table; documents and the sign-in page's pictures come from it.

A preset is used as `preset:name` in a URL, and named at an upload to have its result made at once. `OPEN` ones need no signature: their
number bounds what a stranger can have made of a picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nova.core.errors import BadRequest
from nova.media.images.options import Options, parse


@dataclass(frozen=True, slots=True)
class Preset:
    """open: served without a signature. made: at every upload that names no preset, from its one decode."""

    options: str
    doc: str
    open: bool = False
    made: bool = False


TABLE: Final[Mapping[str, Preset]] = {
    "avatar": Preset("rs:cover:128:128/g:attention", "a face or a mark, square", open=True),
    "avatar_large": Preset("rs:cover:512:512/g:attention", "the same, for a profile's page"),
    "thumb": Preset("rs:cover:320:320/g:attention", "a square in a grid", open=True, made=True),
    "small": Preset("rs:inside:320:320", "a list on a phone", made=True),
    "medium": Preset("rs:inside:720:720", "a feed on a phone", made=True),
    "large": Preset("rs:inside:1080:1080", "a feed on a desk", made=True),
    "full": Preset("rs:inside:2160:2160", "the whole screen"),
    "poster": Preset("rs:cover:720:1280/g:attention", "the still of a reel, upright"),
    "banner": Preset("rs:cover:1500:500/g:attention", "the head of a profile"),
    "fast": Preset("rs:inside:320:320/fast:1", "a first look, quick to make, up to 1 dB less"),
}
PRESETS: Final[Mapping[str, Options]] = {name: parse(row.options)[0] for name, row in TABLE.items()}
OPEN: Final = frozenset(name for name, row in TABLE.items() if row.open)
MADE: Final = tuple(name for name, row in TABLE.items() if row.made)


def chosen(name: str) -> tuple[str, ...]:
    """The presets that an upload's results are made for. Raises BadRequest `bad_options`."""
    if not name:
        return MADE
    if name not in TABLE:
        raise BadRequest("bad_options", f"there is no preset {name[:20]!r}; one of {', '.join(TABLE)}")
    return (name,)
