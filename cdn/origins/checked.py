"""Bodies that say what they are (RFC 9530, and what is registered of assets): what others will be given too is compared with it."""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from nova.cdn.cache import fields as f
from nova.cdn.errors import OriginBroken
from nova.cdn.ports import Fields

SHORT: Final = 65_536  # bytes; nothing of such a body is given out before all of it is known to be right
_SIZES: Final = {b"sha-256": 32, b"sha-512": 64}  # the algorithms that RFC 9530, 5 calls safe
_MEMBER: Final = re.compile(rb"(sha-256|sha-512)=:([A-Za-z0-9+/]*={0,2}):[ \t]*(?:;.*)?")


class Digests:
    """What a body should be. wanted: (sha-256 or sha-512, digest); all of them are to fit."""

    def __init__(self, wanted: Iterable[tuple[bytes, bytes]]) -> None:
        self._wanted = [(hashlib.sha256() if name == b"sha-256" else hashlib.sha512(), digest) for name, digest in wanted]

    def feed(self, piece: Any) -> None:
        for state, _ in self._wanted:
            state.update(piece)

    def fit(self) -> bool:
        return all(state.digest() == digest for state, digest in self._wanted)


def said(fields: Fields, *, part: bool = False) -> Digests | None:
    """What an answer with a body says of it; None: nothing that we know how to check. part: a 206, whose Repr-Digest is that of the whole
    (RFC 9530, 3). A field that is no dictionary of digests does not count."""
    wanted = set()
    for name in (b"content-digest",) if part else (b"content-digest", b"repr-digest"):
        for item in f.items(fields, name):
            found = _MEMBER.fullmatch(item)
            if found is None:
                continue
            try:
                digest = binascii.a2b_base64(found[2], strict_mode=True)
            except binascii.Error:
                continue
            if len(digest) == _SIZES[found[1]]:
                wanted.add((found[1], digest))
    return Digests(wanted) if wanted else None


class Checked:
    """A body that is given out as far as it is known to be right: a short one whole, of a longer one the last piece waits.

    read: gives its next bytes, empty at its end. length: of all of it in bytes, None: not known.
    """

    def __init__(self, read: Callable[[], Awaitable[bytes]], digests: Digests, length: int | None) -> None:
        self._read, self._digests = read, digests
        self._short = length is not None and length <= SHORT
        self._held: list[bytes] = []
        self._right = False

    async def read(self) -> bytes:
        """The next bytes, empty at the end. Raises OriginBroken: also when all of it came and it is something else."""
        while not self._right:
            piece = await self._read()
            self._digests.feed(piece)
            held, self._held = self._held, [*self._held, piece] if self._short else [piece]
            if not piece:
                if not self._digests.fit():
                    raise OriginBroken("the body is not what its digest says")
                self._right = True
                return b"".join(held)
            if held and not self._short:
                return held[0]
        return await self._read()
