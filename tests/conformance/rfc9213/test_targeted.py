"""RFC 9213: CDN-Cache-Control, a dictionary of structured fields that goes before Cache-Control and Expires."""

import pytest

from nova.cdn.cache.fields import dictionary
from nova.cdn.cache.freshness import Rules, judge

NOW = 1_767_225_600.0


def fresh(target: str | list[str], plain: str = "max-age=5") -> float | None:
    lines = [target] if isinstance(target, str) else target
    fields = [(b"cdn-cache-control", line.encode()) for line in lines] + [(b"cache-control", plain.encode()), (b"etag", b'"e"')]
    found = judge("GET", [], 200, fields, requested_at=NOW, received_at=NOW, rules=Rules())
    return found.fresh_until - found.born if found.keep else None


@pytest.mark.parametrize(
    ("section", "target", "plain", "seconds"),
    [
        ("2.2 goes before Cache-Control", "max-age=60", "max-age=5", 60),
        ("2.2 also when that forbids", "max-age=60", "no-store", 60),
        ("2.2 and when it forbids itself", "no-store", "max-age=5", None),
        ("2.2 private", "private", "max-age=5", None),
        ("2.2 nothing of Cache-Control is mixed in", "public", "max-age=5", 0),
        ("2.1 empty counts as absent", "", "max-age=5", 5),
        ("2.1 what does not parse counts as absent", "max-age=60 no-store", "max-age=5", 5),
        ("2.1 a comma at the end does not parse", "max-age=60,", "max-age=5", 5),
        ("2.1 upper case does not parse", "Max-Age=60", "max-age=5", 5),
        ("2.1 parameters mean nothing", "max-age=60;ext=1", "max-age=5", 60),
        ("2.1 a string is no number", 'max-age="60"', "max-age=5", 0),
        ("2.1 a decimal is no whole number", "max-age=60.5", "max-age=5", 0),
        ("2.1 false is absent", "no-store=?0, max-age=60", "max-age=5", 60),
        ("2.1 the last of two counts", "max-age=1, max-age=60", "max-age=5", 60),
        ("2.1 over two lines", ["max-age=1", "s-maxage=60"], "max-age=5", 60),
    ],
)
def test_targeted_field(section: str, target: str | list[str], plain: str, seconds: float | None) -> None:
    assert fresh(target, plain) == seconds


@pytest.mark.parametrize("argument", ['"set-cookie, X-User"', '("set-cookie" "x-user")', "(set-cookie x-user)"])
def test_2_1_fields_that_are_named_are_not_kept(argument: str) -> None:
    for name in ("no-cache", "private"):
        fields = [(b"cdn-cache-control", f"max-age=60, {name}={argument}".encode()), (b"set-cookie", b"a=b"), (b"x-user", b"ann")]
        found = judge("GET", [], 200, fields, requested_at=NOW, received_at=NOW, rules=Rules())
        assert (found.keep, found.strip) == (True, {b"set-cookie", b"x-user"})


@pytest.mark.parametrize("text", [b"a=(1 2);x", b"a=:aGk=:", b'a, b;c;d="e,f"', b"*x=tok/en:1", b"a=?1"])
def test_dictionaries_of_structured_fields_parse(text: bytes) -> None:
    assert dictionary([text]) is not None


@pytest.mark.parametrize("text", [b"a=", b"a b", b"=1", b"a=(1", b"a,,b", b'a="x', b"a=\xe4", b"1a"])
def test_others_do_not(text: bytes) -> None:
    assert dictionary([text]) is None
