"""Group commit: one thread writes, many callers share each commit.

Callers queue their transactions; the thread takes what has gathered, runs each under a savepoint, commits them together
with one fsync, and answers all of them by one wake-up of trio. While it waits for the disk the next group gathers, so the
group grows with the load and a lone caller waits for nobody.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

import outcome
import trio

from nova.core import errors
from nova.core.sql.faults import FAILING, code_of, ours, translated
from nova.core.sql.port import Row, Transaction, Value

T = TypeVar("T")

QUEUE: Final = 8192  # transactions that may wait; some 100 ms of work at 84 k/s, more is a disk that hangs
GROUP: Final = 512  # transactions of one commit; bounds how long the first of them waits for the last

Observe = Callable[[int, int], None]  # transactions of the group, of them failed


def _unobserved(size: int, failed: int) -> None:
    """Nobody measures."""


class _Job:
    __slots__ = ("result", "task", "work")

    def __init__(self, work: Callable[[Transaction], Any], task: trio.lowlevel.Task) -> None:
        self.work = work
        self.task = task
        self.result: outcome.Outcome[Any] | None = None


class OpenTransaction:
    """The `Transaction` of a connection, valid until it is shut."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection: sqlite3.Connection | None = connection

    def shut(self) -> None:
        self._connection = None

    def _open(self) -> sqlite3.Connection:
        # SQLite may undo the whole transaction when it cannot go on; a later statement would then commit alone.
        if self._connection is None or not self._connection.in_transaction:
            raise errors.Internal("internal", "a transaction was used after its end")
        return self._connection

    def one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        with translated():
            cursor = self._open().execute(sql, parameters)
            row: Row | None = cursor.fetchone()
            cursor.close()  # a statement that is not read to its end would hold the commit back
            return row

    def all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        with translated():
            return self._open().execute(sql, parameters).fetchall()

    def run(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        with translated():
            cursor = self._open().execute(sql, parameters)
            if cursor.description is not None:
                cursor.fetchall()
            return max(cursor.rowcount, 0)

    def many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        with translated():
            self._open().executemany(sql, rows)


class Writer:
    """The writer thread of a database and its queue.

    connection: its own from now on. connect: makes another when that one has become unusable.
    Made in a trio task; `write` from that trio run only. `fault`: why the latest transaction could not be stored; None when it was.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        connect: Callable[[], sqlite3.Connection],
        *,
        queue: int = QUEUE,
        observe: Observe = _unobserved,
    ) -> None:
        self._connection: sqlite3.Connection | None = connection
        self._connect = connect
        self._queue = queue
        self._observe = observe
        self._token = trio.lowlevel.current_trio_token()
        self._wake = threading.Condition(threading.Lock())
        self._jobs: deque[_Job] = deque()
        self._closing = False
        self.fault: errors.NovaError | None = None
        self._ended = trio.Event()
        self._thread = threading.Thread(target=self._main, name="nova-sql-writer", daemon=True)
        self._thread.start()

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """As `Sql.write`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        job = _Job(work, trio.lowlevel.current_task())
        with self._wake:
            if self._closing:
                raise errors.Unavailable("shutting_down", "the store is closed")
            if len(self._jobs) >= self._queue:
                raise errors.Unavailable("overloaded", f"{self._queue} transactions wait for the store", retry_after=1.0)
            self._jobs.append(job)
            self._wake.notify()

        def withdraw(_: object) -> trio.lowlevel.Abort:
            with self._wake:
                try:
                    self._jobs.remove(job)
                except ValueError:  # it is being written: the caller stays for the outcome
                    return trio.lowlevel.Abort.FAILED
            return trio.lowlevel.Abort.SUCCEEDED

        value: T = await trio.lowlevel.wait_task_rescheduled(withdraw)
        return value

    async def close(self) -> None:
        """Refuse new transactions, write the queued ones, close the connection. Not cancellable: it takes one commit."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        with trio.CancelScope(shield=True):
            await self._ended.wait()

    def _main(self) -> None:
        """Thread."""
        try:
            while group := self._take():
                self._commit(group)
                self._tell(self._answer, group)
        finally:
            # Also the way out of a bug: nobody may wait for a thread that is gone.
            with self._wake:
                self._closing = True
                left = list(self._jobs)
                self._jobs.clear()
            self._discard()
            for job in left:
                job.result = outcome.Error(errors.Unavailable("storage_failed", "the store's writer ended"))
            self._tell(self._answer, left)
            self._tell(self._ended.set)

    def _tell(self, call: Callable[..., object], *arguments: object) -> None:
        with suppress(trio.RunFinishedError):  # then there is nobody left to answer
            self._token.run_sync_soon(call, *arguments)

    def _answer(self, group: list[_Job]) -> None:
        """Trio thread."""
        failed = 0
        for job in group:
            assert job.result is not None
            if isinstance(job.result, outcome.Error):
                failed += 1
                if isinstance(job.result.error, errors.Unavailable):
                    self.fault = job.result.error
            else:
                self.fault = None
            trio.lowlevel.reschedule(job.task, job.result)
        if group:
            self._observe(len(group), failed)

    def _take(self) -> list[_Job]:
        """The next group; empty when the queue is closed and written out."""
        with self._wake:
            while not self._jobs and not self._closing:
                self._wake.wait()
            return [self._jobs.popleft() for _ in range(min(len(self._jobs), GROUP))]

    def _commit(self, group: list[_Job]) -> None:
        """Write a group; afterwards every job has its result, and those with a value are on stable storage."""
        failed = self._attempt(group)
        if failed is None:
            return
        again = [job for job in group if job.result is None]
        if code_of(failed) in FAILING or len(group) == 1:
            for job in again:
                job.result = outcome.Error(ours(failed))
            return
        # The disk had no room for all of them, or a deferred constraint does not hold: whose fault it was shows when
        # each is alone.
        for job in again:
            self._commit([job])

    def _attempt(self, group: list[_Job]) -> sqlite3.Error | None:
        """One try at committing a group. None, or what undid the whole; then those without a result were not at fault."""
        results: list[outcome.Outcome[Any]] = []
        at_fault: outcome.Error | None = None
        try:
            if self._connection is None:
                self._connection = self._connect()
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            for job in group:
                connection.execute("SAVEPOINT job")
                transaction = OpenTransaction(connection)
                result = outcome.capture(job.work, transaction)
                transaction.shut()
                if isinstance(result, outcome.Error):
                    at_fault = result
                    # When SQLite had to undo more than the statement, there is no savepoint any more and this raises.
                    connection.execute("ROLLBACK TO job")
                    at_fault = None
                connection.execute("RELEASE job")
                results.append(result)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._undo(error)
            if at_fault is not None:
                group[len(results)].result = at_fault
            return error
        for job, result in zip(group, results, strict=True):
            job.result = result
        return None

    def _undo(self, error: sqlite3.Error) -> None:
        """No transaction is open afterwards, and nothing that a failing disk gave us stays in the page cache."""
        if self._connection is not None and code_of(error) not in FAILING:
            try:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                return
            except sqlite3.Error:
                pass  # a connection that cannot even do this is of no use
        self._discard()

    def _discard(self) -> None:
        """Close the connection, which undoes what is open; the next group makes another."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
