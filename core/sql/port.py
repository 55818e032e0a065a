"""What a domain sees of a database. SQLite serves it here; PostgreSQL can serve the same (psycopg in worker threads).

SQL that passes here is the common part of both: `?` placeholders, `ON CONFLICT … DO UPDATE`, `RETURNING`, the types TEXT,
BIGINT, BYTEA and DOUBLE PRECISION. `migrations` refuses what is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Protocol, TypeVar

from nova.core import errors

T = TypeVar("T")

Value = str | int | float | bytes | None
Row = tuple[Any, ...]


class Constraint(errors.Conflict):
    """A statement would break a constraint of the schema.

    Inside a transaction it is to be raised on, never swallowed: PostgreSQL ends the transaction here, SQLite only the
    statement. Where a clash is expected, `ON CONFLICT` says so.
    """

    def __init__(self, broken: Literal["unique", "foreign_key", "check", "not_null", "other"], detail: str) -> None:
        super().__init__("conflict", detail)
        self.broken = broken


class Transaction(Protocol):
    """The database inside `Sql.write`. It ends with the call that got it."""

    def one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        """The first row, or None."""

    def all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Every row."""

    def run(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Execute; the number of rows changed. Raises Constraint."""

    def many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        """Execute once per row. Raises Constraint."""


class Sql(Protocol):
    """A database. Trio thread only.

    Every method raises Unavailable `storage_full`, `storage_failed` or `overloaded`, and `shutting_down` once closed.
    """

    async def one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        """The first row, or None, of what is committed. For keyed reads: the embedded store runs it on the loop."""

    async def all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Every row of a keyed and bounded read (a page of a list by its index)."""

    async def scan(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Every row of a read that may look at many more than it returns (search, analytics); runs in a thread.

        Cancelling it stops the search.
        """

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` as one transaction; return its value once it is on stable storage.

        What `work` raises undoes this transaction alone and is raised here. It may run more than once (a group that
        could not be committed is tried again one by one), so SQL is its only effect, and it neither blocks nor awaits.
        Cancelled before it began: it never runs. Cancelled later: it is finished, and `Cancelled` comes after, so an
        outcome is never unknown.
        """

    async def run(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """A transaction of one statement; the number of rows changed."""
