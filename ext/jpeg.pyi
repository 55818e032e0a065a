from collections.abc import Sequence
from typing import Literal

from typing_extensions import Buffer as ReadableBuffer

CODES: tuple[str, ...]
REASONS: tuple[str, ...]

class JpegError(ValueError):
    code: str
    detail: str
    def __init__(self, code: str, detail: str = "") -> None: ...

class Info:
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def upright_width(self) -> int: ...
    @property
    def upright_height(self) -> int: ...
    @property
    def orientation(self) -> int: ...
    @property
    def components(self) -> int: ...
    @property
    def sampling(self) -> tuple[tuple[int, int], ...]: ...
    @property
    def progressive(self) -> bool: ...
    @property
    def supported(self) -> bool: ...
    @property
    def reason(self) -> str: ...
    @property
    def icc(self) -> bool: ...
    @property
    def exif(self) -> bool: ...
    @property
    def icc_profile(self) -> bytes: ...
    @property
    def copyright(self) -> str: ...

class Target:
    def __init__(
        self,
        width: int,
        height: int,
        *,
        window: tuple[float, float, float, float] | None = None,
        output: Literal["jpeg", "planes", "rgb"] = "jpeg",
        quality: int = 80,
        max_bytes: int = 0,
        subsampling: int = 420,
        progressive: bool = False,
        optimize: bool = False,
        filter: Literal["lanczos3", "area"] = "lanczos3",
        icc: bytes = b"",
        copyright: str = "",
    ) -> None: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def window(self) -> tuple[float, float, float, float] | None: ...
    @property
    def output(self) -> str: ...
    @property
    def quality(self) -> int: ...
    @property
    def max_bytes(self) -> int: ...
    @property
    def subsampling(self) -> int: ...
    @property
    def progressive(self) -> bool: ...
    @property
    def optimize(self) -> bool: ...
    @property
    def filter(self) -> str: ...
    @property
    def icc(self) -> bytes: ...
    @property
    def copyright(self) -> str: ...

class Result:
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def data(self) -> bytes: ...
    @property
    def planes(self) -> tuple[tuple[int, int, int], ...]: ...
    @property
    def quality(self) -> int: ...
    @property
    def fits(self) -> bool: ...

class Thumbnails:
    @property
    def info(self) -> Info: ...
    @property
    def results(self) -> list[Result]: ...
    @property
    def color(self) -> str: ...
    @property
    def thumbhash(self) -> bytes: ...

def probe(data: ReadableBuffer, *, max_pixels: int = 50_000_000, max_file: int = ...) -> Info: ...
def thumbnail(
    data: ReadableBuffer,
    targets: Sequence[Target],
    *,
    orient: bool = True,
    fast: bool = False,
    linear: bool = False,
    placeholder: bool = False,
    deadline: float = ...,
    memory: int = ...,
    max_pixels: int = 50_000_000,
    max_file: int = ...,
    max_scans: int = 100,
    kernels: str = "",
) -> Thumbnails: ...
def encode(
    data: ReadableBuffer,
    width: int,
    height: int,
    *,
    quality: int = 80,
    max_bytes: int = 0,
    subsampling: int = 420,
    progressive: bool = False,
    optimize: bool = False,
    icc: bytes = b"",
    copyright: str = "",
    memory: int = ...,
    kernels: str = "",
) -> Result: ...
def resize_linear(
    data: ReadableBuffer,
    width: int,
    height: int,
    channels: int,
    to_width: int,
    to_height: int,
    *,
    window: tuple[float, float, float, float] | None = None,
    memory: int = ...,
    kernels: str = "",
) -> bytes: ...
