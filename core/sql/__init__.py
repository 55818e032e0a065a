"""The SQL door: one port, migrations with owners, and SQLite behind one writer with group commit.

A domain keeps its statements in one file (portable SQL, `?` placeholders), declares its tables as a `Schema`, and takes a
`Sql`. Only this package imports `sqlite3`.
"""

from nova.core.sql.migrations import Migration, Schema
from nova.core.sql.port import Constraint, Row, Sql, Transaction, Value
from nova.core.sql.sqlite import open_sqlite
from nova.core.sql.url import parse_store_url

__all__ = [
    "Constraint",
    "Migration",
    "Row",
    "Schema",
    "Sql",
    "Transaction",
    "Value",
    "open_sqlite",
    "parse_store_url",
]
