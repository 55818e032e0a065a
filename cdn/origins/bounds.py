"""What of a site's origins may be asked for at all: below their paths, and in a bucket its objects, to be read.

Pure. A site passes everything on as it came. But where an origin's URL has a path, that is all that the site shows of it, whatever dots a
request has; and what is signed with our keys is done in our name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from nova.core.errors import of
from nova.core.settings_table import CdnOrigin

_READS: Final = frozenset(("GET", "HEAD", "OPTIONS"))


class Bounds:
    """origins: of one site; the narrowest of them counts for all, since any of them may be asked."""

    def __init__(self, origins: Iterable[CdnOrigin]) -> None:
        origins = list(origins)
        self._bucket = any(each.s3_region is not None for each in origins)
        self._below = self._bucket or any(urlsplit(each.url).path.strip("/") for each in origins)

    def check(self, method: str, target: bytes) -> None:
        """Raises BadRequest: the target leads out of an origin's path; Forbidden: it is no object of a bucket, or would change one."""
        if not self._below:
            return
        found = depth(target)
        if found is None:
            raise of("bad_request", "the path leads out of this site")
        if self._bucket and method not in _READS:
            raise of("forbidden", "what is here can be read, and not changed")
        if self._bucket and not found:
            raise of("forbidden", "a bucket is not listed here")


def object_of(target: bytes) -> bytes:
    """`target` with no parameter but the object's version: others list a bucket, show its rules, or give an object another type."""
    path, _, query = target.partition(b"?")
    kept = [pair for pair in query.split(b"&") if pair.startswith(b"versionId=")]
    return path + (b"?" + kept[0] if kept else b"")


def depth(target: bytes) -> int | None:
    """How many segments a target's path has once a server has resolved its dots, whichever of the ways it reads encoded slashes; the
    least of them. None: it leads above its beginning."""
    path = target.partition(b"?")[0].lower().replace(b"%2e", b".")
    least: int | None = None
    for read in {path, path.replace(b"%2f", b"/").replace(b"%5c", b"/").replace(b"\\", b"/")}:
        found = 0
        for segment in read.split(b"/"):
            if segment == b"..":
                found -= 1
                if found < 0:
                    return None
            elif segment not in (b"", b"."):
                found += 1
        least = found if least is None else min(least, found)
    return least
