"""Stream keys: making them, and the index that says in microseconds whose key it is.

A key is random text of 155 bits, so a plain SHA-256 keeps it: there is no dictionary to try against a stolen table.
"""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Iterable
from hashlib import sha256
from hmac import compare_digest
from typing import Final, NamedTuple

from nova.media.streams.model import KeyId, StreamId, StreamKey

PREFIX: Final = "sk_"
ALPHABET: Final = string.ascii_lowercase + string.digits
LENGTH: Final = 30  # symbols of 5.17 bits: 155 bits, and 134 of them stay secret beside the hint
HINT: Final = len(PREFIX) + 4  # characters of a key that may be shown again

_SHAPE: Final = re.compile(r"sk_[a-z0-9]{26,64}")


class Owned(NamedTuple):
    """What a right key opens."""

    stream: StreamId
    key: KeyId


def make_key() -> str:
    """A new key; it is shown once and never stored."""
    return PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def digest(key: str) -> bytes:
    """What is stored of `key`: 32 bytes."""
    return sha256(key.encode("utf-8", "surrogatepass")).digest()


def hint(key: str) -> str:
    """What may be shown of `key` again."""
    return key[:HINT]


class KeyIndex:
    """Every valid key of this node, by digest, in memory: a publisher is let in without a look at the store.

    Finding takes about a microsecond. What a stranger can time is the look-up of a digest he can not steer towards
    a stored one, so the time says nothing about any key.
    """

    def __init__(self, keys: Iterable[StreamKey] = ()) -> None:
        self._by_digest: dict[bytes, Owned] = {}
        self._of_stream: dict[StreamId, dict[KeyId, bytes]] = {}
        for key in keys:
            self.add(key)

    def __len__(self) -> int:
        return len(self._by_digest)

    def add(self, key: StreamKey) -> None:
        self._by_digest[key.digest] = Owned(key.stream, key.id)
        self._of_stream.setdefault(key.stream, {})[key.id] = key.digest

    def remove(self, stream: StreamId, key: KeyId) -> bool:
        """Forget one key; False when it was not there."""
        keys = self._of_stream.get(stream, {})
        found = keys.pop(key, None)
        if not keys:
            self._of_stream.pop(stream, None)
        return found is not None and self._by_digest.pop(found, None) is not None

    def remove_stream(self, stream: StreamId) -> None:
        """Forget every key of a stream."""
        for found in self._of_stream.pop(stream, {}).values():
            self._by_digest.pop(found, None)

    def find(self, text: str) -> Owned | None:
        """Whose key `text` is; None: nobody's. Takes any text that a peer may send."""
        if not _SHAPE.fullmatch(text):
            return None
        wanted = digest(text)
        owned = self._by_digest.get(wanted)
        if owned is None:
            return None
        # The dict compared the digests already, but it may stop at the first difference.
        kept = self._of_stream[owned.stream][owned.key]
        return owned if compare_digest(kept, wanted) else None
