"""`/live/…` that the object table does not have: why there is nothing to play.

What is live never comes here. A stream that is not gets 404 `stream_not_live` with a Retry-After; one that this caller may
not know of, and one that does not exist, look the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nova.core.errors import NotFound
from nova.core.ids import parse_id
from nova.media.streams.model import RUNNING, Status, StreamId
from nova.media.streams.service import Streams
from nova.surface.http.call import Call
from nova.surface.http.route import Reply, Route

RETRY_IDLE: Final = 5.0  # seconds; players that wait for a start ask often enough and not too often
RETRY_SOON: Final = 1.0  # its publisher is expected back, or its first part is under way


@dataclass(frozen=True, slots=True)
class LiveRoutes:
    """The way down from the object table."""

    streams: Streams

    def table(self) -> list[Route]:
        return [
            Route("GET", "/live/{rest:path}", "live_media", self.missing, "Playlists, parts, segments and thumbnails", "media",
                  answers={200: None}, errors=("not_found", "stream_not_live"),
                  description="`/live/{id}/index.m3u8` (LL-HLS), `/live/~{session}/{id}/index.m3u8` with a viewer's session."),
        ]  # fmt: skip

    async def missing(self, call: Call) -> Reply:
        session, stream = _split(call.params["rest"])
        found = None if stream is None else await self.streams.watchable(stream, session)
        if found is None:
            raise NotFound(detail="There is nothing at this path.")
        if found.stream.status not in RUNNING:
            raise NotFound("stream_not_live", "The stream is not live now.", retry_after=RETRY_IDLE)
        if found.stream.status is Status.RECONNECTING or call.params["rest"].endswith(("/index.m3u8", "/thumb.jpg")):
            raise NotFound("stream_not_live", "The stream has nothing to play yet.", retry_after=RETRY_SOON)
        raise NotFound(detail="The stream does not have this part any more, or not yet.")


def _split(rest: str) -> tuple[str | None, StreamId | None]:
    """Session and stream of what follows `/live/`."""
    first, _, more = rest.partition("/")
    session = None
    if first.startswith("~"):
        session, (first, _, more) = first[1:], more.partition("/")
    found = parse_id(first)
    return session, None if found is None else StreamId(found)
