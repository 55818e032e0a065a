"""Tokens of the CDN against a short oracle in Python."""

import base64
import hmac
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.ext.cdn_token import CdnTokenError, CdnTokenKeys

NOW = 1_790_000_000
KEY = b"k" * 32


def oracle(key_id: bytes, key: bytes, target: bytes, expires: int, not_before: int, prefix: int, address: bytes) -> bytes:
    head = b"%b.%d.%d.%d.%d." % (key_id, expires, not_before, prefix, bool(address))
    mac = hmac.digest(key, b"nova cdn 1\n" + head + b"\n" + (target[:prefix] if prefix else target) + b"\n" + address, "sha256")
    return head + base64.urlsafe_b64encode(mac).rstrip(b"=")


def keys() -> CdnTokenKeys:
    made = CdnTokenKeys()
    made.add(b"k1", KEY)
    return made


def said(made: CdnTokenKeys, target: bytes, address: bytes = b"", now: int = NOW, leeway: int = 0) -> str:
    try:
        made.admit(target, address, now, leeway)
    except CdnTokenError as error:
        return str(error.reason)
    return "ok"


PATH = st.lists(st.text("abcXYZ019-_~", min_size=1, max_size=9), min_size=1, max_size=5).map(
    lambda parts: "/" + "/".join("x" + part for part in parts)
)
QUERY = st.one_of(st.just(""), st.text("abc=&01", min_size=1, max_size=20).map(lambda text: "?" + text))


@given(PATH, QUERY, st.text("aZ0_-", min_size=1, max_size=32), st.binary(min_size=16, max_size=90), st.integers(NOW + 1, 2**40),
       st.integers(0, NOW), st.sampled_from([b"", b"203.0.113.7", b"2001:db8::1"]), st.booleans())  # fmt: skip
def test_tokens_are_what_the_oracle_writes(
    path: str, query: str, key_id: str, key: bytes, expires: int, not_before: int, address: bytes, folder: bool
) -> None:
    target = (path + query).encode()
    prefix = path.rindex("/") + 1 if folder else 0
    made = CdnTokenKeys()
    made.add(key_id.encode(), key)
    token = made.mint(target, expires, not_before=not_before, prefix=prefix, address=address)
    assert token == oracle(key_id.encode(), key, target, expires, not_before, prefix, address)
    assert made.admit(target + (b"&" if query else b"?") + b"cdn_token=" + token, address, NOW) == target
    assert made.admit(b"/~" + token + target, address, NOW) == target


def test_the_function_in_the_docs_makes_a_token() -> None:
    page = (Path(__file__).parents[2] / "docs" / "signing.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    token = names["token"]("k1", KEY, "/film.mp4?a=b", NOW + 60)
    assert keys().admit(f"/film.mp4?a=b&cdn_token={token}".encode(), b"", NOW) == b"/film.mp4?a=b"
    assert said(keys(), f"/film.mp4?a=c&cdn_token={token}".encode()) == "forged"


def test_every_changed_character_is_refused() -> None:
    made = keys()
    token = made.mint(b"/a", NOW + 60)
    for at in range(len(token)):
        for other in b"AZaz09-_=./":
            if token[at] != other:
                assert said(made, b"/a?cdn_token=" + token[:at] + bytes([other]) + token[at + 1 :]) != "ok"
    for size in range(len(token)):
        assert said(made, b"/a?cdn_token=" + token[:size]) in ("malformed", "missing")


def test_a_token_is_for_its_target_and_query() -> None:
    made = keys()
    token = made.mint(b"/a?x=1", NOW + 60)
    assert said(made, b"/a?x=1&cdn_token=" + token) == "ok"
    assert said(made, b"/a?cdn_token=" + token + b"&x=1") == "ok"
    for other in (b"/a?", b"/b?x=1&", b"/a?x=2&", b"/a?x=1&x=1&", b"/a?X=1&"):
        assert said(made, other + b"cdn_token=" + token) == "forged"


def test_a_prefix_lets_everything_below_it_and_nothing_beside() -> None:
    made = keys()
    token = made.mint(b"/vod/one/", NOW + 60, prefix=9)
    assert made.admit(b"/~" + token + b"/vod/one/a/b.m4s?x=1", b"", NOW) == b"/vod/one/a/b.m4s?x=1"
    for other in (b"/vod/two/a", b"/vod/one", b"/", b"/vod/onf/"):
        assert said(made, b"/~" + token + other) == "forged"
    assert said(made, b"/~" + token + b"?/vod/one/a") == "malformed"


@pytest.mark.parametrize(
    "path", [b"..", b"../x", b"a/../../x", b".", b"%2e%2e/x", b"%2E./x", b"..%2fx", b"a%2F..%2Fx", b"a\\..\\x", b"a%5c..", b"a/.."]
)
def test_a_prefix_is_not_left_by_a_path_that_others_read_differently(path: bytes) -> None:
    made = keys()
    token = made.mint(b"/vod/one/", NOW + 60, prefix=9)
    assert said(made, b"/~" + token + b"/vod/one/" + path) == "ambiguous_path"
    assert said(made, b"/~" + token + b"/vod/one/a..b/...?" + path) == "ok"


def test_time_and_address_bind() -> None:
    made = keys()
    token = b"/a?cdn_token=" + made.mint(b"/a", NOW + 60, not_before=NOW + 10, address=b"192.0.2.1")
    assert said(made, token, b"192.0.2.1", NOW + 10) == "ok"
    assert said(made, token, b"192.0.2.1", NOW + 9) == "not_yet_valid"
    assert said(made, token, b"192.0.2.1", NOW + 60) == "expired"
    assert said(made, token, b"192.0.2.1", NOW + 64, leeway=5) == "ok"
    assert said(made, token, b"192.0.2.1", NOW + 5, leeway=5) == "ok"
    assert said(made, token, b"192.0.2.2", NOW + 10) == "forged"


def test_keys_rotate_by_id() -> None:
    made = keys()
    old = b"/a?cdn_token=" + made.mint(b"/a", NOW + 60)
    made.add(b"k2", b"n" * 16)
    new = b"/a?cdn_token=" + made.mint(b"/a", NOW + 60)
    assert new.startswith(b"/a?cdn_token=k2.")
    assert [said(made, old), said(made, new)] == ["ok", "ok"]
    made.remove(b"k1")
    assert [said(made, old), said(made, new)] == ["unknown_key", "ok"]
    assert made.ids() == [b"k2"]
    with pytest.raises(KeyError):
        made.remove(b"k1")


def test_one_token_and_no_second_one() -> None:
    made = keys()
    token = made.mint(b"/a", NOW + 60)
    assert said(made, b"/a") == "missing"
    assert said(made, b"/~" + token + b"/a?cdn_token=" + token) == "malformed"
    assert said(made, b"/~" + token) == "malformed"
    # A second parameter of the name goes too: nothing of it reaches the origin.
    assert made.admit(b"/a?cdn_token=" + token + b"&%63dn_token=x", b"", NOW) == b"/a"


def test_bad_arguments_are_refused() -> None:
    made = keys()
    for bad in (lambda: made.add(b"k1", KEY), lambda: made.add(b"", KEY), lambda: made.add(b"a.b", KEY), lambda: made.add(b"x", b"short"),
                lambda: made.mint(b"", NOW), lambda: made.mint(b"/a", 0), lambda: made.mint(b"/a/b", NOW, prefix=2),
                lambda: made.mint(b"/a?/", NOW, prefix=4), lambda: CdnTokenKeys().mint(b"/a", NOW)):  # fmt: skip
        with pytest.raises(ValueError):
            bad()
    for number in range(15):
        made.add(b"more%d" % number, KEY)
    with pytest.raises(ValueError):
        made.add(b"one-more", KEY)
