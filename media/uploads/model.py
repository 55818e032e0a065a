"""The record of an upload."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NewType

from nova.core.blobs import Key, blob_key
from nova.media.streams.model import UnixMs, UserId
from nova.media.uploads.tus import Metadata

UploadId = NewType("UploadId", str)  # UUIDv7

FOLDER: Final = "uploads"  # of the blob store
HERE: Final = "here"


class Status(StrEnum):
    """Where an upload is in its life."""

    UPLOADING = "uploading"
    PROCESSING = "processing"  # every byte is there; what it becomes is being made
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload as the store holds it.

    offset: bytes on stable storage. result_kind, result_id: what it became, empty until then. error_code, error_detail: why it failed.
    expires_at: when it is forgotten unless something happens. direct: of one whose bytes come by signed addresses: HERE, or the ticket of
    the blob store that takes them; empty: they come by tus.
    """

    id: UploadId
    owner: UserId
    size: int
    metadata: Metadata
    created_at: UnixMs
    expires_at: UnixMs
    offset: int = 0
    status: Status = Status.UPLOADING
    result_kind: str = ""
    result_id: str = ""
    error_code: str = ""
    error_detail: str = ""
    direct: str = ""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Signed addresses that take bytes also when their upload has ended, as `direct` says. until: from then on they take none."""

    upload: UploadId
    owner: UserId
    size: int
    direct: str
    until: UnixMs


def direct_key(upload: str) -> Key:
    """Where the bytes lie that a blob store took by itself, until something is made of them."""
    return blob_key(f"{FOLDER}/{upload}")
