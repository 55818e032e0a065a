"""Numbered migrations with owners: every table belongs to one domain, and only its schema may touch it.

A schema's migrations are numbered from 1 and never change once released. Pending ones of every owner are applied in one
transaction: a database is at one version or at the next, never between. One that a newer program made is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from nova.core import errors
from nova.core.sql.port import Transaction

_NAME: Final = r'"?(?P<table>[a-z][a-z0-9_]*)"?'
_TARGETS: Final = tuple(
    re.compile(pattern + _NAME, re.IGNORECASE)
    for pattern in (
        r"\s*CREATE\s+TABLE\s+",
        r"\s*CREATE\s+(?:UNIQUE\s+)?INDEX\s+[a-z0-9_]+\s+ON\s+",
        r"\s*ALTER\s+TABLE\s+",
        r"\s*DROP\s+TABLE\s+",
        r"\s*INSERT\s+INTO\s+",
        r"\s*UPDATE\s+",
        r"\s*DELETE\s+FROM\s+",
    )
)
# What one of the two databases does not know, or takes to mean something else.
_NOT_PORTABLE: Final = re.compile(
    r"\b(AUTOINCREMENT|BLOB|DATETIME|INTEGER|INT|INSERT\s+OR|REPLACE\s+INTO|WITHOUT\s+ROWID|STRICT|PRAGMA|SERIAL|JSONB|"
    r"IF\s+NOT\s+EXISTS|GLOB|strftime|datetime)\b",
    re.IGNORECASE,
)
_JOURNAL: Final = (
    "CREATE TABLE IF NOT EXISTS nova_migrations (owner TEXT NOT NULL, number BIGINT NOT NULL, name TEXT NOT NULL,"
    " digest TEXT NOT NULL, applied_at TEXT NOT NULL, PRIMARY KEY (owner, number))"
)


class SchemaError(errors.Unavailable):
    """The database and this program do not go together; the message names the remedy."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: statements in portable SQL."""

    name: str
    statements: tuple[str, ...]

    def digest(self) -> str:
        """Changes when a statement does; white space does not count."""
        text = "\0".join(" ".join(statement.split()) for statement in self.statements)
        return sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of one domain: its migrations, the first is number 1."""

    owner: str
    migrations: tuple[Migration, ...]


def target(statement: str) -> str:
    """The table that a migration's statement works on. Raises ValueError: not one of the forms that migrations use."""
    for pattern in _TARGETS:
        if found := pattern.match(statement):
            return found["table"].lower()
    raise ValueError(f"not a statement for a migration: {statement.strip()[:60]}")


def owners(schemas: Iterable[Schema]) -> dict[str, str]:
    """Table → owner.

    Raises ValueError: two owners of a table, an owner named twice, a statement that is not portable or works on a table
    of somebody else. That is a bug, found by the first start or test.
    """
    found: dict[str, str] = {"nova_migrations": "core"}
    seen: set[str] = set()
    for schema in schemas:
        if schema.owner in seen:
            raise ValueError(f"two schemas are called {schema.owner}")
        seen.add(schema.owner)
        for migration in schema.migrations:
            for statement in migration.statements:
                if bad := _NOT_PORTABLE.search(statement):
                    raise ValueError(f"{schema.owner}: {bad[0]} is not portable SQL ({migration.name})")
                table = target(statement)
                creates = re.match(r"\s*CREATE\s+TABLE\b", statement, re.IGNORECASE)
                if found.setdefault(table, schema.owner if creates else "nobody") != schema.owner:
                    raise ValueError(f"{schema.owner}: the table {table} belongs to {found[table]} ({migration.name})")
    return found


def pending(schemas: Sequence[Schema], applied: Iterable[tuple[str, int, str]]) -> list[tuple[str, int, Migration]]:
    """The migrations (owner, number, migration) that a database still needs, in order.

    applied: owner, number and digest of each one that it has.
    Raises SchemaError: it has one that is not known here, or that was another one when it was applied.
    """
    had = {(owner, number): digest for owner, number, digest in applied}
    wanted = {(schema.owner, number): migration for schema in schemas for number, migration in enumerate(schema.migrations, start=1)}
    for owner, number in sorted(had.keys() - wanted.keys()):
        raise SchemaError(
            "unavailable",
            f"the database was made by a newer Nova (it has {owner} {number}): start that version, or restore a backup",
        )
    for (owner, number), digest in had.items():
        if wanted[owner, number].digest() != digest:
            raise SchemaError(
                "unavailable",
                f"the database had another {owner} {number}: it was made by a development version; start with a new one",
            )
    return [(owner, number, migration) for (owner, number), migration in wanted.items() if (owner, number) not in had]


def migrate(transaction: Transaction, schemas: Sequence[Schema], now: str) -> list[str]:
    """Bring the database of an open transaction up to date; the names of what was applied.

    now: RFC 3339. Raises SchemaError as `pending`.
    """
    transaction.run(_JOURNAL)
    rows = transaction.all("SELECT owner, number, digest FROM nova_migrations")
    done = []
    for owner, number, migration in pending(schemas, ((row[0], row[1], row[2]) for row in rows)):
        for statement in migration.statements:
            transaction.run(statement)
        transaction.run(
            "INSERT INTO nova_migrations (owner, number, name, digest, applied_at) VALUES (?, ?, ?, ?, ?)",
            (owner, number, migration.name, migration.digest(), now),
        )
        done.append(f"{owner} {number} {migration.name}")
    return done
