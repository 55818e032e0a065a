from collections.abc import Iterable

from typing_extensions import Buffer as ReadableBuffer

CODES: tuple[str, ...]
MAX_TARGETS: int

class PngError(ValueError):
    code: str
    def __init__(self, code: str) -> None: ...

class File:
    def __init__(self, data: bytes, *, max_chunks: int = 1024) -> None: ...
    @property
    def chunks(self) -> list[tuple[bytes, int, int]]: ...
    @property
    def before(self) -> int: ...
    @property
    def odd(self) -> bool: ...
    def read(self, most: int) -> bytes: ...

class Shrinker:
    def __init__(
        self,
        width: int,
        height: int,
        channels: int,
        targets: Iterable[tuple[int, int, float, float, float, float]],
        *,
        palette: bytes = b"",
        memory: int = ...,
        kernels: str = "",
    ) -> None: ...
    @property
    def done(self) -> bool: ...
    @property
    def rows(self) -> int: ...
    @property
    def opaque(self) -> bool: ...
    def feed(self, data: ReadableBuffer) -> bool: ...
    def results(self) -> list[bytes]: ...
