"""The record of a picture, and the words it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NewType

from nova.core.blobs import Key, blob_key
from nova.media.streams.model import UnixMs, UserId

ImageId = NewType("ImageId", str)  # UUIDv7; later ones sort after earlier ones

FOLDER: Final = "images"  # of the blob store: everything of one picture lies under images/<id>/


@dataclass(frozen=True, slots=True)
class Image:
    """A picture as the store holds it.

    format: a key of sniff.TYPES. width, height: upright. digest: SHA-256 of the source, lower-case hex. color: `#rrggbb`.
    alpha: whether anything shines through.
    """

    id: ImageId
    owner: UserId
    format: str
    width: int
    height: int
    frames: int
    alpha: bool
    size_bytes: int
    digest: str
    color: str
    thumbhash: bytes
    created_at: UnixMs


def source_key(image: str) -> Key:
    """Where the bytes that were uploaded lie."""
    return blob_key(f"{FOLDER}/{image}/source")


def result_key(image: str, name: str, ext: str) -> Key:
    """Where a result lies. name: of delivery.name_of."""
    return blob_key(f"{FOLDER}/{image}/{name}.{ext}")
