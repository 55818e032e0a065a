"""One RTMP connection as its server sees it (RTMP 1.0, section 7.2, and what OBS, ffmpeg and librtmp make of it).

Pure: records of `nova.ext.rtmp` and `now` in; events out, some of which carry bytes for the peer. Who may publish or play
is the shell's to decide: it answers `PublishAsked` and `PlayAsked` with one of the four methods, in the loop over
`receive`, because what follows in the same batch depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias, cast

from nova.core.errors import BadRequest
from nova.ext.buffer import Buffer
from nova.ext.rtmp_play import split
from nova.media.rtmp import amf, messages

APP: Final = "live"  # the contract's only application
PLAY_MSID: Final = 1  # items for players are encoded once, for the stream that every client's first createStream gets
MAX_STREAMS: Final = 8  # createStream calls of one connection without deleteStream; encoders make one
COMMAND_BURST: Final = 64  # messages other than media that may come at once; an encoder's start takes about ten
COMMAND_RATE: Final = 20.0  # and per second from then on: captions and cue points come a few times a second

_FMS_VERSION: Final = "FMS/3,5,7,7009"  # clients look for 3,5 or later before they use what we do
_CAPABILITIES: Final = 31


Records: TypeAlias = bytes | Buffer
"""Messages as the chunk kernel writes them: 16-byte headers (RtmpRecord in ext/rtmp.pxd), each with its payload."""


class Send(NamedTuple):
    """Bytes for the peer, already chunked."""

    data: bytes


class PublishAsked(NamedTuple):
    """publish: answer with `start_publish` or `refuse_publish`."""

    app: str
    key: str


class PlayAsked(NamedTuple):
    """play: answer with `start_play` or `refuse_play`."""

    app: str
    name: str


class Media(NamedTuple):
    """Audio and video of the publisher, as records (16-byte headers, see ext/rtmp.pxd)."""

    records: Records


class Metadata(NamedTuple):
    """onMetaData of the publisher."""

    values: Mapping[str, amf.Value]


class Unpublished(NamedTuple):
    """The publisher ended its stream; it may publish again on this connection."""


class PlayStopped(NamedTuple):
    """The player ended its stream; to follow another, it has to come again."""


class Close(NamedTuple):
    """End the connection once what was sent is out. reason: a row of reasons.REASONS."""

    reason: str


Event: TypeAlias = Send | PublishAsked | PlayAsked | Media | Metadata | Unpublished | PlayStopped | Close


@dataclass(frozen=True, slots=True)
class Limits:
    """chunk_size: bytes, of what we send; window_ack: bytes between acknowledgements that we ask for and tell."""

    chunk_size: int = 4096
    window_ack: int = 2_500_000


class SessionError(BadRequest):
    """The peer broke the rules of the session. reason: a row of reasons.REASONS."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail=detail)
        self.reason = reason


def split_path(app: str, name: str) -> tuple[str, str]:
    """Application and name as the user meant them.

    Encoders cut `rtmp://host/live/NAME` in different places (OBS may put all of it into the server field), and users append
    query strings and slashes.
    """
    parts = [part.partition("?")[0].strip("/") for part in (app, name)]
    first, _, rest = "/".join(part for part in parts if part).partition("/")
    return first, rest


class Session:
    """The state of one connection from its first message on."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._app: str | None = None  # as connect said it; None before connect
        self._streams: set[int] = set()
        self._publishing: int | None = None  # message stream id
        self._playing: int | None = None
        self._asked: int | None = None  # the message stream whose publish or play waits for its answer
        self._chunk_size = messages.DEFAULT_CHUNK_SIZE  # of what we send; the peer learns another in the answer to connect
        self._closed = False
        self._tokens = float(COMMAND_BURST)
        self._refilled = now

    @property
    def publishing(self) -> bool:
        return self._publishing is not None

    @property
    def playing(self) -> bool:
        return self._playing is not None

    def receive(self, records: Records, now: float) -> Iterator[Event]:
        """Take a batch of records. After a `Close` nothing more comes.

        now: monotonic seconds, supplied by the shell.
        """
        for item in split(records):
            if self._closed:
                return
            if not isinstance(item, tuple):
                # Media before publish, or after its end, belongs to nobody; the publish deadline ends a peer that sends only that.
                if self._publishing is not None:
                    yield Media(item)
                continue
            try:
                yield from self._message(*item, now)
            except SessionError as error:
                yield from self._fail(error.reason, error.detail)
            except amf.AmfError as error:
                yield from self._fail("rtmp_amf", error.detail)

    # -- answers of the shell ------------------------------------------------------------------------------------------

    def start_publish(self) -> bytes:
        msid = self._answer()
        self._publishing = msid
        return messages.user_control(messages.STREAM_BEGIN, msid) + self._status(
            msid, "status", "NetStream.Publish.Start", "The stream is being published."
        )

    def refuse_publish(self, description: str) -> bytes:
        """What OBS and ffmpeg show as the reason; the shell closes afterwards."""
        self._closed = True
        return self._status(self._answer(), "error", "NetStream.Publish.BadName", description)

    def start_play(self) -> bytes:
        msid = self._answer()
        self._playing = msid
        return b"".join(
            (
                messages.user_control(messages.STREAM_BEGIN, msid),
                self._status(msid, "status", "NetStream.Play.Reset", "Playing and resetting."),
                self._status(msid, "status", "NetStream.Play.Start", "Playing."),
                messages.data(self._chunk_size, msid, 0, "|RtmpSampleAccess", True, True),
            )
        )

    def refuse_play(self, description: str) -> bytes:
        self._closed = True
        return self._status(self._answer(), "error", "NetStream.Play.StreamNotFound", description)

    def end(self, description: str, *, clean: bool) -> bytes:
        """The server's own end of a publisher or player; the shell closes afterwards.

        clean: a wish of ours or of the user (shutdown, stop); else an error (takeover, revoked key).
        """
        self._closed = True
        level = "status" if clean else "error"
        if self._publishing is not None:
            msid, self._publishing = self._publishing, None
            # A publisher has no code of its own for this; OBS treats an error status and the close that follows alike.
            code = "NetStream.Unpublish.Success" if clean else "NetStream.Publish.BadName"
            return self._status(msid, level, code, description)
        if self._playing is not None:
            msid, self._playing = self._playing, None
            return messages.user_control(messages.STREAM_EOF, msid) + self._status(
                msid, level, "NetStream.Play.UnpublishNotify", description
            )
        if self._app is not None:
            return self._command(0, "onStatus", 0, None, _info(level, "NetConnection.Connect.Closed", description))
        return b""

    # -- messages ------------------------------------------------------------------------------------------------------

    def _message(self, type: int, timestamp: int, msid: int, payload: bytes, now: float) -> Iterator[Event]:
        is_command = type in (messages.COMMAND, messages.COMMAND_AMF3)
        self._tokens = min(float(COMMAND_BURST), self._tokens + (now - self._refilled) * COMMAND_RATE)
        self._refilled = now
        if self._tokens < 1.0:
            if not is_command:
                return  # data messages above the rate are dropped unread
            raise SessionError("rtmp_flood", "Too many commands.")
        self._tokens -= 1.0
        if type in (messages.COMMAND_AMF3, messages.DATA_AMF3):
            # The AMF3 forms begin with a byte for the format, 0, and go on in AMF0 (Flash sends its AMF3 values behind a marker).
            payload = payload[1:]
        values = amf.decode(payload)
        if is_command:
            yield from self._command_message(msid, values)
        elif self._publishing is not None:
            yield from _data_message(values)

    def _command_message(self, msid: int, values: list[amf.Value]) -> Iterator[Event]:
        if not values or not isinstance(values[0], str):
            raise SessionError("rtmp_command", "A command has no name.")
        name = values[0]
        transaction = values[1] if len(values) > 1 and isinstance(values[1], float) else 0.0
        arguments = values[3:]
        if name == "connect":
            yield from self._connect(transaction, values[2] if len(values) > 2 else None)
        elif self._app is None:
            raise SessionError("rtmp_command_order", "The first command has to be connect.")
        elif name == "createStream":
            yield self._create_stream(transaction)
        elif name == "publish":
            yield from self._publish(msid, arguments)
        elif name == "play":
            yield from self._play(msid, arguments)
        elif name == "deleteStream":
            gone = arguments[0] if arguments else None
            yield from self._end_stream(int(gone) if isinstance(gone, float) and 0 <= gone < 2**32 else msid)
        elif name == "closeStream":
            yield from self._end_stream(msid)
        elif name == "FCUnpublish":
            if self._publishing is not None:
                yield Send(self._status(self._publishing, "status", "NetStream.Unpublish.Success", "The stream is no longer published."))
                yield from self._end_stream(self._publishing)
            yield from self._result(transaction)
        elif name == "getStreamLength":
            yield from self._result(transaction, 0)  # live
        elif name == "FCSubscribe":
            # librtmp waits for this one before it plays.
            yield Send(self._command(0, "onFCSubscribe", 0, None, _info("status", "NetStream.Play.Start", "Subscribed.")))
        elif name in _ACKNOWLEDGED:
            yield from self._result(transaction)
        elif name not in _IGNORED and transaction:
            info = _info("error", "NetConnection.Call.Failed", "This command is not known here.")
            yield Send(self._command(0, "_error", transaction, None, info))

    def _connect(self, transaction: float, command: amf.Value) -> Iterator[Event]:
        if self._app is not None:
            raise SessionError("rtmp_command_order", "connect came twice.")
        if not isinstance(command, dict) or not isinstance(command.get("app"), str):
            raise SessionError("rtmp_command", "connect does not name an application.")
        app = cast(str, command["app"])
        if split_path(app, "")[0] != APP:
            self._closed = True
            info = _info("error", "NetConnection.Connect.Rejected", f"There is no such application here; use rtmp://HOST/{APP}.")
            yield Send(self._command(0, "_error", transaction, None, info))
            yield Close("bad_app")
            return
        self._app = app
        self._chunk_size = self._limits.chunk_size
        encoding = command.get("objectEncoding")
        server: dict[str, amf.Encodable] = {"fmsVer": _FMS_VERSION, "capabilities": _CAPABILITIES, "mode": 1}
        info = {
            **_info("status", "NetConnection.Connect.Success", "Connection succeeded."),
            "objectEncoding": 3 if encoding == 3.0 else 0,  # an echo, as nginx-rtmp gives it; our own messages stay AMF0
        }
        yield Send(
            b"".join(
                (
                    messages.control(messages.WINDOW_ACK_SIZE, self._limits.window_ack),
                    messages.peer_bandwidth(self._limits.window_ack),
                    messages.control(messages.SET_CHUNK_SIZE, self._limits.chunk_size),
                    self._command(0, "_result", transaction, server, info),
                )
            )
        )

    def _create_stream(self, transaction: float) -> Event:
        if len(self._streams) >= MAX_STREAMS:
            raise SessionError("rtmp_flood", "Too many streams on one connection.")
        msid = next(number for number in range(1, MAX_STREAMS + 1) if number not in self._streams)
        self._streams.add(msid)
        return Send(self._command(0, "_result", transaction, None, msid))

    def _publish(self, msid: int, arguments: list[amf.Value]) -> Iterator[Event]:
        self._claim(msid)
        app, key = split_path(self._app or "", _text(arguments))
        yield PublishAsked(app, key)

    def _play(self, msid: int, arguments: list[amf.Value]) -> Iterator[Event]:
        self._claim(msid)
        if msid != PLAY_MSID:
            raise SessionError("rtmp_command_order", "play comes on the first stream of a connection.")
        app, name = split_path(self._app or "", _text(arguments))
        yield PlayAsked(app, name)

    def _claim(self, msid: int) -> None:
        if msid not in self._streams:
            raise SessionError("rtmp_command_order", "publish and play come after createStream, on its stream.")
        if self._publishing is not None or self._playing is not None:
            raise SessionError("rtmp_command_order", "One connection publishes or plays one stream.")
        self._asked = msid

    def _answer(self) -> int:
        assert self._asked is not None, "an answer without a question"
        msid, self._asked = self._asked, None
        return msid

    def _end_stream(self, msid: int) -> Iterator[Event]:
        self._streams.discard(msid)
        if msid == self._publishing:
            self._publishing = None
            yield Unpublished()
        elif msid == self._playing:
            # The reactor follows the sequence for this connection until it closes.
            self._playing = None
            self._closed = True
            yield PlayStopped()

    # -- bytes ---------------------------------------------------------------------------------------------------------

    def _command(self, msid: int, *values: amf.Encodable) -> bytes:
        return messages.command(self._chunk_size, msid, *values)

    def _status(self, msid: int, level: str, code: str, description: str) -> bytes:
        return messages.status(self._chunk_size, msid, level, code, description)

    def _result(self, transaction: float, *values: amf.Encodable) -> Iterator[Event]:
        if transaction:  # 0 wants no answer
            yield Send(self._command(0, "_result", transaction, None, *values))

    def _fail(self, reason: str, description: str) -> Iterator[Event]:
        if self._closed:
            return
        was_publishing = self._publishing is not None
        msid, self._publishing = self._publishing, None
        self._closed = True
        if was_publishing and msid is not None:
            yield Send(self._status(msid, "error", "NetStream.Failed", description))
        else:
            yield Send(self._command(0, "_error", 0, None, _info("error", "NetConnection.Call.Failed", description)))
        yield Close(reason)


# Commands of encoders that want a bare answer: librtmp's and ffmpeg's before publish, and the bandwidth checks of Flash.
_ACKNOWLEDGED: Final = frozenset({"releaseStream", "FCPublish", "_checkbw", "checkBandwidth", "setPeerInfo"})
# Commands that want none, or that a live stream has no answer for; also answers to calls that we never make.
_IGNORED: Final = frozenset({"receiveAudio", "receiveVideo", "pause", "seek", "_result", "_error", "onStatus", "set_playlist"})


def _info(level: str, code: str, description: str) -> dict[str, amf.Encodable]:
    return {"level": level, "code": code, "description": description}


def _text(arguments: list[amf.Value]) -> str:
    """The name of a stream; a missing one may stand in the application (see split_path)."""
    return arguments[0] if arguments and isinstance(arguments[0], str) else ""


def _data_message(values: list[amf.Value]) -> Iterator[Event]:
    if values and values[0] == messages.SET_DATA_FRAME:
        values = values[1:]
    if len(values) >= 2 and values[0] == messages.ON_METADATA and isinstance(values[1], dict):
        yield Metadata(values[1])
