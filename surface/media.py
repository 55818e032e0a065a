"""Pictures and uploads, put together: what the composition root opens for them."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterable, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from nova.core.blobs import Blobs, s3
from nova.core.blobs.files import FileBlobs
from nova.core.bus import Bus
from nova.core.clock import Clock
from nova.core.errors import NovaError, Unprocessable
from nova.core.ids import Ids
from nova.core.metrics import Metrics
from nova.core.offload import Offload
from nova.core.settings_table import Settings
from nova.core.sql import Sql
from nova.media.images.delivery import Delivery, Rules
from nova.media.images.pool import OUTCOMES, Bounds, Pool
from nova.media.images.service import Images
from nova.media.images.sniff import Limits
from nova.media.images.store_sql import SCHEMA as IMAGES
from nova.media.images.store_sql import SqlImages
from nova.media.library.model import Kind
from nova.media.library.service import Draft, Library
from nova.media.library.store_sql import SCHEMA as LIBRARY
from nova.media.library.store_sql import SqlVideos
from nova.media.uploads import kinds
from nova.media.uploads.direct import HEAD, Direct
from nova.media.uploads.model import Status, Upload
from nova.media.uploads.scanner import ProgramScanner
from nova.media.uploads.service import Limits as UploadLimits
from nova.media.uploads.service import Uploads
from nova.media.uploads.staging import Staging
from nova.media.uploads.store_sql import SCHEMA as UPLOADS
from nova.media.uploads.store_sql import SqlUploads
from nova.surface import image_keys
from nova.surface.events import Events
from nova.surface.fetch import CheckedFetch

SCHEMAS: Final = (IMAGES, LIBRARY, UPLOADS)
QUEUE: Final = 1024  # changes of uploads that wait to be told
Say = Callable[..., Awaitable[object]]  # realtime's Hub.say
TOPIC: Final = "nova.media.events"


@dataclass(frozen=True, slots=True)
class Media:
    """The services of this page; `run` is what they do by themselves. poster: the signed path of a video's picture."""

    images: Images
    uploads: Uploads
    library: Library
    poster: Callable[[str], str]
    events: Events
    announcer: Announcer

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.events.run)
            await nursery.start(self.announcer.run)
            await nursery.start(self.images.run)
            await nursery.start(self.uploads.run)
            task_status.started()


class Announcer:
    """Tells users of their uploads over their own channel. Progress is worth nothing a second later: above the queue it is dropped."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[tuple[str, str, bytes]](QUEUE)
        self._say: Say | None = None

    def attach(self, say: Say) -> None:
        """From now on there is a channel to speak to."""
        self._say = say

    def uploaded(self, upload: Upload) -> None:
        """uploads.ports.Tell."""
        data = {"type": "upload", **shown(upload)}
        with suppress(trio.WouldBlock):
            self._send.send_nowait((upload.owner, upload.id, json.dumps(data).encode()))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        async for user, key, data in self._receive:
            if self._say is not None:
                with suppress(NovaError):  # nobody listens there, or the channel is full: the state can be asked for
                    await self._say(f"user:{user}", data, conflate_key=key)


def shown(upload: Upload) -> dict[str, object]:
    """As the API has it."""
    found: dict[str, object] = {
        "id": upload.id,
        "offset": upload.offset,
        "size": upload.size,
        "status": upload.status,
        "result": {"kind": upload.result_kind, "id": upload.result_id} if upload.result_id else None,
    }
    if upload.error_code:
        found["error"] = {"code": upload.error_code, "detail": upload.error_detail}
    return found


class Making:
    """uploads.ports.Maker: pictures become pictures, videos records of the library.

    What becomes of an upload has its id: a process that died between making and noting makes it once.
    """

    def __init__(self, images: Images, library: Library, staging: Staging) -> None:
        self._images, self._library, self._staging = images, library, staging

    async def __call__(self, upload: Upload, body: AsyncIterable[bytes], sha256: str) -> tuple[str, str]:
        said = upload.metadata
        kind, format = kinds.kind(await self._staging.head(upload.id, HEAD), said.kind)
        if kind == "image":
            image, _ = await self._images.create(upload.owner, body, preset=said.preset, digest=sha256, once=upload.id)
            return kind, image.id
        draft = Draft(said.title or said.filename or "Untitled", Kind(kind))
        video = await self._library.take(upload.owner, draft, format, upload.size, body, sha256, once=upload.id)
        return kind, video.id


def open_blobs(settings: Settings, data: Path, offload: Offload) -> Blobs:
    """By `blobs.url`: S3, else files in the data directory. Raises Unprocessable `bad_settings`; Unavailable."""
    wanted = settings.blobs
    if wanted.url is None:
        return FileBlobs(data / "blobs", offload)
    try:
        bucket, prefix = s3.parse_url(wanted.url.text())
    except ValueError as error:
        raise Unprocessable("bad_settings", f"blobs.url: {error}") from None
    return s3.S3Blobs(bucket, prefix, offload, endpoint=wanted.endpoint, region=wanted.region)


def open_media(
    settings: Settings, data: Path, sql: Sql, blobs: Blobs, bus: Bus, clock: Clock, ids: Ids, offload: Offload, metrics: Metrics
) -> Media:
    """data: the data directory. Raises NovaError: a key cannot be read, or is none."""
    events = Events(bus, ids, clock)
    wanted = settings.images
    bounds = Bounds(
        workers=wanted.workers or len(os.sched_getaffinity(0)), queue=wanted.queue, memory=wanted.worker_memory, seconds=wanted.worker_time
    )
    jobs = metrics.counter("nova_image_jobs", "Jobs of the worker processes that decode pictures, by outcome.", {"outcome": OUTCOMES})
    seconds = metrics.histogram("nova_image_job_seconds", "Time of a job, waiting included.", {})

    def observe(outcome: str, took: float) -> None:
        jobs.of(outcome).inc()
        seconds.of().observe(took)

    pool = Pool(bounds, observe=observe)
    limits = Limits(file_bytes=wanted.max_file, pixels=wanted.max_pixels, frames=wanted.max_frames, total_pixels=wanted.max_total_pixels)
    rules = Rules(limits, wanted.offer, wanted.sources)
    store = SqlImages(sql)
    keys = image_keys.keys(wanted.keys, data)
    fetch = CheckedFetch(wanted.sources) if wanted.sources else None
    delivery = Delivery(store, blobs, pool, keys, fetch, clock, offload, rules)

    def tell(kind: str, subject: str, facts: dict[str, object]) -> None:
        events.tell(TOPIC, kind, subject, facts)

    images = Images(store, blobs, delivery, pool, clock, ids.new, tell, per_user=wanted.per_user)
    metrics.read("nova_image_jobs_now", "Jobs that run and that wait.", "gauge",
                 lambda: list(zip((("running",), ("waiting",)), pool.load, strict=True)), ("state",))  # fmt: skip
    library = Library(SqlVideos(sql), blobs, clock, ids.new, tell)
    chosen = settings.uploads
    staging = Staging(data / "uploads", offload)
    announcer = Announcer()

    def changed(upload: Upload) -> None:
        announcer.uploaded(upload)
        if upload.status in (Status.READY, Status.FAILED):
            kind = "UploadCompleted" if upload.status is Status.READY else "UploadFailed"
            tell(kind, upload.id, {"owner": upload.owner, **shown(upload)})

    store_of_its_own = blobs if isinstance(blobs, s3.S3Blobs) else None
    direct = Direct(store_of_its_own, keys, kinds.kind)
    uploads = Uploads(
        SqlUploads(sql), staging, Making(images, library, staging), clock, ids.new, tell=changed,
        limits=UploadLimits(chosen.max_size, chosen.per_user, chosen.user_bytes, chosen.keep),
        scan=ProgramScanner(chosen.scanner, chosen.scanner_timeout) if chosen.scanner else None,
        direct=direct,
    )  # fmt: skip

    def poster(image: str) -> str:
        return delivery.path(image, "preset:poster")

    return Media(images, uploads, library, poster, events, announcer)
