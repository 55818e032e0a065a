"""Sessions, tokens, users and revocations over HTTP, as the contract draws them."""

from typing import Any

import pytest

from nova.surface.identity import cookies
from tests.surface.http.asgi import STRANGER
from tests.surface.http.conftest import Site

ORIGIN = {"Origin": "http://localhost:8080"}
LOCAL: dict[str, Any] = {"host": "localhost:8080"}


async def signed_in(site: Site, **more: Any) -> tuple[Any, str]:
    """The answer to a sign-in, and the cookie as a browser would send it back."""
    answer = await site.ask("POST", "/v1/session", {"code": await site.identity.sign_in_code()}, **{**LOCAL, **more})
    assert answer.status == 201, answer.body
    return answer, answer["set-cookie"].partition(";")[0]


async def test_a_code_makes_a_session_whose_cookie_counts_as_a_token(site: Site) -> None:
    answer, cookie = await signed_in(site, headers=ORIGIN)
    made = answer.json
    assert set(made) == {"user", "scopes", "expires_at", "name", "guest"}
    assert made["scopes"] == ["stream:write", "chat", "media:write", "message", "notify", "metrics:read"]
    assert not made["guest"]
    assert answer["set-cookie"].endswith("; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax")
    assert answer["cache-control"] == "no-store"
    again = await site.ask("GET", "/v1/session", headers={"Cookie": cookie}, **LOCAL)
    assert again.json == made
    assert "set-cookie" not in again
    stream = await site.ask("POST", "/v1/streams", {"title": "T"}, headers={"Cookie": cookie, **ORIGIN}, **LOCAL)
    assert (stream.status, stream.json["owner"]) == (201, made["user"])


async def test_a_page_elsewhere_can_use_neither_the_cookie_nor_the_sign_in(site: Site) -> None:
    _, cookie = await signed_in(site)
    for headers in ({"Origin": "http://evil.org"}, {"Origin": "null"}, {}):
        answer = await site.ask("POST", "/v1/streams", {"title": "T"}, headers={"Cookie": cookie, **headers}, **LOCAL)
        assert (answer.status, answer.json["code"]) == (403, "bad_origin")
    rebound = await site.ask("GET", "/v1/session", headers={"Cookie": cookie}, host="evil.org:8080")
    assert rebound.status == 401
    for body in ({"code": await site.identity.sign_in_code()}, {"name": "Eve"}):
        answer = await site.ask("POST", "/v1/session", body, headers={"Origin": "http://evil.org"}, **LOCAL)
        assert (answer.status, answer.json["code"]) == (403, "bad_origin")


async def test_over_https_the_cookie_is_secure_and_the_plain_one_is_nothing(site: Site) -> None:
    answer, cookie = await signed_in(site, scheme="https")
    assert cookie.startswith("__Host-")
    assert answer["set-cookie"].endswith("; Secure")
    assert (await site.ask("GET", "/v1/session", headers={"Cookie": cookie}, scheme="https", **LOCAL)).status == 200
    _, plain = await signed_in(site)
    assert (await site.ask("GET", "/v1/session", headers={"Cookie": plain}, scheme="https", **LOCAL)).status == 401


async def test_a_code_works_once(site: Site) -> None:
    code = await site.identity.sign_in_code()
    assert (await site.ask("POST", "/v1/session", {"code": code}, **LOCAL)).status == 201
    answer = await site.ask("POST", "/v1/session", {"code": code}, **LOCAL)
    assert (answer.status, answer.json["code"]) == (401, "bad_sign_in_code")
    assert code.encode() not in answer.body


async def test_guessing_codes_ends_soon_for_a_strange_address(site: Site) -> None:
    statuses = []
    for _ in range(12):
        statuses.append((await site.ask("POST", "/v1/session", {"code": "x" * 22}, peer=STRANGER, **LOCAL)).status)
        site.clock.advance(0.3)  # below the rate of requests
    assert statuses[:10] == [401] * 10
    assert statuses[-1] == 429
    code = await site.identity.sign_in_code()
    site.clock.advance(1)
    answer = await site.ask("POST", "/v1/session", {"code": code}, peer=STRANGER, **LOCAL)
    assert answer.status == 429  # refused unseen, also a right one
    assert int(answer["retry-after"]) >= 1


async def test_a_guest_gets_a_name_and_the_chat(site: Site) -> None:
    answer = await site.ask("POST", "/v1/session", {"name": "Zoë"}, **LOCAL)
    assert answer.status == 201
    assert (answer.json["name"], answer.json["scopes"], answer.json["guest"]) == ("Zoë", ["chat"], True)
    cookie = answer["set-cookie"].partition(";")[0]
    stream = await site.ask("POST", "/v1/streams", {"title": "T"}, headers={"Cookie": cookie, **ORIGIN}, **LOCAL)
    assert (stream.status, stream.json["code"]) == (403, "missing_scope")


@pytest.mark.parametrize("site", [["auth.guests=false"]], indirect=True)
async def test_guests_can_be_forbidden(site: Site) -> None:
    answer = await site.ask("POST", "/v1/session", {"name": "Zoë"}, **LOCAL)
    assert (answer.status, answer.json["code"]) == (403, "guests_forbidden")


@pytest.mark.parametrize("body", [{}, {"code": "x", "name": "y"}, {"code": 1}, {"name": ""}, {"other": 1}, [], {"name": "x" * 65}])
async def test_a_sign_in_is_a_code_or_a_name(site: Site, body: Any) -> None:
    assert (await site.ask("POST", "/v1/session", body, **LOCAL)).status == 400


async def test_signing_out_ends_the_token_and_clears_the_cookie(site: Site) -> None:
    _, cookie = await signed_in(site)
    forged = await site.ask("DELETE", "/v1/session", headers={"Cookie": cookie, "Origin": "http://evil.org"}, **LOCAL)
    assert forged.status == 403
    answer = await site.ask("DELETE", "/v1/session", headers={"Cookie": cookie, **ORIGIN}, **LOCAL)
    assert answer.status == 204
    assert f"{cookies.NAME}=; Path=/; Max-Age=0" in answer["set-cookie"]
    assert (await site.ask("GET", "/v1/session", headers={"Cookie": cookie}, **LOCAL)).status == 401
    assert (await site.ask("DELETE", "/v1/session", **LOCAL)).status == 204


async def test_a_revoked_token_is_refused_with_its_own_code(site: Site) -> None:
    token = await site.token("ana")
    jti = site.identity.of_token(token).jti
    assert (await site.ask("POST", "/v1/tokens/revocations", {"jti": jti}, user="bob")).status == 403
    assert (await site.ask("POST", "/v1/tokens/revocations", {"jti": jti})).status == 401
    assert (await site.ask("POST", "/v1/tokens/revocations", {"jti": jti}, token=token)).status == 204
    answer = await site.ask("GET", "/v1/session", token=token)
    assert (answer.status, answer.json["code"]) == (401, "token_revoked")
    assert answer["www-authenticate"] == "Bearer"


async def test_an_administrator_mints_lists_revokes_and_deletes(site: Site) -> None:
    admin = await site.token("root", "admin")
    made = await site.ask("POST", "/v1/tokens", {"user": "ana", "ttl": 60}, token=admin)
    assert made.status == 201
    assert (await site.ask("GET", "/v1/session", token=made.json["token"])).json["user"] == "ana"
    added = await site.ask("POST", "/v1/users", {"id": "bob", "name": "Bob"}, token=admin)
    assert (added.status, added["location"]) == (201, "/v1/users/bob")
    page = (await site.ask("GET", "/v1/users?limit=2", token=admin)).json
    assert [user["id"] for user in page["items"]] == ["root", "bob"]  # newest first; made at one time, by id
    site.clock.advance(2)
    last = (await site.ask("GET", f"/v1/users?limit=2&cursor={page['cursor']}", token=admin)).json
    assert ([user["id"] for user in last["items"]], last["cursor"]) == (["ana"], None)
    assert (await site.ask("POST", "/v1/tokens/revocations", {"user": "ana"}, token=admin)).status == 204
    assert (await site.ask("GET", "/v1/session", token=made.json["token"])).status == 401
    site.clock.advance(2)
    assert (await site.ask("DELETE", "/v1/users/bob", token=admin)).status == 204
    assert (await site.ask("DELETE", "/v1/users/bob", token=admin)).status == 404
    code = await site.ask("POST", "/v1/session/codes", {"user": "ana"}, token=admin)
    assert code.json["url"] == f"http://nova.test:8080/#code={code.json['code']}"
    for method, path in (("POST", "/v1/tokens"), ("GET", "/v1/users"), ("DELETE", "/v1/users/ana"), ("POST", "/v1/session/codes")):
        body = {"user": "eve"} if method == "POST" else None
        assert (await site.ask(method, path, body, user="ana")).status in (401, 403)


async def test_the_published_keys_hold_no_private_half(site: Site) -> None:
    answer = await site.ask("GET", "/.well-known/jwks.json")
    assert answer.status == 200
    (key,) = answer.json["keys"]
    assert set(key) == {"kty", "crv", "x", "kid", "alg", "use"}
    assert answer["cache-control"] == "public, max-age=300"
