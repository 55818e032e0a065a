"""Channel names: `namespace:rest`, by the contract's grammar. Pure."""

from __future__ import annotations

import re
from typing import Final

from nova.core.errors import BadRequest, FieldError

NAME: Final = re.compile(r"([a-z][a-z0-9_-]{0,31}):([A-Za-z0-9._~-]{1,128})")

STREAM: Final = "stream"  # live chat of a stream
USER: Final = "user"  # private to one user
PUBLIC: Final = "public"  # open to everyone


def split(name: str) -> tuple[str, str]:
    """Namespace and rest. Raises BadRequest `invalid_field`: not a channel's name."""
    found = NAME.fullmatch(name)
    if found is None:
        detail = "a channel is called namespace:name, of a-z 0-9 _ - and A-Z a-z 0-9 . _ ~ -"
        raise BadRequest("invalid_field", detail, fields=[FieldError("/channel", "invalid_field", detail)])
    return found[1], found[2]
