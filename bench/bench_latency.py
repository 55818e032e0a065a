"""From the last byte of the packet that closes a part until viewers have it."""

import contextlib
import json
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.hls import Part, Viewer, closers, frames
from bench.load import built
from bench.media import flv
from bench.method.results import Question, Sample
from bench.method.versus import Versus
from bench.servers.nova import Nova

VIEWERS = 1000
COLD_PARTS = 10  # not judged: the first two seconds of a stream, while the publishers of a crowd still begin


@contextlib.contextmanager
def publishing(
    nova: Nova, count: int, media_s: float, core: int, log: Path, streams: list[tuple[str, str]] | None = None
) -> Iterator[list[tuple[str, str]]]:
    """Paced publishers for as long as the body runs, at most `media_s`; their streams (new ones). The first one's frames go to `log`."""
    streams = streams or nova.streams(count)
    command = ["taskset", "-c", str(core), built("rtmp_load"), "-p", str(nova.addresses["rtmp"]), "-K", nova.keys(streams)]
    command += ["-c", str(count), "-d", str(media_s), "-l", log, flv()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as publisher:
        try:
            assert publisher.stdout is not None
            assert publisher.stdout.readline().strip() == "go"
            yield streams
        finally:
            publisher.terminate()


def watching(nova: Nova, streams: list[tuple[str, str]]) -> Viewer:
    """A viewer of the first stream."""
    return Viewer(nova.addresses["http"], f"/live/{streams[0][0]}/index.m3u8")


class Closing:
    """When each part could be served: with the last byte of the packet that closes it.

    A server that serves parts before the frame after them was even sent closes them with their own last frame.
    """

    def __init__(self, parts: list[Part], log: Path) -> None:
        found = closers(parts, frames(log))
        waited = [part for part in parts[COLD_PARTS:] if part.waited and (part.msn, part.index) in found]
        assert len(waited) >= 5, f"only {len(waited)} of {len(parts)} parts could be found among the published frames"
        following = [part.served_ns - found[part.msn, part.index][1] for part in waited]
        self.by_next_frame = statistics.median(following) >= 0
        self._at = {key: both[self.by_next_frame] for key, both in found.items()}
        self.late_ms = sorted((part.served_ns - self._at[part.msn, part.index]) / 1e6 for part in waited)

    def __call__(self, msn: int, index: int) -> int | None:
        """ns; None: not seen. An index behind a segment's last part means the next segment's first (RFC 8216bis, section 6.2.5.2)."""
        known = self._at.get((msn, index))
        return self._at.get((msn + 1, 0)) if known is None else known


@pytest.mark.parametrize("count", [1, 50])
def bench_part_latency(versus: Versus, ram: Path, smoke: bool, generator_core: int, count: int) -> None:
    media_s = 6 if smoke else 15
    limits = {"figure": 5.0, "p95_ms": 10.0} if count == 1 else {"p95_ms": 40.0}
    with Nova(ram / "nova") as nova:

        def run() -> Sample:
            log = ram / "frames"
            before = nova.cpu()
            with publishing(nova, count, media_s, generator_core, log) as streams, watching(nova, streams) as viewer:
                viewer.wait(media_s - 1)
            closing = Closing(viewer.parts, log)
            late = closing.late_ms
            also = {
                "p95_ms": late[int(len(late) * 0.95)],
                "max_ms": late[-1],
                "parts": len(late),
                "by_next_frame": float(closing.by_next_frame),
            }
            return Sample(len(late), before.until(nova.cpu()), media_s, statistics.median(late), also)

        versus(
            Question(
                f"part-latency-{count}",
                f"closing packet to served part, {count} publisher{'s' * (count > 1)}",
                "ms, median",
                "lower",
                limits=limits,
            ),
            ours=run,
        )


def bench_parked_1000(versus: Versus, ram: Path, smoke: bool, generator_core: int) -> None:
    rounds = 4 if smoke else 20
    with Nova(ram / "nova") as nova:

        def run() -> Sample:
            log = ram / "frames"
            before = nova.cpu()
            with publishing(nova, 1, 60, generator_core, log) as streams, watching(nova, streams) as viewer:
                viewer.wait(3)
                port, media = str(nova.addresses["http"]), viewer.media
                command = [
                    "taskset",
                    "-c",
                    str(generator_core),
                    built("hls_park"),
                    "-p",
                    port,
                    "-c",
                    str(VIEWERS),
                    "-r",
                    str(rounds),
                    media,
                ]
                said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
                viewer.wait(0.5)
            closing = Closing(viewer.parts, log)
            late: list[float] = []
            for line in said.splitlines():
                told = json.loads(line)
                if at := closing(told["msn"], told["part"]):
                    late.extend((answered - at) / 1e6 for answered in told["answered_ns"])
            assert late, "no round's part could be found among the published frames"
            late.sort()
            also = {"p50_ms": statistics.median(late), "max_ms": late[-1], "answers": len(late)}
            return Sample(len(late), before.until(nova.cpu()), rounds * 0.2, late[int(len(late) * 0.99)], also)

        versus(
            Question("parked-1000", "1000 viewers parked on one part", "ms from the closing packet, p99", "lower", limits={"figure": 50}),
            ours=run,
        )
