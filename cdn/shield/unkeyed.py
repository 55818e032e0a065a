"""Fields of requests that many origins heed though no key knows them: with one of them a client could choose what all others get.

Pure. What proxies in front of a site tell with every request keeps answers apart, as if the origin had said so by Vary; what asks for
another target or method passes alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from nova.cdn.ports import Fields

# Host, scheme, port and path as viewers know them: redirects, links and canonical addresses are made of these. Not the address of the
# client, which differs for each of them and of which no page is made.
APART: Final = frozenset(
    (
        b"front-end-https", b"x-forwarded-host", b"x-forwarded-path", b"x-forwarded-port", b"x-forwarded-prefix", b"x-forwarded-proto",
        b"x-forwarded-protocol", b"x-forwarded-scheme", b"x-forwarded-server", b"x-forwarded-ssl", b"x-forwarded-uri", b"x-host",
        b"x-http-host-override", b"x-original-host", b"x-url-scheme",
    )
)  # fmt: skip
# Some origins answer another target or method than the request's (Symfony, Zend, IIS and others).
_OVERRIDES: Final = frozenset((b"x-original-url", b"x-rewrite-url", b"x-http-method-override", b"x-http-method", b"x-method-override"))
_FORWARDED: Final = re.compile(rb"(?:^|[;,])[ \t]*(?:host|proto)[ \t]*=", re.IGNORECASE)  # RFC 7239, 5: beside the client's address


def overrides(fields: Fields) -> bool:
    """Whether the answer may be another target's, or another method's. `Forwarded` has host and scheme in one field with the address of the
    client, so answers could only be kept for each client by itself."""
    return any(name in _OVERRIDES or (name == b"forwarded" and _FORWARDED.search(value) is not None) for name, value in fields)


def apart(fields: Fields, host: bytes | None, known: Iterable[bytes] = ()) -> list[bytes]:
    """The names of fields by which an answer to this request is to be kept apart, sorted. host: that is part of the key, None: none is.
    known: the names by which answers of the object are kept apart already."""
    found = {name for name, value in fields if name in APART and not (name == b"x-forwarded-host" and host and value.lower() == host)}
    return sorted(found | (APART & set(known)))


def without(fields: Fields) -> list[tuple[bytes, bytes]]:
    """A request as those make it who have not said any of it."""
    return [field for field in fields if field[0] not in APART]
