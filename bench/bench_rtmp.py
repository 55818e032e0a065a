"""RTMP in, HLS out: what a stream costs at the pace of people, and how fast the way is when nobody waits for the clock."""

from pathlib import Path

import pytest

from bench.load import run
from bench.media import flv
from bench.method.cpu import Reading
from bench.method.results import Question, Sample
from bench.method.versus import Versus
from bench.servers.nginx import RtmpHls
from bench.servers.nova import Nova

PUBLISHERS = 50
FORGET = ("live.reconnect_grace=1s", "live.ended_linger=1s")  # the streams of one run are gone before the next


def publish(server: RtmpHls | Nova, *, count: int, media_s: float, paced: bool, core: int) -> Sample:
    """Stream-seconds of media; figure: CPU ms per stream-second when paced, else stream-seconds per CPU-second."""
    if isinstance(server, Nova):
        port, names = server.addresses["rtmp"], ["-K", server.keys(server.streams(count))]
    else:
        port, names = server.port, ["-n", "s"]
    start: list[Reading] = []
    pace = ["-s", 1 if paced else 0, "-d", media_s, "-c", count]
    said = run("rtmp_load", core, "-p", port, *names, *pace, flv(), at_go=lambda: start.append(server.cpu()), patience=300)
    cpu_s = start[0].until(server.cpu())
    assert said["errors"] == said["unclosed"] == 0, said
    work = said["stream_seconds"]
    also = {"server_load": cpu_s / said["seconds"], "times_realtime": work / said["seconds"]}
    return Sample(work, cpu_s, said["seconds"], 1000 * cpu_s / work if paced else work / cpu_s, also)


@pytest.mark.parametrize(("writer", "goal"), [("pyav", 0.9), ("compiled", 0.7)])
def bench_rtmp_paced_50(versus: Versus, ram: Path, smoke: bool, generator_core: int, writer: str, goal: float) -> None:
    count, media_s = (4, 3) if smoke else (PUBLISHERS, 14)
    with RtmpHls(ram / "nginx") as nginx, Nova(ram / "nova", f"live.writer={writer}", *FORGET) as nova:
        versus(
            Question(
                f"rtmp-paced-50-{writer}", f"50 paced 720p publishers to LL-HLS, {writer} writer", "CPU ms per stream-second", "lower", goal
            ),
            anchor=lambda: publish(nginx, count=count, media_s=media_s, paced=True, core=generator_core),
            ours=lambda: publish(nova, count=count, media_s=media_s, paced=True, core=generator_core),
            anchor_name=nginx.name,
        )


def bench_rtmp_full_speed(versus: Versus, ram: Path, smoke: bool, generator_core: int) -> None:
    count, media_s = (2, 20) if smoke else (10, 60)
    with RtmpHls(ram / "nginx") as nginx, Nova(ram / "nova", "live.writer=compiled", *FORGET) as nova:
        versus(
            Question("rtmp-full-speed", "10 publishers as fast as they are read", "stream-seconds per server-CPU-second", "higher", 2.2),
            anchor=lambda: publish(nginx, count=count, media_s=media_s, paced=False, core=generator_core),
            ours=lambda: publish(nova, count=count, media_s=media_s, paced=False, core=generator_core),
            anchor_name=nginx.name,
        )
