"""JSON Web Keys (RFC 7517, 7518, 8037): reading the ones that others publish, writing our own."""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, Final

from nova.ext.jws_key import JwsKey

MAX_KEYS: Final = 32  # of one set; issuers publish two or three
_MEMBERS: Final = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n"), "oct": ("k", "kty")}


def b64(data: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: object) -> bytes:
    """The bytes of a base64url text. Raises ValueError."""
    if not isinstance(text, str) or not text.isascii() or not set(text) <= _ALPHABET:
        raise ValueError("a member of the key is not base64url")
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """The key's own name (RFC 7638): a digest of the members that make the key. Raises KeyError: one is missing."""
    members = {name: jwk[name] for name in _MEMBERS[jwk["kty"]]}
    return b64(hashlib.sha256(json.dumps(members, separators=(",", ":"), sort_keys=True).encode()).digest())


def read(jwk: Mapping[str, Any]) -> JwsKey:
    """The key in `jwk`. Raises ValueError: damaged, too weak, or of a kind that we do not use."""
    kind, curve = jwk.get("kty"), jwk.get("crv")
    if kind == "OKP" and curve == "Ed25519":
        return JwsKey.from_okp(unb64(jwk.get("x")))
    if kind == "EC" and curve == "P-256":
        return JwsKey.from_ec(unb64(jwk.get("x")), unb64(jwk.get("y")))
    if kind == "RSA":
        return JwsKey.from_rsa(unb64(jwk.get("n")).lstrip(b"\0"), unb64(jwk.get("e")).lstrip(b"\0"))
    if kind == "oct":
        return JwsKey.from_secret(unb64(jwk.get("k")))
    raise ValueError("a key is OKP Ed25519, EC P-256, RSA or oct")


def read_set(data: bytes, *, secrets: bool) -> dict[str, JwsKey]:
    """The keys of a JWK Set, or of a single JWK, by kid. What is not for signatures, or of another kind, is left out.

    secrets: whether symmetric keys are taken: from a file of ours; never from a URL, where anybody could read them.
    Raises ValueError: not a JWK Set, or no key in it that we can use.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    if isinstance(document, dict) and "keys" not in document:
        document = {"keys": [document]}
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError("not a JWK Set: it has no list `keys`")
    found: dict[str, JwsKey] = {}
    for jwk in listed[:MAX_KEYS]:
        # RFC 7517, section 5: ignore what is not understood, so that an issuer can add kinds of keys.
        if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig" or "verify" not in jwk.get("key_ops", ("verify",)):
            continue
        if jwk.get("kty") == "oct" and not secrets:
            continue
        try:
            key = read(jwk)
            kid = jwk.get("kid") or thumbprint(jwk)
        except (ValueError, KeyError, TypeError):
            continue
        if jwk.get("alg", key.alg) != key.alg or not isinstance(kid, str) or len(kid.encode()) > 128:
            continue
        found.setdefault(kid, key)
    if not found:
        raise ValueError("no key in it is of a kind that we use: Ed25519, P-256, RSA of 2048 to 8192 bits")
    return found


def public(key: JwsKey) -> dict[str, str]:
    """Our Ed25519 key as others read it; its kid is its thumbprint."""
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(key.public_bytes())}
    return {**jwk, "kid": thumbprint(jwk), "alg": "EdDSA", "use": "sig"}


_ALPHABET: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
