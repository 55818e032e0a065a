"""The trio half of the reactor: its threads as tasks of a nursery, its events as calls, requests as ASGI, bytes as streams."""

from nova.core.reactor.channel import Channel, Reader, ReaderItem, SlowReader
from nova.core.reactor.feed import Feed
from nova.core.reactor.reactor import Listen, Reactor, RtmpHandler, SiteHandler
from nova.core.reactor.stream import RawStream
from nova.core.reactor.websocket import ChannelRules, Command, Connections, WebSockets, Who, WsRules

__all__ = [
    "Channel", "ChannelRules", "Command", "Connections", "Feed", "Listen", "RawStream", "Reactor", "Reader", "ReaderItem", "RtmpHandler",
    "SiteHandler", "SlowReader", "WebSockets", "Who", "WsRules",
]
