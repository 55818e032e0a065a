"""CloudFront's URLs and cookies: botocore's signer is the oracle, and what it signs is let in here."""

import base64
import datetime
from functools import cache
from urllib.parse import urlsplit

import pytest
import trio
from botocore.signers import CloudFrontSigner
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from nova.cdn.ports import Refusal
from nova.cdn.signing import cloudfront
from nova.cdn.signing.admission import REASONS, SiteAdmission, token_keys
from nova.cdn.signing.policy import Policy, PolicyError, matches, read
from nova.cdn.signing.public_key import PrivateKey, PublicKey
from nova.core.clock import FakeClock
from nova.core.errors import Unprocessable
from nova.core.offload import Offload

NOW = 1_790_000_000
URL = "https://cdn.example.org/film/part%201.m4s"
ID = "K2JCJMDEHXQW5F"


@cache
def private() -> PrivateKey:
    key = rsa.generate_private_key(65537, 2048)
    return PrivateKey(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


@cache
def elliptic() -> PrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    return PrivateKey(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def sha1(data: bytes) -> bytes:
    return private().sign(data, "SHA1")


def oracle() -> CloudFrontSigner:
    return CloudFrontSigner(ID, sha1)


def at(unix: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(unix, datetime.UTC)


class Gate:
    def __init__(self, mode: str = "cloudfront", keys: dict[str, PublicKey] | None = None) -> None:
        self.clock = FakeClock(wall=NOW)
        self.checked = 0
        self.site = SiteAdmission(
            mode,  # type: ignore[arg-type]
            token_keys([("k1", b"x" * 32)]),
            {ID: private().public} if keys is None else keys,
            self.clock,
            Offload(observe=self._observe),
        )

    def _observe(self, *_: object) -> None:
        self.checked += 1

    def ask(self, url: str, *, peer: str = "203.0.113.9", cookies: dict[str, str] | None = None) -> bytes | str:
        parts = urlsplit(url)
        target = (parts.path + (f"?{parts.query}" if parts.query else "")).encode()
        fields = [(b"cookie", "; ".join(f"{name}={value}" for name, value in (cookies or {}).items()).encode())] if cookies else []

        async def admit() -> bytes | Refusal:
            return await self.site.admit(target, fields, peer, host=parts.netloc.encode(), secure=parts.scheme == "https")

        said = trio.run(admit)
        if isinstance(said, Refusal):
            assert said.code == "bad_signature"
            return next(reason for reason, detail in REASONS.items() if detail == said.detail)
        return said


@given(
    st.text("ab/.-_~%20", max_size=20),
    st.one_of(st.just(""), st.text("ab=&1", min_size=1, max_size=12)),
    st.integers(NOW + 1, 2**31 - 1),
)
def test_canned_urls_are_botocores_to_the_byte(path: str, query: str, expires: int) -> None:
    url = f"https://cdn.example.org/{path}" + (f"?{query}" if query else "")
    assert cloudfront.sign_url(url, ID, sha1, expires) == oracle().generate_presigned_url(url, date_less_than=at(expires))


@pytest.mark.parametrize("address", [None, "192.0.2.0/24", "192.0.2.7"])
@pytest.mark.parametrize("begins", [0, NOW - 10])
def test_custom_urls_are_botocores_to_the_byte(address: str | None, begins: int) -> None:
    from ipaddress import ip_network

    theirs = oracle()
    text = theirs.build_policy("https://cdn.example.org/film/*", at(NOW + 60), at(begins) if begins else None, address)
    policy = Policy("https://cdn.example.org/film/*", NOW + 60, begins, None if address is None else ip_network(address))
    assert policy.text() == text.encode()
    signed = theirs.generate_presigned_url(URL, policy=text)
    assert read(text.encode()) == policy
    assert cloudfront.sign_url(URL, ID, sha1, policy) == signed
    assert Gate().ask(signed, peer="192.0.2.7") == b"/film/part%201.m4s"


@pytest.mark.parametrize("url", [URL, URL + "?x=1&y=", URL + "?Expires=3", "http://cdn.example.org/"])
def test_what_botocore_signs_is_let_in_without_its_parameters(url: str) -> None:
    signed = oracle().generate_presigned_url(url, date_less_than=at(NOW + 60))
    if "Expires=3" in url:  # a parameter of the origin's own with that name cannot be told apart
        assert Gate().ask(signed) == "malformed"
    else:
        assert Gate().ask(signed) == url.removeprefix("https://cdn.example.org").removeprefix("http://cdn.example.org").encode()


def test_a_url_is_good_for_nothing_else() -> None:
    gate, signed = Gate(), oracle().generate_presigned_url(URL, date_less_than=at(NOW + 60))
    assert gate.ask(signed.replace("part", "parts")) == "forged"
    assert gate.ask(signed.replace("https:", "http:")) == "forged"
    assert gate.ask(signed.replace("cdn.", "www.")) == "forged"
    assert gate.ask(signed + "&x=1") == "forged"
    assert gate.ask(signed.replace(f"Expires={NOW + 60}", f"Expires={NOW + 61}")) == "forged"
    assert gate.ask(signed.replace(f"Expires={NOW + 60}", f"Expires=0{NOW + 60}")) == "malformed"
    assert gate.ask(signed + f"&Expires={NOW + 60}") == "malformed"
    assert gate.ask(signed.replace(ID, "KOTHER")) == "unknown_key"
    assert gate.ask(signed.replace("&Signature=", "&Signature=%")) == "malformed"
    assert gate.ask(URL) == "missing"
    gate.clock.advance(60)
    assert gate.ask(signed) == "expired"


def test_a_signature_is_checked_once() -> None:
    gate, signed = Gate(), oracle().generate_presigned_url(URL, date_less_than=at(NOW + 60))
    for _ in range(3):
        assert isinstance(gate.ask(signed), bytes)
    assert gate.checked == 1


def test_policies_bind_address_time_and_folder() -> None:
    gate, theirs = Gate(), oracle()
    text = theirs.build_policy("https://cdn.example.org/film/*", at(NOW + 60), at(NOW + 10), "192.0.2.0/24")
    signed = theirs.generate_presigned_url(URL, policy=text)
    query = urlsplit(signed).query
    assert gate.ask(signed, peer="192.0.2.9") == "not_yet_valid"
    gate.clock.advance(10)
    assert gate.ask(signed, peer="192.0.2.9") == b"/film/part%201.m4s"
    assert gate.ask(signed, peer="192.0.3.9") == "wrong_address"
    assert gate.ask(signed, peer="2001:db8::1") == "wrong_address"
    assert gate.ask("https://cdn.example.org/film/two?" + query, peer="192.0.2.9") == b"/film/two"
    assert gate.ask("https://cdn.example.org/other?" + query, peer="192.0.2.9") == "wrong_resource"
    assert gate.ask("https://cdn.example.org/film/../other?" + query, peer="192.0.2.9") == "ambiguous_path"
    assert gate.ask("https://cdn.example.org/film/%2e%2e/other?" + query, peer="192.0.2.9") == "ambiguous_path"


def test_question_marks_of_a_policy_are_no_dots() -> None:
    url = "https://cdn.example.org/film/%s/other"
    query = cloudfront.sign_url(url % "ab", ID, sha1, Policy(url % "??", NOW + 60)).partition("?")[2]
    assert Gate().ask(url % "ab" + "?" + query) == b"/film/ab/other"
    assert Gate().ask(url % ".." + "?" + query) == "ambiguous_path"


@pytest.mark.parametrize("policy", [NOW + 60, Policy("https://cdn.example.org/film/*", NOW + 60)])
def test_cookies_let_in_and_leave_the_target_alone(policy: int | Policy) -> None:
    cookies = cloudfront.sign_cookies(URL, ID, sha1, policy)
    assert Gate().ask(URL, cookies={"session": "x", **cookies}) == b"/film/part%201.m4s"
    assert Gate().ask(URL.replace("film", "other"), cookies=cookies) in ("forged", "wrong_resource")


def test_sha256_and_elliptic_keys_are_taken_when_they_say_so() -> None:
    key = elliptic()
    gate = Gate(keys={ID: private().public, "E": key.public})
    for key_id, sign in ((ID, lambda data: private().sign(data, "SHA256")), ("E", lambda data: key.sign(data, "SHA256"))):
        signed = cloudfront.sign_url(URL, key_id, sign, NOW + 60, hash_="SHA256")
        assert gate.ask(signed) == b"/film/part%201.m4s"
        assert gate.ask(signed.removesuffix("&Hash-Algorithm=SHA256")) == "forged"
        assert gate.ask(signed.replace("SHA256", "MD5")) == "malformed"


def test_a_site_that_takes_both_takes_each() -> None:
    gate = Gate("any")
    token = gate.site._tokens.mint(b"/a", NOW + 60).decode()
    assert gate.ask(f"https://cdn.example.org/a?cdn_token={token}") == b"/a"
    assert gate.ask(oracle().generate_presigned_url(URL, date_less_than=at(NOW + 60))) == b"/film/part%201.m4s"
    assert gate.ask(f"https://cdn.example.org/b?cdn_token={token}") == "forged"
    assert gate.ask(URL) == "missing"
    assert gate.site.refused["missing"] == 1


@pytest.mark.parametrize(
    "text",
    [
        "{}", "[]", "x", '{"Statement":[]}', '{"Statement":[{"Resource":"*"}]}',
        '{"Statement":[{"Condition":{"DateLessThan":{"AWS:EpochTime":1}}}]}',
        '{"Statement":[{"Resource":"*","Condition":{"DateLessThan":{"AWS:EpochTime":"1"}}}]}',
        '{"Statement":[{"Resource":"*","Condition":{"DateLessThan":{"AWS:EpochTime":true}}}]}',
        '{"Statement":[{"Resource":"*","Condition":{"DateLessThan":{"AWS:EpochTime":1}},"Effect":"Deny"}]}',
        '{"Statement":[{"Resource":"*","Resource":"a","Condition":{"DateLessThan":{"AWS:EpochTime":1}}}]}',
        '{"Statement":[{"Resource":"*","Condition":{"DateLessThan":{"AWS:EpochTime":1},"IpAddress":{"AWS:SourceIp":"x"}}}]}',
        '{"Statement":[{"Resource":"' + "*a" * 65 + '","Condition":{"DateLessThan":{"AWS:EpochTime":1}}}]}',
        "[" * 4000, " " * 5000,
    ],
)  # fmt: skip
def test_policies_that_are_none_are_malformed(text: str) -> None:
    with pytest.raises(PolicyError, match="malformed"):
        read(text.encode())


@given(st.text("ab?*", max_size=10), st.text("ab", max_size=10))
def test_patterns_match_as_the_oracle_says(pattern: str, url: str) -> None:
    import re

    wanted = "".join({"*": ".*", "?": "."}.get(char, char) for char in pattern)
    assert matches(pattern, url) == (re.fullmatch(wanted, url) is not None)


def test_weak_and_strange_keys_are_refused() -> None:
    weak = rsa.generate_private_key(65537, 1024).public_key()
    pem = weak.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for bad in (pem, b"x", base64.b64encode(b"x")):
        with pytest.raises(Unprocessable):
            PublicKey(bad)
    with pytest.raises(Unprocessable):
        PrivateKey(b"-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----")
