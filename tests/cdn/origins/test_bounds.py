"""What of a site's origins may be asked for: below their paths, and of a bucket its objects, to be read."""

from posixpath import normpath
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.cdn.origins.bounds import Bounds, depth
from nova.core.errors import NovaError
from nova.core.settings_schema import make
from nova.core.settings_table import CdnOrigin

BUCKET = {"url": "https://films.s3.amazonaws.com", "s3_region": "us-east-1"}
PATH = {"url": "http://127.0.0.1:1/pub"}
ROOT = {"url": "http://127.0.0.1:1/"}


def refused(origin: dict[str, str], method: str, target: bytes) -> str:
    """The code, empty: it may be asked for."""
    try:
        Bounds([make(CdnOrigin, **origin)]).check(method, target)
    except NovaError as error:
        return error.code
    return ""


UP = [b"/../x", b"/a/../../x", b"/%2e%2E/x", b"/..%2fx", b"/a%2fb/../../x", b"/./../x", b"/a//../../x", b"/..%5cx"]


@pytest.mark.parametrize("target", UP)
def test_no_dots_lead_above_an_origins_path(target: bytes) -> None:
    assert refused(PATH, "GET", target) == refused(BUCKET, "GET", target) == "bad_request"
    assert refused(ROOT, "GET", target) == ""  # there is nothing above it


@pytest.mark.parametrize("target", [b"/", b"/a/../b", b"/a/..", b"/...", b"/..a", b"/a?b=/../../..", b"*", b"/a%2f.."])
def test_others_pass(target: bytes) -> None:
    assert refused(PATH, "GET", target) == refused(ROOT, "PUT", target) == ""


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST", "PATCH", "COPY", "TRACE"])
def test_nobody_changes_a_bucket_with_our_keys(method: str) -> None:
    assert refused(BUCKET, method, b"/film.mp4") == "forbidden"
    assert refused(PATH, method, b"/film.mp4") == ""


@pytest.mark.parametrize("target", [b"/", b"/?list-type=2", b"//", b"/.", b"/a/..", b"/%2f", b"/%2e"])
def test_a_bucket_is_not_listed(target: bytes) -> None:
    assert refused(BUCKET, "GET", target) == "forbidden"
    assert refused(BUCKET, "HEAD", b"/a/b" + target) == ""


@given(st.lists(st.sampled_from(["a", "..", ".", "", "b%2fc", "..%2f..", "%2e."]), max_size=8))
def test_what_is_let_through_stays_below_however_it_is_read(segments: list[str]) -> None:
    target = "/" + "/".join(segments)
    if depth(target.encode()) is not None:
        for read in (target, unquote(target), target.replace("%2e", ".")):
            assert (normpath("/base/" + read) + "/").startswith("/base/")
