"""Publishing over RTMP: the machine of one publishing connection, and its trio shell.

`nova publish` and the demo use it; it speaks as librtmp does, so that every server takes it.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit

import trio

from nova.core.errors import BadRequest, NovaError, Unavailable
from nova.ext import rtmp
from nova.ext.rtmp_play import split
from nova.media.rtmp import amf, messages
from nova.media.rtmp.flv import Tag

PORTS: Final = {"rtmp": 1935, "rtmps": 443}
CHUNK_SIZE: Final = 65536  # of what we send: a frame in one chunk or a few
READ_SIZE: Final = 16384
SET_UP_S: Final = 10.0  # for connecting, handshake and commands
FAREWELL_S: Final = 2.0  # for the last bytes and the server's close

_AUDIO_CSID: Final = 4
_VIDEO_CSID: Final = 6
_CONNECT, _RELEASE, _FC_PUBLISH, _CREATE, _PUBLISH, _UNPUBLISH, _DELETE = 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0  # transaction ids


@dataclass(frozen=True, slots=True)
class Target:
    """Where to publish. The key is a secret and not shown."""

    host: str
    port: int
    tls: bool
    app: str
    key: str = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> Target:
        """From rtmp[s]://host[:port]/app/key. Raises BadRequest: anything else."""
        parts = urlsplit(url)
        app, _, key = parts.path.strip("/").partition("/")
        if parts.scheme not in PORTS or not parts.hostname or not app or not key:
            raise BadRequest(detail="an RTMP address reads rtmp://host/live/key")
        if parts.query:
            key = f"{key}?{parts.query}"
        try:
            port = parts.port or PORTS[parts.scheme]
        except ValueError:
            raise BadRequest(detail="the port of the RTMP address is not a number") from None
        return cls(parts.hostname, port, parts.scheme == "rtmps", app, key)

    @property
    def server_url(self) -> str:
        """What connect calls tcUrl: the address without the key."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rtmps' if self.tls else 'rtmp'}://{host}:{self.port}/{self.app}"


class PublishError(Unavailable):
    """The server does not take the stream, or no longer. status: its NetStream or NetConnection code, empty when it just closed."""

    def __init__(self, status: str, detail: str) -> None:
        super().__init__(detail=detail)
        self.status = status


class Send(NamedTuple):
    """Bytes for the server."""

    data: bytes


class Ready(NamedTuple):
    """Media may be sent."""


class Refused(NamedTuple):
    """The server said no, before or after `Ready`."""

    status: str
    description: str


class Finished(NamedTuple):
    """The server has taken the end of the stream, and all that came before it."""


Event: TypeAlias = Send | Ready | Refused | Finished


class PublishMachine:
    """One connection from handshake to the end of the stream. Pure."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._reader = rtmp.ChunkReader(client=True)
        self._msid = 0
        self._connecting = False

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes of the server; the first call has none. Raises rtmp.ChunkError, amf.AmfError."""
        records, reply = self._reader.feed(data)
        events: list[Event] = [Send(reply)] if reply else []
        if self._reader.handshaken and not self._connecting:
            self._connecting = True
            events.append(Send(self._connect()))
        for item in split(records):
            if isinstance(item, tuple) and item[0] in (messages.COMMAND, messages.COMMAND_AMF3):
                payload = item[3][1:] if item[0] == messages.COMMAND_AMF3 else item[3]
                events += self._command(amf.decode(payload))
        return events

    def message(self, tag: Tag) -> bytes:
        """A tag as bytes for the server; after `Ready`."""
        if tag.type == messages.DATA:
            payload = amf.encode(messages.SET_DATA_FRAME) + tag.data
            return rtmp.encode(tag.type, tag.timestamp, self._msid, payload, csid=_AUDIO_CSID, chunk_size=CHUNK_SIZE)
        csid = _VIDEO_CSID if tag.type == messages.VIDEO else _AUDIO_CSID
        return rtmp.encode(tag.type, tag.timestamp, self._msid, tag.data, csid=csid, chunk_size=CHUNK_SIZE)

    def finish(self) -> bytes:
        """The clean end of the stream."""
        return self._call("FCUnpublish", _UNPUBLISH, self._target.key) + self._call("deleteStream", _DELETE, self._msid)

    def _call(self, name: str, transaction: float, *arguments: amf.Encodable, msid: int = 0) -> bytes:
        return messages.command(CHUNK_SIZE, msid, name, transaction, None, *arguments)

    def _connect(self) -> bytes:
        target = self._target
        about: dict[str, amf.Encodable] = {
            "app": target.app,
            "type": "nonprivate",
            "flashVer": "FMLE/3.0 (compatible; Nova)",  # servers look for FMLE before they take releaseStream and FCPublish
            "tcUrl": target.server_url,
        }
        connect = messages.command(CHUNK_SIZE, 0, "connect", _CONNECT, about)
        return messages.control(messages.SET_CHUNK_SIZE, CHUNK_SIZE) + connect

    def _command(self, values: list[amf.Value]) -> list[Event]:
        name = values[0] if values else None
        transaction = values[1] if len(values) > 1 else None
        if name == "_result" and transaction == _CONNECT:
            key = self._target.key
            calls = self._call("releaseStream", _RELEASE, key) + self._call("FCPublish", _FC_PUBLISH, key)
            return [Send(calls + self._call("createStream", _CREATE))]
        if name == "_result" and transaction == _CREATE:
            number = values[3] if len(values) > 3 else None
            if not isinstance(number, float) or not 0 < number < 2**32:
                return [Refused("", "the server answered createStream without a stream")]
            self._msid = int(number)
            return [Send(self._call("publish", _PUBLISH, self._target.key, "live", msid=self._msid))]
        if name == "_result" and transaction == _UNPUBLISH:
            return [Finished()]
        info = values[3] if len(values) > 3 and isinstance(values[3], dict) else {}
        status, description = str(info.get("code") or ""), str(info.get("description") or "")
        # Servers answer releaseStream and FCPublish with errors as they like; librtmp does not mind either.
        if name == "_error" and transaction not in (_RELEASE, _FC_PUBLISH):
            return [Refused(status, description)]
        if name == "onStatus":
            if status == "NetStream.Publish.Start":
                return [Ready()]
            if info.get("level") == "error" or status == "NetConnection.Connect.Closed":
                return [Refused(status, description)]
        return []


class Publisher:
    """A stream that is being published; made by `publishing`."""

    def __init__(self, stream: trio.abc.Stream, machine: PublishMachine) -> None:
        self._stream = stream
        self._machine = machine
        self._sending = trio.Lock()  # acknowledgements and media come from two tasks
        self._ready = trio.Event()
        self._refused: Refused | None = None
        self._over = trio.Event()

    async def send(self, tag: Tag) -> None:
        """Send one tag; waits for the network. Raises PublishError: the server ended the stream."""
        self._check()
        try:
            await self._write(self._machine.message(tag))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await self._why()

    async def _write(self, data: bytes) -> None:
        async with self._sending:
            await self._stream.send_all(data)

    async def _why(self) -> None:
        """The stream broke: the server's reason may still be on its way to the reading task."""
        with trio.move_on_after(FAREWELL_S):
            await self._over.wait()
        self._check()
        raise PublishError("", "the server closed the connection")

    def _check(self) -> None:
        if self._refused is not None:
            raise PublishError(self._refused.status, self._refused.description or "the server refused the stream")
        if self._over.is_set():
            raise PublishError("", "the server closed the connection")

    async def _read(self) -> None:
        data = b""
        try:
            while True:
                for event in self._machine.receive(data):
                    match event:
                        case Send(out):
                            await self._write(out)
                        case Ready():
                            self._ready.set()
                        case Finished():
                            return
                        case Refused():
                            self._refused = self._refused or event
                            return
                data = bytes(await self._stream.receive_some(READ_SIZE))
                if not data:
                    return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        except (rtmp.ChunkError, amf.AmfError) as error:
            self._refused = Refused("", f"the server does not speak RTMP ({error})")
        finally:
            self._over.set()
            self._ready.set()


@asynccontextmanager
async def publishing(target: Target, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Publisher]:
    """Connect and publish for the length of the block; its normal end is the stream's clean end.

    tls: for rtmps; the system's authorities when None. Raises PublishError.
    """
    machine = PublishMachine(target)
    try:
        with trio.fail_after(SET_UP_S):
            stream = await _open(target, tls)
    except (OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
        raise PublishError("", f"cannot connect to {target.host}:{target.port}: {error}") from error
    publisher = Publisher(stream, machine)
    failure: NovaError | None = None
    async with stream, trio.open_nursery() as nursery:
        nursery.start_soon(publisher._read)
        try:
            with trio.move_on_after(SET_UP_S) as setting_up:
                await publisher._ready.wait()
            if setting_up.cancelled_caught:
                raise PublishError("", "the server did not take the stream in time")
            publisher._check()
            yield publisher
            publisher._check()
            with trio.move_on_after(FAREWELL_S):
                await publisher._write(machine.finish())
                # Closing at once would reset the connection over what the server has said, and cost it our last bytes.
                await publisher._over.wait()
        except trio.BrokenResourceError:
            failure = PublishError("", "the server closed the connection")
        except NovaError as error:
            failure = error  # raised below, where no nursery wraps it
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _open(target: Target, tls: ssl.SSLContext | None) -> trio.abc.Stream:
    if not target.tls:
        return await trio.open_tcp_stream(target.host, target.port)
    secure = await trio.open_ssl_over_tcp_stream(target.host, target.port, ssl_context=tls or ssl.create_default_context())
    await secure.do_handshake()
    return secure


async def paced(tags: AsyncGenerator[Tag, None]) -> AsyncGenerator[Tag, None]:
    """The tags, each no sooner than its time stamp says after the first of them; closes `tags`."""
    due = trio.current_time()
    last: int | None = None
    async with aclosing(tags):
        async for tag in tags:
            if last is not None:
                # Time stamps wrap, and audio and video do not come in strict order: the step is signed.
                due += (((tag.timestamp - last + 2**31) & 0xFFFFFFFF) - 2**31) / 1000
            last = tag.timestamp
            await trio.sleep_until(due)
            yield tag
