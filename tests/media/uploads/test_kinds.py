"""What a file is, by its first bytes."""

import pytest

from nova.core.errors import UnsupportedType
from nova.media.uploads.kinds import kind
from tests.media.images import material

MP4 = b"\0\0\0\x18ftypisom\0\0\0\0isommp42"
WEBM = b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm"
TS = (b"\x47" + bytes(187)) * 2


@pytest.mark.parametrize(
    ("head", "wanted", "found"),
    [
        (material.saved(material.corners(), "avif"), "", ("image", "avif")), (MP4, "", ("video", "mp4")), (MP4, "reel", ("reel", "mp4")),
        (WEBM, "video", ("video", "webm")), (TS, "", ("video", "mpegts")), (b"FLV\x01", "", ("video", "flv")),
    ],
)  # fmt: skip
def test_bytes_decide(head: bytes, wanted: str, found: tuple[str, str]) -> None:
    assert kind(head, wanted) == found


@pytest.mark.parametrize(
    ("head", "wanted"), [(b"", ""), (b"#!/bin/sh", ""), (MP4, "image"), (b"\x89PNG\r\n\x1a\n", "video"), (b"GIF89a", "reel")]
)
def test_what_its_sender_did_not_mean_is_refused(head: bytes, wanted: str) -> None:
    with pytest.raises(UnsupportedType):
        kind(head, wanted)
