"""Which format a client gets: Accept with its weights (RFC 9110, 12.5.1), and client hints. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from nova.media.images.options import ANIMATED
from nova.media.images.sniff import TYPES

MAX_ACCEPT: Final = 4096  # characters that are looked at
VARY: Final = "Accept"
HINTS: Final = "Sec-CH-DPR, Sec-CH-Width, DPR, Width"
HINT_FIELDS: Final = (b"sec-ch-dpr", b"dpr", b"sec-ch-width", b"width")  # in the order in which they are looked at
_NUMBER: Final = re.compile(r"[0-9]{1,5}(?:\.[0-9]{0,4})?")
_MEDIA: Final = {"jpg": TYPES["jpeg"], **{name: TYPES[name] for name in ("png", "webp", "avif", "gif")}}


def media_type(format: str) -> str:
    """Of a result's format."""
    return _MEDIA[format]


def choose(accept: str, offered: Sequence[str], *, alpha: bool, animated: bool) -> str:
    """The format for a client that sent this Accept (empty: none).

    offered: modern formats, the best first; one is taken only when the client names it, for a wildcard is what everybody sends. Then the
    highest weight wins, the order decides among equals. Else what every client can show: JPEG, PNG where something shines through, GIF
    where it moves.
    """
    weights = _weights(accept[:MAX_ACCEPT])
    best, chosen = 0.0, ""
    for format_ in offered:
        if animated and format_ not in ANIMATED:
            continue
        weight = weights.get(media_type(format_), 0.0)
        if weight > best:
            best, chosen = weight, format_
    if chosen:
        return chosen
    return "gif" if animated else "png" if alpha else "jpg"


def _weights(accept: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for item in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in item.split(";"))
        weight = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                value = value.strip(" \t")
                weight = min(1.0, float(value)) if _NUMBER.fullmatch(value) else 0.0
        found[kind] = max(found.get(kind, 0.0), weight)
    return found


def hint(*values: str) -> float | None:
    """The first of these header values that is a number; None: none is."""
    for value in values:
        text = value.strip(" \t")
        if _NUMBER.fullmatch(text) and float(text) > 0:
            return float(text)
    return None
