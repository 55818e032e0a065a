"""`/v1/session`, `/v1/tokens`, `/v1/users` and the JWKS: the routes of identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from nova.core.clock import rfc3339
from nova.core.errors import BadRequest, FieldError, Unauthenticated
from nova.surface.http import cursors
from nova.surface.http.call import Call
from nova.surface.http.route import CURSOR, LIMIT, NO_CONTENT, Reply, Route, created, page
from nova.surface.http.schema import TIME, URL, Anything, Array, Boolean, Number, Object, OrNull, Text, optional, page_of, required
from nova.surface.identity import cookies, scopes
from nova.surface.identity.attempts import Attempts
from nova.surface.identity.model import Place, User
from nova.surface.identity.principal import NAME_MAX, UserId
from nova.surface.identity.service import Identity, Session
from nova.surface.urls import Urls

Json = Any

LIST: Final = "users"
JWKS_AGE: Final = 300  # seconds that others may keep our keys; a new key signs at once, so they ask again for a kid they miss
USER_TEXT: Final = Text(64, 1, r"[A-Za-z0-9_-]+", doc="User id.")
SCOPES: Final = Array(Text(40, 1), len(scopes.NAMES), distinct=True)

SIGN_IN: Final = Object(
    {
        "code": optional(Text(64, 1, doc="Of a sign-in URL: good once, for `auth.sign_in_ttl`.")),
        "name": optional(Text(NAME_MAX, 1, doc="Makes a guest, who may chat.")),
    },
    "SignIn",
    "One of the two.",
)
SESSION: Final = Object(
    {
        "user": required(USER_TEXT),
        "scopes": required(Array(Text(40), len(scopes.NAMES))),
        "expires_at": required(TIME),
        "name": required(OrNull(Text(NAME_MAX))),
        "guest": required(Boolean()),
    },
    "Session",
    open=True,
)
REVOKE: Final = Object({"jti": optional(Text(256, 1, trim=False)), "user": optional(USER_TEXT)}, "Revocation", "One of the two.")
MINT: Final = Object(
    {
        "user": required(USER_TEXT),
        "scopes": optional(SCOPES, []),
        "ttl": optional(OrNull(Number(doc="Seconds; `auth.token_ttl` when left out."))),
        "device": optional(OrNull(Text(64, 1, r"[A-Za-z0-9_-]+"))),
    },
    "TokenRequest",
)
MINTED: Final = Object(
    {
        "token": required(Text(8192)),
        "jti": required(Text(256)),
        "user": required(USER_TEXT),
        "scopes": required(SCOPES),
        "expires_at": required(TIME),
    },
    "Token",
    open=True,
)
CODE: Final = Object({"user": optional(OrNull(USER_TEXT)), "scopes": optional(SCOPES, [])}, "SignInCodeRequest")
CODE_MADE: Final = Object({"url": required(URL), "code": required(Text(64))}, "SignInCode", open=True)
USER: Final = Object(
    {"id": required(USER_TEXT), "name": required(Text(NAME_MAX)), "created_at": required(TIME), "owner": required(Boolean())},
    "User",
    open=True,
)
USER_ADD: Final = Object({"id": optional(OrNull(USER_TEXT)), "name": optional(Text(NAME_MAX), "")}, "UserCreate")


@dataclass(frozen=True, slots=True)
class IdentityRoutes:
    """Handlers: from a checked call to identity and back."""

    identity: Identity
    attempts: Attempts
    urls: Urls

    def table(self) -> list[Route]:
        """Every route of identity."""
        admin: dict[str, Any] = {"tag": "identity", "scope": scopes.ADMIN}
        return [
            Route("POST", "/v1/session", "sign_in", self.sign_in, "Sign in with a code, or enter as a guest", "identity",
                  body=SIGN_IN, kind="json", answers={201: SESSION}, errors=("bad_sign_in_code", "guests_forbidden", "bad_origin"),
                  secret=True, description="Answers with an HttpOnly cookie that counts as a bearer token."),
            Route("GET", "/v1/session", "get_session", self.session, "Who asks", "identity", access="user",
                  answers={200: SESSION}, description="Renews a browser session when half of its time is over."),
            Route("DELETE", "/v1/session", "sign_out", self.sign_out, "Sign out: the token of this request ends", "identity",
                  answers={204: None}),
            Route("POST", "/v1/session/codes", "create_sign_in_code", self.new_code, "Make a sign-in URL", body=CODE, kind="json",
                  answers={201: CODE_MADE}, errors=("not_found",), idempotent=True, secret=True, **admin),
            Route("POST", "/v1/tokens", "create_token", self.mint, "Mint a token; makes the user when needed", body=MINT, kind="json",
                  answers={201: MINTED}, idempotent=True, secret=True, **admin),
            Route("POST", "/v1/tokens/revocations", "revoke", self.revoke, "Revoke a token or all tokens of a user", "identity",
                  access="user", body=REVOKE, kind="json", answers={204: None}, errors=("missing_scope",), idempotent=True,
                  description="One's own need no scope, another's need `admin`. Live connections close within a second."),
            Route("GET", "/v1/users", "list_users", self.list_users, "List the users of the embedded issuer, newest first",
                  query={"cursor": CURSOR, "limit": LIMIT}, answers={200: page_of(USER, "UserPage")}, errors=("bad_cursor",), **admin),
            Route("POST", "/v1/users", "create_user", self.add_user, "Make a user, or rename one", body=USER_ADD, kind="json",
                  answers={201: USER}, idempotent=True, **admin),
            Route("DELETE", "/v1/users/{user}", "delete_user", self.delete_user, "Delete a user; its tokens end", answers={204: None},
                  errors=("not_found",), idempotent=True, **admin),
            Route("GET", "/.well-known/jwks.json", "jwks", self.jwks, "Public keys of the embedded issuer (RFC 7517)", "identity",
                  answers={200: Anything("A JWK Set.")}),
        ]  # fmt: skip

    async def sign_in(self, call: Call) -> Reply:
        code, name = call.body["code"], call.body["name"]
        if (code is None) == (name is None):
            raise BadRequest(detail="Give a code or a name, one of them.", fields=[FieldError("/code", "missing_field", "or a name")])
        origin = call.headers.get("Origin", "")
        if origin:
            # Another site may not sign its visitors in here under a name of its choice.
            self.identity.check_origin(origin, call.authority, secure=call.secure)
        if code is None:
            return _session(call, self.identity.sign_in_guest(name), 201)
        self.attempts.check(call.peer)
        try:
            session = await self.identity.sign_in_with(code)
        except Unauthenticated:
            self.attempts.wrong(call.peer)
            raise
        return _session(call, session, 201)

    async def session(self, call: Call) -> Reply:
        return _session(call, self.identity.renewed(call.require_user()), 200)

    async def sign_out(self, call: Call) -> Reply:
        if call.principal is not None:
            await self.identity.sign_out(call.principal)
        return Reply(204, None, (("Set-Cookie", cookies.clear(secure=call.secure)),))

    async def new_code(self, call: Call) -> Reply:
        code = await self.identity.sign_in_code(call.body["user"], call.body["scopes"])
        return created("/v1/session", {"url": self.urls.sign_in(call.base, code), "code": code})

    async def mint(self, call: Call) -> Reply:
        body = call.body
        made = await self.identity.mint(body["user"], body["scopes"], body["ttl"], device=body["device"])
        shown = {"token": made.text, "jti": made.jti, "user": made.user, "scopes": scopes.text(made.scopes).split()}
        return Reply(201, shown | {"expires_at": rfc3339(made.expires_at)})

    async def revoke(self, call: Call) -> Reply:
        await self.identity.revoke(call.require_user(), jti=call.body["jti"], user=call.body["user"])
        return NO_CONTENT

    async def list_users(self, call: Call) -> Reply:
        query = call.query
        try:
            after = None if query["cursor"] is None else Place.parse(cursors.decode(LIST, query["cursor"]))
        except ValueError:
            raise BadRequest("bad_cursor", "Use the cursor that the page before gave, with the same list.") from None
        found = await self.identity.list_users(after, query["limit"] + 1)
        shown, more = found[: query["limit"]], len(found) > query["limit"]
        return page([_user(user) for user in shown], cursors.encode(LIST, str(shown[-1].place)) if more else None)

    async def add_user(self, call: Call) -> Reply:
        user = await self.identity.add_user(call.body["id"], call.body["name"])
        return created(f"/v1/users/{user.id}", _user(user))

    async def delete_user(self, call: Call) -> Reply:
        await self.identity.delete_user(UserId(call.params["user"]))
        return NO_CONTENT

    async def jwks(self, call: Call) -> Reply:
        return Reply(200, self.identity.issuer.jwks(), (("Cache-Control", f"public, max-age={JWKS_AGE}"),), "application/jwk-set+json")


def _session(call: Call, session: Session, status: int) -> Reply:
    shown = {
        "user": session.user,
        "scopes": scopes.text(session.scopes).split(),
        "expires_at": rfc3339(session.expires_at),
        "name": session.name,
        "guest": session.guest,
    }
    headers: tuple[tuple[str, str], ...] = (("Location", "/v1/session"),) if status == 201 else ()
    if session.token is not None:
        headers += (("Set-Cookie", cookies.write(session.token, session.max_age, secure=call.secure)),)
    return Reply(status, shown, headers)


def _user(user: User) -> dict[str, Json]:
    return {"id": user.id, "name": user.name, "created_at": rfc3339(user.created_at), "owner": user.owner}
