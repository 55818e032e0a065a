"""What a file is, by its first bytes: a picture, a video, or neither. Pure; the name and the declared type are not looked at."""

from __future__ import annotations

from typing import Final

from nova.core.errors import UnsupportedType
from nova.media.images import sniff

_PACKET: Final = 188


def video(head: bytes) -> str | None:
    """The container of a video; None: none that we take."""
    if head[4:8] == b"ftyp" and sniff.kind(head) is None:
        return "mp4"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "webm" if b"webm" in head[:64] else "matroska"
    if head.startswith(b"FLV\x01"):
        return "flv"
    if head[:1] == b"\x47" and head[_PACKET : _PACKET + 1] == b"\x47":
        return "mpegts"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    return None


def kind(head: bytes, wanted: str) -> tuple[str, str]:
    """Kind (image, video, reel) and format of a file. wanted: what its sender says, empty: nothing.

    Raises UnsupportedType: it is neither, or not what its sender says.
    """
    picture = sniff.kind(head)
    if picture is not None and wanted in ("", "image"):
        return "image", picture
    container = video(head)
    if container is not None and wanted in ("", "video", "reel"):
        return wanted or "video", container
    said = f", let alone a {wanted}" if wanted else ""
    raise UnsupportedType("unsupported_type", f"the bytes are neither a picture nor a video that is taken here{said}")
