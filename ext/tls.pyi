from collections.abc import Mapping, Sequence
from os import PathLike

class TlsError(ValueError): ...

class TlsContext:
    def __init__(
        self,
        cert: str | PathLike[str],
        key: str | PathLike[str],
        *,
        alpn: Sequence[str] = ("h2", "http/1.1"),
        names: Mapping[str, tuple[str | PathLike[str], str | PathLike[str]]] | None = None,
        resume: TlsContext | None = None,
    ) -> None: ...
