"""Keys of other issuers: PEM and JWK files, and a JWKS URL that is fetched, cached on disk and refreshed."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import trio

from nova.core.clock import Clock
from nova.core.errors import Deadline, NovaError, Unavailable, Unprocessable
from nova.core.log import Log
from nova.ext.jws_key import JwsKey
from nova.ext.token import TokenTable
from nova.surface.identity import client, files, jwk

SOONEST: Final = 10.0  # seconds between two fetches that unknown key ids ask for: anybody can send one
TIMEOUT: Final = 10.0  # seconds of a fetch
CACHE: Final = "jwks.json"

Fetch = Callable[[str], Awaitable[client.Answer]]


async def fetch_jwks(url: str) -> client.Answer:
    return await client.request("GET", url, timeout=TIMEOUT)


def read_files(paths: Sequence[Path]) -> dict[str, JwsKey]:
    """The keys in PEM files (the kid is the file's stem) and in JWK or JWKS files (`.json`).

    Raises Unprocessable `bad_settings`: a file that cannot be read, holds no key that we use, or a kid that came before.
    """
    found: dict[str, JwsKey] = {}
    for path in paths:
        try:
            data = path.read_bytes()
            keys = jwk.read_set(data, secrets=True) if path.suffix == ".json" else {path.stem: JwsKey.from_pem(data)}
        except OSError as error:
            raise Unprocessable("bad_settings", f"auth.keys: {path}: {error.strerror}") from error
        except ValueError as error:
            raise Unprocessable("bad_settings", f"auth.keys: {path}: {error}") from None
        if twice := found.keys() & keys.keys():
            raise Unprocessable("bad_settings", f"auth.keys: {path}: there is another key called {min(twice)!r}")
        found.update(keys)
    return found


class Keyring:
    """Keeps the keys of another issuer in the token table. What it did not put there it never touches.

    folder: where the last JWKS is kept, so that a restart does not need its issuer. url: None without a JWKS.
    """

    def __init__(
        self,
        table: TokenTable,
        clock: Clock,
        folder: Path,
        *,
        issuer: str,
        audience: str,
        leeway: int,
        keys: Mapping[str, JwsKey],
        url: str | None,
        refresh: float,
        fetch: Fetch = fetch_jwks,
    ) -> None:
        self._table, self._clock, self._folder = table, clock, folder
        self._issuer, self._audience, self._leeway = issuer, audience, leeway
        self._fixed, self._url, self._refresh, self._fetch = dict(keys), url, refresh, fetch
        self._fetched: set[str] = set()
        self._at = float("-inf")  # monotonic seconds of the last fetch
        self._fetching: trio.Event | None = None
        self._log = Log("nova.identity")
        self.problem = ""  # why the last fetch failed; empty when it did not

    def open(self) -> None:
        """Put the keys of files, and those of the JWKS as it was last seen, into the table. Raises Unprocessable."""
        for kid, key in self._fixed.items():
            self._add(kid, key, "auth.keys")
        if self._url is None:
            return
        kept = files.read(self._folder / CACHE)
        if kept is not None:
            address, _, document = kept.partition(b"\n")
            if address.decode("utf-8", "replace") == self._url:
                self._replace(document)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Fetch now and again; runs until cancelled. Nobody waits for the first one: the cache serves until then."""
        task_status.started()
        while self._url is not None:
            await self.refresh()
            # Spread, so that the machines of one installation do not ask at the same moment.
            await trio.sleep((self._refresh if not self.problem else min(self._refresh, 30.0)) * random.uniform(0.9, 1.1))  # noqa: S311

    async def unknown(self) -> bool:
        """A token named a key that we do not have: fetch, when the last time is long enough ago; True when it was tried."""
        if self._url is None:
            return False
        if self._fetching is not None:
            await self._fetching.wait()
            return True
        if self._clock.monotonic() - self._at < SOONEST:
            return False
        await self.refresh()
        return True

    async def refresh(self) -> None:
        """Fetch the JWKS and put what it says in the place of what it said before; a failure keeps that, and is logged."""
        assert self._url is not None
        self._at = self._clock.monotonic()
        done = self._fetching = trio.Event()
        try:
            answer = await self._fetch(self._url)
            if answer.status != 200:
                raise Unavailable("unavailable", f"the JWKS answered {answer.status}")
            self._replace(answer.body)
            files.write(files.folder(self._folder) / CACHE, f"{self._url}\n".encode() + answer.body)
            self.problem = ""
        except (Deadline, Unavailable) as error:
            self._failed(error)
        finally:
            self._fetching = None
            done.set()

    def _replace(self, document: bytes) -> None:
        try:
            keys = jwk.read_set(document, secrets=False)
        except ValueError as error:
            raise Unavailable("unavailable", f"the JWKS cannot be used: {error}") from None
        for kid in self._fetched - keys.keys():
            self._table.remove(kid)
        self._fetched &= keys.keys()
        taken = frozenset(self._table.kids(self._issuer)) - self._fetched
        for kid, key in keys.items():
            # A kid of ours or of a file is not theirs to give: it would take the place of that key.
            if kid not in taken and self._add(kid, key, "auth.jwks_url"):
                self._fetched.add(kid)

    def _add(self, kid: str, key: JwsKey, source: str) -> bool:
        try:
            self._table.add(kid, key, issuer=self._issuer, audience=self._audience, skew=self._leeway)
        except ValueError as error:
            self._log.warning("token_key_left_out", source=source, reason=str(error))
            return False
        return True

    def _failed(self, error: NovaError) -> None:
        self.problem = error.detail
        self._log.warning("jwks_not_fetched", detail=error.detail)
