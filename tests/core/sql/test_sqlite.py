"""The embedded store: durable, atomic per caller, grouped per commit, and coded errors when the disk is the matter."""

import os
import resource
import sqlite3
import stat
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio.testing

from nova.core import errors
from nova.core.offload import Offload
from nova.core.sql import Constraint, Migration, Schema, Transaction, open_sqlite
from nova.core.sql.migrations import SchemaError
from nova.core.sql.sqlite import Sqlite

NOW = "2026-01-02T03:04:05Z"
SCHEMA = Schema(
    "shop",
    (
        Migration(
            "items",
            (
                "CREATE TABLE item (id TEXT PRIMARY KEY, size BIGINT NOT NULL CHECK (size >= 0), body BYTEA)",
                "CREATE TABLE part (item_id TEXT NOT NULL REFERENCES item (id) DEFERRABLE INITIALLY DEFERRED)",
            ),
        ),
    ),
)
INSERT = "INSERT INTO item (id, size, body) VALUES (?, ?, ?)"


@pytest.fixture
async def groups() -> list[tuple[int, int]]:
    return []


@pytest.fixture
async def store(tmp_path: Path, groups: list[tuple[int, int]]) -> AsyncIterator[Sqlite]:
    def observe(size: int, failed: int) -> None:
        groups.append((size, failed))

    async with open_sqlite(tmp_path / "nova.db", [SCHEMA], Offload(), now=NOW, observe=observe) as opened:
        yield opened


def put(transaction: Transaction, name: str, body: bytes = b"") -> str:
    transaction.run(INSERT, (name, len(body), body))
    return name


async def names(store: Sqlite) -> list[str]:
    return [row[0] for row in await store.all("SELECT id FROM item ORDER BY id")]


async def test_written_value_is_read_back_at_once(store: Sqlite) -> None:
    assert await store.write(lambda transaction: put(transaction, "a", b"\x00\xff")) == "a"
    assert await store.one("SELECT size, body FROM item WHERE id = ?", ("a",)) == (2, b"\x00\xff")
    assert await store.one("SELECT 1 FROM item WHERE id = 'b'") is None
    assert await store.run("UPDATE item SET size = 3") == 1
    assert await store.scan("SELECT size FROM item") == [(3,)]


async def test_failing_transaction_undoes_itself_alone(store: Sqlite, groups: list[tuple[int, int]]) -> None:
    def fails(transaction: Transaction) -> None:
        put(transaction, "half")
        raise errors.Conflict("conflict", "changed its mind")

    caught: list[errors.NovaError] = []

    async def failing() -> None:
        try:
            await store.write(fails)
        except errors.NovaError as error:
            caught.append(error)

    async with trio.open_nursery() as nursery:
        for name in "abcdefgh":
            nursery.start_soon(store.write, lambda transaction, name=name: put(transaction, name))
            nursery.start_soon(failing)
    assert await names(store) == list("abcdefgh")
    assert [error.detail for error in caught] == ["changed its mind"] * 8
    assert sum(size for size, _ in groups) == 16
    assert sum(failed for _, failed in groups) == 8


async def test_waiting_transactions_share_a_commit(store: Sqlite, groups: list[tuple[int, int]]) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(300):
            nursery.start_soon(store.write, lambda transaction, number=number: put(transaction, f"{number:03}"))
    assert len(await names(store)) == 300
    assert sum(size for size, _ in groups) == 300
    assert len(groups) < 150


async def test_broken_constraint_is_told_and_named(store: Sqlite) -> None:
    await store.write(lambda transaction: put(transaction, "a"))
    with pytest.raises(Constraint) as unique:
        await store.write(lambda transaction: put(transaction, "a"))
    assert unique.value.broken == "unique"
    with pytest.raises(Constraint) as check:
        await store.run(INSERT, ("b", -1, None))
    assert check.value.broken == "check"
    with pytest.raises(Constraint) as missing:
        await store.run("INSERT INTO item (id) VALUES ('c')")
    assert missing.value.broken == "not_null"


async def test_constraint_that_fails_at_commit_fails_its_own_transaction_only(store: Sqlite) -> None:
    caught: list[Constraint] = []

    async def orphan() -> None:
        try:
            await store.run("INSERT INTO part (item_id) VALUES ('nobody')")
        except Constraint as error:
            caught.append(error)

    async with trio.open_nursery() as nursery:
        for name in "abcd":
            nursery.start_soon(store.write, lambda transaction, name=name: put(transaction, name))
            nursery.start_soon(orphan)
    assert await names(store) == list("abcd")
    assert [error.broken for error in caught] == ["foreign_key"] * 4


async def test_wrong_sql_is_our_bug_and_harms_nobody(store: Sqlite) -> None:
    with pytest.raises(errors.Internal):
        await store.run("INSERT INTO nothing VALUES (1)")
    with pytest.raises(errors.Internal):
        await store.one("SELECT ? + ?", (1,))
    with pytest.raises(errors.Unavailable, match="readonly"):
        await store.one("DELETE FROM item RETURNING id")
    await store.write(lambda transaction: put(transaction, "a"))


async def test_transaction_cannot_be_used_after_its_end(store: Sqlite) -> None:
    kept = await store.write(lambda transaction: transaction)
    with pytest.raises(errors.Internal):
        kept.one("SELECT 1")


async def test_work_that_commits_by_hand_is_refused(store: Sqlite) -> None:
    def by_hand(transaction: Transaction) -> None:
        put(transaction, "a")
        transaction.run("ROLLBACK")
        put(transaction, "b")

    with pytest.raises(errors.Internal):
        await store.write(by_hand)
    assert await names(store) == []


async def test_full_database_fails_the_large_write_and_keeps_the_small_ones(store: Sqlite) -> None:
    await store.write(lambda transaction: transaction.one("PRAGMA max_page_count = 40"))
    caught: list[errors.NovaError] = []

    async def large() -> None:
        try:
            await store.write(lambda transaction: put(transaction, "large", bytes(400_000)))
        except errors.NovaError as error:
            caught.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.write, lambda transaction: put(transaction, "a"))
        nursery.start_soon(large)
        nursery.start_soon(store.write, lambda transaction: put(transaction, "b"))
    assert [error.code for error in caught] == ["storage_full"]
    assert await names(store) == ["a", "b"]


async def test_failing_disk_is_a_coded_error_and_the_store_recovers(store: Sqlite, tmp_path: Path) -> None:
    await store.write(lambda transaction: put(transaction, "before"))
    # A file that may not grow: writes fail with EFBIG, which SQLite takes for an I/O error.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "nova.db-wal").stat().st_size, limits[1]))
    try:
        for _ in range(2):
            with pytest.raises(errors.Unavailable) as failed:
                await store.write(lambda transaction: put(transaction, "lost", bytes(100_000)))
            assert failed.value.code == "storage_failed" and failed.value.retry_after
            assert store.fault is not None and store.fault.code == "storage_failed"
        assert await names(store) == ["before"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    await store.write(lambda transaction: put(transaction, "after"))
    assert store.fault is None
    assert await names(store) == ["after", "before"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "small"
    path.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", path], capture_output=True).returncode:
        pytest.skip("a file system of 1 MiB needs the right to mount one")
    yield path
    subprocess.run(["umount", path], check=True)


async def test_full_disk_is_a_coded_error_and_room_made_is_used(small_disk: Path) -> None:
    async with open_sqlite(small_disk / "nova.db", [SCHEMA], Offload(), now=NOW) as store:
        await store.write(lambda transaction: put(transaction, "before"))
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)):
                pass
        for size in (1, 100_000):
            with pytest.raises(errors.Unavailable) as full:
                await store.run(INSERT, ("lost", size, bytes(size)))
            assert full.value.code in ("storage_full", "storage_failed") and store.fault is full.value
        assert await names(store) == ["before"]
        ballast.unlink()
        await store.write(lambda transaction: put(transaction, "after", bytes(100_000)))
        assert await names(store) == ["after", "before"]
        assert await store.one("PRAGMA integrity_check") == ("ok",)


async def test_cancelled_in_the_queue_is_never_written(store: Sqlite) -> None:
    reached = trio.Event()
    token = trio.lowlevel.current_trio_token()
    with trio.fail_after(10):
        go = threading.Event()

        def slow(transaction: Transaction) -> None:
            token.run_sync_soon(reached.set)
            go.wait(10)

        cancelled = trio.CancelScope()

        async def queued() -> None:
            with cancelled:
                await store.write(lambda transaction: put(transaction, "never"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.write, slow)
            await reached.wait()
            nursery.start_soon(queued)
            await trio.testing.wait_all_tasks_blocked()
            cancelled.cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert cancelled.cancelled_caught
            go.set()
    assert await names(store) == []


async def test_cancelled_while_written_waits_for_the_outcome(store: Sqlite) -> None:
    token = trio.lowlevel.current_trio_token()
    scope = trio.CancelScope()

    def work(transaction: Transaction) -> str:
        token.run_sync_soon(scope.cancel)
        return put(transaction, "kept")

    values = []
    with scope:
        values.append(await store.write(work))
    assert values == ["kept"]
    assert await names(store) == ["kept"]


async def test_full_queue_refuses(tmp_path: Path) -> None:
    go = threading.Event()
    token = trio.lowlevel.current_trio_token()
    reached = trio.Event()

    def slow(transaction: Transaction) -> None:
        token.run_sync_soon(reached.set)
        go.wait(10)

    async with open_sqlite(tmp_path / "nova.db", [SCHEMA], Offload(), now=NOW, queue=1) as store, trio.open_nursery() as nursery:
        nursery.start_soon(store.write, slow)
        await reached.wait()
        nursery.start_soon(store.run, "DELETE FROM item")
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(errors.Unavailable) as refused:
            await store.run("DELETE FROM item")
        assert refused.value.code == "overloaded"
        go.set()


async def test_cancelled_scan_stops_searching(store: Sqlite) -> None:
    endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.scan, endless)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert await store.scan("SELECT 1") == [(1,)]


async def test_closed_store_says_so_and_wrote_what_was_queued(tmp_path: Path) -> None:
    path = tmp_path / "nova.db"
    async with open_sqlite(path, [SCHEMA], Offload(), now=NOW) as store, trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(store.write, lambda transaction, name=name: put(transaction, name))
        await trio.testing.wait_all_tasks_blocked()
        await store.close()
    for call in (store.one, store.all, store.scan, store.run):
        with pytest.raises(errors.Unavailable) as closed:
            await call("SELECT 1")
        assert closed.value.code == "shutting_down"
    assert not (tmp_path / "nova.db-wal").exists()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with sqlite3.connect(path) as plain:
        assert plain.execute("SELECT count(*) FROM item").fetchone() == (3,)


async def test_file_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as plain:
        plain.execute("CREATE TABLE theirs (a)")
    with pytest.raises(SchemaError, match="not a database of Nova"):
        async with open_sqlite(path, [SCHEMA], Offload(), now=NOW):
            pass
    text = tmp_path / "text.db"
    text.write_bytes(b"no database at all" * 100)
    with pytest.raises(errors.Unavailable) as garbage:
        async with open_sqlite(text, [SCHEMA], Offload(), now=NOW):
            pass
    assert garbage.value.code == "storage_failed"


async def test_missing_directory_is_a_coded_error(tmp_path: Path) -> None:
    with pytest.raises(errors.Unavailable) as missing:
        async with open_sqlite(tmp_path / "no" / "nova.db", [SCHEMA], Offload(), now=NOW):
            pass
    assert missing.value.code == "storage_failed"
