"""The contract of ChatStore: memory and SQL."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from nova.core.offload import Offload
from nova.core.sql import open_sqlite
from nova.realtime.chat.model import Ban, Comment, Mode
from nova.realtime.chat.ports import ChatStore
from nova.realtime.chat.store_memory import MemoryStore
from nova.realtime.chat.store_sql import SCHEMA, SqlStore
from nova.realtime.history import Place


@pytest.fixture(params=["memory", "sql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ChatStore]:
    if request.param == "memory":
        yield MemoryStore()
        return
    async with open_sqlite(tmp_path / "nova.db", [SCHEMA], Offload(), now="2026-01-01T00:00:00Z") as sql:
        yield SqlStore(sql)


def comment(number: int, user: str = "u", stream: str = "s") -> Comment:
    return Comment(f"0190-{number:04}", stream, user, "U", ("owner",), f"text {number}", 1000 + number)


async def test_comment_is_shown_once_it_has_its_place(store: ChatStore) -> None:
    await store.add(comment(1))
    assert await store.page("s", None, 10) == []
    await store.number(comment(1).id, Place(7, "e"))
    shown = replace(comment(1), place=Place(7, "e"))
    assert await store.page("s", None, 10) == [shown] and await store.get("s", Place(7, "e")) == shown and shown.public_id == "e.7"
    assert await store.get("s", Place(7, "f")) is None and await store.get("other", Place(7, "e")) is None


async def test_pages_go_back_in_time(store: ChatStore) -> None:
    for number in range(1, 6):
        await store.add(comment(number))
        await store.number(comment(number).id, Place(number, "e"))
    page = await store.page("s", None, 2)
    assert [each.text for each in page] == ["text 5", "text 4"]
    assert [each.text for each in await store.page("s", page[-1].id, 9)] == ["text 3", "text 2", "text 1"]
    await store.prune("s", 2)
    assert [each.text for each in await store.page("s", None, 9)] == ["text 5", "text 4"]
    await store.prune("s", 2)
    assert len(await store.page("s", None, 9)) == 2


async def test_newest_comment_of_a_user_is_one_that_is_shown(store: ChatStore) -> None:
    assert await store.newest("s", "u") is None
    for number, user in ((2, "u"), (3, "v"), (1, "u")):
        await store.add(comment(number, user))
        await store.number(comment(number).id, Place(number, "e"))
    await store.add(comment(4, "u"))  # not told yet
    assert await store.newest("s", "u") == replace(comment(2), place=Place(2, "e"))
    assert await store.newest("s", "v") == replace(comment(3, "v"), place=Place(3, "e"))
    assert await store.newest("other", "u") is None


async def test_comments_are_deleted_alone_and_by_user(store: ChatStore) -> None:
    for number, user in enumerate("uvu", start=1):
        await store.add(comment(number, user))
        await store.number(comment(number).id, Place(number, "e"))
    assert await store.delete("s", Place(1, "e")) and not await store.delete("s", Place(1, "e"))
    await store.add(comment(9, "u"))
    assert list(await store.delete_of("s", "u")) == [Place(3, "e")]
    assert [each.user for each in await store.page("s", None, 9)] == ["v"]


async def test_mode_bans_and_moderators_are_kept_by_stream(store: ChatStore) -> None:
    assert await store.mode("s") == Mode()
    await store.set_mode("s", Mode(False, 30, False))
    await store.set_mode("s", Mode(True, 10, False))
    assert await store.mode("s") == Mode(True, 10, False) and await store.mode("t") == Mode()
    await store.ban("s", Ban("u", 5, "r", "m", 1))
    await store.ban("s", Ban("u", None, "", "m", 2))
    assert await store.banned("s", "u") == Ban("u", None, "", "m", 2) and await store.banned("t", "u") is None
    assert await store.unban("s", "u") and not await store.unban("s", "u")
    await store.add_moderator("s", "m", 1)
    await store.add_moderator("s", "m", 2)
    assert await store.moderates("s", "m") and not await store.moderates("t", "m")
    assert await store.remove_moderator("s", "m") and not await store.remove_moderator("s", "m")


async def test_deleted_stream_leaves_nothing(store: ChatStore) -> None:
    await store.add(comment(1))
    await store.number(comment(1).id, Place(1, "e"))
    await store.set_mode("s", Mode(False))
    await store.forget("s")
    assert await store.page("s", None, 9) == [] and await store.mode("s") == Mode()
