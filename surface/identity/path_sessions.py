"""Signed path prefixes of viewers: their keys on disk and in the reactor's table; the streams domain's `Sessions` port."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Final

from nova.core.clock import Clock
from nova.core.errors import Unavailable
from nova.ext.session import SessionError, SessionKeys
from nova.surface.identity import files, jwk

NAME: Final = "sessions.json"
KEYS: Final = 4  # the table's; a key verifies for at least three times the rotation after its last use


class PathSessions:
    """Mints and revokes. ttl: the longest seconds that a session may live."""

    def __init__(self, folder: Path, keys: SessionKeys, clock: Clock, *, ttl: float) -> None:
        self._folder, self._keys, self._clock, self._ttl = folder, keys, clock, ttl
        self._rotate = max(ttl, 86_400.0)
        self._kept: list[dict[str, object]] = []  # {id, made_at, secret}; the newest is last

    def open(self) -> None:
        """Read the keys; make the first one. Raises Unavailable: they cannot be read or written."""
        path = self._folder / NAME
        data = files.read(path)
        if data is not None:
            try:
                self._kept = json.loads(data)["keys"][-KEYS:]
                for key in self._kept:
                    self._keys.add(int(str(key["id"])), jwk.unb64(key["secret"]))
            except (ValueError, KeyError, TypeError):
                raise Unavailable("storage_failed", f"{path} is damaged; move it away, then viewers get new sessions") from None
        self.keep()

    def keep(self) -> None:
        """Make a new key when the newest is old. Cheap when nothing is due."""
        now = self._clock.wall()
        if self._kept and now - float(str(self._kept[-1]["made_at"])) < self._rotate:
            return
        number = (int(str(self._kept[-1]["id"])) + 1) % 256 if self._kept else 0
        secret = secrets.token_bytes(32)
        kept = [*self._kept, {"id": number, "made_at": int(now), "secret": jwk.b64(secret)}][-KEYS:]
        files.write(files.folder(self._folder) / NAME, json.dumps({"keys": kept}).encode())
        self._keys.add(number, secret)
        self._kept = kept

    def mint(self, scope: bytes, viewer: bytes, expires: int) -> bytes:
        """The text after `~` for one stream and one viewer; it lives no longer than `ttl`, whatever `expires` says."""
        return self._keys.mint(scope, viewer, min(expires, int(self._clock.wall() + self._ttl) + 1))

    def viewer(self, text: bytes, scope: bytes) -> bytes | None:
        """The viewer of a session that is good for `scope` now, else None."""
        try:
            self._keys.verify(text, scope, int(self._clock.wall()))
        except SessionError:
            return None
        return SessionKeys.viewer(text)

    def revoke(self, viewer: bytes) -> None:
        """Refuse every session of this viewer. Raises Unavailable `overloaded`."""
        now = int(self._clock.wall())
        try:
            self._keys.revoke(viewer, until=now + int(self._ttl) + 1, now=now)
        except OverflowError as error:
            raise Unavailable("overloaded", str(error)) from None
