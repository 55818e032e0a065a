"""Opaque cursors: the position in a list that a caller hands back to get the next page.

A cursor names its list, so that one of another list is refused; it carries no right, so it is not signed.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode

from nova.core.errors import BadRequest


def encode(of: str, position: str) -> str:
    """of: the list's name; position: what its reader needs to go on."""
    return urlsafe_b64encode(f"{of}\0{position}".encode()).rstrip(b"=").decode()


def decode(of: str, cursor: str) -> str:
    """The position in `cursor`. Raises BadRequest `bad_cursor`: made by someone else, or for another list."""
    try:
        text = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, UnicodeError):
        text = ""
    made_for, separator, position = text.partition("\0")
    if made_for != of or not separator:
        raise BadRequest("bad_cursor", "Use the cursor that the page before gave, with the same list.")
    return position
