"""`/live/…` that the object table does not have: why there is nothing to play.

What is live never comes here. A stream that is not gets 404 `stream_not_live` with a Retry-After; one that this caller may
not know of, and one that does not exist, look the same. What no stream has yet (MPEG-TS, thumbnails) is 501 `not_yet`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nova.core.errors import NotFound, NotYet
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
        session, stream, name = _split(call.params["rest"])
        if name == "thumb.jpg" or name.startswith("ts/"):
            raise NotYet(detail="MPEG-TS playlists and thumbnails come with a later version of Nova core.")
        found = None if stream is None else await self.streams.watchable(stream, session)
        if found is None:
            raise NotFound(detail="There is nothing at this path.")
        if found.stream.status not in RUNNING:
            raise NotFound("stream_not_live", "The stream is not live now.", retry_after=RETRY_IDLE)
        if stream is not None and session is not None and not self.streams.admits(stream, session):
            raise NotFound(detail="This session has ended: join the stream again.")
        if found.stream.status is Status.RECONNECTING or name == "index.m3u8":
            raise NotFound("stream_not_live", "The stream has nothing to play yet.", retry_after=RETRY_SOON)
        raise NotFound(detail="The stream does not have this part any more, or not yet.")


def _split(rest: str) -> tuple[str | None, StreamId | None, str]:
    """Session, stream and name of what follows `/live/`."""
    first, _, name = rest.partition("/")
    session = None
    if first.startswith("~"):
        session, (first, _, name) = first[1:], name.partition("/")
    found = parse_id(first)
    return session, None if found is None else StreamId(found), name
