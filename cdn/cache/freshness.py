"""What may be kept of an answer, and for how long (RFC 9111, 3 and 4.2; RFC 5861; RFC 9213).

Pure: `judge` takes a request, its answer and the times, and says everything that the tiers need to know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from nova.cdn.cache import fields as f
from nova.cdn.ports import Fields

# RFC 9110, 15.1: what may be kept without a word about it; but 405 and 501 to GET are mostly one client's doing (a field that has the
# origin see another method), and nobody misses them.
HEURISTIC: Final = frozenset((200, 203, 204, 300, 301, 308, 404, 410, 414))
NEGATIVE: Final = frozenset((404, 410))
# What this cache understands of status codes (RFC 9111, 3: must-understand). 206 and 304 are kept by other rules.
UNDERSTOOD: Final = HEURISTIC | {302, 307, 400, 401, 403, 405, 406, 409, 415, 422, 429, 451, 500, 501, 502, 503, 504}
FAILING: Final = frozenset((500, 502, 503, 504))  # RFC 5861, 4: a stale answer stands in for these
TARGETED: Final = b"cdn-cache-control"
MAX_VARY: Final = 8  # names; an answer that varies with more is not kept


@dataclass(frozen=True, slots=True)
class Rules:
    """What a site has decided. Seconds."""

    heuristic: float = 0.1
    heuristic_most: float = 86400.0
    negative_ttl: float = 10.0
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 86400.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an answer. Times are unix seconds.

    keep: it may be kept. why: when not, a word for it. asked: it must be validated before each use (no-cache, or no lifetime).
    born: its age is counted from here. stale_until: served stale until then while a new one is fetched. error_until: ... while the origin
    fails. vary: names of fields. strip: fields that are not kept (no-cache="…", private="…").
    """

    keep: bool
    why: str = ""
    born: float = 0.0
    fresh_until: float = 0.0
    stale_until: float = 0.0
    error_until: float = 0.0
    asked: bool = False
    vary: tuple[bytes, ...] = ()
    strip: frozenset[bytes] = frozenset()


def birth(fields: Fields, requested_at: float, received_at: float) -> float:
    """When an answer was made, as far as its Date and Age tell (RFC 9111, 4.2.3)."""
    dated = f.date(fields, b"date", received_at)
    apparent = 0.0 if dated is None else max(0.0, received_at - dated)
    corrected = f.age(fields) + (received_at - requested_at)
    return received_at - max(apparent, corrected)


def response_directives(fields: Fields) -> tuple[f.Directives, bool]:
    """The directives that count for us, and whether they come from the targeted field (RFC 9213, 2.2)."""
    targeted = f.dictionary(f.values(fields, TARGETED))
    if targeted is not None:
        return targeted, True
    return f.directives(f.values(fields, b"cache-control")), False


def lifetime(status: int, fields: Fields, cc: f.Directives, targeted: bool, received_at: float, rules: Rules) -> float | None:
    """Seconds for which an answer is fresh, None: nothing says so, and nothing allows a guess (RFC 9111, 4.2.1 and 4.2.2)."""
    for name in (b"s-maxage", b"max-age"):
        if name in cc:
            return f.delta(cc[name]) or 0  # what is not a number is stale
    dated = f.date(fields, b"date", received_at)
    if not targeted and f.value(fields, b"expires") is not None:
        expires = f.date(fields, b"expires", received_at)
        return 0 if expires is None else max(0.0, expires - (received_at if dated is None else dated))
    if status not in HEURISTIC and b"public" not in cc:
        return None
    modified = f.date(fields, b"last-modified", received_at)
    if modified is not None and rules.heuristic > 0:
        return min(max(0.0, ((received_at if dated is None else dated) - modified) * rules.heuristic), rules.heuristic_most)
    if status in NEGATIVE and rules.negative_ttl > 0:
        return rules.negative_ttl
    return None


def _names(argument: bytes | None) -> frozenset[bytes]:
    """The field names of no-cache and private: a list in a string, or an inner list of a targeted field."""
    return frozenset(name for part in re.split(rb"[,\s]+", argument or b"") if (name := part.strip(b'"()').lower()))


def judge(
    method: str,
    request: Fields,
    status: int,
    fields: Fields,
    *,
    requested_at: float,
    received_at: float,
    rules: Rules,
    request_counts: bool = False,
) -> Verdict:
    """RFC 9111, 3. request_counts: whether directives of requests do."""
    cc, targeted = response_directives(fields)
    no = _refusal(method, request, status, fields, cc, targeted, request_counts)
    if no:
        return Verdict(False, no)
    vary = tuple(dict.fromkeys(name.lower() for name in f.items(fields, b"vary")))
    if b"*" in vary:
        return Verdict(False, "vary_any")
    if len(vary) > MAX_VARY:
        return Verdict(False, "vary_many")
    fresh = lifetime(status, fields, cc, targeted, received_at, rules)
    no_cache = b"no-cache" in cc and not _names(cc[b"no-cache"])
    validator = f.value(fields, b"etag") is not None or f.date(fields, b"last-modified", received_at) is not None
    explicit = fresh is not None
    born = birth(fields, requested_at, received_at)
    if fresh is None or no_cache:
        fresh = 0.0
    asked = no_cache or fresh <= received_at - born
    strict = bool(cc.keys() & {b"must-revalidate", b"proxy-revalidate", b"no-cache", b"s-maxage"})
    stale = error = 0.0
    if not strict:
        stale = _window(cc, b"stale-while-revalidate", rules.stale_while_revalidate)
        error = _window(cc, b"stale-if-error", rules.stale_if_error)
    until = born + fresh
    if asked and not validator and not (explicit and not no_cache and until + max(stale, error) > received_at):
        return Verdict(False, "no_lifetime")  # neither fresh nor to be validated: it could never be used
    return Verdict(
        True, "", born, until, until + stale, until + max(error, stale), asked and until + stale <= received_at, vary,
        _names(cc.get(b"no-cache")) | _names(cc.get(b"private")),
    )  # fmt: skip


def _window(cc: f.Directives, name: bytes, default: float) -> float:
    return float(f.delta(cc[name]) or 0) if name in cc else default


def _refusal(method: str, request: Fields, status: int, fields: Fields, cc: f.Directives, targeted: bool, request_counts: bool) -> str:
    """Why an answer may not be kept, empty: it may (RFC 9111, 3)."""
    if method != "GET":
        return "method"
    if status < 200 or status in (206, 304):
        return "status"
    if b"no-store" in cc and not (b"must-understand" in cc and status in UNDERSTOOD):
        return "no_store"
    if b"must-understand" in cc and status not in UNDERSTOOD:
        return "not_understood"
    if b"private" in cc and not _names(cc[b"private"]):
        return "private"
    asked = f.directives(f.values(request, b"cache-control")) if request_counts else {}
    if b"no-store" in asked:
        return "request_no_store"
    if f.value(request, b"authorization") is not None and not cc.keys() & {b"public", b"s-maxage", b"must-revalidate"}:
        return "authorization"
    open_ = targeted or bool(cc.keys() & {b"public", b"s-maxage"})
    named = _names(cc.get(b"no-cache")) | _names(cc.get(b"private"))
    if f.value(fields, b"set-cookie") is not None and not open_ and b"set-cookie" not in named:
        return "set_cookie"  # meant for one browser, unless it says that it is everybody's (RFC 9111, 7.3)
    explicit = bool(cc.keys() & {b"max-age", b"s-maxage", b"public"}) or (not targeted and f.value(fields, b"expires") is not None)
    if not explicit and status not in HEURISTIC:
        return "status"
    return ""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request says about the age of its answer (RFC 9111, 5.2.1). None: nothing."""

    max_age: int | None = None
    min_fresh: int | None = None
    max_stale: int | None = None
    no_cache: bool = False
    no_store: bool = False
    only_if_cached: bool = False

    def takes(self, now: float, born: float, fresh_until: float, strict: bool) -> bool:
        """Whether an answer of these times suits. strict: it must not be used stale."""
        if self.no_cache or (self.max_age is not None and now - born > self.max_age):
            return False
        left = fresh_until - now
        if left > 0:
            return self.min_fresh is None or left >= self.min_fresh
        return self.max_stale is not None and not strict and self.min_fresh is None and -left <= self.max_stale


def wish(fields: Fields) -> Wish:
    """The directives of a request; Pragma counts when there is no Cache-Control (RFC 9111, 5.4)."""
    lines = f.values(fields, b"cache-control")
    if not lines:
        return Wish(no_cache=b"no-cache" in f.directives(f.values(fields, b"pragma")))
    cc = f.directives(lines)
    stale = (f.MAX_SECONDS if cc[b"max-stale"] is None else f.delta(cc[b"max-stale"]) or 0) if b"max-stale" in cc else None
    return Wish(
        f.delta(cc[b"max-age"]) or 0 if b"max-age" in cc else None,
        f.delta(cc[b"min-fresh"]) if b"min-fresh" in cc else None,
        stale,
        b"no-cache" in cc,
        b"no-store" in cc,
        b"only-if-cached" in cc,
    )
