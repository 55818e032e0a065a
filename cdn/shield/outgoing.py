"""Requests as they go to origins: a client's without what belongs to one hop, and those that look after what is kept."""

from __future__ import annotations

from typing import Final

from nova.cdn.cache import fields as f
from nova.cdn.cache import validation
from nova.cdn.cache.keeper import Keeper, primary
from nova.cdn.ports import FetchRequest, Fields
from nova.cdn.shield import unkeyed
from nova.cdn.shield.request import Incoming
from nova.ext import kept as k
from nova.ext.kept import Answer

_OURS: Final = frozenset((b"host", b"content-length", b"expect"))
_OURS_GUARDED: Final = _OURS | {b"cookie"}


def whole(incoming: Incoming, old: Answer | None, via: bytes, *, plain: bool = False) -> FetchRequest:
    """A GET for the whole object: the client's conditions and ranges are answered here. plain: `old` is kept for all."""
    fields = cleaned(incoming, validation.without_conditions(incoming.fields), via)
    if old is not None:
        if plain:
            fields = unkeyed.without(fields)
        fields += validation.conditions(list(f.split_lines(old.lines)))
    return FetchRequest("GET", incoming.target, incoming.host, fields, key=incoming.key)


def cleaned(incoming: Incoming, fields: Fields, via: bytes) -> list[tuple[bytes, bytes]]:
    """`fields` of a client's request, as they go on."""
    gone = _OURS_GUARDED if incoming.guarded else _OURS
    if named := f.connection_named(incoming.fields):
        gone |= named
    return f.with_via(f.end_to_end(fields, gone), incoming.minor, via)


def hops(incoming: Incoming) -> int | None:
    """How often TRACE and OPTIONS may still be passed on (RFC 9110, 7.6.2), None: as often as need be. Of other methods it says nothing."""
    text = f.value(incoming.fields, b"max-forwards") if incoming.method in ("TRACE", "OPTIONS") else None
    return int(text) if text is not None and text.isdigit() and len(text) < 10 else None


def background(keeper: Keeper, site: int, key: bytes, old: Answer, *, host_in_key: bool, via: bytes) -> FetchRequest:
    """The request that looks after a stale object: as its variant was asked for."""
    name = primary(key)
    host, slash, rest = name.partition(b"/")
    fields: list[tuple[bytes, bytes]] = [(b"via", b"1.1 " + via)]
    varies = keeper.table.find(site, name)
    if varies is not None and varies.flags & k.VARY and b"\0" in key:
        for field_name, value in zip(varies.lines.split(b"\n"), key.partition(b"\0")[2].split(b"\n"), strict=False):
            if field_name == b"accept-encoding":
                bits = value[0] - 48 if value else 0
                if bits & f.SAYS_NOTHING:
                    continue
                value = b", ".join(coding for bit, coding in f.CODINGS if bits & bit) or b"identity"
            if field_name and value != b"\x01":
                fields.append((field_name, value))
    fields += validation.conditions(list(f.split_lines(old.lines)))
    return FetchRequest("GET", slash + rest if host_in_key else name, host if host_in_key else b"", fields, key=name)
