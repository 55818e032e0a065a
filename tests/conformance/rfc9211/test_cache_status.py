"""RFC 9211: Cache-Status is a list of structured fields whose members say one thing each."""

import re

import pytest

from nova.cdn.cache import status

ITEM = re.compile(rb"nova(; [a-z-]+(=(-?\d+|[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*))?)*")


@pytest.mark.parametrize(
    "line",
    [
        status.hit(30.7), status.hit(-5), status.forwarded("uri-miss", stored=True), status.forwarded("stale", status=304, stored=True),
        status.forwarded("uri-miss", collapsed=True), status.stale(-3, asked=False),
        status.stale(-3, asked=True, status=503, detail="stale-if-error"),
    ],
)  # fmt: skip
def test_lines_are_items_and_hit_and_fwd_exclude_one_another(line: bytes) -> None:
    assert ITEM.fullmatch(line)
    assert (b"; hit" in line) != (b"; fwd=" in line)
