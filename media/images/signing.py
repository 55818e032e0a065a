"""Signatures of picture URLs: `<key id>.` and base64url(HMAC-SHA256(key, the path after it, as sent)). Pure.

The path after it begins with its slash: `/rs:cover:320:320/<id>.webp`. Several keys may be good at once: the first one signs, so that a key
is replaced by putting a new one before it, and the old one is taken away when its URLs have had their time.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from hmac import compare_digest, digest
from typing import Final

from nova.core.errors import Forbidden
from nova.core.secret import Secret

UNSIGNED: Final = "-"
KEY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
LEAST_KEY: Final = 16  # bytes
_REFUSED: Final = "the signature of this address is not one of ours"


class Keys:
    """Pairs of key id and key, the one that signs first. Raises ValueError: an id that is none or comes twice, a key too short."""

    def __init__(self, keys: Sequence[tuple[str, Secret]]) -> None:
        if not keys:
            raise ValueError("at least one key is needed")
        self._keys: dict[str, Secret] = {}
        for name, key in keys:
            if not KEY_ID.fullmatch(name) or name in self._keys:
                raise ValueError(f"{name[:40]!r} is no key id, or comes twice")
            if len(key.reveal()) < LEAST_KEY:
                raise ValueError(f"the key {name} has less than {LEAST_KEY} bytes")
            self._keys[name] = key
        self._signer = keys[0][0]

    def sign(self, rest: str) -> str:
        """The signature of the path after it. rest: begins with `/`."""
        return f"{self._signer}.{_mac(self._keys[self._signer], rest)}"

    def verify(self, signature: str, rest: str) -> None:
        """Raises Forbidden `bad_signature`. In constant time for a key id that is known."""
        name, dot, found = signature.partition(".")
        key = self._keys.get(name)
        if not dot or key is None or not compare_digest(_mac(key, rest).encode(), found.rstrip("=").encode("utf-8", "replace")):
            raise Forbidden("bad_signature", _REFUSED)


def _mac(key: Secret, rest: str) -> str:
    return urlsafe_b64encode(digest(key.reveal(), rest.encode("latin-1", "replace"), sha256)).rstrip(b"=").decode()


def parse_key(text: Secret) -> tuple[str, Secret]:
    """A setting's `id:key`, the key as it stands (`hex:…` and `base64:…` for bytes). Raises ValueError."""
    name, colon, value = text.reveal().decode("utf-8", "replace").partition(":")
    if not colon:
        raise ValueError("a key is written as id:key")
    form, _, encoded = value.partition(":")
    if form == "hex":
        return name, Secret(bytes.fromhex(encoded))
    if form == "base64":
        return name, Secret(urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    return name, Secret(value)
