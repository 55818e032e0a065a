"""The headers of tus as values and back."""

from base64 import b64encode
from hashlib import sha1

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.core.errors import BadRequest, PreconditionFailed
from nova.media.uploads import tus
from nova.media.uploads.tus import Metadata


def pair(key: str, value: str) -> str:
    return f"{key} {b64encode(value.encode()).decode()}"


def test_metadata_is_read() -> None:
    text = ", ".join(
        [
            pair("filename", "Räuber.jpg"),
            pair("kind", "image"),
            pair("preset", "avatar"),
            pair("sha256", "AB" * 32),
            "other",
            pair("x", "y"),
        ]
    )
    assert tus.parse_metadata(text) == Metadata("Räuber.jpg", "", "image", "avatar", "ab" * 32, "")
    assert tus.parse_metadata("") == Metadata()


@pytest.mark.parametrize(
    "text",
    ["filename", "filename !!!", "filename YQ==,filename YQ==", ", ,", "a b c", pair("kind", "music"), pair("sha256", "12"), "x" * 5000,
     "ä YQ==", ",".join(f"k{at} YQ==" for at in range(30)), "filename /w=="],
)  # fmt: skip
def test_metadata_that_is_wrong_is_refused(text: str) -> None:
    if text == "filename":
        assert tus.parse_metadata(text) == Metadata(), "a key alone is an empty value"
        return
    with pytest.raises(BadRequest):
        tus.parse_metadata(text)


@given(st.builds(Metadata, st.text(max_size=50).map(tus.plain), st.text(max_size=20).map(tus.plain), st.sampled_from(["", *tus.KINDS])))
def test_metadata_is_written_as_it_is_read(metadata: Metadata) -> None:
    assert tus.parse_metadata(tus.write_metadata(metadata)) == metadata


def test_checksums() -> None:
    good = tus.parse_checksum("sha1 " + b64encode(sha1(b"abc").digest()).decode())
    assert good is not None
    good.update(b"a")
    assert not good.holds()
    good.update(b"bc")
    assert good.holds()
    assert tus.parse_checksum(" ") is None
    for text in ("md5 YQ==", "sha1", "sha1 YQ==", "sha256 " + b64encode(bytes(20)).decode(), "sha1 !"):
        with pytest.raises(BadRequest):
            tus.parse_checksum(text)


def test_versions_and_numbers() -> None:
    with pytest.raises(PreconditionFailed):
        tus.require_version({"Tus-Resumable": "0.2.2"})
    tus.require_version({"Tus-Resumable": "1.0.0"})
    assert tus.number({"Upload-Length": "12"}, "Upload-Length") == 12
    for text in ("", "-1", "1.5", "x", "9" * 16, "١"):
        with pytest.raises(BadRequest):
            tus.number({"Upload-Length": text}, "Upload-Length")
