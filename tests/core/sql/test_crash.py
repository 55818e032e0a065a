"""`kill -9` at any moment: every acknowledged transaction is there after it, whole, and no half of another.

The page cache outlives the process, so this proves the order of writing and the recovery, not the disk.
"""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nova.core.offload import Offload
from nova.core.sql import Migration, Schema, open_sqlite

NOW = "2026-01-02T03:04:05Z"
SCHEMA = Schema("crash", (Migration("pairs", ("CREATE TABLE pair (id BIGINT NOT NULL, half BIGINT NOT NULL, PRIMARY KEY (id, half))",)),))

# Prints the number of every transaction once it is acknowledged; ten callers keep groups of many forming.
CHILD = """
import itertools, os, sys
from pathlib import Path
import trio
from nova.core.offload import Offload
from nova.core.sql import Migration, Schema, open_sqlite

SCHEMA = Schema("crash", (Migration("pairs", ("CREATE TABLE pair (id BIGINT NOT NULL, half BIGINT NOT NULL, PRIMARY KEY (id, half))",)),))

async def main(path, first):
    numbers = itertools.count(first)
    async def caller(store):
        for number in numbers:
            def work(transaction):
                for half in (0, 1):
                    transaction.run("INSERT INTO pair (id, half) VALUES (?, ?)", (number, half))
            await store.write(work)
            os.write(1, b"%d\\n" % number)
    async with open_sqlite(path, [SCHEMA], Offload(), now="") as store, trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(caller, store)

trio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
"""


async def rounds(path: Path, count: int, seed: int) -> None:
    chance = random.Random(seed)
    acknowledged: set[int] = set()
    for number in range(count):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(path), str(number * 1_000_000)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        wanted = chance.randrange(1, 400)
        lines = [child.stdout.readline() for _ in range(wanted)]
        os.kill(child.pid, signal.SIGKILL)
        lines += child.stdout.read().splitlines(keepends=True)
        child.stdout.close()
        assert child.wait() == -signal.SIGKILL
        acknowledged |= {int(line) for line in lines if line.endswith(b"\n")}
        assert len(acknowledged) >= wanted
        async with open_sqlite(path, [SCHEMA], Offload(), now=NOW) as store:
            assert await store.one("PRAGMA integrity_check") == ("ok",)
            rows = await store.all("SELECT id, count(*) FROM pair GROUP BY id")
            found: dict[int, int] = {row[0]: row[1] for row in rows}
        assert acknowledged <= found.keys()
        assert set(found.values()) <= {2}


async def test_killed_writer_loses_no_acknowledged_transaction(tmp_path: Path) -> None:
    await rounds(tmp_path / "nova.db", 2, seed=1)


@pytest.mark.slow
async def test_killed_writer_loses_no_acknowledged_transaction_in_many_rounds(tmp_path: Path) -> None:
    await rounds(tmp_path / "nova.db", 60, seed=2)
