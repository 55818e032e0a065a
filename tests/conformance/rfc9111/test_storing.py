"""RFC 9111, sections 3 and 4.2, by section: what may be kept, and for how long it is fresh."""

from email.utils import formatdate

import pytest

from nova.cdn.cache.freshness import Rules, Verdict, birth, judge, wish

NOW = 1_767_225_600.0
F = list[tuple[bytes, bytes]]


def at(seconds: float) -> bytes:
    return formatdate(NOW + seconds, usegmt=True).encode()


def of(fields: F, *, status: int = 200, method: str = "GET", request: F | None = None, counts: bool = False, dated: bool = True) -> Verdict:
    lines = [*fields] if any(name == b"date" for name, _ in fields) or not dated else [*fields, (b"date", at(0))]
    return judge(method, request or [], status, lines, requested_at=NOW, received_at=NOW, rules=Rules(), request_counts=counts)


def cc(value: str, *more: tuple[bytes, bytes]) -> F:
    return [(b"cache-control", value.encode()), *more]


ETAG = (b"etag", b'"e"')
LM = (b"last-modified", at(-1000))
COOKIE = (b"set-cookie", b"a=b")
AUTH: F = [(b"authorization", b"Basic x")]

# (section, fields, seconds of freshness, None: not kept; -1: kept, and asked about each time)
FRESH = [
    ("4.2.1 max-age", cc("max-age=10"), 10),
    ("4.2.1 s-maxage goes before max-age", cc("max-age=10, s-maxage=20"), 20),
    ("4.2.1 max-age goes before Expires", cc("max-age=10", (b"expires", at(99))), 10),
    ("4.2.1 Expires less Date", [(b"expires", at(30))], 30),
    ("4.2.1 Expires less Date of another clock", [(b"expires", at(-70)), (b"date", at(-100)), ETAG], -1),
    ("4.2.1 of two the first counts", cc("max-age=10, max-age=99"), 10),
    ("4.2.1 over two lines", [(b"cache-control", b"public"), (b"cache-control", b"max-age=7")], 7),
    ("4.2.1 what is no number is stale", cc("max-age=1h", ETAG), -1),
    ("4.2.1 negative is stale", cc("max-age=-5", ETAG), -1),
    ("4.2.1 stale without validator is of no use", [(b"cache-control", b"max-age=0, must-revalidate")], None),
    ("5.2 names in any case", cc("MAX-AGE=10"), 10),
    ("5.2 arguments in both forms", cc('max-age="10"'), 10),
    ("5.2 unknown directives are skipped", cc('ext="a, max-age=99", max-age=5, other'), 5),
    ("5.2 quoted commas are no separators", cc('community="x,no-store", max-age=5'), 5),
    ("5.2.2.7 field names of one private do not narrow another", cc('private="x", max-age=10, private'), None),
    ("5.2.2.7 in any order", [*cc("private, max-age=10"), *cc('private="x"')], None),
    ("5.2.2.4 nor those of no-cache", cc('no-cache="x", max-age=10, no-cache', ETAG), -1),
    ("5.2.2.7 private with no name in its list", cc('private=",", max-age=10'), None),
    ("5.2 what is no directive forbids what it names: semicolons", cc("private; max-age=60", LM), None),
    ("5.2 also behind them", cc("max-age=60; No-Store", LM), None),
    ("5.2 words behind it", cc("no-store please, max-age=60"), None),
    ("5.2 a quote that is never closed hides nothing", cc('max-age=60, ext="a, no-store'), None),
    ("5.2 nor one behind a backslash", cc('max-age=60, ext="a\\", no-store'), None),
    ("5.2 parts of names forbid nothing", cc("x-no-store; y, max-age=60"), 60),
    ("1.2.2 huge numbers are as good as 2^31", cc("max-age=99999999999999999999"), 2**31),
    ("5.3 Expires that is no date is the past", [(b"expires", b"0"), ETAG], -1),
    ("5.3 Expires in the three forms of a date", [(b"expires", b"Thursday, 01-Jan-26 00:00:40 GMT")], 40),
    ("5.3 asctime", [(b"expires", b"Thu Jan  1 00:00:40 2026")], 40),
    ("4.2.2 a tenth of the age since Last-Modified", [LM], 100),
    ("4.2.2 at most a day", [(b"last-modified", at(-100_000_000))], 86_400),
    ("4.2.2 nothing to guess from", [], None),
    ("4.2.2 a validator alone is kept for its sake", [ETAG], -1),
    ("5.2.2.4 no-cache is asked about each time", cc("no-cache, max-age=10", ETAG), -1),
    ("5.2.2.5 no-store", cc("no-store, max-age=10"), None),
    ("5.2.2.7 private", cc("private, max-age=10"), None),
    ("7.3 Set-Cookie is one person's", cc("max-age=10", COOKIE), None),
    ("7.3 unless it says that it is everybody's", cc("public, max-age=10", COOKIE), 10),
    ("4.1 Vary: * never matches", cc("max-age=10", (b"vary", b"accept, *")), None),
]


@pytest.mark.parametrize(("section", "fields", "seconds"), FRESH, ids=[case[0] for case in FRESH])
def test_freshness(section: str, fields: F, seconds: int | None) -> None:
    found = of(fields)
    assert found.keep is (seconds is not None)
    if seconds == -1:
        assert found.asked
    elif seconds is not None:
        assert (found.asked, round(found.fresh_until - found.born)) == (False, seconds)


# (section, status, fields, kept)
STATUS = [
    ("3 final and understood", 200, cc("max-age=10"), True),
    ("15.1 heuristic ones with Last-Modified", 301, [LM], True),
    ("15.1 others need a word", 302, [LM], False),
    ("15.1 and so do those that are one client's doing", 405, [LM], False),
    ("15.1 with a word they are kept", 501, cc("max-age=10"), True),
    ("15.1 others with a word", 302, cc("max-age=10"), True),
    ("3 unknown ones with a word", 299, cc("max-age=10"), True),
    ("3 unknown ones without", 299, [LM], False),
    ("5.2.2.3 must-understand and not understood", 299, cc("must-understand, max-age=10"), False),
    ("5.2.2.3 understood, so no-store does not count", 200, cc("must-understand, no-store, max-age=10"), True),
    ("5.2.2.3 not understood, so no-store counts", 299, cc("must-understand, no-store, max-age=10"), False),
    ("3.4 206 is kept as parts alone", 206, cc("max-age=10"), False),
    ("4.3.3 304 is no answer of its own", 304, cc("max-age=10"), False),
    ("negative: 404 without a word", 404, [], True),
    ("errors without a word", 503, [LM], False),
    ("errors with one", 503, cc("max-age=10"), True),
]


@pytest.mark.parametrize(("section", "status", "fields", "kept"), STATUS, ids=[case[0] for case in STATUS])
def test_status_codes(section: str, status: int, fields: F, kept: bool) -> None:
    assert of(fields, status=status).keep is kept


@pytest.mark.parametrize(
    ("value", "kept"),
    [("max-age=10", False), ("public, max-age=10", True), ("s-maxage=10", True), ("must-revalidate, max-age=10", True), ("private", False)],
)
def test_3_5_authorization_needs_a_word(value: str, kept: bool) -> None:
    assert of(cc(value), request=AUTH).keep is kept


def test_3_1_only_get_is_kept_under_its_name() -> None:
    assert not of(cc("max-age=10"), method="POST").keep
    assert not of(cc("max-age=10"), method="HEAD").keep


def test_5_2_1_5_no_store_of_a_request_counts_where_a_site_says_so() -> None:
    request = cc("no-store")
    assert of(cc("max-age=10"), request=request).keep
    assert not of(cc("max-age=10"), request=request, counts=True).keep


def test_5_2_2_4_named_fields_of_no_cache_and_private_are_not_kept() -> None:
    found = of(cc('no-cache="Set-Cookie, X-A", private="x-b", max-age=10', COOKIE))
    assert (found.keep, found.strip) == (True, {b"set-cookie", b"x-a", b"x-b"})


def test_4_2_3_age_is_the_larger_of_what_date_and_age_say() -> None:
    assert NOW - birth([(b"date", at(-5))], NOW, NOW) == 5
    assert NOW - birth([(b"date", at(-5)), (b"age", b"30")], NOW, NOW) == 30
    assert NOW - birth([(b"date", at(99))], NOW, NOW) == 0
    assert NOW - birth([(b"age", b"30")], NOW - 4, NOW) == 34  # the time that the answer took
    assert of(cc("max-age=10", (b"age", b"7"))).fresh_until - NOW == 3


@pytest.mark.parametrize(("text", "age"), [(b"7", 7), (b"7, 9", 7), (b"-1", 0), (b"a", 0), (b"1.5", 0), (b"99999999999999", 2**31)])
def test_5_1_age_that_is_none_is_ignored(text: bytes, age: int) -> None:
    assert NOW - birth([(b"age", text), (b"date", at(0))], NOW, NOW) == age


def test_4_2_4_stale_answers_are_not_used_where_that_is_forbidden() -> None:
    for word in ("must-revalidate", "proxy-revalidate", "s-maxage=10", "no-cache"):
        found = of(cc(f"max-age=10, stale-if-error=99, stale-while-revalidate=99, {word}", ETAG))
        assert found.error_until <= found.fresh_until
        assert found.stale_until <= found.fresh_until


@pytest.mark.parametrize(
    ("value", "takes"),
    [
        ("", True), ("no-cache", False), ("max-age=20", True), ("max-age=5", False), ("max-age=x", False), ("min-fresh=20", True),
        ("min-fresh=60", False), ("max-stale", True),
    ],
)  # fmt: skip
def test_5_2_1_requests_say_how_old_an_answer_may_be(value: str, takes: bool) -> None:
    # Ten seconds old, fresh for another fifty.
    assert wish(cc(value) if value else []).takes(NOW, NOW - 10, NOW + 50, False) is takes


def test_5_2_1_2_max_stale_takes_stale_ones_unless_they_forbid_it() -> None:
    assert wish(cc("max-stale=30")).takes(NOW, NOW - 100, NOW - 20, False)
    assert not wish(cc("max-stale=10")).takes(NOW, NOW - 100, NOW - 20, False)
    assert not wish(cc("max-stale")).takes(NOW, NOW - 100, NOW - 20, True)


def test_5_4_pragma_counts_alone() -> None:
    assert wish([(b"pragma", b"no-cache")]).no_cache
    assert not wish([(b"pragma", b"no-cache"), (b"cache-control", b"max-age=9")]).no_cache
