"""What is inside fragmented MP4, as libav's demuxer reads it, packet for packet."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path
from typing import Any, NamedTuple


class Packet(NamedTuple):
    stream: int
    pts: int
    dts: int
    duration: int
    flags: str
    digest: str


def packets(data: bytes, scratch: Path) -> list[Packet]:
    """Every packet, by stream; raises when ffprobe has anything to say about the file."""
    path = scratch / "probed.mp4"
    path.write_bytes(data)
    command = ["ffprobe", "-v", "warning", "-show_packets", "-show_data_hash", "md5", "-of", "json", str(path)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert not done.stderr, done.stderr.decode()
    found = json.loads(done.stdout)["packets"]
    rows = [Packet(p["stream_index"], p["pts"], p["dts"], p.get("duration", 0), p["flags"][:1], p["data_hash"]) for p in found]
    return sorted(rows, key=lambda row: (row.stream, row.dts))


def probe(data: bytes, scratch: Path) -> list[dict[str, Any]]:
    """The streams, as ffprobe describes them."""
    path = scratch / "probed.mp4"
    path.write_bytes(data)
    done = subprocess.run(
        ["ffprobe", "-v", "warning", "-show_streams", "-of", "json", str(path)], capture_output=True, check=True, timeout=60
    )
    assert not done.stderr, done.stderr.decode()
    streams: list[dict[str, Any]] = json.loads(done.stdout)["streams"]
    return streams


def decode(data: bytes, scratch: Path) -> None:
    """Decode everything; raises when ffmpeg has anything to say about it."""
    path = scratch / "played.mp4"
    path.write_bytes(data)
    done = subprocess.run(
        ["ffmpeg", "-v", "warning", "-nostdin", "-i", str(path), "-f", "null", "-"], capture_output=True, check=True, timeout=60
    )
    assert not done.stderr, done.stderr.decode()


def boxes(data: bytes, path: str = "") -> list[tuple[str, bytes]]:
    """(path, payload) of every box, those inside containers too. Raises AssertionError: sizes that do not add up."""
    found: list[tuple[str, bytes]] = []
    at = 0
    while at < len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        assert size >= 8
        assert at + size <= len(data)
        label = f"{path}/{name.decode()}"
        found.append((label, data[at + 8 : at + size]))
        if name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"dinf", b"mvex", b"moof", b"traf"):
            found += boxes(data[at + 8 : at + size], label)
        at += size
    return found
