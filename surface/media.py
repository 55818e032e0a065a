"""Pictures and uploads, put together: what the composition root opens for them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from nova.core.blobs import Blobs
from nova.core.bus import Bus
from nova.core.clock import Clock
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
from nova.surface import image_keys
from nova.surface.events import Events
from nova.surface.fetch import CheckedFetch

SCHEMAS: Final = (IMAGES,)
TOPIC: Final = "nova.media.events"


@dataclass(frozen=True, slots=True)
class Media:
    """The services of this page; `run` is what they do by themselves."""

    images: Images
    events: Events

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.events.run)
            await nursery.start(self.images.run)
            task_status.started()


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
    rules = Rules(limits, wanted.offer, wanted.sources, wanted.hot_bytes)
    store = SqlImages(sql)
    keys = image_keys.keys(wanted.keys, data)
    fetch = CheckedFetch(wanted.sources) if wanted.sources else None
    delivery = Delivery(store, blobs, pool, keys, fetch, clock, offload, rules)

    def tell(kind: str, subject: str, facts: dict[str, object]) -> None:
        events.tell(TOPIC, kind, subject, facts)

    images = Images(store, blobs, delivery, pool, clock, ids.new, tell, per_user=wanted.per_user)
    metrics.read("nova_image_jobs_now", "Jobs that run and that wait.", "gauge",
                 lambda: list(zip((("running",), ("waiting",)), pool.load, strict=True)), ("state",))  # fmt: skip
    return Media(images, events)
