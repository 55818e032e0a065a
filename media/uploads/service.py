"""Uploads, as the surface asks for them: every rule of the domain, none of the wire.

What is acknowledged is on stable storage. When the last byte is there a task of the service makes something of them; a process that died
meanwhile does it at its next start.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

import trio

from nova.core.blobs import Part
from nova.core.clock import Clock
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
    UnsupportedType,
)
from nova.core.guard import guard
from nova.core.lifecycle import cleanup, finishing
from nova.core.log import Log
from nova.media.streams.access import Caller
from nova.media.streams.model import UnixMs, UserId
from nova.media.uploads.direct import Direct
from nova.media.uploads.model import HERE, Addresses, Status, Upload, UploadId
from nova.media.uploads.ports import Maker, Scanner, Tell, UploadStore
from nova.media.uploads.staging import Staging, Writer
from nova.media.uploads.tus import Checksum, Metadata

SYNC_EVERY: Final = 8 << 20  # bytes of one request between two moments at which what arrived is made safe
SWEEP_EVERY: Final = 60.0  # seconds
LATE: Final = 900.0  # seconds that a body may take which began before its address expired
SWEPT: Final = 200  # uploads of one sweep
MAKERS: Final = 2  # uploads that something is made of at once; the others wait in the store
RETRY: Final = 5.0  # seconds until what could not be made for lack of room or time is tried again; doubled with every try
SLOWEST: Final = 600.0  # seconds between two tries at most

_log = Log("nova.uploads")


@dataclass(frozen=True, slots=True)
class Limits:
    """per_user, user_bytes: of unfinished uploads of one user.

    keep: seconds that one is kept which does not go on, and for which something is tried to be made of one that is whole.
    """

    max_size: int = 4 << 30
    per_user: int = 50
    user_bytes: int = 16 << 30
    keep: float = 86_400.0


class _Turn:
    """The one request that writes to an upload now."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.over = trio.Event()


class Uploads:
    """`open` comes first, `run` makes things of what has arrived, until cancelled. tell: hears every change that a user sees."""

    def __init__(
        self,
        store: UploadStore,
        staging: Staging,
        make: Maker,
        clock: Clock,
        new_id: Callable[[], str],
        *,
        limits: Limits | None = None,
        scan: Scanner | None = None,
        tell: Tell = lambda upload: None,
        direct: Direct | None = None,
        sleep: Callable[[float], Awaitable[None]] = trio.sleep,
    ) -> None:
        """direct: takes the bytes of those who ask for signed addresses. sleep: waits so many seconds between two tries."""
        self._store, self._staging, self._make, self._clock, self._new_id = store, staging, make, clock, new_id
        self.limits = limits or Limits()
        self._scan, self._tell, self._direct, self._sleep = scan, tell, direct or Direct(), sleep
        self._turns: dict[UploadId, _Turn] = {}
        self._makers = trio.CapacityLimiter(MAKERS)
        self._nursery: trio.Nursery | None = None
        self._swept: tuple[UnixMs, UploadId] | None = None  # how far the sweep has come among the uploads that are over
        self._emptied_to: tuple[UnixMs, UploadId] | None = None  # and among the addresses

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                await self._recover()
                task_status.started()
                while True:
                    await trio.sleep(SWEEP_EVERY)
                    await guard(_log, self.sweep)
        finally:
            self._nursery = None

    async def _recover(self) -> None:
        """Goes on with what an earlier process left, and removes files of which nothing is known."""
        for upload in await self._store.with_status(Status.PROCESSING):
            self._process(upload)
        for name in await self._staging.names():
            if await self._store.get(UploadId(name)) is None:
                await self._staging.remove(name)

    # What a client does.

    async def create(self, owner: UserId, size: int, metadata: Metadata) -> Upload:
        """A new upload. Raises TooLarge, BadRequest, RateLimited `quota_exceeded`."""
        await self._admit(owner, size)
        return await self._added(owner, size, metadata)

    async def _admit(self, owner: UserId, size: int) -> None:
        """Early, before anything is begun for it; `_added` looks again, in the transaction that counts."""
        limits = self.limits
        if size > limits.max_size:
            raise TooLarge(detail=f"An upload has at most {limits.max_size} bytes.")
        if size < 1:
            raise BadRequest(detail="An upload has at least one byte.")
        count, total = await self._store.load(owner)
        if count >= limits.per_user or total + size > limits.user_bytes:
            raise self._full()

    def _full(self) -> RateLimited:
        limits = self.limits
        return RateLimited(
            "quota_exceeded", f"Unfinished uploads: at most {limits.per_user}, with {limits.user_bytes} bytes; end some first."
        )

    async def _added(self, owner: UserId, size: int, metadata: Metadata, id: str = "", direct: str = "", seconds: float = 0.0) -> Upload:
        """seconds: that its addresses are good for."""
        now = self._now()
        upload = Upload(UploadId(id or self._new_id()), owner, size, metadata, now, self._until(now), direct=direct)
        addresses = None
        if self._direct.outlives(direct):
            addresses = Addresses(upload.id, owner, size, direct, UnixMs(now + int((seconds + LATE) * 1000)))
        if not await self._store.add(upload, (self.limits.per_user, self.limits.user_bytes), addresses):
            raise self._full()
        self._tell(upload)
        return upload

    async def create_direct(self, owner: UserId, size: int, metadata: Metadata, seconds: float) -> tuple[Upload, list[Part]]:
        """A new upload whose bytes come by signed addresses, each good for `seconds`. Raises as `create`; Unavailable."""
        await self._admit(owner, size)
        id, until = self._new_id(), min(seconds, self.limits.keep)
        ticket = await self._direct.open(id, size)
        try:
            parts = await self._direct.parts(id, ticket, size, until, self._clock.wall())
            return await self._added(owner, size, metadata, id, ticket, until), parts
        except BaseException:
            with cleanup():
                await self._direct.drop(id, ticket)
            raise

    async def get(self, upload: UploadId, caller: Caller) -> Upload:
        """Raises NotFound: there is none, or it is another's."""
        found = await self._store.get(upload)
        if found is None or not (caller.operator or caller.user == found.owner):
            raise missing(upload)
        if found.status is Status.UPLOADING and found.expires_at <= self._now():
            raise missing(upload)
        return found

    async def append(
        self, upload: UploadId, caller: Caller, offset: int, body: AsyncIterable[bytes], *, checksum: Checksum | None = None
    ) -> Upload:
        """The bytes of `body` from `offset` on; the upload as it is afterwards.

        A request that comes while another one writes ends that one, whose bytes count: a client that lost its connection goes on at once.
        With a checksum the bytes count together or not at all; without one, those that came count, also when the body breaks off.
        Raises NotFound, Conflict `upload_offset`, TooLarge, ChecksumMismatch, Unavailable; what reading the body raises.
        """
        if (await self.get(upload, caller)).direct:
            raise Conflict(detail="The bytes of this upload go to its signed addresses.")
        turn = await self._take(upload)
        try:
            with turn.scope:
                found = await self.get(upload, caller)
                if found.status is not Status.UPLOADING:
                    raise Conflict(detail="Every byte of this upload is there already.")
                if offset != found.offset:
                    raise Conflict("upload_offset", f"The upload goes on at {found.offset}.")
                return await self._write(found, body, checksum)
        finally:
            del self._turns[upload]
            turn.over.set()
        raise Conflict("upload_offset", "Another request goes on with this upload.")

    async def put(self, upload: UploadId, body: AsyncIterable[bytes], *, expires: int, signature: str) -> Upload:
        """All bytes of a direct upload, from whoever has its signed address; they count together or not at all.

        Raises Forbidden `bad_signature`, `url_expired`; NotFound; Conflict; TooLarge; Unprocessable: some are missing; Unavailable.
        """
        self._direct.verify(upload, expires, signature, self._clock.wall())
        turn = await self._take(upload)
        try:
            with turn.scope:
                found = await self._store.get(upload)
                if found is None:
                    raise missing(upload)
                if found.status is not Status.UPLOADING:
                    raise Conflict(detail="Every byte of this upload is there already.")
                return await self._write(found, body, None)
        finally:
            del self._turns[upload]
            turn.over.set()
        raise Conflict("upload_offset", "Another request sends this upload.")

    async def complete(self, upload: UploadId, caller: Caller) -> Upload:
        """What was sent to signed addresses is whole: something is made of it now. Once it was, nothing happens.

        A second request waits for the first one, and hears what became of that.
        Raises NotFound; Unprocessable: bytes are missing; UnsupportedType: it is none of what is taken here; Unavailable.
        """
        found = await self.get(upload, caller)
        if found.status is not Status.UPLOADING or not found.direct or found.direct == HERE:
            return await self.finished(upload, caller)
        turn = await self._take(upload, wait=True)
        try:
            with turn.scope:
                found = await self.get(upload, caller)
                return await self._completed(found) if found.status is Status.UPLOADING else found
        finally:
            del self._turns[upload]
            turn.over.set()
        raise missing(upload)  # only its deletion ends this

    async def _completed(self, upload: Upload) -> Upload:
        await self._direct.close(upload.id, upload.direct, upload.size)
        try:
            await self._direct.look(upload)
        except UnsupportedType as wrong:
            await self._end(_failed(upload, wrong))
            raise
        return await self._counted(upload, upload.size)

    async def _take(self, upload: UploadId, *, wait: bool = False) -> _Turn:
        """The next turn; the one before is cancelled, or waited for."""
        while (other := self._turns.get(upload)) is not None:
            if not wait:
                other.scope.cancel()
            await other.over.wait()
        turn = self._turns[upload] = _Turn()
        return turn

    async def _write(self, upload: Upload, body: AsyncIterable[bytes], checksum: Checksum | None) -> Upload:
        # What has a checksum, or comes in one piece, counts together.
        whole = checksum is not None or bool(upload.direct)
        began, writer = upload.offset, await self._staging.open(upload.id, upload.offset)
        kept = total = began
        try:
            try:
                async for piece in body:
                    total += len(piece)
                    if total > upload.size:
                        # More than was announced is something else: what did not count yet does not.
                        await writer.cut(kept)
                        raise TooLarge(detail=f"The upload was announced with {upload.size} bytes.")
                    if checksum is not None:
                        checksum.update(piece)
                    await writer.write(piece)
                    if not whole and writer.at - kept >= SYNC_EVERY and writer.at < upload.size:
                        kept = (await self._safe(upload, writer)).offset
            except BaseException:
                if not whole:
                    with finishing():
                        await self._safe(upload, writer)
                raise
            if checksum is not None and not checksum.holds():
                await writer.cut(began)
                raise ChecksumMismatch(detail=f"The upload goes on at {began}.")
            if upload.direct and total != upload.size:
                await writer.cut(began)
                raise Unprocessable(detail=f"{total} bytes have come, {upload.size} were announced.")
            with finishing():  # every byte is here: they count, whether their sender still is or not
                return await self._safe(upload, writer)
        finally:
            writer.close()

    async def _safe(self, upload: Upload, writer: Writer) -> Upload:
        """What was written is on stable storage and counts; with the last byte something begins to be made of it."""
        await writer.flush(sync=True)
        return await self._counted(upload, writer.at)

    async def _counted(self, upload: Upload, offset: int) -> Upload:
        until = self._until(self._now())
        await self._store.advance(upload.id, offset, until)
        status = Status.PROCESSING if offset == upload.size else upload.status
        done = replace(upload, offset=offset, expires_at=until, status=status)
        if done.status is Status.PROCESSING:
            self._process(done)
        self._tell(done)
        return done

    async def delete(self, upload: UploadId, caller: Caller) -> None:
        """The upload and its bytes; what was made of them stays. Raises NotFound; Unavailable: not all of it yet, ask again."""
        found = await self.get(upload, caller)
        turn = await self._take(upload)
        try:
            with finishing():
                await self._forget(found)
        finally:
            del self._turns[upload]
            turn.over.set()

    async def _forget(self, upload: Upload) -> None:
        await self._direct.drop(upload.id, upload.direct)
        await self._staging.remove(upload.id)
        await self._store.delete(upload.id)  # last: it is what a second try finds

    async def finished(self, upload: UploadId, caller: Caller) -> Upload:
        """The upload, when every byte is there. Raises NotFound; Unprocessable: some are missing."""
        found = await self.get(upload, caller)
        if found.status is Status.UPLOADING:
            raise Unprocessable(detail=f"{found.size - found.offset} bytes are missing.")
        return found

    # What becomes of it.

    def _process(self, upload: Upload) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(guard, _log, self._settle, upload)

    async def _settle(self, upload: Upload) -> None:
        """Its bytes were acknowledged: an outage, of whatever length below `keep`, only puts off what becomes of them."""
        wait = RETRY
        while True:
            try:
                async with self._makers:
                    if await self._store.get(upload.id) is not None:  # else it was deleted meanwhile
                        await self._end(await self._outcome(upload))
                return
            except Unavailable as busy:
                _log.warning("upload_waits", upload=upload.id, code=busy.code, detail=busy.detail)
                await self._sleep(max(wait, busy.retry_after or 0.0))
                wait = min(2 * wait, SLOWEST)

    async def _outcome(self, upload: Upload) -> Upload:
        """As it ends. Raises Unavailable: it is too early to say."""
        try:
            kind, id = await self._made(upload)
        except Unavailable as busy:
            if self._now() < upload.expires_at:
                raise
            return _failed(upload, busy)
        except NovaError as wrong:
            return _failed(upload, wrong)
        return replace(upload, status=Status.READY, result_kind=kind, result_id=id)

    async def _made(self, upload: Upload) -> tuple[str, str]:
        await self._direct.fetch(upload, self._staging)
        digest = await self._staging.digest(upload.id)
        if upload.metadata.sha256 and digest != upload.metadata.sha256:
            raise Unprocessable("digest_mismatch", f"the content has the SHA-256 {digest}")
        if self._scan is not None:
            await self._scan(self._staging.path(upload.id))
        return await self._make(upload, self._staging.read(upload.id), digest)

    async def _end(self, upload: Upload) -> None:
        await self._store.settle(
            upload.id, upload.status, result=(upload.result_kind, upload.result_id), error=(upload.error_code, upload.error_detail)
        )
        self._tell(upload)
        # It has ended, whatever happens to what is left of it: the sweep, when it expires, tries that again.
        with cleanup():
            await guard(_log, self._store.advance, upload.id, upload.offset, self._until(self._now()))
            await guard(_log, self._staging.remove, upload.id)
            await guard(_log, self._direct.drop, upload.id, upload.direct)

    async def sweep(self) -> int:
        """Forgets what is over, SWEPT at most; how many uploads that were.

        One that cannot be forgotten now does not keep the others, nor do as many as one sweep takes: the next one goes on behind them, and
        comes back to them when it has seen all.
        """
        found = await self._store.expired(self._now(), SWEPT, self._swept)
        self._swept = (found[-1].expires_at, found[-1].id) if len(found) == SWEPT else None
        for upload in found:
            if upload.id not in self._turns:
                await guard(_log, self._forget, upload)
        over = await self._store.addresses_over(self._now(), SWEPT, self._emptied_to)
        self._emptied_to = (over[-1].until, over[-1].upload) if len(over) == SWEPT else None
        for addresses in over:
            await guard(_log, self._emptied, addresses)
        return len(found)

    async def _emptied(self, addresses: Addresses) -> None:
        """What came to them when their upload had ended is removed; nothing comes any more."""
        upload = await self._store.get(addresses.upload)
        if upload is None or upload.status in (Status.READY, Status.FAILED):
            await self._direct.drop(addresses.upload, addresses.direct)
        await self._store.forget_addresses(addresses.upload)

    def _now(self) -> UnixMs:
        return UnixMs(int(self._clock.wall() * 1000))

    def _until(self, now: UnixMs) -> UnixMs:
        return UnixMs(now + int(self.limits.keep * 1000))


def _failed(upload: Upload, error: NovaError) -> Upload:
    detail = "" if error.kind == "internal" else error.detail
    return replace(upload, status=Status.FAILED, error_code=error.code, error_detail=detail)


def missing(upload: str) -> NotFound:
    return NotFound(detail=f"There is no upload {upload[:64]!r}.")
