"""Uploads on a real disk: what counts, what a broken connection, a second one and a dead process leave."""

import signal
import sys
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trio

from nova.core.clock import FakeClock
from nova.core.errors import (
    BadRequest,
    ChecksumMismatch,
    Conflict,
    NotFound,
    NovaError,
    RateLimited,
    TooLarge,
    Unavailable,
    Unprocessable,
)
from nova.core.ids import Ids
from nova.core.offload import Offload
from nova.core.sql import Schema, Sql, open_sqlite
from nova.core.values import Seconds
from nova.media.streams.access import Caller
from nova.media.streams.model import UserId
from nova.media.uploads import service, tus
from nova.media.uploads.model import Status, Upload, UploadId
from nova.media.uploads.ports import UploadStore
from nova.media.uploads.scanner import ProgramScanner
from nova.media.uploads.service import SYNC_EVERY, Limits, Uploads
from nova.media.uploads.staging import Staging, Writer
from nova.media.uploads.store_memory import MemoryUploads
from nova.media.uploads.store_sql import SCHEMA, SqlUploads
from nova.media.uploads.tus import Metadata

ADA = Caller(UserId("ada"))
DATA = bytes(range(256)) * 5000


class House:
    """Uploads over a directory; what was made of them, and a way to begin anew as after a crash."""

    def __init__(self, root: Path, **more: Any) -> None:
        self.root, self.clock, self.more = root, FakeClock(), more
        self.store: UploadStore = MemoryUploads()
        self.made: list[tuple[str, bytes]] = []
        self.refuse: list[NovaError] = []
        self.told: list[Upload] = []
        self.waits: list[float] = []
        self.gate = trio.Event()
        self.gate.set()

    async def sleep(self, seconds: float) -> None:
        """Between two tries."""
        self.waits.append(seconds)
        self.clock.advance(seconds)
        await trio.lowlevel.checkpoint()

    async def make(self, upload: Upload, body: AsyncIterable[bytes], digest: str) -> tuple[str, str]:
        await self.gate.wait()
        if self.refuse:
            raise self.refuse.pop(0)
        data = b"".join([piece async for piece in body])
        assert sha256(data).hexdigest() == digest
        self.made.append((upload.id, data))
        return "image", "i1"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Uploads]:
        staging = Staging(self.root / "uploads", Offload())
        uploads = Uploads(
            self.store, staging, self.make, self.clock, Ids(self.clock).new, tell=self.told.append, sleep=self.sleep, **self.more
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(uploads.run)
            yield uploads
            nursery.cancel_scope.cancel()

    async def ended(self, uploads: Uploads, upload: Upload) -> Upload:
        """The upload once its user was told how it ended, and its file is gone."""
        with trio.fail_after(10):
            while not any(each.id == upload.id and each.status in (Status.READY, Status.FAILED) for each in self.told):
                await trio.sleep(0.005)
            while upload.id in self.files:
                await trio.sleep(0.005)
        return await uploads.get(upload.id, ADA)

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in (self.root / "uploads").iterdir())


async def pieces(data: bytes, size: int = 70_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        await trio.lowlevel.checkpoint()
        yield data[at : at + size]


async def broken(data: bytes) -> AsyncIterator[bytes]:
    yield data
    raise BadRequest(detail="the client has left")


async def test_bytes_in_pieces_become_something(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.open() as uploads:
        upload = await uploads.create(UserId("ada"), len(DATA), Metadata(sha256=sha256(DATA).hexdigest()))
        half = await uploads.append(upload.id, ADA, 0, pieces(DATA[:600_000]))
        assert (half.offset, half.status) == (600_000, Status.UPLOADING)
        with pytest.raises(Conflict) as wrong:
            await uploads.append(upload.id, ADA, 0, pieces(DATA))
        assert wrong.value.code == "upload_offset"
        await uploads.append(upload.id, ADA, 600_000, pieces(DATA[600_000:]))
        ready = await house.ended(uploads, upload)
        assert (ready.status, ready.result_kind, ready.result_id) == (Status.READY, "image", "i1")
        assert house.made == [(upload.id, DATA)]
        assert house.files == []
        with pytest.raises(Conflict):
            await uploads.append(upload.id, ADA, len(DATA), pieces(b""))
        assert [each.status for each in house.told][-2:] == [Status.PROCESSING, Status.READY]


async def test_what_came_before_a_break_counts(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.open() as uploads:
        upload = await uploads.create(UserId("ada"), len(DATA), Metadata())
        with pytest.raises(BadRequest):
            await uploads.append(upload.id, ADA, 0, broken(DATA[:1234]))
        assert (await uploads.get(upload.id, ADA)).offset == 1234
        await uploads.append(upload.id, ADA, 1234, pieces(DATA[1234:]))
        assert (await house.ended(uploads, upload)).status is Status.READY
        assert house.made[0][1] == DATA


async def test_with_a_checksum_all_counts_or_nothing(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.open() as uploads:
        upload = await uploads.create(UserId("ada"), len(DATA), Metadata())
        await uploads.append(upload.id, ADA, 0, pieces(DATA[:10]))
        wrong = tus.Checksum("sha256", bytes(32))
        with pytest.raises(ChecksumMismatch):
            await uploads.append(upload.id, ADA, 10, pieces(DATA[10:]), checksum=wrong)
        with pytest.raises(BadRequest):
            await uploads.append(upload.id, ADA, 10, broken(DATA[10:500]), checksum=tus.Checksum("sha256", bytes(32)))
        assert (await uploads.get(upload.id, ADA)).offset == 10
        good = tus.Checksum("sha256", sha256(DATA[10:]).digest())
        await uploads.append(upload.id, ADA, 10, pieces(DATA[10:]), checksum=good)
        await house.ended(uploads, upload)
        assert house.made[0][1] == DATA


async def test_a_process_that_dies_leaves_what_was_acknowledged(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.open() as uploads:
        upload = await uploads.create(UserId("ada"), len(DATA), Metadata())
        await uploads.append(upload.id, ADA, 0, pieces(DATA[:5000]))
    # Bytes behind what the store knows: of a request that the crash cut off.
    with (tmp_path / "uploads" / upload.id).open("ab") as file:
        file.write(b"torn" * 99)
    (tmp_path / "uploads" / "018f0000-0000-7000-8000-000000000000").write_bytes(b"nobody's")
    async with house.open() as uploads:
        assert house.files == [upload.id]
        assert (await uploads.get(upload.id, ADA)).offset == 5000
        house.gate = trio.Event()
        await uploads.append(upload.id, ADA, 5000, pieces(DATA[5000:]))
    assert not house.made
    house.gate.set()
    async with house.open() as uploads:  # it died again, while something was being made
        assert (await house.ended(uploads, upload)).status is Status.READY
    assert house.made == [(upload.id, DATA)]


# Stores every byte of an upload, and is dead the moment that the last one is acknowledged.
KILLED = """
import os, signal, sys
from pathlib import Path
import trio
from nova.core.clock import FakeClock
from nova.core.ids import Ids
from nova.core.offload import Offload
from nova.core.sql import open_sqlite
from nova.media.streams.access import Caller
from nova.media.uploads.service import Uploads
from nova.media.uploads.staging import Staging
from nova.media.uploads.store_sql import SCHEMA, SqlUploads
from nova.media.uploads.tus import Metadata

class Dying(SqlUploads):
    async def advance(self, upload, offset, expires_at):
        await super().advance(upload, offset, expires_at)
        if offset == 5000:
            os.kill(os.getpid(), signal.SIGKILL)

async def body():
    yield bytes(5000)

async def main(root):
    clock, offload = FakeClock(), Offload()
    async with open_sqlite(root / "nova.db", [SCHEMA], offload, now="") as sql, trio.open_nursery() as nursery:
        uploads = Uploads(Dying(sql), Staging(root / "uploads", offload), None, clock, Ids(clock).new)
        await nursery.start(uploads.run)
        upload = await uploads.create("ada", 5000, Metadata())
        os.write(1, upload.id.encode())
        await uploads.append(upload.id, Caller("ada"), 0, body())

trio.run(main, Path(sys.argv[1]))
"""


async def test_a_process_that_dies_with_the_last_byte_leaves_a_whole_upload(tmp_path: Path) -> None:
    child = await trio.run_process([sys.executable, "-c", KILLED, str(tmp_path)], capture_stdout=True, check=False)
    assert child.returncode == -signal.SIGKILL
    house = House(tmp_path)
    async with open_sqlite(tmp_path / "nova.db", [SCHEMA], Offload(), now="") as sql:
        house.store = SqlUploads(sql)
        async with house.open() as uploads:
            upload = await uploads.get(UploadId(child.stdout.decode()), ADA)
            assert (await house.ended(uploads, upload)).status is Status.READY
    assert house.made == [(upload.id, bytes(5000))]


async def test_whole_uploads_that_an_earlier_version_left_are_made(tmp_path: Path) -> None:
    old = Schema(SCHEMA.owner, SCHEMA.migrations[:1])
    async with open_sqlite(tmp_path / "nova.db", [old], Offload(), now="") as sql:
        for name, size in (("u1", 3), ("u2", 4)):
            await sql.run("INSERT INTO uploads VALUES (?, 'ada', ?, '', 1, ?, 3, 'uploading', '', '', '', '')", (name, size, 2**50))
    house = House(tmp_path)
    (tmp_path / "uploads").mkdir()
    for name in ("u1", "u2"):
        (tmp_path / "uploads" / name).write_bytes(b"abc")
    async with open_sqlite(tmp_path / "nova.db", [SCHEMA], Offload(), now="") as sql:
        house.store = SqlUploads(sql)
        async with house.open() as uploads:
            whole = await uploads.get(UploadId("u1"), ADA)
            assert (await house.ended(uploads, whole)).status is Status.READY
            assert (await uploads.get(UploadId("u2"), ADA)).status is Status.UPLOADING


@pytest.mark.parametrize("size", [5000, SYNC_EVERY])
async def test_a_client_that_leaves_after_its_last_byte_has_sent_all(tmp_path: Path, size: int) -> None:
    house, data = House(tmp_path), bytes(size)
    async with house.open() as uploads:
        upload = await uploads.create(UserId("ada"), size, Metadata())
        with pytest.raises(BadRequest):
            await uploads.append(upload.id, ADA, 0, broken(data))
        assert (await house.ended(uploads, upload)).status is Status.READY
    assert [name for name, _ in house.made] == [upload.id]


async def test_a_client_that_comes_back_takes_over_from_its_dead_connection(tmp_path: Path) -> None:
    house = House(tmp_path)
    stuck = trio.Event()

    async def hanging() -> AsyncIterator[bytes]:
        yield DATA[:300_000]
        stuck.set()
        await trio.sleep_forever()

    async with house.open() as uploads:
        upload = await uploads.create(UserId("ada"), len(DATA), Metadata())

        async def first() -> None:
            with pytest.raises(Conflict):
                await uploads.append(upload.id, ADA, 0, hanging())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(first)
            await stuck.wait()
            with pytest.raises(Conflict) as behind:
                await uploads.append(upload.id, ADA, 0, pieces(DATA))
            assert "300000" in behind.value.detail
        await uploads.append(upload.id, ADA, 300_000, pieces(DATA[300_000:]))
        assert (await house.ended(uploads, upload)).status is Status.READY


async def test_failures_are_told(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.open() as uploads:
        wrong = await uploads.create(UserId("ada"), 3, Metadata(sha256="0" * 64))
        await uploads.append(wrong.id, ADA, 0, pieces(b"abc"))
        assert (await house.ended(uploads, wrong)).error_code == "digest_mismatch"
        house.refuse = [Unprocessable("bad_image", "the png is damaged")]
        bad = await uploads.create(UserId("ada"), 3, Metadata())
        await uploads.append(bad.id, ADA, 0, pieces(b"abc"))
        found = await house.ended(uploads, bad)
        assert (found.status, found.error_code, found.error_detail) == (Status.FAILED, "bad_image", "the png is damaged")
        house.refuse = [Unavailable("overloaded", "later", retry_after=0.01)]
        late = await uploads.create(UserId("ada"), 3, Metadata())
        await uploads.append(late.id, ADA, 0, pieces(b"abc"))
        assert (await house.ended(uploads, late)).status is Status.READY, "what was busy is tried again"
        assert house.files == []


class Failing(SqlUploads):
    """A store whose next calls of these names fail."""

    def __init__(self, sql: Sql) -> None:
        super().__init__(sql)
        self.fails: list[str] = []

    def _try(self, name: str) -> None:
        if name in self.fails:
            self.fails.remove(name)
            raise Unavailable(detail="the store is away")

    async def settle(self, *args: Any, **kwargs: Any) -> None:
        self._try("settle")
        await super().settle(*args, **kwargs)

    async def advance(self, *args: Any, **kwargs: Any) -> None:
        self._try("advance")
        await super().advance(*args, **kwargs)


async def test_an_outage_puts_off_what_was_acknowledged_and_loses_nothing(tmp_path: Path) -> None:
    house = House(tmp_path, limits=Limits(keep=10_000.0))
    async with open_sqlite(tmp_path / "nova.db", [SCHEMA], Offload(), now="") as sql:
        house.store = store = Failing(sql)
        async with house.open() as uploads:
            house.refuse = [Unavailable(retry_after=1.0 if each else 30.0) for each in range(9)]
            store.fails = ["settle"]  # nor is the store there when something was made
            upload = await uploads.create(UserId("ada"), len(DATA), Metadata())
            await uploads.append(upload.id, ADA, 0, pieces(DATA))
            found = await house.ended(uploads, upload)
            assert (found.status, house.made[-1]) == (Status.READY, (upload.id, DATA))
            assert house.waits == [30, 10, 20, 40, 80, 160, 320, 600, 600, 600]
            assert house.files == []


async def test_an_outage_longer_than_uploads_are_kept_fails_them(tmp_path: Path) -> None:
    house = House(tmp_path, limits=Limits(keep=100.0))
    async with open_sqlite(tmp_path / "nova.db", [SCHEMA], Offload(), now="") as sql:
        house.store = SqlUploads(sql)
        async with house.open() as uploads:
            house.refuse = [Unavailable("storage_full", "no room") for _ in range(99)]
            upload = await uploads.create(UserId("ada"), 3, Metadata())
            await uploads.append(upload.id, ADA, 0, pieces(b"abc"))
            found = await house.ended(uploads, upload)
            assert (found.status, found.error_code) == (Status.FAILED, "storage_full")
            assert sum(house.waits) >= 100


async def test_what_was_deleted_during_an_outage_is_not_made_of_nothing(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with open_sqlite(tmp_path / "nova.db", [SCHEMA], Offload(), now="") as sql:
        house.store = SqlUploads(sql)
        waits, go = trio.Event(), trio.Event()

        async def sleep(seconds: float) -> None:
            waits.set()
            await go.wait()

        house.sleep = sleep  # type: ignore[method-assign]
        async with house.open() as uploads:
            house.refuse = [Unavailable()]
            upload = await uploads.create(UserId("ada"), 3, Metadata())
            await uploads.append(upload.id, ADA, 0, pieces(b"abc"))
            await waits.wait()
            await uploads.delete(upload.id, ADA)
            go.set()
            other = await uploads.create(UserId("ada"), 3, Metadata())
            await uploads.append(other.id, ADA, 0, pieces(b"abc"))
            await house.ended(uploads, other)
            assert [each.status for each in house.told if each.id == upload.id] == [Status.UPLOADING, Status.PROCESSING]


@pytest.mark.parametrize("step", ["flush", "advance"])
async def test_a_client_cancelled_in_the_last_step_has_sent_all(tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(tmp_path)
    scope = trio.CancelScope()
    advance, flush = SqlUploads.advance, Writer.flush

    async def leaves_in_advance(*args: Any) -> None:
        scope.cancel()
        await advance(*args)

    async def leaves_in_flush(writer: Writer, *, sync: bool) -> None:
        if sync:
            scope.cancel()
        await flush(writer, sync=sync)

    async with open_sqlite(tmp_path / "nova.db", [SCHEMA], Offload(), now="") as sql:
        house.store = SqlUploads(sql)
        async with house.open() as uploads:
            upload = await uploads.create(UserId("ada"), len(DATA), Metadata())
            with monkeypatch.context() as patched, scope:
                if step == "advance":
                    patched.setattr(SqlUploads, "advance", leaves_in_advance)
                else:
                    patched.setattr(Writer, "flush", leaves_in_flush)
                await uploads.append(upload.id, ADA, 0, pieces(DATA[:300_000]))
            assert scope.cancel_called
            assert (await uploads.get(upload.id, ADA)).offset == 300_000
            await uploads.append(upload.id, ADA, 300_000, pieces(DATA[300_000:]))
            assert (await house.ended(uploads, upload)).status is Status.READY
            assert house.made == [(upload.id, DATA)]


async def test_bounds(tmp_path: Path) -> None:
    house = House(tmp_path, limits=Limits(max_size=1000, per_user=2, user_bytes=1500))
    async with house.open() as uploads:
        for size in (1001, 0):
            with pytest.raises((TooLarge, BadRequest)):
                await uploads.create(UserId("ada"), size, Metadata())
        first = await uploads.create(UserId("ada"), 1000, Metadata())
        with pytest.raises(RateLimited):
            await uploads.create(UserId("ada"), 501, Metadata())
        await uploads.create(UserId("ada"), 500, Metadata())
        with pytest.raises(RateLimited):
            await uploads.create(UserId("ada"), 1, Metadata())
        await uploads.create(UserId("bob"), 1, Metadata())
        with pytest.raises(TooLarge):
            await uploads.append(first.id, ADA, 0, pieces(bytes(1001), 100))
        found = await uploads.get(first.id, ADA)
        assert (found.offset, found.status) == (0, Status.UPLOADING), "what is more than announced is something else"
        for caller in (Caller(UserId("bob")), Caller()):
            with pytest.raises(NotFound):
                await uploads.get(first.id, caller)


async def test_many_at_once_are_no_more_than_a_user_may_have(tmp_path: Path) -> None:
    house, refused = House(tmp_path, limits=Limits(per_user=2)), list[str]()
    async with open_sqlite(tmp_path / "nova.db", [SCHEMA], Offload(), now="") as sql:
        house.store = store = SqlUploads(sql)
        async with house.open() as uploads:

            async def create() -> None:
                try:
                    await uploads.create(UserId("ada"), 3, Metadata())
                except RateLimited as error:
                    refused.append(error.code)

            async with trio.open_nursery() as nursery:
                for _ in range(9):
                    nursery.start_soon(create)
            assert (await store.load(UserId("ada")), refused) == ((2, 6), ["quota_exceeded"] * 7)


async def test_what_does_not_go_on_is_forgotten(tmp_path: Path) -> None:
    house = House(tmp_path, limits=Limits(keep=100.0))
    async with house.open() as uploads:
        upload = await uploads.create(UserId("ada"), 10, Metadata())
        await uploads.append(upload.id, ADA, 0, pieces(b"abc"))
        house.clock.advance(99)
        await uploads.append(upload.id, ADA, 3, pieces(b"d"))
        house.clock.advance(99)
        assert (await uploads.get(upload.id, ADA)).offset == 4
        assert await uploads.sweep() == 0
        house.clock.advance(2)
        with pytest.raises(NotFound):
            await uploads.get(upload.id, ADA)
        assert await uploads.sweep() == 1
        assert house.files == []


async def test_uploads_that_cannot_be_forgotten_keep_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many of them as one sweep takes, before the one that could be."""
    monkeypatch.setattr(service, "SWEPT", 3)
    house = House(tmp_path, limits=Limits(keep=100.0))
    async with house.open() as uploads:
        stuck = [(await uploads.create(UserId("ada"), 10, Metadata())).id for _ in range(3)]
        house.clock.advance(1)
        last = await uploads.create(UserId("ada"), 10, Metadata())
        house.clock.advance(101)
        remove = Staging.remove

        async def held(staging: Staging, name: str) -> None:
            if name in stuck:
                raise OSError(5, "the disk does not answer")
            await remove(staging, name)

        with monkeypatch.context() as patched:
            patched.setattr(Staging, "remove", held)
            assert [await uploads.sweep() for _ in range(3)] == [3, 1, 3]
        assert await house.store.get(last.id) is None
        assert [await house.store.get(id) is None for id in stuck] == [False] * 3
        assert [await uploads.sweep() for _ in range(3)] == [0, 3, 0]
        assert await house.store.load(UserId("ada")) == (0, 0)


async def test_an_upload_can_be_ended(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.open() as uploads:
        upload = await uploads.create(UserId("ada"), 10, Metadata())
        await uploads.append(upload.id, ADA, 0, pieces(b"abc"))
        await uploads.delete(upload.id, ADA)
        assert house.files == []
        with pytest.raises(NotFound):
            await uploads.append(upload.id, ADA, 3, pieces(b"d"))


@pytest.mark.parametrize(("code", "status", "error"), [("0", Status.READY, ""), ("1", Status.FAILED, "malware")])
async def test_a_scanner_sees_the_whole_file(tmp_path: Path, code: str, status: Status, error: str) -> None:
    seen = tmp_path / "seen"
    scanner = ProgramScanner(["sh", "-c", f'cat "$1" > {seen}; exit {code}', "scan"], Seconds(10))
    house = House(tmp_path, scan=scanner)
    async with house.open() as uploads:
        upload = await uploads.create(UserId("ada"), 3, Metadata())
        await uploads.append(upload.id, ADA, 0, pieces(b"abc"))
        found = await house.ended(uploads, upload)
        assert (found.status, found.error_code, seen.read_bytes()) == (status, error, b"abc")


async def test_a_scanner_that_cannot_look_is_no_clean_bill(tmp_path: Path) -> None:
    for command in (["sh", "-c", "exit 2"], [str(tmp_path / "missing")], ["sh", "-c", "sleep 5"]):
        with pytest.raises(Unavailable):
            await ProgramScanner(command, Seconds(0.2))(tmp_path / "file")
