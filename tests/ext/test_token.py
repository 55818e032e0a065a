"""Token checks against PyJWT: what it accepts we accept, unless a rule of ours says no; each rule has a test."""

import base64
import hashlib
import hmac
import json
import threading
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.ext.jws_key import JwsKey
from nova.ext.token import TokenError, TokenTable
from tests.ext import token_maker as make

NOW = make.NOW
LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def key(alg: str) -> JwsKey:
    return JwsKey.from_secret(make.SECRET) if alg == "HS256" else JwsKey.from_pem(make.public_pem(alg))


def table(*algs: str, **options: Any) -> TokenTable:
    """A table with one key for each algorithm, whose kid is the algorithm's name."""
    made = TokenTable(scopes=["chat", "media:write", "admin"], **options)
    for alg in algs or make.ALGORITHMS:
        made.add(alg, key(alg), issuer=make.ISSUER, audience=make.AUDIENCE)
    return made


def reason(made: TokenTable, token: bytes, now: int = NOW) -> str:
    try:
        made.verify(token, now)
    except TokenError as error:
        return str(error.reason)
    return "ok"


@pytest.mark.parametrize("alg", make.ALGORITHMS)
def test_a_good_token_gives_its_claims_twice(alg: str) -> None:
    made = table()
    token = make.token(alg)
    assert json.loads(made.verify(token, NOW)) == make.claims()
    assert json.loads(made.verify(token, NOW)) == make.claims()
    assert made.stats()["hits"] == 1
    assert made.scopes(token, NOW) == 0b011


@pytest.mark.parametrize("alg", make.ALGORITHMS)
def test_a_token_without_kid_needs_exactly_one_key_that_fits(alg: str) -> None:
    token = make.token(alg, kid=None)
    made = table()
    assert reason(made, token) == "ok"
    made.add("second", key(alg), issuer=make.ISSUER, audience=make.AUDIENCE)
    assert reason(made, make.token(alg, kid=None, jti="two")) == "unknown_key"
    assert reason(table(*[a for a in make.ALGORITHMS if a != alg]), token) == "unknown_key"


@pytest.mark.parametrize("alg", make.ALGORITHMS)
def test_every_changed_byte_is_refused(alg: str) -> None:
    made = table()
    token = make.token(alg)
    step = 1 if alg == "HS256" else 7  # public-key checks cost more
    for at in range(0, len(token), step):
        for other in (b"A", b"_", b".", b"=", b"\x00", b"\xff"):
            if token[at : at + 1] != other:
                assert reason(made, token[:at] + other + token[at + 1 :]) != "ok"
    assert reason(made, token) == "ok"


@pytest.mark.parametrize("alg", make.ALGORITHMS)
def test_every_truncation_and_every_extension_is_refused(alg: str) -> None:
    made = table()
    token = make.token(alg)
    for size in range(len(token)):
        assert reason(made, token[:size]) != "ok"
    for tail in (b"A", b"=", b".", b"AAAA", b"\n", b" "):
        assert reason(made, token + tail) != "ok"


@pytest.mark.parametrize(
    "alg", ["none", "None", "NONE", "HS384", "HS512", "RS384", "PS256", "ES384", "ES256K", "ES512", "Ed25519", "EdDSA ", "", "hs256"]
)
def test_other_algorithms_are_refused(alg: str) -> None:
    header = json.dumps({"alg": alg, "kid": "HS256"}).encode()
    assert reason(table(), make.raw(make.dumped(), header)) == "algorithm"
    unsigned = make.b64(header) + b"." + make.b64(make.dumped()) + b"."
    assert reason(table(), unsigned) == "algorithm"


def test_a_public_key_is_never_an_hmac_secret() -> None:
    """CVE-2015-9235: an attacker signs with HS256 and the bytes of the RSA public key."""
    for alg in ("RS256", "ES256", "EdDSA"):
        signed = make.b64(json.dumps({"alg": "HS256", "kid": alg}).encode()) + b"." + make.b64(make.dumped())
        forged = signed + b"." + make.b64(hmac.digest(make.public_pem(alg), signed, hashlib.sha256))
        assert reason(table(), forged) == "algorithm"
        without_kid = make.b64(b'{"alg":"HS256"}') + b"." + make.b64(make.dumped())
        forged = without_kid + b"." + make.b64(hmac.digest(make.public_pem(alg), without_kid, hashlib.sha256))
        assert reason(table("RS256", "ES256", "EdDSA"), forged) == "unknown_key"


@pytest.mark.parametrize(
    "header",
    [{"kid": "other"}, {"kid": "../../dev/null"}, {"kid": ""}, {"kid": "k" * 500}, {"kid": "HS256\x00"}],
)
def test_an_unknown_kid_is_refused(header: dict[str, Any]) -> None:
    assert reason(table(), make.raw(make.dumped(), json.dumps({"alg": "HS256", **header}).encode())) == "unknown_key"


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (b'{"alg":"HS256","kid":"HS256","crit":["exp"]}', "critical"),
        (b'{"alg":"HS256","kid":"HS256","crit":[],"b64":false}', "critical"),
        (b'{"alg":"HS256","alg":"HS256"}', "malformed"),
        (b'{"alg":"none","\\u0061lg":"HS256"}', "malformed"),
        (b'{"alg":["HS256"]}', "malformed"),
        (b'{"alg":"HS256","kid":1}', "malformed"),
        (b'{"kid":"HS256"}', "malformed"),
        (b'{"alg":"HS256","typ":"dpop+jwt"}', "malformed"),
        (b'{"alg":"HS256","typ":"logout+jwt"}', "malformed"),
        (b'{"alg":"HS256","typ":1}', "malformed"),
        (b'{"alg":"HS256","typ":"at+JWT"}', "ok"),
        (b'{"alg":"HS256","typ":"application/at+jwt"}', "ok"),
        (b'{"alg":"HS256","jku":"https://evil.example/jwks","x5u":"https://evil.example","jwk":{"kty":"oct","k":"AA"}}', "ok"),
        (b'{"alg":"HS256","kid":"HS25\\u0036"}', "ok"),
        (b"[]", "malformed"),
        (b"\xff", "malformed"),
        (b"", "malformed"),
    ],
)
def test_headers_are_read_strictly(header: bytes, wanted: str) -> None:
    assert reason(table(), make.raw(make.dumped(), header)) == wanted


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({"exp": NOW + 1}, "ok"),
        ({"exp": NOW - 29}, "ok"),  # within the skew of 30 s
        ({"exp": NOW - 30}, "expired"),
        ({"exp": NOW + 0.5}, "ok"),
        ({"exp": None}, "malformed"),
        ({"exp": str(NOW + 600)}, "malformed"),
        ({"exp": True}, "malformed"),
        ({"exp": -1}, "malformed"),
        ({"exp": 10**30}, "malformed"),
        ({"exp": NOW + 367 * 86400}, "lifetime"),
        ({"nbf": NOW + 30}, "ok"),
        ({"nbf": NOW + 31}, "not_yet"),
        ({"nbf": "0"}, "malformed"),
        ({"iat": NOW + 31}, "not_yet"),
        ({"iat": None}, "ok"),
        ({"iss": None}, "issuer"),
        ({"iss": "https://issuer.example/realms/b"}, "issuer"),
        ({"iss": make.ISSUER + "/"}, "issuer"),
        ({"iss": [make.ISSUER]}, "issuer"),
        ({"aud": None}, "audience"),
        ({"aud": "novas"}, "audience"),
        ({"aud": ["other", "nova"]}, "ok"),
        ({"aud": ["other"]}, "audience"),
        ({"aud": []}, "audience"),
        ({"aud": ["nova", 1]}, "malformed"),
        ({"aud": {"nova": 1}}, "malformed"),
        ({"sub": None}, "subject"),
        ({"sub": ""}, "subject"),
        ({"sub": 1}, "subject"),
        ({"sub": "a" * 64}, "ok"),
        ({"sub": "a" * 65}, "subject"),
        ({"sub": "a b"}, "subject"),
        ({"sub": "é"}, "subject"),
        ({"sub": "../x"}, "subject"),
        ({"device": "phone_1-A"}, "ok"),
        ({"device": "a/b"}, "subject"),
        ({"device": 7}, "subject"),
        ({"scope": None}, "ok"),
        ({"scope": ["chat"]}, "malformed"),
        ({"jti": None}, "ok"),
        ({"jti": 5}, "malformed"),
        ({"jti": "j" * 257}, "malformed"),
        ({"extra": {"deep": [1, {"er": None}]}}, "ok"),
    ],
)
def test_claims_follow_the_rules(changed: dict[str, Any], wanted: str) -> None:
    assert reason(table(), make.token("HS256", **changed)) == wanted


@pytest.mark.parametrize("text", [b"1e400", b"1e99999", b"NaN", b"Infinity", b"-1", b"01", b"1.", b'"1e3"', b"null", b"[1]"])
def test_an_exp_that_is_no_moment_is_refused(text: bytes) -> None:
    payload = make.dumped(exp=None)[:-1] + b', "exp":' + text + b"}"
    assert reason(table(), make.raw(payload)) == "malformed"


def test_a_claim_twice_is_refused_however_it_is_spelled() -> None:
    for name in (b"sub", b"\\u0073ub"):
        payload = make.dumped()[:-1] + b', "' + name + b'":"bob"}'
        assert reason(table(), make.raw(payload)) == "malformed"


def test_an_escaped_slash_in_iss_and_aud_is_the_same_slash() -> None:
    payload = make.dumped().replace(b"/", b"\\/").replace(b'"nova"', b'"\\u006eova"')
    assert reason(table(), make.raw(payload)) == "ok"


def test_an_escape_cannot_hide_in_sub() -> None:
    assert reason(table(), make.raw(make.dumped().replace(b'"alice"', b'"\\u0061lice"'))) == "subject"


@pytest.mark.parametrize("payload", [b"", b"\xff\xfe", b"{", b"[]", b'"x"', b"{}x", b"\xef\xbb\xbf{}"])
def test_claims_that_are_no_object_are_refused(payload: bytes) -> None:
    assert reason(table(), make.raw(payload)) == "malformed"


def test_size_limits() -> None:
    assert reason(table(), b"a" * 8193) == "too_large"
    assert reason(table(), b"." * 8192) == "malformed"
    assert reason(table(), make.token("HS256", extra="x" * 5500)) == "ok"
    assert reason(table(), make.token("HS256", header={"extra": "x" * 1200})) == "malformed"


def test_a_signature_of_zeros_or_of_the_wrong_size_is_refused() -> None:
    for alg in make.ALGORITHMS:
        signed = make.token(alg).rpartition(b".")[0]
        for size in (0, 1, 31, 32, 33, 63, 64, 65, 72, 255, 256, 257, 700):
            assert reason(table(), signed + b"." + make.b64(bytes(size))) == "signature"


def test_base64_has_one_spelling() -> None:
    token = make.token("ES256")  # 64 bytes: the last character has four bits to spare
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".index(chr(token[-1]))
    twin = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last ^ 1]
    assert reason(table(), token[:-1] + twin.encode()) == "malformed"
    assert reason(table(), token + b"==") == "malformed"
    for byte in b"+/=":
        assert reason(table(), token[:-1] + bytes([byte])) == "malformed"
    made = table("HS256")
    signed, _, signature = make.token("HS256").rpartition(b".")
    for at in range(39, 43):  # the last character of the last four, and the three that are left
        for value in range(256):
            text = signature[:at] + bytes([value]) + signature[at + 1 :]
            strict = set(text) <= LETTERS and make.b64(base64.urlsafe_b64decode(text + b"=")) == text
            assert reason(made, signed + b"." + text) == ("ok" if text == signature else "signature" if strict else "malformed")


def test_expiry_counts_in_the_cache_too() -> None:
    made = table()
    token = make.token("HS256", exp=NOW + 10)
    assert reason(made, token, NOW + 39) == "ok"
    assert reason(made, token, NOW + 39) == "ok"
    assert made.stats()["hits"] == 1
    assert reason(made, token, NOW + 40) == "expired"


def test_a_revoked_token_is_refused_at_once_and_others_are_not() -> None:
    made = table()
    one, two = make.token(jti="one"), make.token(jti="tw\u00f6")
    assert (reason(made, one), reason(made, two)) == ("ok", "ok")
    made.revoke_token("tw\u00f6", until=NOW + 1000, now=NOW)
    assert (reason(made, one), reason(made, two)) == ("ok", "revoked")


def test_revoking_a_user_ends_what_was_issued_before() -> None:
    made = table()
    old, new, other = make.token(iat=NOW - 5), make.token(iat=NOW - 4.5), make.token(sub="bob")
    undated = make.token(iat=None)
    for token in (old, new, other, undated):
        assert reason(made, token) == "ok"
    made.revoke_user("alice", not_before_ms=(NOW - 5) * 1000, until=NOW + 1000, now=NOW)
    assert [reason(made, token) for token in (old, new, other, undated)] == ["revoked", "ok", "ok", "revoked"]
    made.revoke_user("alice", not_before_ms=(NOW - 60) * 1000, until=NOW + 1000, now=NOW)  # an earlier one takes nothing back
    assert reason(made, old) == "revoked"


def test_a_removed_or_replaced_key_takes_its_tokens_along() -> None:
    made = table("HS256", "EdDSA")
    hs, ed = make.token("HS256"), make.token("EdDSA")
    assert (reason(made, hs), reason(made, ed)) == ("ok", "ok")
    made.add("HS256", JwsKey.from_secret(b"x" * 32), issuer=make.ISSUER, audience=make.AUDIENCE)
    assert (reason(made, hs), reason(made, ed)) == ("signature", "ok")
    made.remove("EdDSA")
    assert reason(made, ed) == "unknown_key"
    assert made.kids(make.ISSUER) == ["HS256"]
    with pytest.raises(KeyError):
        made.remove("EdDSA")


def test_a_kid_belongs_to_one_issuer() -> None:
    made = table("HS256")
    with pytest.raises(ValueError, match="another issuer"):
        made.add("HS256", JwsKey.from_secret(b"x" * 32), issuer="other", audience="nova")
    made.add("theirs", JwsKey.from_secret(b"x" * 32), issuer="other", audience="nova")
    forged = jwt.encode(make.claims(), b"x" * 32, algorithm="HS256", headers={"kid": "theirs"}).encode()
    assert reason(made, forged) == "issuer"


def test_the_cache_is_bounded_and_can_be_off() -> None:
    small = table("HS256", cache_entries=16)
    tokens = [make.token("HS256", jti=str(i)) for i in range(1000)]
    for token in tokens:
        assert reason(small, token) == "ok"
    assert small.stats()["cached"] <= 128
    off = table("HS256", cache_entries=0)
    assert [reason(off, tokens[0]) for _ in range(2)] == ["ok", "ok"]
    assert off.stats()["hits"] == 0


def test_weak_keys_are_refused() -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    def pem(private: Any) -> bytes:
        out = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        assert isinstance(out, bytes)
        return out

    with pytest.raises(ValueError, match="bits"):
        JwsKey.from_pem(pem(rsa.generate_private_key(65537, 1024)))
    with pytest.raises(ValueError, match="P-256"):
        JwsKey.from_pem(pem(ec.generate_private_key(ec.SECP384R1())))
    with pytest.raises(ValueError, match="32"):
        JwsKey.from_secret(b"short")
    for broken in (b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", make.public_pem("RS256")[:200]):
        with pytest.raises(ValueError, match="usable"):
            JwsKey.from_pem(broken)


def test_an_encrypted_key_is_refused_without_a_question() -> None:
    from cryptography.hazmat.primitives import serialization

    pem = make.private("ES256").private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    with pytest.raises(ValueError, match="encrypted"):
        JwsKey.from_pem(pem)


def test_keys_from_numbers_equal_keys_from_pem() -> None:
    from_x = private = make.private("EdDSA").public_key().public_bytes_raw()
    ec_numbers = make.private("ES256").public_key().public_numbers()
    rsa_numbers = make.private("RS256").public_key().public_numbers()
    made = TokenTable()
    for kid, found in (
        ("EdDSA", JwsKey.from_okp(from_x)),
        ("ES256", JwsKey.from_ec(ec_numbers.x.to_bytes(32, "big"), ec_numbers.y.to_bytes(32, "big"))),
        ("RS256", JwsKey.from_rsa(rsa_numbers.n.to_bytes(256, "big"), rsa_numbers.e.to_bytes(3, "big"))),
    ):
        made.add(kid, found, issuer=make.ISSUER, audience=make.AUDIENCE)
        assert reason(made, make.token(kid)) == "ok"
    assert JwsKey.from_pem(make.public_pem("EdDSA")).public_bytes() == private
    with pytest.raises(ValueError, match="usable"):  # not on the curve
        JwsKey.from_ec(ec_numbers.y.to_bytes(32, "big"), ec_numbers.x.to_bytes(32, "big"))


def test_what_we_sign_pyjwt_accepts() -> None:
    made = JwsKey.generate()
    again = JwsKey.from_pem(made.private_pem())
    assert again.public_bytes() == made.public_bytes()
    signed = make.b64(b'{"alg":"EdDSA"}') + b"." + make.b64(make.dumped(exp=4_000_000_000, iat=1))
    token = signed + b"." + make.b64(again.sign(signed))
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    public = Ed25519PublicKey.from_public_bytes(made.public_bytes())
    assert jwt.decode(token, public, algorithms=["EdDSA"], audience="nova", issuer=make.ISSUER)["sub"] == "alice"
    with pytest.raises(ValueError, match="private"):
        JwsKey.from_pem(make.public_pem("EdDSA")).private_pem()


values = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)


@given(st.dictionaries(st.sampled_from(["exp", "nbf", "iat", "iss", "aud", "sub", "jti", "x"]), values | st.lists(values, max_size=2)))
def test_what_we_accept_pyjwt_accepts(changed: dict[str, Any]) -> None:
    token = make.token("HS256", **{name: value for name, value in changed.items() if value is not None})
    if reason(table("HS256"), token) == "ok":
        # PyJWT reads the real clock, so the times are compared here.
        timeless = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
        found = jwt.decode(token, make.SECRET, algorithms=["HS256"], options=timeless, audience="nova", issuer=make.ISSUER)
        assert found["exp"] > NOW - 30
        assert found.get("nbf", 0) < NOW + 31
    else:
        assert changed


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_quietly(data: bytes) -> None:
    made = table("HS256")
    assert reason(made, data) != "ok"
    assert reason(made, make.raw(data)) != "ok"
    assert reason(made, make.raw(make.dumped(), data)) != "ok"


def test_threads_verify_while_keys_and_revocations_change() -> None:
    made = table("HS256", "EdDSA", cache_entries=64)
    tokens = [make.token("HS256", jti=str(i), sub=f"u{i % 7}") for i in range(40)] + [make.token("EdDSA", kid=None)]
    wrong: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            for token in tokens:
                found = reason(made, token)
                if found not in ("ok", "revoked", "unknown_key"):
                    wrong.append(found)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for turn in range(200):
        made.add("extra", JwsKey.generate(), issuer=make.ISSUER, audience=make.AUDIENCE)
        made.revoke_token(str(turn % 20), until=NOW + 100, now=NOW)
        made.revoke_user(f"u{turn % 3}", not_before_ms=NOW * 1000, until=NOW + 100, now=NOW)
        made.remove("extra")
    done.set()
    for reader in readers:
        reader.join(30)
    assert wrong == []
    assert reason(made, tokens[0]) == "revoked"
    assert reason(made, tokens[33]) == "ok"  # jti 33, user u5


def test_many_revocations_are_kept_and_the_ended_ones_make_room() -> None:
    made = table("HS256")
    for i in range(3000):
        made.revoke_token(str(i), until=NOW + 10, now=NOW)
    assert made.stats()["revoked_tokens"] == 3000
    assert reason(made, make.token("HS256", jti="2999")) == "revoked"
    for i in range(3000, 9000):
        made.revoke_token(str(i), until=NOW + 100, now=NOW + 20)
    assert made.stats()["revoked_tokens"] < 9000
    assert reason(made, make.token("HS256", jti="8999")) == "revoked"
