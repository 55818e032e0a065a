"""Jobs and the place of each edge in the purge log, in SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from nova.cdn.invalidation.model import EdgeResult, EdgeStatus, Job, JobId, JobKind, JobStatus, UnixMs, read_what, what_text
from nova.core.bus import Cursor
from nova.core.sql import Migration, Row, Schema, Sql, Transaction

SCHEMA: Final = Schema(
    "cdn_jobs",
    (
        Migration(
            "jobs, their edges, places in the log",
            (
                "CREATE TABLE cdn_jobs (id TEXT PRIMARY KEY, kind TEXT NOT NULL, what TEXT NOT NULL, owner TEXT NOT NULL,"
                " status TEXT NOT NULL, created_at BIGINT NOT NULL, done_at BIGINT)",
                "CREATE INDEX cdn_jobs_by_status ON cdn_jobs (status, id)",
                "CREATE TABLE cdn_job_edges (job_id TEXT NOT NULL REFERENCES cdn_jobs (id) ON DELETE CASCADE, edge TEXT NOT NULL,"
                " status TEXT NOT NULL, objects BIGINT NOT NULL, latency_ms BIGINT NOT NULL, detail TEXT NOT NULL,"
                " PRIMARY KEY (job_id, edge))",
                "CREATE TABLE cdn_places (edge TEXT PRIMARY KEY, place TEXT NOT NULL)",
            ),
        ),
    ),
)

_JOB: Final = "id, kind, what, owner, created_at, done_at"
_EDGE: Final = "edge, status, objects, latency_ms, detail"


def _job(row: Row, edges: list[Row]) -> Job:
    id, kind, what, owner, created_at, done_at = row
    purges, warms = read_what(what)
    found = tuple(EdgeResult(edge, EdgeStatus(status), objects, latency, detail) for edge, status, objects, latency, detail in edges)
    return Job(JobId(id), JobKind(kind), purges, warms, owner, UnixMs(created_at), found, None if done_at is None else UnixMs(done_at))


class SqlJobs:
    """Every node keeps the jobs that it reads in the log, so that each can be asked of any node."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    async def put(self, jobs: Sequence[Job], places: Mapping[str, Cursor] = MappingProxyType({})) -> None:
        """Keep the jobs as they are now, and these places, all in one step."""

        def work(transaction: Transaction) -> None:
            transaction.many(
                f"INSERT INTO cdn_jobs ({_JOB}, status) VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET status = excluded.status, done_at = excluded.done_at",
                [(job.id, job.kind, what_text(job.purges, job.warms), job.owner, job.created_at, job.done_at, job.status) for job in jobs],
            )
            transaction.many(
                f"INSERT INTO cdn_job_edges (job_id, {_EDGE}) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (job_id, edge) DO UPDATE SET"
                " status = excluded.status, objects = excluded.objects, latency_ms = excluded.latency_ms, detail = excluded.detail",
                [(job.id, each.edge, each.status, each.objects, each.latency_ms, each.detail) for job in jobs for each in job.edges],
            )
            transaction.many(
                "INSERT INTO cdn_places (edge, place) VALUES (?, ?) ON CONFLICT (edge) DO UPDATE SET place = excluded.place", places.items()
            )

        if jobs or places:
            await self._sql.write(work)

    async def drop(self, job: JobId) -> None:
        """As if it had never been asked for."""

        def work(transaction: Transaction) -> None:
            transaction.run("DELETE FROM cdn_job_edges WHERE job_id = ?", (job,))
            transaction.run("DELETE FROM cdn_jobs WHERE id = ?", (job,))

        await self._sql.write(work)

    async def get(self, job: JobId) -> Job | None:
        row = await self._sql.one(f"SELECT {_JOB} FROM cdn_jobs WHERE id = ?", (job,))
        return None if row is None else _job(row, await self._edges(job))

    async def find(self, *, status: JobStatus | None = None, limit: int = 50) -> list[Job]:
        """Newest first."""
        where, values = ("WHERE status = ? ", (status,)) if status is not None else ("", ())
        rows = await self._sql.all(f"SELECT {_JOB} FROM cdn_jobs {where}ORDER BY id DESC LIMIT ?", (*values, limit))
        return [_job(row, await self._edges(row[0])) for row in rows]

    async def place(self, edge: str) -> Cursor | None:
        row = await self._sql.one("SELECT place FROM cdn_places WHERE edge = ?", (edge,))
        return None if row is None else Cursor(row[0])

    async def sweep(self, before: UnixMs) -> int:
        """Delete the jobs that were asked for before that."""

        def work(transaction: Transaction) -> int:
            transaction.run("DELETE FROM cdn_job_edges WHERE job_id IN (SELECT id FROM cdn_jobs WHERE created_at < ?)", (before,))
            return transaction.run("DELETE FROM cdn_jobs WHERE created_at < ?", (before,))

        return await self._sql.write(work)

    async def _edges(self, job: str) -> list[Row]:
        return await self._sql.all(f"SELECT {_EDGE} FROM cdn_job_edges WHERE job_id = ? ORDER BY edge", (job,))
