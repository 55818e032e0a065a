"""SQLite as the embedded store: WAL, every commit synced, one writer thread, point reads on the loop.

A point read of a cached page takes some 6 µs, a trip to a thread and back 90: so keyed reads run right where they are asked
for, on a connection of their own that can not write, and only searches go to threads.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

import trio

from nova.core import errors
from nova.core.offload import SQL, Offload
from nova.core.sql.faults import translated
from nova.core.sql.migrations import Schema, SchemaError, migrate
from nova.core.sql.migrations import owners as owners_of
from nova.core.sql.port import Row, Transaction, Value
from nova.core.sql.writer import QUEUE, Observe, OpenTransaction, Writer, _unobserved

T = TypeVar("T")

APPLICATION: Final = 0x4E4F5641  # "NOVA" in the file's header: another program's database is not ours to migrate
OLDEST: Final = (3, 35, 0)  # RETURNING
_STEPS: Final = 20_000  # of SQLite's machine between two looks whether a scan is still wanted; some 200 µs

_PRAGMAS: Final = (
    # NORMAL would lose the last commits with the power: what was acknowledged is on stable storage.
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -8192",  # KiB
    "PRAGMA journal_size_limit = 67108864",  # bytes that the log keeps after a checkpoint
)


def _connect(path: Path, *, busy_ms: int, read_only: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256, timeout=busy_ms / 1000)
    for pragma in _PRAGMAS:
        connection.execute(pragma)
    if read_only:
        connection.execute("PRAGMA query_only = ON")
    return connection


def _connect_writer(path: Path) -> sqlite3.Connection:
    connection = _connect(path, busy_ms=5000)
    connection.execute("PRAGMA journal_mode = WAL")
    return connection


def _prepare(path: Path, schemas: Sequence[Schema], now: str) -> sqlite3.Connection:
    """The writer's connection to an up-to-date database, made when missing."""
    if sqlite3.sqlite_version_info < OLDEST:
        raise SchemaError("unavailable", f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or newer is needed")
    owners_of(schemas)
    # SQLite gives its log files the mode of the database: nobody else reads them.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    connection = _connect_writer(path)
    if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        connection.close()
        raise errors.Unavailable("storage_failed", f"{path} is on a file system that cannot map shared memory (no WAL)")
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION:
        if application or tables:
            connection.close()
            raise SchemaError("unavailable", f"{path} is not a database of Nova")
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
    transaction = OpenTransaction(connection)
    connection.execute("BEGIN IMMEDIATE")
    try:
        migrate(transaction, schemas, now)
        connection.execute("COMMIT")
    except BaseException:
        connection.close()  # undoes what is not committed
        raise
    return connection


class Sqlite:
    """`Sql` over one database file. Made by `open_sqlite`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, offload: Offload, *, queue: int, observe: Observe) -> None:
        self._path = path
        self._offload = offload
        self._reader: sqlite3.Connection | None = _connect(path, busy_ms=100, read_only=True)
        self._scanners: list[sqlite3.Connection] = []
        self._writer = Writer(connection, lambda: _connect_writer(path), queue=queue, observe=observe)

    async def one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        await trio.lowlevel.checkpoint_if_cancelled()
        with translated():
            cursor = self._reading().execute(sql, parameters)
            row: Row | None = cursor.fetchone()
            cursor.close()  # an unfinished statement would keep its snapshot, and the log from being cut
            return row

    async def all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        await trio.lowlevel.checkpoint_if_cancelled()
        with translated():
            return self._reading().execute(sql, parameters).fetchall()

    async def scan(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        self._reading()
        return await self._offload.run(SQL, lambda: self._scan(sql, parameters))

    async def write(self, work: Callable[[Transaction], T]) -> T:
        return await self._writer.write(work)

    async def run(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        return await self._writer.write(lambda transaction: transaction.run(sql, parameters))

    @property
    def fault(self) -> errors.NovaError | None:
        """Why the latest write could not be stored (disk full, I/O error); None when it could. For `/readyz`."""
        return self._writer.fault

    def _reading(self) -> sqlite3.Connection:
        if self._reader is None:
            raise errors.Unavailable("shutting_down", "the store is closed")
        return self._reader

    def _scan(self, sql: str, parameters: Sequence[Value]) -> list[Row]:
        """Thread of the SQL lane."""
        try:
            connection = self._scanners.pop()
        except IndexError:
            connection = _connect(self._path, busy_ms=1000, read_only=True)
            connection.set_progress_handler(_unwanted, _STEPS)
        try:
            with translated():
                return connection.execute(sql, parameters).fetchall()
        except errors.Internal:
            trio.from_thread.check_cancelled()  # the interruption was ours: the caller is gone
            raise
        finally:
            if self._reader is None:
                connection.close()
            else:
                self._scanners.append(connection)

    async def close(self) -> None:
        """Write what is queued, then close. Later calls raise Unavailable `shutting_down`."""
        if self._reader is None:
            return
        reader, self._reader = self._reader, None
        reader.close()  # first: the last connection to close folds the log into the database, in the writer's thread
        while self._scanners:
            self._scanners.pop().close()
        await self._writer.close()


def _unwanted() -> bool:
    try:
        trio.from_thread.check_cancelled()
    except trio.Cancelled:
        return True
    return False


@asynccontextmanager
async def open_sqlite(
    path: Path,
    schemas: Sequence[Schema],
    offload: Offload,
    *,
    now: str,
    queue: int = QUEUE,
    observe: Observe = _unobserved,
) -> AsyncIterator[Sqlite]:
    """Open the database at `path`, made and migrated when needed; closed with the context.

    now: RFC 3339, written beside each migration. observe: told the size of each commit group, in the trio thread.
    Raises SchemaError: a newer Nova's database, or not one of ours; Unavailable: it cannot be read or written.
    """
    try:
        with translated():
            connection = _prepare(path, schemas, now)
    except OSError as error:
        raise errors.Unavailable("storage_failed", f"{path}: {error.strerror}") from error
    store = Sqlite(path, connection, offload, queue=queue, observe=observe)
    try:
        yield store
    finally:
        await store.close()
