"""Live windows: segments that have left a playlist are not asked for again, so they go first (RFC 8216, 6.2.2).

Pure; bounded.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final
from urllib.parse import urljoin

KINDS: Final = frozenset((b"application/vnd.apple.mpegurl", b"application/x-mpegurl", b"audio/mpegurl"))
_MOST: Final = 16 << 20  # bytes of all that is remembered; the playlists that were looked at longest ago are forgotten
_NAME: Final = 128  # bytes of a name beside its own, or of a playlist
_LARGEST: Final = 1 << 20  # bytes of one
_END: Final = b"#EXT-X-ENDLIST"
# A name below the playlist's folder, if no segment of it is empty or begins with a dot.
_PLAIN: Final = re.compile(rb"[^\0- ./?:;#][^\0- :;#]*(?<!\?)")
_URI: Final = re.compile(rb'^(?!#)[^\r\n]+|URI="([^"\r\n]+)"', re.MULTILINE)


class Windows:
    """What each live playlist named when it was last fetched. Nothing leaves one that has ended, or a recording: these are forgotten."""

    def __init__(self) -> None:
        self._named: OrderedDict[bytes, frozenset[bytes]] = OrderedDict()
        self.size = 0  # bytes, about

    def look(self, key: bytes, size: int, body: Iterable[object]) -> frozenset[bytes]:
        """Keys of what the playlist under `key` named before and does not name any more."""
        if size > _LARGEST:
            return frozenset()
        host, slash, path = key.partition(b"/")
        base = (slash + path).decode("latin-1")
        folder = host + urljoin(base, "x")[:-1].encode("latin-1")
        text = b"".join(bytes(piece) for piece in body)  # type: ignore[call-overload]  # Buffers and bytes
        now = frozenset(
            folder + uri
            if _PLAIN.fullmatch(uri) and b"/." not in uri and b"//" not in uri  # a tenth of what urljoin takes
            else host + urljoin(base, uri.decode("latin-1")).encode("latin-1", "replace")
            for found in _URI.finditer(text)
            if not (uri := found[1] or found[0]).startswith((b"http:", b"https:", b"//"))
        )
        before = self._forget(key)
        if _END not in text:
            self._named[key] = now
            self.size += _cost(key, now)
        while self.size > _MOST:
            self._forget(next(iter(self._named)))
        return before - now

    def _forget(self, key: bytes) -> frozenset[bytes]:
        named = self._named.pop(key, None)
        if named is None:
            return frozenset()
        self.size -= _cost(key, named)
        return named


def _cost(key: bytes, named: frozenset[bytes]) -> int:
    return len(key) + _NAME + sum(map(len, named)) + _NAME * len(named)
