"""The headers of tus 1.0.0 as values and back. Pure.

Extensions: creation, creation-with-upload, checksum, expiration, termination. Source: tus.io, Resumable Upload Protocol 1.0.0.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import new as new_hash
from typing import Any, Final

from nova.core.errors import BadRequest, PreconditionFailed

VERSION: Final = "1.0.0"
EXTENSIONS: Final = "creation,creation-with-upload,checksum,expiration,termination"
ALGORITHMS: Final = ("sha1", "sha256")
CONTENT_TYPE: Final = "application/offset+octet-stream"
MAX_METADATA: Final = 4096  # characters of Upload-Metadata
MAX_PAIRS: Final = 20
MAX_DIGITS: Final = 15
KINDS: Final = ("image", "video", "reel")
_KEY: Final = re.compile(r"[!-+\--~]{1,64}")  # ASCII without space and comma
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def options(max_size: int) -> tuple[tuple[str, str], ...]:
    """What OPTIONS answers."""
    return (
        ("Tus-Resumable", VERSION),
        ("Tus-Version", VERSION),
        ("Tus-Extension", EXTENSIONS),
        ("Tus-Max-Size", str(max_size)),
        ("Tus-Checksum-Algorithm", ",".join(ALGORITHMS)),
    )


def require_version(headers: Mapping[str, str]) -> None:
    """Raises PreconditionFailed: a client of another version, or none of tus."""
    if headers.get("Tus-Resumable", "") != VERSION:
        raise PreconditionFailed(detail=f"Send Tus-Resumable: {VERSION}.")


def number(headers: Mapping[str, str], name: str) -> int:
    """Raises BadRequest: it is missing, or no whole number."""
    text = headers.get(name, "").strip()
    if not text.isascii() or not text.isdigit() or len(text) > MAX_DIGITS:
        raise BadRequest(detail=f"{name} is a whole number of bytes.")
    return int(text)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a client says of its file. kind: empty: by the bytes. sha256: lower-case hex, empty: none announced."""

    filename: str = ""
    filetype: str = ""
    kind: str = ""
    preset: str = ""
    sha256: str = ""
    title: str = ""


def parse_metadata(text: str) -> Metadata:
    """Upload-Metadata: pairs of a key and a value in base64, joined by commas; keys that are not known here are ignored.

    Raises BadRequest.
    """
    if len(text) > MAX_METADATA:
        raise BadRequest(detail=f"Upload-Metadata has at most {MAX_METADATA} characters.")
    found: dict[str, str] = {}
    pairs = [pair.strip() for pair in text.split(",")] if text.strip() else []
    if len(pairs) > MAX_PAIRS:
        raise BadRequest(detail=f"Upload-Metadata has at most {MAX_PAIRS} pairs.")
    for pair in pairs:
        key, _, value = pair.partition(" ")
        if not _KEY.fullmatch(key) or key in found:
            raise BadRequest(detail="A key of Upload-Metadata is malformed, or comes twice.")
        try:
            found[key] = b64decode(value.strip(), validate=True).decode()
        except ValueError:
            raise BadRequest(detail=f"The value of {key[:40]!r} in Upload-Metadata is no base64 of UTF-8 text.") from None
    kind, digest = found.get("kind", ""), found.get("sha256", "").lower()
    if kind and kind not in KINDS:
        raise BadRequest(detail=f"kind is one of {', '.join(KINDS)}.")
    if digest and not _SHA256.fullmatch(digest):
        raise BadRequest(detail="sha256 has 64 hexadecimal digits.")
    words = {name: plain(found.get(name, ""))[:200] for name in ("filename", "filetype", "preset", "title")}
    return Metadata(words["filename"], words["filetype"], kind, words["preset"], digest, words["title"])


def plain(text: str) -> str:
    """Without control characters."""
    return "".join(
        character for character in text if character >= " " and character != "\x7f" and not "\ud800" <= character <= "\udfff"
    ).strip()


def write_metadata(metadata: Metadata) -> str:
    """As Upload-Metadata; empty members are left out."""
    pairs = []
    for name in Metadata.__slots__:
        value = getattr(metadata, name)
        if value:
            pairs.append(f"{name} {b64encode(value.encode()).decode()}")
    return ",".join(pairs)


class Checksum:
    """A running hash and what it must come to."""

    def __init__(self, algorithm: str, wanted: bytes) -> None:
        self._hash: Any = new_hash(algorithm, usedforsecurity=False)
        self._wanted = wanted

    def update(self, data: bytes) -> None:
        self._hash.update(data)

    def holds(self) -> bool:
        return bool(self._hash.digest() == self._wanted)


def parse_checksum(text: str) -> Checksum | None:
    """Upload-Checksum: an algorithm and the digest in base64; None: empty. Raises BadRequest."""
    if not text.strip():
        return None
    algorithm, _, encoded = text.strip().partition(" ")
    if algorithm not in ALGORITHMS:
        raise BadRequest(detail=f"The checksum algorithm is one of {', '.join(ALGORITHMS)}.")
    try:
        digest = b64decode(encoded.strip(), validate=True)
    except ValueError:
        digest = b""
    if len(digest) != new_hash(algorithm, usedforsecurity=False).digest_size:
        raise BadRequest(detail="The checksum is no base64 of that algorithm's digest.")
    return Checksum(algorithm, digest)
