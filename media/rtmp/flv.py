"""FLV: files read strictly, tags built (Adobe Flash Video File Format Specification 10.1, annex E).

Pure: bytes in, tags out. A tag's body is what an RTMP message of the same type carries.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from nova.core.errors import BadRequest

AUDIO: Final = 8
VIDEO: Final = 9
SCRIPT: Final = 18

_SIGNATURE: Final = b"FLV\x01"
_FILE_HEADER: Final = 9
_TAG_HEADER: Final = 11
_SIZE: Final = 4  # the size of a tag, written again behind it
_ENCRYPTED: Final = 0x20
_MAX_HEADER: Final = 1024  # a file header may be longer than ours; nobody makes one

_AVC: Final = 7
_AAC_44K_STEREO: Final = 0xAF  # what the bits say for every AAC stream (E.4.2.1); the configuration knows better
_KEY, _INTER = 1, 2


class FlvError(BadRequest):
    """Not FLV, or not whole."""


class Tag(NamedTuple):
    """type: AUDIO, VIDEO or SCRIPT; timestamp: milliseconds, 32 bits."""

    type: int
    timestamp: int
    data: bytes


class FlvReader:
    """Takes a file in any split; `finish` says whether it ended where a tag does."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._begun = False

    def feed(self, data: bytes) -> list[Tag]:
        """The tags that are complete now. Raises FlvError."""
        self._held += data
        at = 0
        if not self._begun:
            at = self._header()
            if at == 0:
                return []
            self._begun = True
        tags: list[Tag] = []
        held = self._held
        while len(held) - at >= _TAG_HEADER:
            kind = held[at]
            size = int.from_bytes(held[at + 1 : at + 4], "big")
            end = at + _TAG_HEADER + size
            if len(held) < end + _SIZE:
                break
            if kind & _ENCRYPTED:
                raise FlvError(detail="the FLV file is encrypted")
            if kind not in (AUDIO, VIDEO, SCRIPT) or held[at + 8 : at + 11] != b"\0\0\0":
                raise FlvError(detail=f"there is no FLV tag of type {kind}")
            if int.from_bytes(held[end : end + _SIZE], "big") != _TAG_HEADER + size:
                raise FlvError(detail="an FLV tag does not have the size that is written behind it")
            timestamp = int.from_bytes(held[at + 4 : at + 7], "big") | held[at + 7] << 24
            tags.append(Tag(kind, timestamp, bytes(held[at + _TAG_HEADER : end])))
            at = end + _SIZE
        del held[:at]
        return tags

    def finish(self) -> None:
        """Raises FlvError: the file ends inside a tag, or before the first."""
        if not self._begun or self._held:
            raise FlvError(detail="the FLV file is cut short")

    def _header(self) -> int:
        """Size of the file header and of the size field behind it, 0 when it has not come yet."""
        held = self._held
        if not _SIGNATURE.startswith(held[: len(_SIGNATURE)]):
            raise FlvError(detail="this is not an FLV file")
        if len(held) < _FILE_HEADER:
            return 0
        offset = int.from_bytes(held[5:9], "big")
        if not _FILE_HEADER <= offset <= _MAX_HEADER:
            raise FlvError(detail="the FLV file header has an impossible size")
        if len(held) < offset + _SIZE:
            return 0
        if any(held[offset : offset + _SIZE]):
            raise FlvError(detail="the first FLV tag follows a tag that is not there")
        return offset + _SIZE


def file_header(*, audio: bool, video: bool) -> bytes:
    """The header of a file and the size field behind it."""
    return struct.pack(">4sBII", _SIGNATURE, audio << 2 | video, _FILE_HEADER, 0)


def tag_bytes(tag: Tag) -> bytes:
    """A tag as it stands in a file."""
    stamp = tag.timestamp & 0xFFFFFFFF
    head = struct.pack(">I", tag.type << 24 | len(tag.data)) + struct.pack(">I", stamp & 0xFFFFFF)[1:] + bytes((stamp >> 24, 0, 0, 0))
    return head + tag.data + struct.pack(">I", _TAG_HEADER + len(tag.data))


def avc_config(decoder_configuration: bytes) -> bytes:
    """Body of the H.264 sequence header: an AVCDecoderConfigurationRecord (ISO 14496-15)."""
    return bytes((_KEY << 4 | _AVC, 0, 0, 0, 0)) + decoder_configuration


def avc_picture(picture: bytes, *, key: bool, composition_ms: int = 0) -> bytes:
    """Body of an H.264 picture: length-prefixed NAL units; composition_ms: pts - dts, may be negative."""
    return bytes(((_KEY if key else _INTER) << 4 | _AVC, 1)) + struct.pack(">i", composition_ms)[1:] + picture


def aac_config(audio_specific_config: bytes) -> bytes:
    """Body of the AAC sequence header: an AudioSpecificConfig (ISO 14496-3)."""
    return bytes((_AAC_44K_STEREO, 0)) + audio_specific_config


def aac_frame(frame: bytes) -> bytes:
    """Body of a raw AAC frame."""
    return bytes((_AAC_44K_STEREO, 1)) + frame
