"""Keys of another issuer by JWKS: fetched over a real socket, cached on disk, refreshed, and never in the place of ours."""

import json
from typing import Any

import pytest
import trio
import trio.testing

from nova.core.errors import NovaError
from nova.ext.jws_key import JwsKey
from nova.surface.identity import jwk
from tests.ext import token_maker as make
from tests.surface.identity.conftest import World
from tests.surface.identity.peer import Peer, answer, peer


def numbers(alg: str) -> dict[str, Any]:
    """The public JWK of the test's key."""
    from jwt.algorithms import get_default_algorithms

    found: Any = get_default_algorithms()[alg]
    return {**json.loads(found.to_jwk(make.private(alg).public_key())), "kid": alg}


def jwks(*algs: str, **more: Any) -> bytes:
    return json.dumps({"keys": [{**numbers(alg), **more} for alg in algs]}).encode()


async def who(identity: Any, alg: str, **claims: Any) -> str:
    try:
        found = await identity.of_token_or_fetch(make.token(alg, **claims).decode())
    except NovaError as error:
        return error.code
    return str(found.user)


def settings(server: Peer, *more: str) -> tuple[str, ...]:
    return (f"auth.jwks_url={server.url}/jwks", f"auth.issuer={make.ISSUER}", *more)


async def test_a_key_that_is_not_known_is_fetched_once_in_a_while(world: World) -> None:
    async with peer() as server, world.identity(*settings(server)) as identity:
        server.reply = answer(jwks("EdDSA", "ES256", "RS256"))
        assert [await who(identity, alg) for alg in ("EdDSA", "ES256", "RS256")] == ["alice"] * 3
        assert len(server.requests) == 1
        assert await who(identity, "EdDSA", kid="unknown") == "bad_token"
        assert len(server.requests) == 1  # too soon: anybody can send an unknown kid
        world.clock.advance(11)
        assert await who(identity, "EdDSA", kid="unknown", jti="again") == "bad_token"
        assert len(server.requests) == 2


async def test_many_callers_wait_for_one_fetch(world: World, nursery: trio.Nursery) -> None:
    async with peer() as server, world.identity(*settings(server)) as identity:
        server.reply = answer(jwks("ES256"))
        found: list[str] = []

        async def ask() -> None:
            found.append(await who(identity, "ES256"))

        async with trio.open_nursery() as callers:
            for _ in range(20):
                callers.start_soon(ask)
        assert found == ["alice"] * 20
        assert len(server.requests) == 1


async def test_a_withdrawn_key_ends_with_the_next_refresh(world: World) -> None:
    async with peer() as server, world.identity(*settings(server)) as identity:
        server.reply = answer(jwks("EdDSA", "ES256"))
        await identity.keys.refresh()
        assert await who(identity, "EdDSA") == "alice"
        server.reply = answer(jwks("ES256"))
        await identity.keys.refresh()
        assert await who(identity, "EdDSA") == "bad_token"
        assert await who(identity, "ES256") == "alice"


@pytest.mark.parametrize(
    "reply", [b"garbage", answer(b"{}"), answer(b'{"keys":[]}'), answer(b"x", "500 Oops"), answer(b"", "302 Found", "Location: /")]
)
async def test_an_issuer_that_fails_takes_nothing_away(world: World, reply: bytes) -> None:
    async with peer() as server, world.identity(*settings(server)) as identity:
        server.reply = answer(jwks("ES256"))
        await identity.keys.refresh()
        server.reply = reply
        await identity.keys.refresh()
        assert identity.keys.problem
        assert await who(identity, "ES256") == "alice"
        server.reply = answer(jwks("ES256"))
        await identity.keys.refresh()
        assert not identity.keys.problem


async def test_a_restart_does_not_need_the_issuer(world: World) -> None:
    async with peer() as server:
        async with world.identity(*settings(server)) as identity:
            server.reply = answer(jwks("ES256"))
            await identity.keys.refresh()
        url = server.url
    async with world.identity(f"auth.jwks_url={url}/jwks", f"auth.issuer={make.ISSUER}") as identity:
        assert await who(identity, "ES256") == "alice"
    async with world.identity(f"auth.jwks_url={url}/other", f"auth.issuer={make.ISSUER}") as identity:
        assert await who(identity, "ES256") == "bad_token"  # what another URL said is not believed


async def test_the_jwks_cannot_take_the_place_of_our_keys_or_of_a_files(world: World) -> None:
    async with peer() as server:
        file = world.data / "theirs.pem"
        file.write_bytes(make.public_pem("ES256"))
        async with world.identity(*settings(server, f"auth.keys={json.dumps([str(file)])}")) as identity:
            ours = identity.issuer.kids()[0]
            mine = (await identity.mint("ana")).text
            forged = {**numbers("EdDSA"), "kid": ours}
            other = {**numbers("EdDSA"), "kid": "theirs"}
            server.reply = answer(json.dumps({"keys": [forged, other]}).encode())
            await identity.keys.refresh()
            await identity.keys.refresh()
            assert identity.of_token(mine).user == "ana"
            assert await who(identity, "ES256", kid="theirs") == "alice"
            assert await who(identity, "EdDSA", kid=ours) == "bad_token"


async def test_the_refresher_fetches_at_the_start_and_again(world: World, nursery: trio.Nursery) -> None:
    async with peer() as server, world.identity(*settings(server, "auth.jwks_refresh=10s")) as identity:
        server.reply = answer(jwks("ES256"))
        fetched = identity.keys._fetch
        done = trio.Event()

        async def counted(url: str) -> Any:
            found = await fetched(url)
            done.set()
            return found

        identity.keys._fetch = counted
        await nursery.start(identity.run)
        with trio.fail_after(30):
            await done.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert await who(identity, "ES256") == "alice"
        assert len(server.requests) == 1
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("document", "kids"),
    [
        (jwks("ES256", use="sig"), ["ES256"]),
        (jwks("ES256", key_ops=["verify"]), ["ES256"]),
        (json.dumps(numbers("RS256")).encode(), ["RS256"]),
        (json.dumps({"keys": [numbers("ES256"), numbers("EdDSA") | {"kid": "ES256"}]}).encode(), ["ES256"]),
        (json.dumps({"keys": [numbers("ES256"), {"kty": "new"}, 7, {"kty": "RSA", "n": "!", "e": "AQAB"}]}).encode(), ["ES256"]),
    ],
)
def test_a_set_gives_the_keys_that_we_can_use(document: bytes, kids: list[str]) -> None:
    assert list(jwk.read_set(document, secrets=False)) == kids


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b'"x"', b"{}", b'{"keys":{}}', b'{"keys":[]}', b"[" * 100000, jwks("ES256", use="enc"), jwks("ES256", alg="RS256"),
     jwks("ES256", kid=7), jwks("ES256", kid="k" * 200), jwks("ES256", x="AA"), jwks("ES256", key_ops=["encrypt"]),
     json.dumps({"kty": "oct", "k": make.b64(make.SECRET).decode()}).encode()],
)  # fmt: skip
def test_a_set_without_a_usable_key_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError):
        jwk.read_set(document, secrets=False)


def test_a_key_without_kid_is_called_by_its_thumbprint() -> None:
    # RFC 8037, appendix A.3.
    key = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert list(jwk.read_set(json.dumps(key).encode(), secrets=False)) == ["kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"]
    assert jwk.public(JwsKey.from_okp(jwk.unb64(key["x"])))["kid"] == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
