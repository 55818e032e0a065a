"""Talking to a session as its peer does: commands in, events and decoded answers out."""

from nova.ext import rtmp
from nova.media.rtmp import amf, messages, session
from nova.media.rtmp.session import Event, Session
from tests.ext import rtmp_oracle

SHAKE = b"\x03" + bytes(1536) + bytes(1536)


class Talk:
    """A session behind a chunk reader, and the peer's own reader for what comes back."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self.answers: list[list[amf.Value]] = []  # to the latest `say`
        self.session = Session(session.Limits(chunk_size=4096), now)
        self._reader = rtmp.ChunkReader()
        self._reader.feed(SHAKE)
        self._answers = rtmp.ChunkReader()
        self._answers.feed(SHAKE)

    def say(self, data: bytes) -> list[Event]:
        """Events, but for those that only carry bytes: see `answers`."""
        events = []
        self.answers = []
        for event in self.session.receive(self._reader.feed(data)[0], self.now):
            if isinstance(event, session.Send):
                self.hear(event.data)
            else:
                events.append(event)
                # A question has to be answered within the loop.
                if isinstance(event, session.PublishAsked):
                    self.hear(self.session.start_publish())
                elif isinstance(event, session.PlayAsked):
                    self.hear(self.session.start_play())
        return events

    def hear(self, data: bytes) -> list[list[amf.Value]]:
        heard = [amf.decode(message.payload) for message, _ in rtmp_oracle.records(self._answers.feed(data)[0])]
        self.answers += heard
        return heard

    def call(self, name: str, *arguments: amf.Encodable, transaction: float = 1, msid: int = 0) -> list[Event]:
        return self.say(messages.command(128, msid, name, transaction, *arguments))

    def connect(self, app: str = "live") -> list[Event]:
        return self.call("connect", {"app": app, "tcUrl": f"rtmp://h/{app}"})

    def publish(self, key: str = "key") -> list[Event]:
        self.connect()
        self.call("createStream", None, transaction=4)
        return self.call("publish", None, key, "live", transaction=5, msid=1)

    def codes(self) -> list[object]:
        """Status codes of the answers."""
        return [info.get("code") for answer in self.answers for info in answer[3:4] if isinstance(info, dict)]
