"""Sign-in codes: 128 random bits in a URL's fragment, good once and for a quarter of an hour.

Only their digest is stored, and a fragment (`/#code=…`) is never sent to a server, so no log along the way has it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from typing import Final

from nova.core.clock import Clock
from nova.core.errors import Unauthenticated
from nova.surface.identity.model import SignInCode
from nova.surface.identity.principal import UserId
from nova.surface.identity.store import IdentityStore

FORM: Final = re.compile(r"[A-Za-z0-9_-]{22}")  # 16 bytes


def digest(code: str) -> bytes:
    return hashlib.sha256(b"nova sign-in " + code.encode()).digest()


class SignIn:
    """Makes and takes codes. ttl: seconds that one can be used."""

    def __init__(self, store: IdentityStore, clock: Clock, *, ttl: float) -> None:
        self._store, self._clock, self._ttl = store, clock, ttl

    async def new(self, user: UserId, scopes: Iterable[str]) -> str:
        """A code that signs `user` in with `scopes`. It is shown once and never logged."""
        code = secrets.token_urlsafe(16)
        now = self._clock.wall()
        await self._store.add_code(SignInCode(digest(code), user, frozenset(scopes), now + self._ttl), now)
        return code

    async def take(self, code: str) -> SignInCode:
        """What `code` stands for; it is used up. Raises Unauthenticated `bad_sign_in_code`."""
        found = await self._store.take_code(digest(code), self._clock.wall()) if FORM.fullmatch(code) else None
        if found is None:
            raise Unauthenticated("bad_sign_in_code", "the sign-in URL was used already or is too old; `nova login` makes a new one")
        return found
