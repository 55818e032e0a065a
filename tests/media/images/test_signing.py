"""Signatures of picture URLs, which format a client gets, and which addresses elsewhere are looked at."""

from base64 import urlsafe_b64encode
from hashlib import sha256
from hmac import digest

import pytest

from nova.core.errors import Forbidden
from nova.core.secret import Secret
from nova.media.images.delivery import allowed, matches
from nova.media.images.negotiate import choose, hint
from nova.media.images.signing import Keys, parse_key

NEW, OLD = ("new", Secret(b"n" * 32)), ("old", Secret(b"o" * 32))
REST = "/rs:cover:320:320/018f0000-0000-7000-8000-000000000000.webp"


def test_the_first_key_signs_and_all_verify() -> None:
    keys = Keys([NEW, OLD])
    by_hand = urlsafe_b64encode(digest(b"n" * 32, REST.encode(), sha256)).rstrip(b"=").decode()
    assert keys.sign(REST) == f"new.{by_hand}"
    keys.verify(keys.sign(REST), REST)
    keys.verify(keys.sign(REST) + "=", REST)
    keys.verify(Keys([OLD]).sign(REST), REST)


@pytest.mark.parametrize("signature", ["", ".", "new", "new.", "new.AAAA", "older.x", "-", "new.\udcff", "new." + "A" * 43, "NEW.x"])
def test_what_is_not_signed_is_refused(signature: str) -> None:
    with pytest.raises(Forbidden) as refused:
        Keys([NEW]).verify(signature, REST)
    assert refused.value.code == "bad_signature"
    with pytest.raises(Forbidden):
        Keys([NEW]).verify(Keys([NEW]).sign(REST), REST + "x")


def test_keys_are_read_from_settings() -> None:
    assert parse_key(Secret("k1:hex:" + "ab" * 16)) == ("k1", Secret(b"\xab" * 16))
    assert parse_key(Secret("k1:base64:" + "QUFB" * 8))[1] == Secret(b"AAA" * 8)
    assert parse_key(Secret("k1:sesame-open-the-door"))[1] == Secret("sesame-open-the-door")
    for keys in ([], [NEW, NEW], [("a b", Secret(b"x" * 32))], [("k", Secret(b"short"))]):
        with pytest.raises(ValueError):
            Keys(keys)
    with pytest.raises(ValueError):
        parse_key(Secret("nocolon"))


@pytest.mark.parametrize(
    ("accept", "alpha", "animated", "wanted"),
    [
        ("image/avif,image/webp,*/*", False, False, "avif"), ("image/webp,image/avif;q=0.9", False, False, "webp"),
        ("*/*", False, False, "jpg"),
        ("image/*", True, False, "png"), ("", False, True, "gif"), ("image/avif,image/webp", False, True, "webp"),
        ("image/avif;q=0", False, False, "jpg"), ("IMAGE/WEBP ; Q=0.5", False, False, "webp"), ("image/webp;q=nan", False, False, "jpg"),
        ("image/avif" + "," * 10_000, False, False, "avif"),
    ],
)  # fmt: skip
def test_a_client_gets_the_best_that_it_names(accept: str, alpha: bool, animated: bool, wanted: str) -> None:
    assert choose(accept, ("avif", "webp"), alpha=alpha, animated=animated) == wanted


def test_hints_are_numbers() -> None:
    assert hint("", "2.5") == 2.5
    assert [hint(text) for text in ("x", "-1", "0", "1e3", "nan", "")] == [None] * 6


def test_conditions() -> None:
    for sent, wanted in (('"a"', True), ('W/"a"', True), ('"b", "a"', True), ("*", True), ('"b"', False), ("", False)):
        assert matches(sent, '"a"') is wanted


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("https://cdn.example/pics/a.jpg", True), ("https://CDN.example/pics/a.jpg", True), ("https://cdn.example/pics", False),
        ("http://cdn.example/pics/a.jpg", False), ("https://cdn.example/picsx/a.jpg", False), ("https://cdn.example/pics/../a.jpg", False),
        ("https://cdn.example:8443/pics/a.jpg", False), ("https://cdn.example.evil/pics/a", False), ("https://u@cdn.example/pics/a", False),
        ("https://cdn.example\\@evil/pics/a", False), ("file:///etc/passwd", False), ("https://cdn.example/pics/a b", False), ("", False),
    ],
)  # fmt: skip
def test_only_what_lies_below_a_prefix_is_fetched(url: str, wanted: bool) -> None:
    assert allowed(url, ["https://cdn.example/pics/"]) is wanted
