"""`store.url`: which database.

Unset is `sqlite:nova.db`, a file in the data directory; `sqlite:///var/lib/nova/nova.db` is one elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nova.core import errors

DEFAULT: Final = "sqlite:nova.db"


@dataclass(frozen=True, slots=True)
class SqliteUrl:
    """A database file."""

    path: Path


def parse_store_url(text: str | None, data: Path) -> SqliteUrl:
    """The database that `text` names (None: the default); `data` is the data directory.

    Raises BadRequest: not a URL of a store; NotYet: a kind of store that this version does not have. The URL is not
    repeated in the message: it may hold a password.
    """
    if text is None:
        text = DEFAULT
    scheme, colon, rest = text.partition(":")
    if scheme in ("postgresql", "postgres"):
        raise errors.NotYet("not_yet", "PostgreSQL is not served yet; use sqlite:FILE")
    if not colon or scheme != "sqlite":
        raise errors.BadRequest("bad_request", "a store is sqlite:FILE (in the data directory) or sqlite:///PATH")
    if rest.startswith("//"):
        rest = rest[2:]
        if not rest.startswith("/"):
            raise errors.BadRequest("bad_request", "a file has no host: write sqlite:///PATH, with three slashes")
    if not rest or rest.endswith("/") or any(mark in rest for mark in "?#%\0"):
        raise errors.BadRequest("bad_request", "a store is a plain file name, without '?', '#' and '%'")
    return SqliteUrl(data / rest)
