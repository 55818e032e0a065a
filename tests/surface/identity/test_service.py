"""Who asks: every way to hold a credential, and every way that it stops to count."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest

from nova.core.errors import BadRequest, Forbidden, NotFound, NovaError, Unauthenticated, Unprocessable
from nova.surface.identity import cookies, scopes
from nova.surface.identity.model import Revocation
from nova.surface.identity.principal import Principal, acting, require, require_owner
from nova.surface.identity.revocations import ends
from nova.surface.identity.service import display_name
from tests.ext import token_maker as make
from tests.surface.identity.conftest import World


@dataclass(frozen=True)
class Asked:
    method: str = "GET"
    host: str = "localhost:8080"
    secure: bool = False
    origin: str = ""
    authorization: str = ""
    cookie: str = ""
    access_token: str = ""
    verified: object = None


def bearer(token: str) -> Asked:
    return Asked(authorization=f"Bearer {token}")


async def code_of(identity: Any, asked: Asked) -> str:
    try:
        found = await identity.admit(asked)
    except NovaError as error:
        return error.code
    return "nobody" if found is None else str(found.user)


async def test_a_minted_token_names_its_user_and_what_it_may(world: World) -> None:
    async with world.identity() as identity:
        made = await identity.mint("ana", ttl=60)
        found = await identity.admit(bearer(made.text))
        assert found == Principal("ana", scopes.USER, "bearer", world.clock.wall() + 60, world.clock.wall(), made.jti)
        assert made.text not in repr(made)
        assert [user.id for user in await identity.list_users(None, 10)] == ["ana"]
        only = await identity.mint("ana", ["metrics:read"], device="phone")
        found = await identity.admit(Asked(access_token=only.text))
        assert (found.scopes, found.device, found.source) == (frozenset({"metrics:read"}), "phone", "query")
        assert found.expires_at == world.clock.wall() + 3600


async def test_no_credential_is_nobody_and_a_bad_one_is_an_error(world: World) -> None:
    async with world.identity() as identity:
        good = (await identity.mint("ana")).text
        assert await identity.admit(Asked()) is None
        assert await code_of(identity, bearer("x")) == "bad_token"
        assert await code_of(identity, bearer(good + "x")) == "bad_token"
        assert await code_of(identity, bearer("\u00e9\ud800")) == "bad_token"
        assert await code_of(identity, Asked(authorization="Basic YTpi")) == "unauthenticated"
        assert await code_of(identity, Asked(authorization=f"bearer  {good} ")) == "ana"
        world.clock.advance(3602)
        assert await code_of(identity, bearer(good)) == "token_expired"


async def test_what_the_reactor_found_is_not_looked_at_again(world: World) -> None:
    async with world.identity() as identity:
        claims = json.dumps({"sub": "ana", "exp": 1, "scope": "chat other"}).encode()
        found = await identity.admit(Asked(verified=("ok", claims)))
        assert (found.user, found.scopes, found.source) == ("ana", {"chat"}, "query")
        for reason, code in (("expired", "token_expired"), (-6, "token_expired"), ("revoked", "token_revoked"), (-13, "token_revoked"),
                             ("signature", "bad_token"), (-99, "bad_token"), ("memory", "overloaded")):  # fmt: skip
            assert await code_of(identity, Asked(authorization="Bearer x", verified=("error", reason))) == code


async def test_keys_outlive_a_restart_and_rotate_by_age(world: World) -> None:
    async with world.identity() as identity:
        old = await identity.mint("ana", ttl=80 * 86400)
        first = identity.issuer.kids()
    async with world.identity() as identity:
        assert identity.issuer.kids() == first
        assert await code_of(identity, bearer(old.text)) == "ana"
    world.clock.advance(91 * 86400)
    async with world.identity() as identity:
        assert len(identity.issuer.kids()) == 2
        kept = await identity.mint("ana", ttl=86400)
        assert jwt.get_unverified_header(kept.text)["kid"] == identity.issuer.kids()[-1]
        assert [key["kid"] for key in identity.issuer.jwks()["keys"]] == identity.issuer.kids()[::-1]
    world.clock.advance(401 * 86400)
    async with world.identity() as identity:
        assert first[0] not in identity.issuer.kids()
    modes = {path.stat().st_mode & 0o777 for path in (world.data / "keys").iterdir()}
    assert modes == {0o600}


async def test_others_can_check_our_tokens_by_the_published_keys(world: World) -> None:
    async with world.identity() as identity:
        token = (await identity.mint("ana")).text
        jwks = jwt.PyJWKSet.from_dict(identity.issuer.jwks())
        key = next(key for key in jwks.keys if key.key_id == jwt.get_unverified_header(token)["kid"])
        unclocked = {"verify_exp": False, "verify_iat": False}
        claims = jwt.decode(token, key, algorithms=["EdDSA"], audience="nova", issuer="nova", options=unclocked)
        assert (claims["sub"], claims["scope"]) == ("ana", "stream:write chat media:write message notify")
        assert "d" not in identity.issuer.jwks()["keys"][0]


async def test_a_key_file_that_others_can_read_is_refused(world: World) -> None:
    async with world.identity():
        pass
    path = next((world.data / "keys").glob("token-*.pem"))
    path.chmod(0o644)
    with pytest.raises(NovaError, match="chmod 600"):
        async with world.identity():
            pass


@pytest.mark.parametrize(
    ("arguments", "pointer"),
    [
        (("a b",), "/user"), (("",), "/user"), (("a" * 65,), "/user"), (("guest_1",), "/user"), (("ana", ["root"]), "/scopes"),
        (("ana", (), 0), "/ttl"), (("ana", (), 401 * 86400), "/ttl"),
    ],
)  # fmt: skip
async def test_what_cannot_be_minted_names_the_field(world: World, arguments: tuple[Any, ...], pointer: str) -> None:
    async with world.identity() as identity:
        with pytest.raises(BadRequest) as caught:
            await identity.mint(*arguments)
        assert caught.value.fields[0].pointer == pointer


async def test_a_sign_in_code_works_once_within_its_time(world: World) -> None:
    async with world.identity() as identity:
        code = await identity.sign_in_code()
        session = await identity.sign_in_with(code)
        assert session.user == (await identity.owner()).id
        assert session.scopes == scopes.USER | {"metrics:read"}  # the status page shows its origins and jobs to nobody else
        other = await identity.sign_in_code((await identity.add_user("ada")).id)
        assert (await identity.sign_in_with(other)).scopes == scopes.USER
        assert session.token not in repr(session)
        with pytest.raises(Unauthenticated, match="bad_sign_in_code"):
            await identity.sign_in_with(code)
        late = await identity.sign_in_code()
        world.clock.advance(901)
        for wrong in (late, "", "x" * 22, "é" * 22, "a" * 5000):
            with pytest.raises(Unauthenticated, match="bad_sign_in_code"):
                await identity.sign_in_with(wrong)
    stored = (world.data / "nova.db").read_bytes() + b"".join(path.read_bytes() for path in world.data.glob("nova.db-*"))
    assert code.encode() not in stored


async def test_a_code_made_beside_the_server_works_after_its_start(world: World) -> None:
    async with world.identity() as identity:
        code = await identity.sign_in_code()
    async with world.identity() as identity:
        assert (await identity.sign_in_with(code)).name == "Owner"


async def test_a_cookie_counts_under_our_host_and_needs_our_origin_to_change_things(world: World) -> None:
    async with world.identity() as identity:
        session = await identity.sign_in_with(await identity.sign_in_code())
        user, cookie = session.user, cookies.write(session.token, 60, secure=False).partition(";")[0]
        origin = "http://localhost:8080"
        for asked, wanted in (
            (Asked(cookie=cookie), user),
            (Asked(cookie=f"a=b; {cookie}; c=d"), user),
            (Asked(cookie=cookie, host="192.168.1.5:8080"), user),
            (Asked(cookie=cookie, host="rebound.evil.org"), "nobody"),
            (Asked(cookie=cookie, method="POST"), "bad_origin"),
            (Asked(cookie=cookie, method="POST", origin="null"), "bad_origin"),
            (Asked(cookie=cookie, method="POST", origin="http://evil.org"), "bad_origin"),
            (Asked(cookie=cookie, method="POST", origin=origin), user),
            (Asked(cookie=cookie, method="WEBSOCKET", origin="http://evil.org"), "bad_origin"),
            (Asked(cookie=cookie, method="WEBSOCKET", origin=origin), user),
            (Asked(cookie=cookie, method="DELETE", origin=origin, host="rebound.evil.org"), "nobody"),
            (Asked(cookie=f"{cookie}; {cookie}"), "nobody"),
            (Asked(cookie=f"{cookie}x"), "nobody"),
            (Asked(cookie="other=1"), "nobody"),
            (Asked(cookie=cookie, secure=True), "nobody"),  # a plain page's cookie is nothing on https
            (Asked(cookie=cookie, authorization="Bearer x"), "bad_token"),
        ):
            assert await code_of(identity, asked) == wanted, asked
        # A bearer token needs neither: a page cannot make a browser send it.
        token = (await identity.mint("ana")).text
        assert await code_of(identity, Asked("POST", "evil.org", origin="http://evil.org", authorization=f"Bearer {token}")) == "ana"
        secure = cookies.write(session.token, 60, secure=True)
        assert secure.startswith("__Host-")
        assert secure.endswith("; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure")
        assert await code_of(identity, Asked(cookie=secure.partition(";")[0], secure=True)) == user


async def test_a_session_in_use_renews_itself_and_one_sign_out_ends_all_of_it(world: World) -> None:
    async with world.identity("auth.session_ttl=10d") as identity:
        session = await identity.sign_in_with(await identity.sign_in_code())

        async def who(token: str) -> Any:
            return await identity.admit(Asked(cookie=f"{cookies.NAME}={token}"))

        assert identity.renewed(await who(session.token)).token is None
        world.clock.advance(6 * 86400)
        renewed = identity.renewed(await who(session.token))
        assert renewed.expires_at == world.clock.wall() + 10 * 86400
        assert identity.renewed(identity.of_token(session.token)).token is None  # a bearer token is not replaced
        await identity.sign_out(await who(renewed.token))
        assert await who(session.token) is None
        assert await who(renewed.token) is None


async def test_a_guest_may_chat_and_nothing_else(world: World) -> None:
    async with world.identity() as identity:
        session = identity.sign_in_guest("  Zo\u00eb\n\u202e ")
        found = identity.of_token(session.token)
        assert (found.guest, found.scopes, found.name) == (True, {"chat"}, "Zo\u00eb")
        assert await identity.list_users(None, 10) == []
        for name in ("", " \t", "x" * 65, "\ud800"):
            with pytest.raises(BadRequest):
                identity.sign_in_guest(name)
    async with world.identity("auth.guests=false") as identity:
        with pytest.raises(Forbidden, match="guests_forbidden"):
            identity.sign_in_guest("Zo\u00eb")


async def test_a_revoked_token_is_refused_everywhere_and_after_a_restart(world: World) -> None:
    told: list[Revocation] = []
    async with world.identity() as identity:
        one, other = await identity.mint("ana"), await identity.mint("ana")
        identity.revocations.listen(told.append)
        admin = identity_of(identity, await identity.mint("root", ["admin"]))
        await identity.revoke(admin, jti=one.jti)
        assert await code_of(identity, bearer(one.text)) == "token_revoked"
        assert await code_of(identity, bearer(other.text)) == "ana"
        assert [ends(told[0], identity_of(identity, token)) for token in (other,)] == [False]
        assert told[0].jti == one.jti
    async with world.identity() as identity:
        assert await code_of(identity, bearer(one.text)) == "token_revoked"
        assert await code_of(identity, bearer(other.text)) == "ana"


def identity_of(identity: Any, minted: Any) -> Principal:
    found = identity.of_token(minted.text)
    assert isinstance(found, Principal)
    return found


async def test_revoking_a_user_ends_all_tokens_and_the_next_sign_in_works_at_once(world: World) -> None:
    told: list[Revocation] = []
    async with world.identity() as identity:
        before = await identity.mint("ana")
        principal = identity_of(identity, before)
        stop = identity.revocations.listen(told.append)
        await identity.revoke(principal, user="ana")
        stop()
        after = await identity.mint("ana")
        assert await code_of(identity, bearer(before.text)) == "token_revoked"
        assert await code_of(identity, bearer(after.text)) == "ana"
        assert ends(told[0], principal)
        assert not ends(told[0], identity_of(identity, after))
    async with world.identity() as identity:
        assert await code_of(identity, bearer(before.text)) == "token_revoked"
        assert await code_of(identity, bearer((await identity.mint("ana")).text)) == "ana"


async def test_only_an_administrator_revokes_what_is_anothers(world: World) -> None:
    async with world.identity() as identity:
        ana = identity_of(identity, await identity.mint("ana"))
        for arguments in ({"user": "bob"}, {"jti": "somebody's"}):
            with pytest.raises(Forbidden, match="missing_scope"):
                await identity.revoke(ana, **arguments)
        for wrong in ({}, {"user": "ana", "jti": "x"}):
            with pytest.raises(BadRequest):
                await identity.revoke(ana, **wrong)
        await identity.revoke(ana, jti=ana.jti)


async def test_a_deleted_user_is_gone_with_tokens_and_codes(world: World) -> None:
    async with world.identity() as identity:
        token = await identity.mint("ana")
        code = await identity.sign_in_code("ana")
        await identity.delete_user("ana")
        assert await code_of(identity, bearer(token.text)) == "token_revoked"
        with pytest.raises(Unauthenticated):
            await identity.sign_in_with(code)
        with pytest.raises(NotFound):
            await identity.delete_user("ana")
        with pytest.raises(NotFound):
            await identity.sign_in_code("ana")


async def test_a_revocation_of_another_process_counts_here(world: World, nursery: Any) -> None:
    import trio

    heard = trio.Event()
    async with world.identity() as here:
        token = await here.mint("ana")
        here.revocations.listen(lambda _: heard.set())
        await nursery.start(here.revocations.follow)
        from nova.surface.identity import service
        from nova.surface.identity.store_memory import MemoryStore

        there = service.build(here._settings, world.data, MemoryStore(), world.bus, world.clock, world.ids)
        await there.revocations.revoke_user("ana")
        with trio.fail_after(30):
            await heard.wait()
        assert await code_of(here, bearer(token.text)) == "token_revoked"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("alg", make.ALGORITHMS)
async def test_tokens_of_another_issuer_count_by_their_files(world: World, tmp_path: Path, alg: str) -> None:
    if alg == "HS256":
        path = tmp_path / "theirs.json"
        path.write_text(json.dumps({"kty": "oct", "kid": "HS256", "k": make.b64(make.SECRET).decode()}))
    else:
        path = tmp_path / f"{alg}.pem"
        path.write_bytes(make.public_pem(alg))
    async with world.identity(f"auth.keys={json.dumps([str(path)])}", f"auth.issuer={make.ISSUER}") as identity:
        assert await code_of(identity, bearer(make.token(alg).decode())) == "alice"
        assert await code_of(identity, bearer(make.token(alg, iss="nova").decode())) == "bad_token"
        assert await code_of(identity, bearer((await identity.mint("ana")).text)) == "ana"


async def test_a_key_file_that_makes_no_sense_names_itself(world: World, tmp_path: Path) -> None:
    for name, content in (("a.pem", b"nothing"), ("b.json", b"{}"), ("c.json", b'{"kty":"oct","k":"AAAA"}')):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Unprocessable, match=name):
            async with world.identity(f"auth.keys={json.dumps([str(tmp_path / name)])}"):
                pass
    with pytest.raises(Unprocessable, match="absent"):
        async with world.identity('auth.keys=["/absent.pem"]'):
            pass


def person(**changed: Any) -> Principal:
    return Principal(**{"user": "ana", "scopes": frozenset({"chat"}), "source": "bearer", "expires_at": 9.0, **changed})


def test_a_scope_is_asked_for_by_name_and_an_administrator_holds_all_but_service() -> None:
    assert require(person(), "chat").user == "ana"
    with pytest.raises(Forbidden, match="missing_scope"):
        require(person(), "stream:write")
    with pytest.raises(Unauthenticated):
        require(None)
    admin = person(scopes=frozenset({"admin"}))
    assert admin.holds("cdn:admin")
    assert not admin.holds("service")


def test_what_belongs_to_another_is_forbidden_or_not_there() -> None:
    assert require_owner(person(), "ana", "stream", visible=False).user == "ana"
    assert require_owner(person(scopes=frozenset({"admin"})), "bob", "stream", visible=False)
    with pytest.raises(Forbidden):
        require_owner(person(), "bob", "stream", visible=True)
    with pytest.raises(NotFound):
        require_owner(person(), "bob", "stream", visible=False)
    with pytest.raises(Unauthenticated):
        require_owner(None, "bob", "stream", visible=True)
    with pytest.raises(NotFound):
        require_owner(None, "bob", "stream", visible=False)


def test_a_service_acts_for_the_user_that_it_names() -> None:
    service = person(user="feed", scopes=frozenset({"service"}))
    found = acting(service, "bob", "bob")
    assert (found.user, found.service) == ("bob", "feed")
    assert found.scopes == {"service", "stream:write", "chat", "media:write", "message", "notify"}  # bob's, as in a token of bob
    assert acting(person(), None, "ana").user == "ana"
    for principal, named, in_body in (
        (person(), "bob", None),
        (person(), None, "bob"),
        (service, "bob", "eve"),
        (service, "no user", None),
    ):
        with pytest.raises(Forbidden):
            acting(principal, named, in_body)


def test_a_name_hides_nothing() -> None:
    assert display_name(" A\u2066b\u0000 c ") == "A b c"


def test_scopes_of_a_token_and_of_a_claim() -> None:
    assert scopes.parse("chat openid  admin") == {"chat", "admin"}
    assert scopes.text({"chat", "stream:write"}) == "stream:write chat"
    assert scopes.wanted([]) == scopes.USER
    assert sorted(scopes.USER) == ["chat", "media:write", "message", "notify", "stream:write"]
    assert not scopes.GUEST - scopes.USER
