"""CloudFront's signed URLs and cookies: written, and read from a request. Pure; `public_key` has the signatures.

URL: `Expires=…&Signature=…&Key-Pair-Id=…` (canned) or `Policy=…&Signature=…&Key-Pair-Id=…` (custom), optionally with
`Hash-Algorithm=`. Cookies have the same names behind `CloudFront-`. Values are base64 with `+ = /` written as `- _ ~`.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from nova.cdn.signing.policy import MAX_EPOCH, MAX_POLICY, Policy, PolicyError, canned
from nova.cdn.signing.policy import read as read_policy
from nova.cdn.signing.public_key import Hash

PARAMETERS: Final = ("Expires", "Policy", "Signature", "Key-Pair-Id", "Hash-Algorithm")
COOKIE: Final = "CloudFront-"
# A server behind us may read another path than these bytes say: no pattern is a promise about that one (`ext/cdn_token` has the same).
AMBIGUOUS: Final = re.compile(rb"(?:^|/)\.{1,2}(?:/|$)|\\|%2e|%2f|%5c", re.IGNORECASE)
_MAX_SIGNATURE: Final = 1024  # bytes; RSA of 8192 bits

_TO: Final = str.maketrans("+=/", "-_~")
_FROM: Final = str.maketrans("-_~", "+=/")

Sign = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Signed:
    """What a request shows.

    target: without the signature's parameters. url: what the policy is compared with.
    text: of the policy, as it was signed; `policy` is what it says.
    """

    target: bytes
    url: str
    key_id: str
    signature: bytes
    text: bytes
    policy: Policy
    hash: Hash
    canned: bool

    def check(self, peer: str, now: float, leeway: float = 0) -> None:
        """Raises PolicyError. A canned policy was written from this very URL, so only its time is looked at."""
        if self.canned:
            if self.policy.expires + leeway <= now:
                raise PolicyError("expired")
        else:
            self.policy.check(self.url, peer, now, leeway)
            if self.policy.resource != self.url and AMBIGUOUS.search(self.target.partition(b"?")[0]):
                raise PolicyError("ambiguous_path")


def encode(data: bytes) -> str:
    return b64encode(data).decode().translate(_TO)


def decode(text: str, most: int) -> bytes:
    """Raises PolicyError `malformed`."""
    try:
        if len(text) > most * 2 or not text.isascii() or any(char in "+=/" for char in text):
            raise PolicyError("malformed")
        return b64decode(text.translate(_FROM), validate=True)
    except binascii.Error:
        raise PolicyError("malformed") from None


def sign_url(url: str, key_id: str, sign: Sign, policy: Policy | int, *, hash_: Hash = "SHA1") -> str:
    """`url` with its signature. policy: a custom one, or the unix second at which a canned one ends."""
    text = canned(url, policy) if isinstance(policy, int) else policy.text()
    first = f"Expires={policy}" if isinstance(policy, int) else f"Policy={encode(text)}"
    separator = "&" if "?" in url else "?"
    algorithm = "&Hash-Algorithm=SHA256" if hash_ == "SHA256" else ""
    return f"{url}{separator}{first}&Signature={encode(sign(text))}&Key-Pair-Id={key_id}{algorithm}"


def sign_cookies(url: str, key_id: str, sign: Sign, policy: Policy | int, *, hash_: Hash = "SHA1") -> dict[str, str]:
    """The cookies that let a browser have `url`, or what the policy's resource names."""
    text = canned(url, policy) if isinstance(policy, int) else policy.text()
    first = {"Expires": str(policy)} if isinstance(policy, int) else {"Policy": encode(text)}
    found = {**first, "Signature": encode(sign(text)), "Key-Pair-Id": key_id}
    if hash_ == "SHA256":
        found["Hash-Algorithm"] = "SHA256"
    return {COOKIE + name: value for name, value in found.items()}


def read(target: bytes, base: str, cookies: Iterable[bytes] = ()) -> Signed | None:
    """What the request shows; None: it is not signed. Parameters of the URL count before cookies, as CloudFront does it.

    base: scheme and host under which the viewer asked, `https://cdn.example.org`. cookies: values of the Cookie fields.
    Raises PolicyError `malformed`: parameters twice, or not these.
    """
    path, mark, query = target.decode("latin-1").partition("?")
    shown: dict[str, str] = {}
    kept = []
    for pair in query.split("&") if mark else ():
        name, _, value = pair.partition("=")
        if name not in PARAMETERS:
            kept.append(pair)
        elif name in shown:
            raise PolicyError("malformed")
        else:
            shown[name] = value
    clean = path + (mark + "&".join(kept) if kept else "")
    if "Signature" not in shown:
        if shown.keys() & {"Policy", "Key-Pair-Id"}:
            raise PolicyError("malformed")
        clean = target.decode("latin-1")  # `Expires` alone is the origin's own parameter
        shown = _from_cookies(cookies)
        if "Signature" not in shown:
            return None
    return _signed(clean, base + clean, shown)


def _from_cookies(fields: Iterable[bytes]) -> dict[str, str]:
    found: dict[str, str] = {}
    for field in fields:
        for pair in field.decode("latin-1").split(";"):
            name, _, value = pair.strip().partition("=")
            if name.startswith(COOKIE) and (short := name.removeprefix(COOKIE)) in PARAMETERS:
                if short in found:
                    raise PolicyError("malformed")
                found[short] = value.strip('"')
    return found


def _signed(clean: str, url: str, shown: dict[str, str]) -> Signed:
    key_id, hash_ = shown.get("Key-Pair-Id", ""), shown.get("Hash-Algorithm", "SHA1")
    if not 0 < len(key_id) <= 64 or hash_ not in ("SHA1", "SHA256") or ("Policy" in shown) == ("Expires" in shown):
        raise PolicyError("malformed")
    signature = decode(shown["Signature"], _MAX_SIGNATURE)
    if "Policy" in shown:
        text = decode(shown["Policy"], MAX_POLICY)
        policy, is_canned = read_policy(text), False
    else:
        expires = shown["Expires"]
        if not re.fullmatch("[1-9][0-9]{0,9}", expires) or int(expires) > MAX_EPOCH:
            raise PolicyError("malformed")
        text = canned(url, int(expires))
        policy, is_canned = Policy(url, int(expires)), True
    return Signed(clean.encode("latin-1"), url, key_id, signature, text, policy, "SHA256" if hash_ == "SHA256" else "SHA1", is_canned)
