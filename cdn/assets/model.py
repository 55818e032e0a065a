"""An asset: one public path, and the object of a site that it shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NewType

AssetId = NewType("AssetId", str)
UnixMs = NewType("UnixMs", int)

PATH_MAX: Final = 1024  # characters
TAGS_MAX: Final = 32
TAG_MAX: Final = 128
TTL_MAX: Final = 365 * 86400  # seconds
# Segments without dots alone, without what a server might decode into a slash: the path means one thing everywhere.
PATH: Final = r"(?!s/|~)(?!.*(?:^|/)\.{1,2}(?:/|$))[A-Za-z0-9._~!$&'()+,;=:@-]+(?:/[A-Za-z0-9._~!$&'()+,;=:@-]+)*"
ORIGIN_PATH: Final = r"/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*"
TAG: Final = r"[\x21-\x2b\x2d-\x7e]{1,128}"
DIGEST: Final = r"sha-256:[0-9a-f]{64}"


@dataclass(frozen=True, slots=True)
class Asset:
    """path: below `/cdn/`. origin_path: path and query at the site. ttl: seconds, None: as the origin says. digest: `sha-256:` and hex.

    version: grows with every change. private: its URLs must be signed.
    """

    id: AssetId
    owner: str
    path: str
    site: str
    origin_path: str
    tags: tuple[str, ...]
    ttl: int | None
    version: int
    digest: str | None
    private: bool
    created_at: UnixMs
    updated_at: UnixMs

    @property
    def tag(self) -> str:
        """The tag that all of its objects have."""
        return f"asset:{self.id}"


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Of one asset (or of what a site served beside its assets, `asset` is empty) in one hour. window: unix seconds of its beginning."""

    window: int
    site: str
    asset: str
    owner: str
    requests: int
    hits: int
    bytes: int


def is_path(text: str) -> bool:
    return len(text) <= PATH_MAX and re.fullmatch(PATH, text) is not None
