from nova.ext.aac import Audio
from nova.ext.buffer import Buffer
from nova.ext.h264 import Video

TROUBLE_NAMES: tuple[str, ...]

class Tracks:
    video: Video | None
    audio: Audio | None
    @property
    def codecs(self) -> str: ...

class Part:
    start: int
    end: int
    size_bytes: int
    video_count: int
    audio_count: int
    independent: bool
    opens: bool
    closes: bool
    new_period: bool
    tracks: Tracks
    @property
    def video(self) -> list[tuple[int, int, int, bool, bytes]]: ...
    @property
    def audio(self) -> list[tuple[int, int, int, bool, bytes]]: ...

class Timeline:
    position: int
    def __init__(
        self,
        *,
        part_target: float = ...,
        segment_target: float = ...,
        target_duration: float = ...,
        gap: float = ...,
        track_wait: float = ...,
        track_timeout: float = ...,
        fixed_part_target: int = ...,
        position: int = ...,
        max_part: int = ...,
        max_segment: int = ...,
        short_start: bool = ...,
    ) -> None: ...
    def feed(self, data: bytes | Buffer) -> list[Part]: ...
    def end(self) -> list[Part]: ...
    def anew(self) -> None: ...
    def expect(self, *, video: bool | None = ..., audio: bool | None = ..., frame_rate: float = ...) -> None: ...
    @property
    def wake_at(self) -> int | None: ...
    @property
    def part_target_ticks(self) -> int: ...
    def troubles(self) -> dict[str, int]: ...
    def counters(self) -> dict[str, int]: ...
