"""RFC 9110, section 14: ranges."""

import pytest

from nova.cdn.cache.ranges import Span, content_range, parse, slices

CASES = [
    ("14.1.2 both ends", b"bytes=2-4", [(2, 4)]),
    ("14.1.2 open end", b"bytes=7-", [(7, 9)]),
    ("14.1.2 the last ones", b"bytes=-3", [(7, 9)]),
    ("14.1.2 more than there is", b"bytes=-99", [(0, 9)]),
    ("14.1.2 beyond the end", b"bytes=5-99", [(5, 9)]),
    ("15.5.17 behind the end", b"bytes=10-", []),
    ("15.5.17 none of the last", b"bytes=-0", []),
    ("14.2 two", b"bytes=0-1,5-6", [(0, 1), (5, 6)]),
    ("14.2 overlapping become one", b"bytes=0-4,3-6", [(0, 6)]),
    ("14.2 touching become one", b"bytes=0-1,2-3", [(0, 3)]),
    ("14.2 one of two is there", b"bytes=50-60, 1-2", [(1, 2)]),
    ("14.2 the order stays", b"bytes=8-9,0-1", [(8, 9), (0, 1)]),
    ("14.2 another unit does not count", b"lines=1-2", None),
    ("14.2 malformed does not count", b"bytes=a-b", None),
    ("14.2 end before begin does not count", b"bytes=5-2", None),
    ("14.2 empty does not count", b"bytes=", None),
    ("14.2 a crowd does not count", b"bytes=" + b",".join(b"%d-%d" % (i, i) for i in range(0, 40, 2)), None),
]


@pytest.mark.parametrize(("section", "text", "spans"), CASES, ids=[case[0] for case in CASES])
def test_range(section: str, text: bytes, spans: list[tuple[int, int]] | None) -> None:
    assert parse(text, 10) == (None if spans is None else [Span(*span) for span in spans])


def test_million_ranges_cost_nothing() -> None:
    assert parse(b"bytes=" + b"0-0," * 1_000_000, 10) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"bytes 0-4/10", (Span(0, 4), 10)), (b"bytes 0-4/*", (Span(0, 4), None)), (b"bytes 5-4/10", None), (b"bytes 0-10/10", None),
        (b"bytes */10", None), (b"0-4/10", None), (None, None),
    ],
)  # fmt: skip
def test_14_4_content_range(text: bytes | None, found: object) -> None:
    assert content_range(text) == found


def test_slices_cover_a_span() -> None:
    assert list(slices(Span(5, 25), 10)) == [0, 1, 2]
    assert list(slices(Span(10, 19), 10)) == [1]
