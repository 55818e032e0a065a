"""Live media: batches of records through the timeline and the fMP4 writer, and the decoder configurations on their own."""

import struct
from contextlib import suppress
from itertools import pairwise

from nova.ext.aac import AacError, Audio
from nova.ext.buffer import Arena, Buffer
from nova.ext.fmp4 import Fmp4Writer, PartTooLarge
from nova.ext.h264 import H264Error, Video, frame_kind
from nova.ext.timeline import Part, Timeline
from tests.exact import exact
from tests.fuzz.registry import target
from tests.media.live.material import AAC, AAC_44K, AVC, headers, inter, key, records, show, sound
from tests.media.live.packets import boxes

SHORT = [*headers(), *show(0.7, gop=0.3)]
BATCHES = [
    records(SHORT),
    records([*headers(video=None), *show(0.7, video=False)]),
    records(
        [*headers(), key(0, offset=66), inter(40), sound(40), key(5000), inter(5040), key(0), inter(40), *headers(audio=AAC_44K), key(80)]
    ),
]
FRAMES = [records([tag]) for tag in (*headers(), key(0, 30), inter(40, 30), sound(21, 10), key(2**32 - 1, 30), inter(2**31, 30))]


@target(
    "live-records", seeds=BATCHES, words=[*FRAMES, b"\x17\x00", b"\x17\x01", b"\xaf\x00", b"\xaf\x01", b"\x91avc1", bytes(4), b"\xff" * 4]
)
def live_records(data: bytes) -> object:
    """data: records whose sizes are set right, so that what is mutated is what a publisher chooses."""
    timeline = Timeline(track_wait=0.05, track_timeout=0.5, max_part=20_000, max_segment=100_000)
    writer, arena = Fmp4Writer(), Arena(1 << 20)
    parts: list[Part] = []
    written = 0
    whole = timely(data)
    middle = len(whole) // 2
    for batch in (whole[:middle], whole[middle:]):
        parts += timeline.feed(Buffer(b"".join(batch)))
        assert timeline.wake_at is None or 0 <= timeline.wake_at < 2**32
    parts += timeline.end()
    for before, after in pairwise(parts):
        assert before.end <= after.start
    for part in parts:
        assert part.end > part.start
        if part.new_period:
            boxes(writer.init(part.tracks))
        with suppress(PartTooLarge):
            made = bytes(writer.part(part, arena))
            written += len(made)
            assert made.endswith(b"".join(row[4] for row in [*part.video, *part.audio]))
            boxes(made)
    assert len(arena) == written
    return frozenset(timeline.troubles()), min(len(parts), 8), frozenset(part.tracks.codecs for part in parts)


def timely(data: bytes) -> list[bytes]:
    """The records in `data`, the last one cut to what is there."""
    found, at = [], 0
    while at + 16 <= len(data):
        size, stamp, stream, kind, flags, zero = struct.unpack_from("<IIIBBH", data, at)
        size = min(size, len(data) - at - 16)
        found.append(struct.pack("<IIIBBH", size, stamp, stream, kind, flags, zero) + data[at + 16 : at + 16 + size])
        at += 16 + size
    return found


@target("live-batch", seeds=BATCHES, words=FRAMES)
def live_batch(data: bytes) -> object:
    """Batches as they come: a size that lies is an error of the caller, and read no further than the batch."""
    timeline = Timeline()
    try:
        parts = timeline.feed(Buffer(data))
    except ValueError as error:
        return str(error)
    return len(parts)


@target("h264-config", seeds=[AVC], words=[b"\x67", b"\x68", b"\x00\x00\x03", b"\xff\xff", b"\x00" * 8])
def h264_config(data: bytes) -> object:
    try:
        video = Video(exact(data))
    except H264Error as error:
        return str(error)
    assert 0 < video.width <= 16384
    assert 0 < video.height <= 16384
    return video.codecs[:7], video.frame_rate != (0, 0), video.sample_aspect_ratio != (0, 0)


@target("h264-frame", seeds=[key(0, 30).data[5:] + inter(0, 9).data[5:]], words=[bytes(4), b"\0\0\0\1", b"\x65", b"\x41", b"\xff" * 4])
def h264_frame(data: bytes) -> object:
    said = []
    for size in (1, 2, 4):
        try:
            said.append(frame_kind(exact(data), size))
        except H264Error as error:
            said.append(str(error))
    return tuple(said)


@target("aac-config", seeds=[AAC, AAC_44K, bytes.fromhex("2b118800"), bytes.fromhex("131056e598")], words=[b"\x56\xe5", b"\xff\xff"])
def aac_config(data: bytes) -> object:
    try:
        audio = Audio(exact(data))
    except AacError as error:
        return str(error)
    assert 0 < audio.channels <= 24 + 255
    assert 7350 <= audio.rate <= 192_000
    assert audio.frame in (960, 1024, 1920, 2048)
    return audio.codecs, audio.frame
