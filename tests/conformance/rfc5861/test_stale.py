"""RFC 5861: stale-while-revalidate and stale-if-error, as far as they are times."""

import pytest

from nova.cdn.cache.freshness import Rules, judge

NOW = 1_767_225_600.0


@pytest.mark.parametrize(
    ("value", "stale", "error"),
    [
        ("max-age=10, stale-while-revalidate=30", 40, 110),
        ("max-age=10, stale-if-error=50", 10, 60),
        ("max-age=10, stale-if-error=0", 10, 10),
        ("max-age=10", 10, 110),
        ("max-age=10, stale-while-revalidate=x", 10, 110),
        ("max-age=10, stale-while-revalidate=30, must-revalidate", 10, 10),
    ],
)
def test_windows(value: str, stale: int, error: int) -> None:
    fields = [(b"cache-control", value.encode()), (b"etag", b'"e"')]
    found = judge("GET", [], 200, fields, requested_at=NOW, received_at=NOW, rules=Rules(stale_if_error=100))
    assert (found.stale_until - NOW, found.error_until - NOW) == (stale, error)
