"""Keys and tokens for tests, by PyJWT and `cryptography`: the oracle that our own code is compared with."""

import base64
import hashlib
import hmac
import json
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

NOW = 1_790_000_000  # 2026
ISSUER = "https://issuer.example/realms/a"
AUDIENCE = "nova"
SECRET = b"0123456789abcdef0123456789abcdef"
ALGORITHMS = ("EdDSA", "ES256", "RS256", "HS256")


@cache
def private(alg: str) -> Any:
    """The signing key, as PyJWT takes it."""
    if alg == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if alg == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    if alg == "RS256":
        return rsa.generate_private_key(65537, 2048)
    return SECRET


def public_pem(alg: str) -> bytes:
    return bytes(private(alg).public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))


def private_pem(alg: str) -> bytes:
    return bytes(private(alg).private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def claims(**changed: Any) -> dict[str, Any]:
    """Good claims with changes; a value of None takes the claim out."""
    base = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": NOW + 600, "iat": NOW, "scope": "chat media:write", "jti": "one"}
    return {name: value for name, value in {**base, **changed}.items() if value is not None}


def token(alg: str = "EdDSA", *, kid: str | None = "k", header: dict[str, Any] | None = None, **changed: Any) -> bytes:
    """A token as a peer would make it."""
    headers = {**({} if kid is None else {"kid": alg if kid == "k" else kid}), **(header or {})}
    # PyJWS rather than PyJWT: it signs claims of any type.
    return jwt.PyJWS().encode(json.dumps(claims(**changed)).encode(), private(alg), algorithm=alg, headers=headers).encode()


def b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def raw(payload: bytes, header: bytes = b'{"alg":"HS256","kid":"HS256"}') -> bytes:
    """A token of exactly these bytes, signed with the HS256 secret."""
    signed = b64(header) + b"." + b64(payload)
    return signed + b"." + b64(hmac.digest(SECRET, signed, hashlib.sha256))


def dumped(**changed: Any) -> bytes:
    return json.dumps(claims(**changed)).encode()
