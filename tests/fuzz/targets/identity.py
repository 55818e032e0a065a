"""What strangers send to prove who they are: tokens whole and in their parts, JSON, signed path prefixes."""

import base64
import hashlib
import hmac

from nova.ext import json_scan
from nova.ext.jws_key import JwsKey
from nova.ext.session import SessionError, SessionKeys
from nova.ext.token import TokenError, TokenTable
from tests.exact import exact
from tests.ext.json_oracle import oracle
from tests.fuzz.registry import target

NOW = 1_790_000_000
SECRET = b"0123456789abcdef0123456789abcdef"
HEADER = b'{"alg":"HS256","kid":"k","typ":"at+jwt"}'
CLAIMS = (
    b'{"iss":"i","aud":["x","nova"],"sub":"alice","exp":1790000600,"nbf":1.79e9,"iat":1790000000.25,"scope":"chat admin","jti":"a\\u00e9",'
    b'"device":"d","x":{"y":[1,null,"\\ud83d\\ude00"]}}'
)
WORDS = [
    b'"iss":"i"', b'"aud":"nova"', b'"sub":', b'"exp":', b'"exp":1e400', b'"nbf":', b'"iat":', b'"crit":["b64"]', b'"alg":"none"',
    b'"kid":"k"', b"\\u0000", b"\\ud800", b"\\ud83d\\ude00", b"\\", b'"', b"{", b"}", b"[", b"]", b",", b":", b"1e999999999999",
    b"0.000001", b"-", b"true", b"null", b"\xff", b"\xc0\x80", b"\xe2\x82\xac", b"\x00", b" ",
]  # fmt: skip

table = TokenTable(scopes=["chat", "admin"], cache_entries=64)
table.add("k", JwsKey.from_secret(SECRET), issuer="i", audience="nova")
table.add("e", JwsKey.generate(), issuer="i", audience="nova")


def b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def signed(header: bytes, payload: bytes) -> bytes:
    text = b64(header) + b"." + b64(payload)
    return text + b"." + b64(hmac.digest(SECRET, text, hashlib.sha256))


def said(token: bytes) -> str:
    try:
        claims = table.verify(exact(token), NOW)
    except TokenError as error:
        return str(error.reason)
    # What is let in is one strict object, and it says all that a rule asks for.
    found = oracle(claims)
    assert found is not None
    assert found["iss"] == "i"
    assert "nova" in found["aud"]
    assert 0 < len(found["sub"]) <= 64
    assert found["exp"] > NOW - 30
    return "ok"


@target(
    "token", seeds=[signed(HEADER, CLAIMS), signed(b'{"alg":"HS256"}', CLAIMS), b"..", b"a.b.c"], words=[b".", b"=", b"A", b"_", b"\xff"]
)
def token(data: bytes) -> object:
    return said(data)


@target("token-header", seeds=[HEADER, b'{"alg":"EdDSA","kid":"e"}', b'{"alg":"HS256"}'], words=WORDS)
def token_header(data: bytes) -> object:
    return said(signed(data, CLAIMS))


@target("token-claims", seeds=[CLAIMS, CLAIMS.replace(b'["x","nova"]', b'"nova"')], words=WORDS)
def token_claims(data: bytes) -> object:
    return said(signed(HEADER, data))


@target("json-object", seeds=[CLAIMS, HEADER, b"{}", b'{"a":[[[[[[[1]]]]]]]}'], words=WORDS)
def json_object(data: bytes) -> object:
    wanted = oracle(data)
    try:
        found = json_scan.members(exact(data))
    except ValueError:
        assert wanted is None, data
        return "refused"
    assert wanted is not None, data
    assert [name.decode() for name, _, _ in found] == list(wanted)
    for name, kind, raw in found:
        if kind == 2 and isinstance(value := wanted[name.decode()], int) and len(raw) < 19:
            assert json_scan.milliseconds(exact(raw)) == (value * 1000 if 0 <= value < 253402300800 and raw[:1] != b"-" else -1)
    return tuple(kind for _, kind, _ in found)


keys = SessionKeys()
keys.add(7, SECRET)
GOOD = keys.mint(b"s", bytes(16), NOW + 60)


@target("path-session", seeds=[GOOD, b"A" * 52], words=[b"-", b"_", b"=", b"/", b"~"])
def path_session(data: bytes) -> object:
    try:
        keys.verify(exact(data), b"s", NOW)
    except SessionError as error:
        return error.reason
    # Base64url of 39 bytes has one spelling, so nothing but a session that we made is let in.
    assert data == GOOD
    return "ok"
