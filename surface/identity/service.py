"""Identity: the one answer to "who asks?" for HTTP, WebSocket, gRPC and RTMP hooks, and what makes and ends credentials."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol

import trio

from nova.core.bus import Bus
from nova.core.clock import Clock
from nova.core.errors import BadRequest, FieldError, Forbidden, NotFound, Unauthenticated, Unavailable
from nova.core.ids import Ids
from nova.core.log import Log
from nova.core.settings_table import Settings
from nova.ext.session import SessionKeys
from nova.ext.token import REASONS, TokenError, TokenTable
from nova.surface.identity import cookies, hosts, keyring, scopes
from nova.surface.identity.issuer import Issuer, Minted
from nova.surface.identity.model import Place, User
from nova.surface.identity.path_sessions import PathSessions
from nova.surface.identity.principal import GUEST_PREFIX, NAME_MAX, USER_ID, Principal, Source, UserId, of_claims
from nova.surface.identity.revocations import Revocations
from nova.surface.identity.sign_in import SignIn
from nova.surface.identity.store import IdentityStore

LONGEST: Final = 400 * 86400 + 60  # seconds that any token may live: auth.session_ttl's limit
HOUSEKEEPING: Final = 3600.0  # seconds between two looks at the age of keys
KEYS: Final = "keys"  # folder in the data directory
OWNER_NAME: Final = "Owner"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class Credentials(Protocol):
    """What a request says about who asks.

    method: `WEBSOCKET` for an upgrade, which a cookie may make from an allowed origin only. host, origin, authorization,
    cookie: fields of the head, empty when absent. secure: it came over TLS. access_token: of the query, where one counts.
    verified: what the reactor found: ("ok", claims) or ("error", reason); None: it did not look.
    """

    @property
    def method(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def secure(self) -> bool: ...
    @property
    def origin(self) -> str: ...
    @property
    def authorization(self) -> str: ...
    @property
    def cookie(self) -> str: ...
    @property
    def access_token(self) -> str: ...
    @property
    def verified(self) -> object: ...


@dataclass(frozen=True, slots=True)
class Session:
    """A browser session. max_age: seconds that it has left. token: what its cookie holds; None: nothing to set."""

    user: UserId
    scopes: frozenset[str]
    expires_at: float  # unix seconds
    max_age: float
    name: str | None
    token: str | None = field(default=None, repr=False)

    @property
    def guest(self) -> bool:
        return self.user.startswith(GUEST_PREFIX)


class Identity:
    """Everything of this folder, put together. Built by `build`; `open` before use, `run` while the server lives."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        ids: Ids,
        *,
        table: TokenTable,
        session_keys: SessionKeys,
        store: IdentityStore,
        issuer: Issuer,
        revocations: Revocations,
        keys: keyring.Keyring,
        sign_in: SignIn,
        path_sessions: PathSessions,
        rules: hosts.HostRules,
    ) -> None:
        self._settings, self._clock, self._ids = settings, clock, ids
        self._store, self._rules = store, rules
        self._log = Log("nova.identity")
        self.table, self.session_keys = table, session_keys
        self.issuer, self.revocations, self.keys, self.sign_in, self.path_sessions = issuer, revocations, keys, sign_in, path_sessions

    async def open(self) -> None:
        """Keys and revocations into the tables. Raises Unavailable, or Unprocessable for keys that make no sense."""
        self.issuer.open()
        self.path_sessions.open()
        self.keys.open()
        await self.revocations.open()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow revocations of other processes, refresh the JWKS, renew our keys by age; until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.revocations.follow)
            nursery.start_soon(self.keys.run)
            task_status.started()
            while True:
                await trio.sleep(HOUSEKEEPING)
                try:
                    self.issuer.keep()
                    self.path_sessions.keep()
                except Unavailable as error:
                    self._log.warning("keys_not_renewed", detail=error.detail)
                self.revocations.forget()

    # Who asks.

    async def admit(self, credentials: Credentials) -> Principal | None:
        """Who asks; None: nobody, with no credential at all.

        A bearer token counts before a cookie, and one that does not hold is an error. A cookie that does not hold, or
        that came under a Host that is not ours, is no credential: a browser sends it unasked.
        Raises Unauthenticated `bad_token`, `token_expired`, `token_revoked`; Forbidden `bad_origin`: a page of another
        origin would change something with the browser's session.
        """
        if credentials.authorization or credentials.access_token or credentials.verified is not None:
            return await self._bearer(credentials)
        if credentials.cookie:
            return self._cookie(credentials)
        return None

    def of_token(self, token: str, source: Source = "bearer") -> Principal:
        """The holder of a token. For gRPC, RTMP hooks and `connect`. Raises Unauthenticated."""
        try:
            # Not UTF-8 or not ASCII at all: the kernel says what is wrong with it.
            return of_claims(self.table.verify(token.encode("utf-8", "surrogatepass"), int(self._clock.wall())), source)
        except TokenError as error:
            raise refused(error.reason) from None

    async def of_token_or_fetch(self, token: str, source: Source = "bearer") -> Principal:
        """As `of_token`, but a key that is not known is looked for at its issuer first."""
        try:
            return self.of_token(token, source)
        except Unauthenticated as error:
            if error.detail != REASONS["unknown_key"] or not await self.keys.unknown():
                raise
        return self.of_token(token, source)

    async def _bearer(self, credentials: Credentials) -> Principal:
        source: Source = "bearer" if credentials.authorization else "query"
        if isinstance(credentials.verified, tuple):
            outcome, value = credentials.verified
            if outcome == "ok":
                return of_claims(value, source)
            reason = value if isinstance(value, str) else _REASONS.get(value, "malformed")
            # A key that is not known may be new at its issuer. A token that the reactor took out of a query is not there
            # for a second look.
            if reason != "unknown_key" or not (credentials.authorization or credentials.access_token):
                raise refused(reason)
        if not credentials.authorization:
            return await self.of_token_or_fetch(credentials.access_token, source)
        scheme, _, token = credentials.authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated("unauthenticated", "the Authorization scheme is Bearer")
        return await self.of_token_or_fetch(token.strip(), source)

    def _cookie(self, credentials: Credentials) -> Principal | None:
        token = cookies.find(credentials.cookie, secure=credentials.secure)
        if token is None or not self._rules.counts(credentials.host):
            return None
        try:
            principal = self.of_token(token, "cookie")
        except Unauthenticated:
            return None
        if credentials.method not in hosts.SAFE:
            self.check_origin(credentials.origin, credentials.host, secure=credentials.secure)
        return principal

    @property
    def host_rules(self) -> hosts.HostRules:
        """Under which Host a cookie counts, and from which Origin it may act."""
        return self._rules

    def check_origin(self, origin: str, host: str, *, secure: bool) -> None:
        """Raises Forbidden `bad_origin` unless the request comes from a page of an allowed origin."""
        if not self._rules.may_change(origin, host, secure=secure):
            raise Forbidden("bad_origin", "with a browser session this needs an Origin of ours; http.cors_origins names others")

    # Users.

    async def user(self, user: UserId) -> User:
        """Raises NotFound."""
        found = await self._store.user(user)
        if found is None:
            raise NotFound("not_found", f"there is no user {user}")
        return found

    async def list_users(self, after: Place | None, limit: int) -> list[User]:
        """At most `limit` users, newest first, those behind `after`."""
        return await self._store.list_users(after, limit)

    async def users_known(self, users: Iterable[UserId]) -> set[UserId]:
        """Those of `users` that exist here; at most 200 are asked about."""
        return await self._store.users_known(tuple(users)[:200])

    async def add_user(self, user: str | None = None, name: str = "") -> User:
        """The user of that id (a new one when None), made when needed. Raises BadRequest `invalid_field`."""
        id = _user_id(user) if user is not None else UserId(self._ids.new())
        shown = display_name(name) if name else ""
        found, fresh = await self._store.ensure_user(User(id, shown, self._clock.wall()))
        if fresh or not shown or shown == found.name:
            return found
        await self._store.rename_user(id, shown)
        return replace(found, name=shown)

    async def delete_user(self, user: UserId) -> None:
        """The user, its sign-in codes and its tokens; live connections close. Raises NotFound."""
        revocation = self.revocations.of_user(user)
        if not await self._store.delete_user(user, revocation):
            raise NotFound("not_found", f"there is no user {user}")
        await self.revocations.tell(revocation)

    async def forget(self, user: UserId) -> None:
        """A user whom another service has deleted, kept here or not: the same as `delete_user`, and no error the second time."""
        try:
            await self.delete_user(user)
        except NotFound:
            await self.revocations.revoke_user(user)

    async def owner(self) -> User:
        """The user whom this server's own sign-in URL is for; made on the first start."""
        found = await self._store.owner()
        if found is None:
            found, _ = await self._store.ensure_user(User(UserId(self._ids.new()), OWNER_NAME, self._clock.wall(), owner=True))
        return found

    # Tokens and sessions.

    async def mint(self, user: str, asked: Iterable[str] = (), ttl: float | None = None, *, device: str | None = None) -> Minted:
        """A token for `user`, who is made when needed.

        asked: scopes; none gives those of a user. ttl: seconds; `auth.token_ttl` when None.
        Raises BadRequest `invalid_field`.
        """
        granted = scopes.wanted(asked)
        if device is not None and not USER_ID.fullmatch(device):
            raise _wrong("/device", "a device id has 1 to 64 of A-Z a-z 0-9 _ -")
        if ttl is not None and not 1 <= ttl <= LONGEST:
            raise _wrong("/ttl", "a token lives 1 second to 400 days")
        found = await self.add_user(user)
        return self.issuer.mint(
            found.id, granted, ttl or self._settings.auth.token_ttl, device=device, name=found.name or None,
            after=self.revocations.last(found.id),
        )  # fmt: skip

    async def sign_in_code(self, user: str | None = None, asked: Iterable[str] = ()) -> str:
        """A sign-in code for `user`, the owner when None, who may then read metrics, too. Raises BadRequest, NotFound: no such user."""
        found = await self.owner() if user is None else await self.user(_user_id(user))
        granted = scopes.OWNER if user is None and not asked else scopes.wanted(asked)
        return await self.sign_in.new(found.id, granted)

    async def sign_in_with(self, code: str) -> Session:
        """A browser session. Raises Unauthenticated `bad_sign_in_code`."""
        taken = await self.sign_in.take(code)
        found = await self._store.user(taken.user)
        if found is None:
            raise Unauthenticated("bad_sign_in_code", "the user of this sign-in URL was deleted")
        return self._session(found.id, taken.scopes, found.name or None)

    def sign_in_guest(self, name: str) -> Session:
        """A guest's session: nothing of it is stored. Raises Forbidden `guests_forbidden`, BadRequest `invalid_field`."""
        if not self._settings.auth.guests:
            raise Forbidden("guests_forbidden", "this server takes no guests (auth.guests = false)")
        return self._session(UserId(GUEST_PREFIX + secrets.token_urlsafe(16)), scopes.GUEST, display_name(name))

    def renewed(self, principal: Principal) -> Session:
        """The session of `principal`; with a new token when it is a cookie's and half of its time is over."""
        left = principal.expires_at - self._clock.wall()
        if principal.source != "cookie" or left > self._settings.auth.session_ttl / 2:
            return Session(principal.user, principal.scopes, principal.expires_at, left, principal.name)
        return self._session(principal.user, principal.scopes, principal.name, jti=principal.jti)

    async def sign_out(self, principal: Principal) -> None:
        """End the session: its token, and every one that renewed it, is refused from now on."""
        if principal.jti is not None:
            await self.revocations.revoke_token(principal.jti)

    async def revoke(self, by: Principal, *, jti: str | None = None, user: str | None = None) -> None:
        """Revoke a token or a user's tokens; one's own need no scope, another's need `admin`.

        Raises BadRequest: not exactly one of them; Forbidden `missing_scope`.
        """
        if (jti is None) == (user is None):
            raise _wrong("/jti", "name a jti or a user, one of them")
        own = (jti is not None and jti == by.jti) or (user is not None and user == by.user)
        if not own and not by.holds(scopes.ADMIN):
            raise Forbidden("missing_scope", "the scope admin is needed to revoke what is another's")
        if jti is not None:
            if not 0 < len(jti.encode("utf-8", "surrogatepass")) <= 256 or not jti.isprintable():
                raise _wrong("/jti", "a jti has 1 to 256 bytes")
            await self.revocations.revoke_token(jti)
        else:
            await self.revocations.revoke_user(_user_id(user or ""))

    def _session(self, user: UserId, granted: frozenset[str], name: str | None, *, jti: str | None = None) -> Session:
        minted = self.issuer.mint(user, granted, self._settings.auth.session_ttl, name=name, jti=jti, after=self.revocations.last(user))
        return Session(user, granted, minted.expires_at, self._settings.auth.session_ttl, name, minted.text)


def build(
    settings: Settings,
    data: Path,
    store: IdentityStore,
    bus: Bus,
    clock: Clock,
    ids: Ids,
    *,
    machine: str = "",
    fetch: keyring.Fetch = keyring.fetch_jwks,
) -> Identity:
    """Identity of the server whose data directory is `data`. machine: its host name.

    Raises Unprocessable `bad_settings`: a file of auth.keys holds no key that we use.
    """
    auth = settings.auth
    folder = data / KEYS
    table = TokenTable(scopes=scopes.NAMES, max_lifetime=LONGEST, cache_entries=auth.cache_tokens)
    session_keys = SessionKeys()
    return Identity(
        settings,
        clock,
        ids,
        table=table,
        session_keys=session_keys,
        store=store,
        issuer=Issuer(folder, table, clock, name=auth.issuer, audience=auth.audience, longest=LONGEST, rotate=auth.rotate_keys),
        revocations=Revocations(store, table, bus, clock, longest=LONGEST),
        keys=keyring.Keyring(
            table, clock, folder, issuer=auth.issuer, audience=auth.audience, leeway=int(auth.leeway),
            keys=keyring.read_files(auth.keys), url=auth.jwks_url, refresh=auth.jwks_refresh, fetch=fetch,
        ),
        sign_in=SignIn(store, clock, ttl=auth.sign_in_ttl),
        path_sessions=PathSessions(folder, session_keys, clock, ttl=settings.live.session_ttl),
        rules=hosts.HostRules(
            settings.http.hosts, public_url=settings.http.public_url, origins=settings.http.cors_origins, machine=machine
        ),
    )  # fmt: skip


def refused(reason: str) -> Exception:
    """What a caller is told about a token that the kernel refused."""
    if reason == "memory":
        return Unavailable("overloaded", "no memory to check the token", retry_after=1.0)
    code = {"expired": "token_expired", "revoked": "token_revoked"}.get(reason, "bad_token")
    return Unauthenticated(code, REASONS.get(reason, REASONS["malformed"]))


def display_name(text: str) -> str:
    """A name to show beside what somebody writes: 1 to 64 characters, none of which moves or hides others.

    Raises BadRequest `invalid_field`.
    """
    name = " ".join(_CONTROL.sub(" ", text).split())
    if not 0 < len(name) <= NAME_MAX:
        raise _wrong("/name", f"a name has 1 to {NAME_MAX} characters")
    with suppress(UnicodeEncodeError):
        name.encode()
        return name
    raise _wrong("/name", "a name has no lone surrogates")


def _user_id(text: str) -> UserId:
    if not USER_ID.fullmatch(text):
        raise _wrong("/user", "a user id has 1 to 64 of A-Z a-z 0-9 _ -")
    if text.startswith(GUEST_PREFIX):
        raise _wrong("/user", f"ids that begin with {GUEST_PREFIX} are for guests")
    return UserId(text)


def _wrong(pointer: str, detail: str) -> BadRequest:
    return BadRequest("invalid_field", detail, fields=[FieldError(pointer, "invalid_field", detail)])


_REASONS: Final = {-number: reason for number, reason in enumerate(REASONS, start=1)}
