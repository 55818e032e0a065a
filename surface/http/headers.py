"""Headers that the contract asks for on every answer of a kind: CORS, security, caching. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

# No page of ours needs anything from elsewhere. `blob:` is how media source extensions hand video to the element, and
# how hls.js starts its worker.
PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:;"
    " connect-src 'self'; worker-src 'self' blob:; font-src 'self'; manifest-src 'self'; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'none'"
)
PAGE: Final = (
    ("Content-Security-Policy", PAGE_POLICY),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), microphone=(), geolocation=()"),
)
NO_SNIFF: Final = ("X-Content-Type-Options", "nosniff")
NO_STORE: Final = ("Cache-Control", "no-store")

API_METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
API_REQUEST_HEADERS: Final = (
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, X-Correlation-ID,"
    " Tus-Resumable, Upload-Length, Upload-Offset, Upload-Metadata, Upload-Checksum, X-HTTP-Method-Override, X-Requested-With, X-Request-ID"
)
API_EXPOSED: Final = (
    "Location, ETag, Retry-After, X-Correlation-ID, Idempotency-Replayed, WWW-Authenticate, Tus-Resumable, Tus-Version, Tus-Extension,"
    " Tus-Max-Size, Tus-Checksum-Algorithm, Upload-Offset, Upload-Length, Upload-Metadata, Upload-Expires"
)
MEDIA_EXPOSED: Final = "Content-Length, Content-Range, Date, ETag, Cache-Status"
PREFLIGHT_SECONDS: Final = 7200  # the most that Chromium remembers

Headers = list[tuple[str, str]]


class Cors:
    """Which origins a browser lets read our answers.

    origins: of the API, `*` is everyone (then without cookies). Our own origin needs no header.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = frozenset(origin.rstrip("/") for origin in origins)

    def _granted(self, origin: str) -> Headers:
        if "*" in self._origins:
            return [("Access-Control-Allow-Origin", "*")]
        if origin in self._origins:
            return [("Access-Control-Allow-Origin", origin), ("Access-Control-Allow-Credentials", "true")]
        return []

    def of_api(self, origin: str) -> Headers:
        """For an answer of /v1 to `origin` (empty: none was sent)."""
        # Vary also without an Origin: a cache must not give that answer to a page of another origin.
        out = [("Vary", "Origin")] if self._origins else []
        granted = self._granted(origin) if origin else []
        if granted:
            out += [*granted, ("Access-Control-Expose-Headers", API_EXPOSED)]
        return out

    def preflight(self, origin: str, allowed: Collection[str]) -> Headers:
        """For the answer to a preflight request of `origin` about a path of /v1 that has the methods `allowed`."""
        out = [("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")]
        granted = self._granted(origin)
        if granted:
            out += [
                *granted,
                ("Access-Control-Allow-Methods", ", ".join(sorted(allowed)) or API_METHODS),
                ("Access-Control-Allow-Headers", API_REQUEST_HEADERS),
                ("Access-Control-Max-Age", str(PREFLIGHT_SECONDS)),
            ]
        return out


def of_media() -> Headers:
    """Media of public objects: any origin, without credentials."""
    return [("Access-Control-Allow-Origin", "*"), ("Access-Control-Expose-Headers", MEDIA_EXPOSED)]


def media_preflight() -> Headers:
    return [
        ("Access-Control-Allow-Origin", "*"),
        ("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS"),
        ("Access-Control-Allow-Headers", "Range, If-None-Match, If-Modified-Since"),
        ("Access-Control-Max-Age", str(PREFLIGHT_SECONDS)),
    ]
