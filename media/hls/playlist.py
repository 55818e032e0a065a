"""Playlists of a live stream (RFC 8216bis, section 4). Pure: a window in, text out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from nova.core.clock import rfc3339
from nova.ext.timeline import Tracks
from nova.media.hls import names
from nova.media.live.window import TICKS, Segment, Window

VERSION: Final = 6  # EXT-X-MAP without EXT-X-I-FRAMES-ONLY asks for 6 (section 8); the low-latency tags ask for none
HOLD_BACK_PARTS: Final = 3  # PART-HOLD-BACK in part targets: at least 2, better 3 (section 4.4.3.8)
LISTED_PARTS: Final = 3  # parts are listed for as many target durations from the end (section 4.4.4.9)
OVERHEAD: Final = 1.05  # boxes, and a little that an encoder goes over what it declared
ASSUMED_BANDWIDTH: Final = 5_000_000  # bits a second, while nothing is declared and nothing measured


def seconds(ticks: int) -> str:
    """A duration with five decimals, of which those that say nothing are left out."""
    return f"{ticks / TICKS:.5f}".rstrip("0").rstrip(".")


def segment_head(segment: Segment, previous: Segment | None) -> str:
    """What stands before a segment's parts."""
    lines = []
    if segment.discontinuity:
        lines.append("#EXT-X-DISCONTINUITY\n")
    if previous is None or previous.init.number != segment.init.number:
        lines.append(f'#EXT-X-MAP:URI="{names.init(segment.init.number)}"\n')
    lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{rfc3339(segment.wall)}\n")
    return "".join(lines)


def part_lines(segment: Segment) -> str:
    return "".join(
        f'#EXT-X-PART:DURATION={seconds(part.duration)},URI="{names.part(segment.msn, part.index)}"'
        + (",INDEPENDENT=YES\n" if part.independent else "\n")
        for part in segment.parts
    )


def segment_tail(segment: Segment) -> str:
    # RFC 8216bis, 4.4.4.1: with a decimal comma's worth of digits that make the sum of all segments exact.
    return f"#EXTINF:{segment.duration / TICKS:.5f},\n{names.segment(segment.msn)}\n"


def media_playlist(window: Window, *, target: int, part_target: int, ended: bool = False) -> str:
    """The media playlist of the window as it is.

    target: the target duration, part_target: that of parts; ticks.
    """
    hold_back = HOLD_BACK_PARTS * part_target
    lines = [
        f"#EXTM3U\n#EXT-X-VERSION:{VERSION}\n#EXT-X-TARGETDURATION:{ceil(target / TICKS)}\n"
        f"#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={seconds(hold_back)},HOLD-BACK={seconds(3 * target)}\n"
        f"#EXT-X-PART-INF:PART-TARGET={seconds(part_target)}\n"
        f"#EXT-X-MEDIA-SEQUENCE:{window.first_msn}\n#EXT-X-DISCONTINUITY-SEQUENCE:{window.discontinuity_sequence}\n"
    ]
    recent = (window.listed[-1].end if window.listed else 0) - LISTED_PARTS * target
    previous: Segment | None = None
    for segment in window.listed:
        lines.append(segment_head(segment, previous))
        if segment.end > recent and not ended:
            if segment.closed:
                if not segment.cached:
                    segment.cached = part_lines(segment) + segment_tail(segment)
                lines.append(segment.cached)
            else:
                lines.append(part_lines(segment))
        elif segment.closed:
            lines.append(segment_tail(segment))
        previous = segment
    if ended:
        lines.append("#EXT-X-ENDLIST\n")
    else:
        under_way = window.open
        msn, index = (window.next_msn, 0) if under_way is None else (under_way.msn, len(under_way.parts))
        lines.append(f'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="{names.part(msn, index)}"\n')
    return "".join(lines)


@dataclass(frozen=True, slots=True)
class Variant:
    """What the multivariant playlist says of a stream. bandwidth, average: bits a second; average 0: not known yet."""

    bandwidth: int
    average: int
    codecs: str
    width: int
    height: int
    frame_rate: float

    @classmethod
    def of(cls, tracks: Tracks, *, bandwidth: int, average: int, frame_rate: float) -> Variant:
        video = tracks.video
        if video is None:
            return cls(bandwidth, average, tracks.codecs, 0, 0, 0.0)
        # RESOLUTION is that of the display (section 4.4.6.2): pixels that are not square are stretched.
        wide, high = video.sample_aspect_ratio
        width = round(video.width * wide / high) if high else video.width
        return cls(bandwidth, average, tracks.codecs, width, video.height, frame_rate)


def multivariant_playlist(variant: Variant) -> str:
    """The multivariant playlist: one variant, as the publisher sends it."""
    attributes = [f"BANDWIDTH={variant.bandwidth}"]
    if variant.average:
        attributes.append(f"AVERAGE-BANDWIDTH={variant.average}")
    attributes.append(f'CODECS="{variant.codecs}"')
    if variant.width:
        attributes.append(f"RESOLUTION={variant.width}x{variant.height}")
        if variant.frame_rate:
            attributes.append(f"FRAME-RATE={variant.frame_rate:.3f}")
    return f"#EXTM3U\n#EXT-X-VERSION:{VERSION}\n#EXT-X-STREAM-INF:{','.join(attributes)}\n{names.MEDIA}\n"


def peak_bandwidth(rates: Sequence[tuple[int, int]], target: int) -> int:
    """The largest bit rate of any run of segments that lasts 0.5 to 1.5 target durations (section 4.4.6.2).

    rates: (ticks, bytes) of the segments in order. 0: there is no such run.
    """
    peak = 0
    for first in range(len(rates)):
        ticks = size = 0
        for length, count in rates[first:]:
            ticks, size = ticks + length, size + count
            if ticks > 1.5 * target:
                break
            if ticks >= 0.5 * target:
                peak = max(peak, size * 8 * TICKS // ticks)
    return peak


def average_bandwidth(rates: Iterable[tuple[int, int]]) -> int:
    """Bits a second over all segments; 0: there are none."""
    ticks = size = 0
    for length, count in rates:
        ticks, size = ticks + length, size + count
    return size * 8 * TICKS // ticks if ticks else 0
