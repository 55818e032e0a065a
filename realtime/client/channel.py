"""One subscription: where it stands, what it has seen, and what it waits for. Pure.

Publications come out in the order of their offsets, each once. Those behind a gap are held until the history has filled it.
"""

from __future__ import annotations

from typing import Any, Final

Json = Any
Event = dict[str, Json]

HELD: Final = 1000  # publications held behind a gap, or before the reply to `subscribe`; more end the waiting
PAGE: Final = 1000  # publications of one history reply


class Channel:
    """events: what the application gets, in order; its machine takes them out."""

    def __init__(self, name: str, place: tuple[int, str] | None) -> None:
        self.name = name
        self.offset, self.epoch = place or (0, "")
        self.placed = place is not None  # whether there is something to recover from
        self.joined = False
        self.ticket = 0  # of the `subscribe` under way
        self.tries = 0
        self.retry_at: int | None = None
        self.events: list[Event] = []
        self._held: list[Event] = []  # `pub` and `gap`, in order
        self._gap: Event | None = None  # that is being filled
        self._filled = 0

    @property
    def recover(self) -> dict[str, Json]:
        return {"recover": {"offset": self.offset, "epoch": self.epoch}} if self.placed else {}

    def lost_connection(self) -> None:
        """What was held is recovered with the rest."""
        self.joined, self.ticket, self._gap = False, 0, None
        self._held.clear()

    def subscribed(self, reply: Json) -> Json | None:
        """The reply to `subscribe`; a `history` to be sent, as of `push`."""
        same = reply["epoch"] == self.epoch
        if self.placed and not reply["recovered"]:
            kept = reply["publications"]
            last = kept[0]["offset"] - 1 if kept and kept[0]["offset"] - 1 > self.offset else reply["offset"]
            gap = {"from": self.offset + 1, "to": last} if same else {"from": 0, "to": 0}
            self._tell("gap", epoch=reply["epoch"], recovered=0, **gap)
        if not same:
            self.offset, self.epoch = 0, reply["epoch"]
        before = self.placed
        self.placed = self.joined = True
        self.tries, self.retry_at = 0, None
        self._tell("joined", offset=reply["offset"], epoch=reply["epoch"], recovered=reply["recovered"], again=before)
        for publication in reply["publications"]:
            self._publication(publication, replayed=not before)
        self.offset = max(self.offset, reply["offset"])
        return self._release()

    def push(self, kind: str, body: Json) -> Json | None:
        """`pub`, `gap`, `join` or `leave`; the body of a `history` command to be sent, when a gap is to be filled."""
        if kind in ("join", "leave"):
            self._tell(kind, user=body["user"], client=body["client"])
            return None
        if not self.joined or self._gap is not None:
            self._held.append({"kind": kind, **body})
            return self._give_up() if len(self._held) > HELD else None
        if kind == "pub":
            self._publication(body)
            return None
        return self._fill(body)

    def history(self, reply: Json | None) -> Json | None:
        """What the history had for the gap, None: it is gone; the next `history`, when there is more."""
        if self._gap is None:
            return None
        self.tries = 0
        last = self.offset
        for publication in reply["publications"] if reply is not None and reply["epoch"] == self.epoch else ():
            if publication["offset"] <= self._gap["to"]:
                self._filled += self._publication(publication)
        if reply is not None and reply["more"] and last < self.offset < self._gap["to"]:
            return self._ask()
        return self._finish()

    def refill(self) -> Json | None:
        """The `history` that could not be had, once more; None: nobody waits for it any longer."""
        return None if self._gap is None else self._ask()

    def _fill(self, gap: Json) -> Json | None:
        if gap["epoch"] != self.epoch or gap["to"] <= self.offset:
            return None
        self._gap, self._filled = gap, 0
        self.offset = max(self.offset, gap["from"] - 1)
        return self._ask()

    def _ask(self) -> Json:
        return {"channel": self.name, "since": {"offset": self.offset, "epoch": self.epoch}, "limit": PAGE}

    def _give_up(self) -> Json | None:
        if self._gap is not None:
            return self._finish()
        self._held.pop(0)  # a reply that does not come: its publications come with it
        return None

    def _finish(self) -> Json | None:
        gap, self._gap = self._gap, None
        assert gap is not None
        self.tries, self.retry_at = 0, None
        self.offset = max(self.offset, gap["to"])
        self._tell("gap", epoch=self.epoch, recovered=self._filled, **{"from": gap["from"], "to": gap["to"]})
        return self._release()

    def _release(self) -> Json | None:
        while self._held and self._gap is None:
            body = self._held.pop(0)
            kind = body.pop("kind")
            if kind == "pub":
                self._publication(body)
            elif (asked := self._fill(body)) is not None:
                return asked
        return None

    def _publication(self, publication: Json, replayed: bool = False) -> int:
        if publication["offset"] <= self.offset and not replayed:
            return 0
        self.offset = max(self.offset, publication["offset"])
        self._tell("publication", replayed=replayed, **{name: publication.get(name) for name in ("offset", "data", "at", "info")})
        return 1

    def _tell(self, event: str, **facts: Json) -> None:
        self.events.append({"event": event, "channel": self.name, **facts})
