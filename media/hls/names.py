"""The names under which a live stream is served (docs/hls.md). Playlists hold them relative to themselves."""

from __future__ import annotations

from typing import Final

PREFIX: Final = b"/live/"
MULTIVARIANT: Final = "index.m3u8"
MEDIA: Final = "video.m3u8"


def init(number: int) -> str:
    return f"init-{number}.mp4"


def segment(msn: int) -> str:
    return f"seg-{msn}.m4s"


def part(msn: int, index: int) -> str:
    return f"part-{msn}.{index}.m4s"


def path(stream: str, name: str) -> bytes:
    return f"/live/{stream}/{name}".encode()


def stream_of(path: bytes) -> str | None:
    """The stream whose media playlist `path` names; None: it names something else."""
    text = path.decode("ascii", "replace")
    if not text.startswith("/live/") or not text.endswith("/" + MEDIA):
        return None
    return text[len("/live/") : -len(MEDIA) - 1]
