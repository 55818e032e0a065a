"""The timeline in a few lines of plain Python, for senders that behave: both tracks announced before the first frame, steps below the
gap, no frame longer than a part. What it leaves out is proven by single tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil

from nova.media.rtmp.flv import AUDIO, Tag

TICKS = 90_000
Row = tuple[int, int, int, bool, bytes]


@dataclass
class Cut:
    start: int
    end: int = 0
    video: list[Row] = field(default_factory=list)
    audio: list[Row] = field(default_factory=list)
    closes: bool = False


def clocked(tags: Sequence[Tag], rate: int) -> list[tuple[bool, int, int, bool, bytes]]:
    """(is video, dts, composition offset, key, frame) of every frame from the first key frame on; dts in the track's ticks."""
    out, base, samples = [], None, None
    for tag in tags:
        video = tag.type != AUDIO
        if tag.data[1] != 1 or (base is None and not (video and tag.data[0] >> 4 == 1)):
            continue
        base = tag.timestamp if base is None else base
        if video:
            offset = int.from_bytes(tag.data[2:5], "big", signed=True) * 90
            out.append((True, (tag.timestamp - base) * 90, offset, tag.data[0] >> 4 == 1, tag.data[5:]))
        elif tag.timestamp >= base:
            want = ((tag.timestamp - base) * rate + 500) // 1000
            samples = want if samples is None or want - samples - 1024 > 1536 else samples + 1024
            out.append((False, samples, 0, True, tag.data[2:]))
    return out


def part_target(interval: int, target: int = 18_000) -> int:
    count = target * 101 // 100 // interval
    if count * interval < 0.85 * target:
        count += 1
    return max(target, ceil(count * interval / 90) * 90) if count * interval > target else target


def cut(tags: Sequence[Tag], *, interval: int, rate: int = 48_000, segment: int = 180_000, limit: int = 360_000) -> list[Cut]:
    """The parts of a stream with video frames every `interval` ticks."""
    frames = clocked(tags, rate)
    target = part_target(interval)
    cuts, now, begun = [], Cut(0), 0
    waiting: list[Row] = []
    pending: tuple[int, int, bool, bytes] | None = None
    for video, dts, offset, key, data in frames:
        if not video:
            waiting.append((dts, 1024, 0, True, data))
            continue
        if pending is not None:
            now.video.append((pending[0], dts - pending[0], *pending[1:]))
            ends = key and dts - begun >= segment - interval
            if ends or dts + interval - now.start > target + 90:
                now.end, now.closes = dts, ends or dts - begun + target > limit
                now.audio = [row for row in waiting if row[0] * TICKS < dts * rate]
                waiting = waiting[len(now.audio) :]
                cuts.append(now)
                begun = dts if now.closes else begun
                now = Cut(dts)
        pending = (dts, offset, key, data)
    return cuts
