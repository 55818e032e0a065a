"""A site's gate: who has a token or a signature may ask, everybody else is told 403 before anything is looked up."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final, Literal

from nova.cdn.ports import Fields, Refusal
from nova.cdn.signing import cloudfront
from nova.cdn.signing.policy import PolicyError
from nova.cdn.signing.public_key import PublicKey
from nova.core.clock import Clock
from nova.core.offload import CPU, Offload
from nova.ext.cdn_token import CdnTokenError, CdnTokenKeys

Mode = Literal["token", "cloudfront", "any"]

REMEMBERED: Final = 65536  # signatures that were found good; about 10 MB

REASONS: Final[Mapping[str, str]] = {
    "missing": "This address needs a token or a signature.",
    "malformed": "The token or signature cannot be read.",
    "unknown_key": "The key that signed this is not known, or not any more.",
    "forged": "The token or signature is not good for this address.",
    "expired": "The token or signature has expired.",
    "not_yet_valid": "The token or signature is not good yet.",
    "wrong_address": "The signature is for another network.",
    "wrong_resource": "The signature is for another address.",
    "ambiguous_path": "A path with dot segments or encoded slashes cannot be admitted by what it begins with.",
}
MISSING: Final = "missing"  # a reason


class SiteAdmission:
    """`Admission` of a site. mode: what is taken. base: the viewers' scheme and host in signatures; empty: as they asked."""

    def __init__(
        self,
        mode: Mode,
        tokens: CdnTokenKeys,
        keys: Mapping[str, PublicKey],
        clock: Clock,
        offload: Offload,
        *,
        leeway: float = 0,
        base: str = "",
    ) -> None:
        self._mode, self._tokens, self._keys = mode, tokens, keys
        self._clock, self._offload, self._leeway, self._base = clock, offload, leeway, base
        self._good: OrderedDict[bytes, None] = OrderedDict()
        self.refused: dict[str, int] = dict.fromkeys(REASONS, 0)

    async def admit(self, target: bytes, fields: Fields, peer: str, *, host: bytes, secure: bool) -> bytes | Refusal:
        """The target without its token, which is what the object is called."""
        reason = MISSING
        if self._mode != "cloudfront":
            try:
                return self._tokens.admit(target, peer.encode(), int(self._clock.wall()), int(self._leeway))
            except CdnTokenError as error:
                reason = error.reason
        if self._mode != "token" and reason == MISSING:
            try:
                return await self._cloudfront(target, fields, peer, host, secure)
            except PolicyError as error:
                reason = error.reason
        self.refused[reason] += 1
        return Refusal("bad_signature", REASONS[reason])

    async def _cloudfront(self, target: bytes, fields: Fields, peer: str, host: bytes, secure: bool) -> bytes:
        base = self._base or f"{'https' if secure else 'http'}://{host.decode('latin-1')}"
        cookies = [value for name, value in fields if name == b"cookie"]
        signed = cloudfront.read(target, base, cookies)
        if signed is None:
            raise PolicyError("missing")
        key = self._keys.get(signed.key_id)
        if key is None:
            raise PolicyError("unknown_key")
        # What is cheap comes first: an old URL that is asked for again and again costs no signature.
        signed.check(peer, self._clock.wall(), self._leeway)
        name = sha256(b"\0".join((signed.key_id.encode(), signed.hash.encode(), signed.signature, signed.text))).digest()
        if name in self._good:
            self._good.move_to_end(name)
            return signed.target
        if not await self._offload.run(CPU, lambda: key.verify(signed.signature, signed.text, signed.hash)):
            raise PolicyError("forged")
        self._good[name] = None
        while len(self._good) > REMEMBERED:
            self._good.popitem(last=False)
        return signed.target


def token_keys(secrets: Sequence[tuple[str, bytes]]) -> CdnTokenKeys:
    """The keys of a site: the last one mints. Raises ValueError as CdnTokenKeys.add does."""
    keys = CdnTokenKeys()
    for key_id, secret in secrets:
        keys.add(key_id.encode(), secret)
    return keys
