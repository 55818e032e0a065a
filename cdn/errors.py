"""Why an origin did not answer. Rows of `core.errors`, so every protocol tells them alike."""

from nova.core.errors import TABLE, NovaError


class OriginError(NovaError):
    """Nobody answered: `origin_unreachable`, `origin_timeout` or `origin_busy`."""

    def __init__(self, code: str = "origin_unreachable", detail: str = "", *, retry_after: float | None = None) -> None:
        self.kind = TABLE[code].parent  # type: ignore[misc]  # one cause, several classes of the table
        super().__init__(code, detail, retry_after=retry_after)


class OriginBroken(OriginError):
    """An answer that broke off, stalled, or was not as long as it said."""

    def __init__(self, detail: str = "") -> None:
        super().__init__("origin_broken", detail)
