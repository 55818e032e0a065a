"""The record of a video."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NewType

from nova.core.blobs import Key, blob_key
from nova.media.streams.model import UnixMs, UserId, Visibility

VideoId = NewType("VideoId", str)  # UUIDv7; later ones sort after earlier ones

FOLDER: Final = "videos"  # of the blob store
TITLE_MAX: Final = 200
DESCRIPTION_MAX: Final = 5000


class Kind(StrEnum):
    """What a video is made for."""

    VIDEO = "video"
    REEL = "reel"  # upright and short


class State(StrEnum):
    """How far it is."""

    PENDING = "pending"  # announced; its bytes have not come
    UPLOADED = "uploaded"  # its bytes are here


@dataclass(frozen=True, slots=True)
class Video:
    """A video as the store holds it.

    format: container, size_bytes, digest (SHA-256, hex): of the file that was sent; empty and 0 while pending. poster: id of a picture.
    """

    id: VideoId
    owner: UserId
    kind: Kind
    title: str
    description: str
    visibility: Visibility
    created_at: UnixMs
    state: State = State.PENDING
    format: str = ""
    size_bytes: int = 0
    digest: str = ""
    poster: str = ""


def source_key(video: str) -> Key:
    """Where the bytes that were uploaded lie."""
    return blob_key(f"{FOLDER}/{video}/source")
