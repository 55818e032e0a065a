"""JPEG to smaller JPEGs: our compiled path beside libvips and pillow-simd, one thread, CPU time, equal quality and bytes.

Quality and bytes are asserted before anything is timed: at most 0.05 dB of luma below the anchor, at most 1.5 % more bytes.
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Sequence

import pytest
from PIL import Image

from bench.method.results import Question, Sample
from bench.method.versus import Versus
from bench.pictures import clear, fit, photo, psnr, psnr_clear
from nova.ext import jpeg
from nova.media.images.codec import WEBP_METHOD
from nova.media.images.job import Job, Output
from nova.media.images.options import Options
from nova.media.images.render import render

os.environ.setdefault("VIPS_CONCURRENCY", "1")
os.environ.setdefault("VIPS_BLOCK_UNTRUSTED", "1")
pyvips = pytest.importorskip("pyvips", reason="the bench extra brings it")

QUALITY = 80
Make = Callable[[bytes, Sequence[int]], list[bytes]]

SIZES = {"12mp": (4032, 3024), "6mp": (2725, 2225), "2mp": (1800, 1200), "avatar": (800, 800)}
# Name, source, longest sides, goal against libvips, against pillow-simd. None: not asked (libvips loses 1 dB at 6 MP to 320).
CASES: list[tuple[str, str, tuple[int, ...], float | None, float | None]] = [
    ("12mp-320", "12mp", (320,), 1.6, 1.2),
    ("12mp-1080", "12mp", (1080,), 2.0, 1.2),
    ("6mp-320", "6mp", (320,), None, 1.2),
    ("6mp-1080", "6mp", (1080,), 2.3, 1.5),
    ("2mp-320", "2mp", (320,), 1.8, 1.2),
    ("2mp-1080", "2mp", (1080,), 2.2, 1.2),
    ("avatar-128", "avatar", (128,), 3.0, 1.2),
    ("12mp-4-variants", "12mp", (1080, 720, 320, 150), 4.0, None),
]


def vips(data: bytes, longest: Sequence[int]) -> list[bytes]:
    """One call a size, as a server would make them."""
    return [bytes(pyvips.Image.thumbnail_buffer(data, side, height=side).jpegsave_buffer(Q=QUALITY, strip=True)) for side in longest]


def vips_shared(data: bytes, longest: Sequence[int]) -> list[bytes]:
    """The largest from the file, the others from it."""
    large = pyvips.Image.thumbnail_buffer(data, longest[0], height=longest[0]).copy_memory()
    made = [large, *(large.thumbnail_image(side, height=side) for side in longest[1:])]
    return [bytes(image.jpegsave_buffer(Q=QUALITY, strip=True)) for image in made]


def pillow(data: bytes, longest: Sequence[int]) -> list[bytes]:
    made = []
    for side in longest:
        image = Image.open(io.BytesIO(data))
        image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=QUALITY)
        made.append(buffer.getvalue())
    return made


def ours(data: bytes, longest: Sequence[int], *, fast: bool = False) -> list[bytes]:
    said = jpeg.probe(data)
    targets = [jpeg.Target(*fit(said.upright_width, said.upright_height, side), quality=QUALITY) for side in longest]
    return [result.data for result in jpeg.thumbnail(data, targets, fast=fast).results]


def ours_fast(data: bytes, longest: Sequence[int]) -> list[bytes]:
    return ours(data, longest, fast=True)


def same_quality(data: bytes, longest: Sequence[int], anchor: Make, make: Make) -> None:
    for theirs, made in zip(anchor(data, longest), make(data, longest), strict=True):
        assert psnr(made, data) >= psnr(theirs, data) - 0.05
        assert len(made) <= len(theirs) * 1.015


def timed(make: Make, data: bytes, longest: Sequence[int], seconds: float) -> Sample:
    """Figure: sources a CPU-second."""
    done, start, wall = 0, time.process_time(), time.perf_counter()
    while time.perf_counter() - wall < seconds:
        make(data, longest)
        done += 1
    cpu_s, wall_s = time.process_time() - start, time.perf_counter() - wall
    return Sample(done, cpu_s, wall_s, done / cpu_s, {"cpu_ms": cpu_s / done * 1000})


def compare(
    versus: Versus, name: str, asks: str, data: bytes, longest: Sequence[int], goal: float, anchor: Make, make: Make, seconds: float
) -> None:
    titles = {
        vips: f"libvips {pyvips.version(0)}.{pyvips.version(1)}",
        pillow: f"pillow-simd {Image.__version__}",
        vips_shared: "libvips, one decode",
    }
    versus(
        Question(f"jpeg-{name}", asks, "pictures per CPU-second", "higher", goal),
        anchor=lambda: timed(anchor, data, longest, seconds),
        ours=lambda: timed(make, data, longest, seconds),
        anchor_name=titles[anchor],
    )


@pytest.fixture(autouse=True)
def quiet_vips() -> None:
    pyvips.cache_set_max(0)


@pytest.mark.parametrize("case", [case for case in CASES if case[3]], ids=lambda case: case[0])
def bench_jpeg_vips(case: tuple[str, str, tuple[int, ...], float, float | None], versus: Versus, seconds: float) -> None:
    name, source, longest, goal, _ = case
    data = photo(*SIZES[source])
    same_quality(data, longest, vips, ours)
    compare(versus, f"{name}-vips", f"a JPEG of {source} to {longest}", data, longest, goal, vips, ours, seconds / 3)


@pytest.mark.parametrize("case", [case for case in CASES if case[4]], ids=lambda case: case[0])
def bench_jpeg_pillow(case: tuple[str, str, tuple[int, ...], float, float], versus: Versus, seconds: float) -> None:
    name, source, longest, _, goal = case
    data = photo(*SIZES[source])
    same_quality(data, longest, pillow, ours)
    compare(versus, f"{name}-pillow", f"a JPEG of {source} to {longest}", data, longest, goal, pillow, ours, seconds / 3)


def bench_jpeg_fast(versus: Versus, seconds: float) -> None:
    """The `fast` preset: block means, as libvips has them at this size."""
    data = photo(*SIZES["12mp"])
    compare(versus, "12mp-320-fast-vips", "a JPEG of 12 MP to 320, fast preset", data, (320,), 2.2, vips, ours_fast, seconds / 3)


def bench_jpeg_progressive(versus: Versus, seconds: float) -> None:
    data = photo(*SIZES["12mp"], progressive=True)
    same_quality(data, (1080,), vips, ours)
    compare(versus, "12mp-1080-progressive-vips", "a progressive JPEG of 12 MP to 1080", data, (1080,), 1.5, vips, ours, seconds / 3)


def bench_jpeg_shared(versus: Versus, seconds: float) -> None:
    data, longest = photo(*SIZES["12mp"]), (1080, 720, 320, 150)
    same_quality(data, longest, vips_shared, ours)
    compare(
        versus, "12mp-4-variants-shared", "four sizes of 12 MP from one decode each", data, longest, 1.9, vips_shared, ours, seconds / 3
    )


def vips_webp(data: bytes, longest: Sequence[int]) -> list[bytes]:
    """libwebp with the effort that ours has."""
    return [
        bytes(pyvips.Image.thumbnail_buffer(data, side, height=side).webpsave_buffer(Q=QUALITY, effort=WEBP_METHOD, strip=True))
        for side in longest
    ]


def ours_webp(data: bytes, longest: Sequence[int]) -> list[bytes]:
    """All of the way that an upload takes in a worker."""
    outputs = [Output(Options(width=side, height=side, quality=QUALITY), "webp") for side in longest]
    return [made.data for made in render(data, Job(outputs)).made]


def bench_jpeg_webp(versus: Versus, seconds: float) -> None:
    data = photo(*SIZES["6mp"])
    same_quality(data, (1080,), vips_webp, ours_webp)
    name = f"libvips {pyvips.version(0)}.{pyvips.version(1)}, libwebp's method {WEBP_METHOD} too"
    versus(
        Question("jpeg-webp-6mp-1080", "a JPEG of 6 MP to a WebP of 1080", "pictures per CPU-second", "higher", 1.15),
        anchor=lambda: timed(vips_webp, data, (1080,), seconds / 2),
        ours=lambda: timed(ours_webp, data, (1080,), seconds / 2),
        anchor_name=name,
    )


def bench_png_rgba(versus: Versus, seconds: float) -> None:
    """Whose alpha has soft edges; the result as WebP, which is what clients get of it."""
    data = clear(1920, 1568)
    (theirs,), (made,) = vips_webp(data, (320,)), ours_webp(data, (320,))
    assert psnr_clear(made, data) >= psnr_clear(theirs, data) - 0.05
    assert len(made) <= len(theirs) * 1.015
    versus(
        Question("png-rgba-3mp-320", "an RGBA PNG of 3 MP to a WebP of 320", "pictures per CPU-second", "higher", 1.5),
        anchor=lambda: timed(vips_webp, data, (320,), seconds / 2),
        ours=lambda: timed(ours_webp, data, (320,), seconds / 2),
        anchor_name=f"libvips {pyvips.version(0)}.{pyvips.version(1)}, libwebp's method {WEBP_METHOD} too",
    )


def bench_jpeg_two_threads(versus: Versus, seconds: float) -> None:
    """How many pictures a second two threads of one process make, beside one thread: locks, caches and the GIL are what is lost.

    Only as good as the machine is idle: `cores` tells what the process was given.
    """
    data = photo(*SIZES["12mp"])
    before = os.sched_getaffinity(0)

    def run(threads: int) -> Sample:
        done = [0] * threads
        wall, cpu = time.perf_counter(), time.process_time()

        def work(index: int) -> None:
            while time.perf_counter() - wall < seconds / 2:
                ours(data, (1080,))
                done[index] += 1

        workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        wall_s = time.perf_counter() - wall
        cpu_s = time.process_time() - cpu
        return Sample(sum(done), cpu_s, wall_s, sum(done) / wall_s, {"per_cpu_second": sum(done) / cpu_s, "cores": cpu_s / wall_s})

    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        versus(
            Question("jpeg-two-threads", "12 MP to 1080 by two threads at once", "pictures per second", "higher", 1.9),
            anchor=lambda: run(1),
            ours=lambda: run(2),
            anchor_name="one thread",
        )
    finally:
        os.sched_setaffinity(0, before)
