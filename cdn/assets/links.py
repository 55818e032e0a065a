"""Addresses of assets and of what sites serve, signed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from nova.cdn.signing import cloudfront
from nova.cdn.signing.policy import Policy
from nova.cdn.signing.public_key import PrivateKey
from nova.core.errors import BadRequest, FieldError, Unprocessable
from nova.core.limits import parse_address
from nova.core.offload import CPU, Offload
from nova.ext.cdn_token import CdnTokenKeys


@dataclass(frozen=True, slots=True)
class Keys:
    """What a site signs with. private: key id and key of CloudFront's signatures; None: it has none."""

    tokens: CdnTokenKeys
    private: tuple[str, PrivateKey] | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """expires, not_before: unix seconds (0: at once). address: of the only client. folder: everything below the path's folder too."""

    expires: int
    not_before: int = 0
    address: str = ""
    folder: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    url: str
    cookies: Mapping[str, str]


def token_link(base: str, target: str, keys: Keys, wish: Wish) -> Link:
    """With a token of ours: behind the target, or before it for a folder. base: scheme, host and what stands before the target."""
    path = target.partition("?")[0]
    address = _address(wish.address)
    prefix = path.rindex("/") + 1 if wish.folder else 0
    token = keys.tokens.mint(
        target.encode(), wish.expires, not_before=wish.not_before, prefix=prefix, address=address.encode()
    ).decode()  # fmt: skip
    if wish.folder:
        return Link(f"{base}/~{token}{target}", {})
    return Link(f"{base}{target}{'&' if '?' in target else '?'}cdn_token={token}", {})


async def cloudfront_link(base: str, target: str, keys: Keys, wish: Wish, offload: Offload) -> Link:
    """As CloudFront signs; the cookies say the same. Raises Unprocessable: no private key."""
    if keys.private is None:
        raise Unprocessable(detail="The site has no private key to sign with: signing_keys with `private`.")
    key_id, key = keys.private
    url = base + target
    policy: Policy | int = wish.expires
    if wish.not_before or wish.address or wish.folder:
        resource = url[: url.partition("?")[0].rindex("/") + 1] + "*" if wish.folder else url
        address = _address(wish.address)
        policy = Policy(resource, wish.expires, wish.not_before, ip_network(address) if address else None)

    def sign(text: bytes) -> bytes:
        return key.sign(text, "SHA1")

    def both() -> Link:
        return Link(cloudfront.sign_url(url, key_id, sign, policy), cloudfront.sign_cookies(url, key_id, sign, policy))

    return await offload.run(CPU, both)


def _address(text: str) -> str:
    if not text:
        return ""
    found = parse_address(text)
    if found is None:
        raise BadRequest(detail="No address.", fields=(FieldError("/address", "invalid_field", "an IP address is wanted"),))
    return str(found)
