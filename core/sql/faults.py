"""SQLite's result codes as errors of ours. Source: sqlite.org/rescode.html."""

from __future__ import annotations

import sqlite3
from types import TracebackType
from typing import Final, Literal

from nova.core import errors
from nova.core.sql.port import Constraint

# Nothing that this connection could write now would be safe.
FAILING: Final = frozenset(
    (
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOMEM,
    )
)
_BROKEN: Final[dict[int, Literal["unique", "foreign_key", "check", "not_null"]]] = {
    sqlite3.SQLITE_CONSTRAINT_UNIQUE: "unique",
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY: "unique",
    sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY: "foreign_key",
    sqlite3.SQLITE_CONSTRAINT_CHECK: "check",
    sqlite3.SQLITE_CONSTRAINT_NOTNULL: "not_null",
}


class translated:
    """Raises SQLite's errors as ours. Reads as a statement (`with translated():`), and costs a third of a generator."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, sqlite3.Error):
            raise ours(error) from error


def code_of(error: sqlite3.Error) -> int:
    """The primary result code; SQLITE_OK when Python's module raised it, not SQLite."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF


def ours(error: sqlite3.Error) -> errors.NovaError:
    """What `error` is called in our tree. SQLite's text names tables and columns, never values."""
    code = code_of(error)
    if code == sqlite3.SQLITE_OK:
        return errors.Internal("internal", f"wrong use of the store: {error}")
    if code == sqlite3.SQLITE_CONSTRAINT:
        return Constraint(_BROKEN.get(error.sqlite_errorcode, "other"), str(error))
    if code == sqlite3.SQLITE_FULL:
        return errors.Unavailable("storage_full", "the store has no room left", retry_after=60.0)
    if code in FAILING:
        return errors.Unavailable("storage_failed", f"{error.sqlite_errorname}: {error}", retry_after=10.0)
    return errors.Internal("internal", f"{error.sqlite_errorname}: {error}")
