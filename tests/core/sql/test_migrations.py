"""Migrations: owned tables, portable SQL, one transaction, and no way back to an older program."""

from pathlib import Path

import pytest

from nova.core.offload import Offload
from nova.core.sql import Migration, Schema, open_sqlite
from nova.core.sql.migrations import SchemaError, owners, target

NOW = "2026-01-02T03:04:05Z"
FIRST = Migration("items", ("CREATE TABLE item (id TEXT PRIMARY KEY)", "CREATE INDEX item_id ON item (id)"))
SECOND = Migration("sizes", ("ALTER TABLE item ADD COLUMN size BIGINT NOT NULL DEFAULT 0",))


async def opened(path: Path, *schemas: Schema) -> list[tuple[object, ...]]:
    async with open_sqlite(path, schemas, Offload(), now=NOW) as store:
        return await store.all("SELECT owner, number, name FROM nova_migrations ORDER BY owner, number")


async def test_new_migrations_are_applied_to_an_old_database(tmp_path: Path) -> None:
    path = tmp_path / "nova.db"
    assert await opened(path, Schema("shop", (FIRST,))) == [("shop", 1, "items")]
    other = Schema("other", (Migration("things", ("CREATE TABLE thing (id TEXT)",)),))
    both = [("other", 1, "things"), ("shop", 1, "items"), ("shop", 2, "sizes")]
    assert await opened(path, Schema("shop", (FIRST, SECOND)), other) == both
    assert await opened(path, Schema("shop", (FIRST, SECOND)), other) == both


async def test_newer_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nova.db"
    await opened(path, Schema("shop", (FIRST, SECOND)))
    with pytest.raises(SchemaError, match=r"newer Nova \(it has shop 2\)"):
        await opened(path, Schema("shop", (FIRST,)))
    with pytest.raises(SchemaError, match="newer Nova"):
        await opened(path)


async def test_changed_migration_is_refused_but_its_layout_may_change(tmp_path: Path) -> None:
    path = tmp_path / "nova.db"
    await opened(path, Schema("shop", (FIRST,)))
    spaced = Migration("items", tuple(statement.replace(" ", "\n  ") for statement in FIRST.statements))
    assert await opened(path, Schema("shop", (spaced,)))
    with pytest.raises(SchemaError, match="another shop 1"):
        await opened(path, Schema("shop", (Migration("items", ("CREATE TABLE item (id TEXT)",)),)))


async def test_failing_migration_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "nova.db"
    broken = Migration("broken", ("ALTER TABLE item ADD COLUMN size BIGINT", "ALTER TABLE item ADD COLUMN size BIGINT"))
    with pytest.raises(Exception, match="duplicate column"):
        await opened(path, Schema("shop", (FIRST, broken)))
    async with open_sqlite(path, [], Offload(), now=NOW) as store:
        assert await store.all("SELECT name FROM sqlite_master WHERE name LIKE '%item%'") == []


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("CREATE TABLE a (id INTEGER PRIMARY KEY AUTOINCREMENT)", "portable"),
        ("CREATE TABLE a (body BLOB)", "portable"),
        ("CREATE INDEX a_id ON theirs (id)", "belongs to"),
        ("UPDATE theirs SET id = 1", "belongs to"),
        ("CREATE TABLE theirs (id TEXT)", "belongs to"),
        ("ALTER TABLE nova_migrations ADD COLUMN a TEXT", "belongs to core"),
        ("ALTER TABLE unborn ADD COLUMN a TEXT", "belongs to nobody"),
        ("VACUUM", "not a statement for a migration"),
    ],
)
def test_foreign_tables_and_dialects_are_refused(statement: str, why: str) -> None:
    theirs = Schema("them", (Migration("theirs", ("CREATE TABLE theirs (id TEXT)",)),))
    with pytest.raises(ValueError, match=why):
        owners([theirs, Schema("us", (Migration("ours", (statement,)),))])


def test_owner_of_every_table_is_known() -> None:
    assert owners([Schema("shop", (FIRST, SECOND))]) == {"nova_migrations": "core", "item": "shop"}
    with pytest.raises(ValueError, match="two schemas"):
        owners([Schema("shop", ()), Schema("shop", ())])
    assert target("CREATE UNIQUE INDEX x ON item (id)") == "item"
