"""The embedded issuer: Ed25519 keys in the data directory, made on the first start, replaced by age.

The newest key signs; an older one still verifies until everything that it signed has expired.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nova.core.clock import Clock
from nova.core.errors import Unavailable
from nova.ext.jws_key import JwsKey
from nova.ext.token import TokenTable
from nova.surface.identity import files, jwk, scopes
from nova.surface.identity.principal import UserId

_NAME: Final = re.compile(r"token-([0-9]{1,12})-([A-Za-z0-9_-]{43})\.pem")
MAX_KEYS: Final = 16  # of ours in the table; with the least rotation of a day and 400 days of tokens the oldest go first
OWN_SKEW: Final = 1  # second; an I/O thread reads the clock once a turn, so its second may be the one before


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """made_at: unix seconds; path: where its private half lies."""

    kid: str
    key: JwsKey
    made_at: int
    path: Path


@dataclass(frozen=True, slots=True)
class Minted:
    """A new token. Its text is a secret; everything else may be shown."""

    text: str
    jti: str
    user: UserId
    scopes: frozenset[str]
    expires_at: float  # unix seconds

    def __repr__(self) -> str:
        return f"<Minted for {self.user}>"


class Issuer:
    """Signs tokens for users of this server.

    name, audience: the `iss` and `aud` that it writes. longest: seconds that any of its tokens lives. rotate: seconds
    after which a new key signs.
    """

    def __init__(self, folder: Path, table: TokenTable, clock: Clock, *, name: str, audience: str, longest: float, rotate: float) -> None:
        self.name, self.audience = name, audience
        self._folder, self._table, self._clock = folder, table, clock
        self._longest, self._rotate = longest, rotate
        self._keys: list[IssuerKey] = []  # the newest is last

    def open(self) -> None:
        """Read the keys and put them into the table; make the first one, and a new one when the newest is old.

        Raises Unavailable: a file cannot be read or written, or is no key.
        """
        paths = self._folder.iterdir() if self._folder.is_dir() else ()
        named = ((path, name) for path in paths if (name := _NAME.fullmatch(path.name)))
        found = [IssuerKey(name[2], self._read(path), int(name[1]), path) for path, name in named]
        self._keys = sorted(found, key=lambda key: (key.made_at, key.kid))[-MAX_KEYS:]
        for key in self._keys:
            self._table.add(key.kid, key.key, issuer=self.name, audience=self.audience, skew=OWN_SKEW)
        self.keep()

    def keep(self) -> None:
        """Make a new key when the newest is old, forget those whose tokens have all expired. Cheap when nothing is due."""
        now = self._clock.wall()
        if not self._keys or now - self._keys[-1].made_at >= self._rotate:
            self.rotate()
        while len(self._keys) > 1 and (now - self._keys[1].made_at > self._longest or len(self._keys) > MAX_KEYS):
            old = self._keys.pop(0)
            self._table.remove(old.kid)
            old.path.unlink(missing_ok=True)

    def rotate(self) -> None:
        """A new key signs from now on."""
        key = JwsKey.generate()
        kid = jwk.public(key)["kid"]
        made_at = int(self._clock.wall())
        path = files.folder(self._folder) / f"token-{made_at}-{kid}.pem"
        files.write(path, key.private_pem())
        self._table.add(kid, key, issuer=self.name, audience=self.audience, skew=OWN_SKEW)
        self._keys.append(IssuerKey(kid, key, made_at, path))

    def kids(self) -> list[str]:
        return [key.kid for key in self._keys]

    def jwks(self) -> dict[str, Any]:
        """The document at /.well-known/jwks.json."""
        return {"keys": [jwk.public(key.key) for key in reversed(self._keys)]}

    def mint(
        self,
        user: UserId,
        granted: Iterable[str],
        ttl: float,
        *,
        device: str | None = None,
        name: str | None = None,
        jti: str | None = None,
        after: float = 0.0,
    ) -> Minted:
        """A token for `user`.

        ttl: seconds. jti: that of the token it takes the place of, so that one revocation ends both. after: unix seconds
        that its `iat` must lie behind: those of the user's last revocation.
        """
        now = max(self._clock.wall(), after + 0.001)
        jti = jti or secrets.token_urlsafe(16)
        given = frozenset(granted)
        expires_at = round(now + min(ttl, self._longest), 3)
        claims: dict[str, Any] = {
            "iss": self.name, "aud": self.audience, "sub": user, "scope": scopes.text(given), "iat": round(now, 3),
            "exp": expires_at, "jti": jti,
        }  # fmt: skip
        if device is not None:
            claims["device"] = device
        if name is not None:
            claims["name"] = name
        return Minted(self._sign(claims), jti, user, given, expires_at)

    def _sign(self, claims: Mapping[str, Any]) -> str:
        key = self._keys[-1]
        header = {"alg": "EdDSA", "typ": "at+jwt", "kid": key.kid}
        signed = ".".join(jwk.b64(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
        return f"{signed}.{jwk.b64(key.key.sign(signed.encode()))}"

    def _read(self, path: Path) -> JwsKey:
        pem = files.read(path) or b""
        try:
            return JwsKey.from_pem(pem)
        except ValueError as error:
            raise Unavailable("storage_failed", f"{path}: {error}; move it away to start with a new key") from None
