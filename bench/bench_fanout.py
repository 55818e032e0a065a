"""A room of many readers: deliveries per server-CPU-second, latency in a quiet and in a busy room, compressed messages."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.load import run as generate
from bench.method.cpu import Reading, cores
from bench.method.results import Question, Sample
from bench.method.versus import Versus
from bench.servers.rooms import HypercornRoom, Other, OurRoom

Room = OurRoom | Other | HypercornRoom


def window(room: Room, seconds: float, core: int, *options: object) -> Sample:
    start: list[Reading] = []
    said = generate("ws_load", core, *room.load, "-d", seconds, *options, at_go=lambda: start.append(room.cpu()))
    cpu_s = start[0].until(room.cpu())
    also = {
        "p50_ms": said["p50_us"] / 1000,
        "p99_ms": said["p99_us"] / 1000,
        "per_second": said["deliveries"] / said["seconds"],
        "per_receive": said["deliveries"] / said["receives"],
        "server_load": cpu_s / said["seconds"],
    }
    return Sample(said["deliveries"], cpu_s, said["seconds"], said["deliveries"] / cpu_s, also)


def compare(
    versus: Versus, ram: Path, name: str, title: str, anchor: Room, ours: OurRoom, seconds: float, core: int, goal: float | None,
    *options: object, floor: Callable[[], dict[str, float]] = dict, **limits: float,
) -> None:  # fmt: skip
    """floor: what else is measured beside ours, for the reader of the figure."""
    del ram

    def sample() -> Sample:
        found = window(ours, seconds, core, *options)
        return replace(found, also=found.also | floor())

    with anchor, ours:
        versus(
            Question(name, title, "deliveries per server-CPU-second", "higher", goal=goal, limits=limits),
            ours=sample,
            anchor=lambda: window(anchor, seconds, core, *options),
            anchor_name=anchor.name,
        )


@pytest.mark.parametrize(("way", "goal"), [("send", 1.2), ("uring", 1.5)])
@pytest.mark.parametrize("readers", [1000, 5000])
def bench_fanout(versus: Versus, ram: Path, seconds: float, generator_core: int, readers: int, way: str, goal: float) -> None:
    ours = OurRoom(ram / "ours", *(["--uring"] if way == "uring" else []))

    def floor() -> dict[str, float]:
        """What a bare loop of send() delivers: no more is to be had by that road (docs/decisions/0288-a-send-is-the-kernels.md)."""
        said = generate("send_floor", generator_core, "-c", cores()[0], "-n", readers, "-s", 132, "-d", min(seconds, 2))
        return {"bare_loop": said["per_cpu_s"]}

    compare(
        versus, ram, f"fanout-{readers}-{way}", f"{readers} readers, one message of 128 bytes in flight, by {way}",
        Other(ram / "anchor", "socketify"), ours, seconds, generator_core, goal, "-n", readers, "-s", 128, "-w", 1,
        floor=floor,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("library", "goal", "way"), [("hypercorn", 8.0, "send"), ("websockets", 2.0, "send"), ("websockets", 2.0, "uring")]
)
def bench_fanout_others(
    versus: Versus, ram: Path, seconds: float, generator_core: int, library: str, goal: float, way: str
) -> None:  # fmt: skip
    anchor = HypercornRoom(ram / "anchor") if library == "hypercorn" else Other(ram / "anchor", library)
    ours = OurRoom(ram / "ours", *(["--uring"] if way == "uring" else []))
    compare(
        versus, ram, f"fanout-1000-{library}{'-uring' if way == 'uring' else ''}",
        f"1000 readers, one message of 128 bytes in flight, by {way}", anchor, ours, seconds, generator_core, goal,
        "-n", 1000, "-s", 128, "-w", 1,
    )  # fmt: skip


@pytest.mark.parametrize("library", ["picows", "websockets"])
def bench_fanout_pipelined(versus: Versus, ram: Path, seconds: float, generator_core: int, library: str) -> None:
    compare(
        versus, ram, f"fanout-32-{library}", "1000 readers, 32 messages of 128 bytes in flight", Other(ram / "anchor", library),
        OurRoom(ram / "ours"), seconds, generator_core, 15.0, "-n", 1000, "-s", 128, "-w", 32,
    )  # fmt: skip


@pytest.mark.parametrize(("rate", "goal", "p99_ms", "way"), [(50, 1.0, 20.0, "send"), (400, 2.5, 50.0, "send"), (400, 2.5, 50.0, "uring")])
def bench_room(versus: Versus, ram: Path, seconds: float, generator_core: int, rate: int, goal: float, p99_ms: float, way: str) -> None:
    ours = OurRoom(ram / "ours", *(["--uring"] if way == "uring" else []))
    compare(
        versus, ram, f"room-{rate}{'-uring' if way == 'uring' else ''}", f"1000 readers, {rate} messages of 128 bytes a second, by {way}",
        Other(ram / "anchor", "socketify"), ours, seconds, generator_core, goal, "-n", 1000, "-s", 128, "-r", rate, p99_ms=p99_ms,
    )  # fmt: skip


@pytest.mark.parametrize("way", ["send", "uring"])
def bench_fanout_deflated(versus: Versus, ram: Path, seconds: float, generator_core: int, way: str) -> None:
    ours = OurRoom(ram / "ours", "--deflate", *(["--uring"] if way == "uring" else []))
    compare(
        versus, ram, f"fanout-deflated{'-uring' if way == 'uring' else ''}",
        f"1000 readers, one message of 512 bytes in flight, deflated, by {way}", Other(ram / "anchor", "socketify", "--deflate"), ours,
        seconds, generator_core, 3.0,
        "-n", 1000, "-s", 512, "-w", 1, "-z",
    )  # fmt: skip
