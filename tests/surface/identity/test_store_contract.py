"""Both identity stores keep the same promises."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nova.core.offload import Offload
from nova.core.sql import open_sqlite
from nova.surface.identity.model import Place, Revocation, SignInCode, User
from nova.surface.identity.principal import UserId
from nova.surface.identity.store import IdentityStore
from nova.surface.identity.store_memory import MemoryStore
from nova.surface.identity.store_sql import SCHEMA, SqlStore

ANA, BOB, EVE = UserId("ana"), UserId("bob"), UserId("eve")


@pytest.fixture(params=["memory", "sql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[IdentityStore]:
    if request.param == "memory":
        yield MemoryStore()
        return
    async with open_sqlite(tmp_path / "nova.db", [SCHEMA], Offload(), now="2026-01-01T00:00:00Z") as sql:
        yield SqlStore(sql)


async def test_a_user_is_made_once(store: IdentityStore) -> None:
    made = User(ANA, "Ana", 5.25)
    assert await store.ensure_user(made) == (made, True)
    assert await store.ensure_user(User(ANA, "Other", 9.0)) == (made, False)
    assert await store.user(ANA) == made
    assert await store.user(BOB) is None
    await store.rename_user(ANA, "Anna")
    assert await store.user(ANA) == User(ANA, "Anna", 5.25)
    assert await store.users_known([ANA, BOB]) == {ANA}
    assert await store.users_known([]) == set()


async def test_there_is_one_owner(store: IdentityStore) -> None:
    await store.ensure_user(User(ANA, "", 1.0))
    assert await store.owner() is None
    owner = User(BOB, "Owner", 2.0, owner=True)
    await store.ensure_user(owner)
    assert await store.owner() == owner


async def test_users_come_in_pages_newest_first_and_also_behind_one_who_is_gone(store: IdentityStore) -> None:
    for user, made in ((EVE, 1.0), (ANA, 2.5), (BOB, 2.5)):
        await store.ensure_user(User(user, "", made))
    page = await store.list_users(None, 2)
    assert [user.id for user in page] == sorted([ANA, BOB], reverse=True)
    await store.delete_user(page[-1].id, Revocation(9.0, user=page[-1].id, not_before_ms=0))
    assert [user.id for user in await store.list_users(Place.parse(str(page[-1].place)), 2)] == [EVE]


async def test_a_deleted_user_takes_its_codes_along_and_leaves_a_revocation(store: IdentityStore) -> None:
    await store.ensure_user(User(ANA, "", 1.0))
    await store.add_code(SignInCode(b"d" * 32, ANA, frozenset({"chat"}), 100.0), 1.0)
    revocation = Revocation(500.0, user=ANA, not_before_ms=1000)
    assert await store.delete_user(ANA, revocation)
    assert not await store.delete_user(ANA, revocation)
    assert await store.user(ANA) is None
    assert await store.take_code(b"d" * 32, 2.0) is None
    assert list(await store.revocations(2.0)) == [revocation]


async def test_a_code_is_taken_once_and_in_time(store: IdentityStore) -> None:
    one = SignInCode(b"1" * 32, ANA, frozenset({"chat", "notify"}), 100.0)
    two = SignInCode(b"2" * 32, ANA, frozenset(), 100.0)
    await store.add_code(one, 1.0)
    await store.add_code(two, 1.0)
    assert await store.take_code(b"1" * 32, 99.0) == one
    assert await store.take_code(b"1" * 32, 99.0) is None
    assert await store.take_code(b"2" * 32, 100.0) is None
    assert await store.take_code(b"3" * 32, 1.0) is None


async def test_revocations_are_kept_until_they_end(store: IdentityStore) -> None:
    token, user = Revocation(50.0, jti="j"), Revocation(60.0, user=ANA, not_before_ms=7)
    await store.put_revocation(token, 1.0)
    await store.put_revocation(user, 1.0)
    await store.put_revocation(Revocation(55.0, user=ANA, not_before_ms=6), 1.0)  # an earlier one takes nothing back
    assert sorted(await store.revocations(1.0), key=str) == sorted([token, user], key=str)
    assert list(await store.revocations(55.0)) == [user]
    await store.put_revocation(Revocation(90.0, jti="k"), 61.0)
    assert list(await store.revocations(61.0)) == [Revocation(90.0, jti="k")]
