"""Jobs: what every edge is to do, and how far each one is."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, NamedTuple, NewType

from nova.cdn.ports import Purge
from nova.core.errors import BadRequest

JobId = NewType("JobId", str)
UnixMs = NewType("UnixMs", int)


class JobKind(StrEnum):
    PURGE = "purge"
    PREWARM = "prewarm"


class JobStatus(StrEnum):
    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


class EdgeStatus(StrEnum):
    PENDING = "pending"
    ACKED = "acked"
    FAILED = "failed"
    AWAY = "away"  # it was not there; it reads the log before it serves again


@dataclass(frozen=True, slots=True)
class EdgeResult:
    """What one edge has made of a job. objects: that were hit, or are warm. latency_ms: from the request to its word."""

    edge: str
    status: EdgeStatus
    objects: int = 0
    latency_ms: int = 0
    detail: str = ""


class Word(NamedTuple):
    """What an edge says of a job."""

    job: JobId
    result: EdgeResult


class Words(NamedTuple):
    """What an edge says at once. place: in the log; all before it is done and said, None: not yet said."""

    edge: str
    place: str | None
    words: Sequence[Word]


@dataclass(frozen=True, slots=True)
class Warm:
    """One object to fetch before anybody asks."""

    site: str
    target: bytes
    host: bytes | None = None


@dataclass(frozen=True, slots=True)
class Job:
    id: JobId
    kind: JobKind
    purges: tuple[Purge, ...]
    warms: tuple[Warm, ...]
    owner: str
    created_at: UnixMs
    edges: tuple[EdgeResult, ...]
    done_at: UnixMs | None = None

    @property
    def status(self) -> JobStatus:
        """Done when no edge is awaited any more; failed when one of them failed."""
        states = {edge.status for edge in self.edges}
        if EdgeStatus.PENDING in states:
            return JobStatus.PENDING
        return JobStatus.FAILED if EdgeStatus.FAILED in states else JobStatus.DONE

    def heard(self, result: EdgeResult, now: UnixMs) -> Job:
        """With what an edge says. A word that comes twice, or after the edge was given up, counts as the last one."""
        rest = tuple(edge for edge in self.edges if edge.edge != result.edge)
        job = replace(self, edges=tuple(sorted((*rest, result), key=lambda edge: edge.edge)))
        return replace(job, done_at=None if job.status is JobStatus.PENDING else job.done_at or now)

    def without(self, gone: set[str], now: UnixMs) -> Job:
        """Edges that are not there any more are not awaited."""
        edges = tuple(
            replace(edge, status=EdgeStatus.AWAY) if edge.edge in gone and edge.status is EdgeStatus.PENDING else edge
            for edge in self.edges
        )
        job = replace(self, edges=edges)
        return replace(job, done_at=None if job.status is JobStatus.PENDING else job.done_at or now)


def _text(value: bytes | None) -> str | None:
    return None if value is None else b64encode(value).decode()


def _bytes(value: str | None) -> bytes | None:
    return None if value is None else b64decode(value)


def what_text(purges: tuple[Purge, ...], warms: tuple[Warm, ...]) -> str:
    """What a job does, as it stands in the store and on the bus."""
    return json.dumps(
        {
            "purges": [[each.kind, _text(each.value), each.site, _text(each.host), each.soft] for each in purges],
            "warms": [[each.site, _text(each.target), _text(each.host)] for each in warms],
        },
        separators=(",", ":"),
    )


def read_what(text: str) -> tuple[tuple[Purge, ...], tuple[Warm, ...]]:
    found = json.loads(text)
    purges = tuple(Purge(kind, _bytes(value) or b"", site, _bytes(host), soft) for kind, value, site, host, soft in found["purges"])
    return purges, tuple(Warm(site, _bytes(target) or b"", _bytes(host)) for site, target, host in found["warms"])


def entry_of(job: Job) -> bytes:
    """The job's entry in the purge log."""
    head = {"id": job.id, "kind": job.kind, "owner": job.owner, "at": job.created_at, "edges": [edge.edge for edge in job.edges]}
    return json.dumps(head | {"what": what_text(job.purges, job.warms)}, separators=(",", ":")).encode()


def read_entry(data: bytes) -> Job:
    """Raises BadRequest: not an entry of the log."""
    try:
        found: dict[str, Any] = json.loads(data)
        purges, warms = read_what(found["what"])
        edges = tuple(EdgeResult(str(edge), EdgeStatus.PENDING) for edge in found["edges"])
        return Job(JobId(found["id"]), JobKind(found["kind"]), purges, warms, found["owner"], UnixMs(found["at"]), edges)
    except (ValueError, KeyError, TypeError) as error:
        raise BadRequest(detail="an entry of the purge log cannot be read") from error


def words_of(said: Words) -> bytes:
    """What an edge says, as it stands on the bus."""
    words = [[job, each.status, each.objects, each.latency_ms, each.detail] for job, each in said.words]
    return json.dumps({"edge": said.edge, "place": said.place, "words": words}, separators=(",", ":")).encode()


def read_words(data: bytes) -> Words:
    """Raises BadRequest."""
    try:
        found = json.loads(data)
        edge, place = str(found["edge"]), found["place"]
        words = [
            Word(JobId(job), EdgeResult(edge, EdgeStatus(status), int(objects), int(ms), str(detail)))
            for job, status, objects, ms, detail in found["words"]
        ]
        return Words(edge, None if place is None else str(place), words)
    except (ValueError, KeyError, TypeError) as error:
        raise BadRequest(detail="what an edge says cannot be read") from error


KEEP_MS: Final = 7 * 86_400_000  # how long a job can be asked for
