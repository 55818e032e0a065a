"""The trio half of the reactor: its threads as tasks of a nursery, its events as calls, requests as ASGI, bytes as streams."""

from nova.core.reactor.feed import Feed
from nova.core.reactor.reactor import Listen, Reactor, RtmpHandler
from nova.core.reactor.stream import RawStream

__all__ = ["Feed", "Listen", "RawStream", "Reactor", "RtmpHandler"]
