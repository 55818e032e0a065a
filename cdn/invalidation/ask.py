"""What a caller may ask to be forgotten, as purges. Pure and bounded: nothing here can grow a list without end."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from nova.cdn.cache.keeper import MAX_STARS
from nova.cdn.ports import Purge
from nova.core.errors import BadRequest, FieldError

URLS: Final = 1000
TAGS: Final = 256
TARGET: Final = 4096  # bytes of one address
PATTERN: Final = 1024  # characters
WILDCARDS: Final = MAX_STARS  # of one pattern
TAG: Final = re.compile(r"[\x21-\x2b\x2d-\x7e]{1,1024}")  # as Surrogate-Key and Cache-Tag can both say it


class Place(NamedTuple):
    """Where a URL leads: a site and the target there. site None: whichever site has objects of that host. host: the URL's, None: it has
    none."""

    site: str | None
    target: bytes
    host: bytes | None = None


Locate = Callable[[str], Place | None]  # an absolute URL


class Wanted(NamedTuple):
    """The request's fields; each is empty when it was not given."""

    urls: Sequence[str] = ()
    pattern: str = ""
    tags: Sequence[str] = ()
    site: str | None = None
    soft: bool = False


def purges(wanted: Wanted, locate: Locate) -> tuple[Purge, ...]:
    """Raises BadRequest with the field at fault."""
    if sum(bool(each) for each in (wanted.urls, wanted.pattern, wanted.tags)) == 0:
        raise _wrong("/urls", "missing_field", "one of urls, pattern and tags is wanted")
    found: list[Purge] = []
    for at, place in enumerate(places(wanted.urls, wanted.site, locate)):
        if place is None:
            raise _wrong(f"/urls/{at}", "invalid_field", "an absolute http URL is wanted, or a path with `site`")
        # A site may be known by other names than this one: all that it has of the target goes.
        found.append(Purge("key", place.target, place.site, place.host if place.site is None else None, wanted.soft))
    if wanted.pattern:
        found.append(_pattern(wanted))
    for at, tag in enumerate(wanted.tags):
        if not TAG.fullmatch(tag):
            raise _wrong(f"/tags/{at}", "invalid_field", "a tag has 1 to 1024 characters from ! to ~, without commas")
        found.append(Purge("tag", tag.encode(), wanted.site, None, wanted.soft))
    return tuple(found)


def places(urls: Sequence[str], site: str | None, locate: Locate) -> list[Place | None]:
    """Where each URL leads; None: it is none."""
    found: list[Place | None] = []
    for url in urls:
        fine = len(url) <= TARGET and re.fullmatch(r"[\x21-\x7e]+", url) is not None
        if fine and url.startswith("/"):
            found.append(None if site is None else Place(site, _target(url)))
        elif fine and re.match(r"https?://", url, re.IGNORECASE):
            place = locate(url)
            found.append(place if place is None or place.site is not None else place._replace(site=site))
        else:
            found.append(None)
    return found


def located(url: str, sites: Callable[[str, int], str | None]) -> Place | None:
    """Where an absolute URL leads. sites: the site that is served under a host and port, by itself."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return None
    if not parts.hostname:
        return None
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    prefixed = re.match(r"/cdn/s/([a-z0-9-]{1,32})(/.*)", target)
    if prefixed:
        return Place(prefixed[1], prefixed[2].encode(), host_of(url))
    return Place(sites(parts.hostname, port), target.encode(), host_of(url))


def host_of(url: str) -> bytes:
    """The Host of a request for an absolute URL, lower case."""
    return urlsplit(url).netloc.rpartition("@")[2].lower().encode()


def _target(url: str) -> bytes:
    return url.partition("#")[0].encode()


def _pattern(wanted: Wanted) -> Purge:
    pattern = wanted.pattern
    if not pattern.startswith("/") or len(pattern) > PATTERN or not re.fullmatch(r"[\x21-\x7e]+", pattern) or "***" in pattern:
        raise _wrong("/pattern", "invalid_field", f"a path of at most {PATTERN} characters is wanted, in which * and ** may stand")
    if pattern.count("*") > 2 * WILDCARDS or len(re.findall(r"\*+", pattern)) > WILDCARDS:
        raise _wrong("/pattern", "invalid_field", f"at most {WILDCARDS} wildcards")
    if pattern.endswith("**") and "*" not in pattern[:-2]:
        return Purge("prefix", pattern[:-2].encode(), wanted.site, None, wanted.soft)
    return Purge("glob", pattern.encode(), wanted.site, None, wanted.soft)


def _wrong(pointer: str, code: str, detail: str) -> BadRequest:
    return BadRequest(
        detail="What is to be forgotten is not said in a way that is understood.", fields=(FieldError(pointer, code, detail),)
    )
