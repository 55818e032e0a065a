"""RTMP: the chunk stream against its oracle and in two splits, media flags, AMF0, the session, FLV, the players' encoder."""

from nova.ext import rtmp
from nova.ext.rtmp_play import PlayEncoder, split
from nova.media.rtmp import amf, messages
from nova.media.rtmp.flv import FlvError, FlvReader, Tag, file_header, tag_bytes
from nova.media.rtmp.session import Limits, PlayAsked, PublishAsked, Session
from tests.exact import exact
from tests.ext import rtmp_oracle as oracle
from tests.ext.rtmp_oracle import Message, Writer
from tests.fuzz.registry import target

SHAKE = b"\x03" + bytes(1536) + bytes(1536)
WRITER = Writer(chunk_size=128)
CHUNKS = [
    messages.control(messages.SET_CHUNK_SIZE, 1),
    messages.control(messages.SET_CHUNK_SIZE, 0x7FFFFFFF),
    messages.control(2, 6),
    messages.control(messages.WINDOW_ACK_SIZE, 1),
    messages.user_control(6, 1),
    b"".join(WRITER.chunks(6, Message(9, 40, 1, b"\x17\x01" + bytes(300)))),
    b"".join(WRITER.chunks(6, Message(9, 0x1000000, 1, b"\x27\x01" + bytes(300)))),
    b"".join(Writer(repeats=False).chunks(6, Message(9, 0x1000000, 1, b"\x01\x00" * 150))),
    b"".join(WRITER.chunks(400, Message(22, 40, 1, b"\x09\x00\x00\x02" + bytes(7) + b"\x17\x01\x00\x00\x00\x0d"))),
    b"".join(WRITER.chunks(6, Message(9, 0x1000030, 1, b"\x97\x02abc\x01hvc1" + bytes(291)), 3)),
]
CALLS = [
    messages.command(128, 0, "connect", 1, {"app": "live", "tcUrl": "rtmp://h/live", "objectEncoding": 3}),
    messages.command(128, 0, "createStream", 2, None),
    messages.command(128, 1, "publish", 3, None, "key", "live"),
    messages.command(128, 1, "play", 3, None, "id"),
    messages.command(128, 1, "FCUnpublish", 4, None, "key"),
    messages.command(128, 1, "deleteStream", 5, None, 1),
    messages.data(128, 1, 0, messages.SET_DATA_FRAME, messages.ON_METADATA, amf.Array(width=1280, name="x", list=[1, None, True])),
    rtmp.encode(9, 0, 1, b"\x17\x00\x00\x00\x00avcC", csid=6),
]
WORDS = [
    b"\xc6",
    b"\x46",
    b"\x86",
    b"\x00\x50",
    b"\x01\xff\xff",
    b"\xff\xff\xff",
    b"\x01\x00\x00\x00",
    b"\x16",
    b"\x14",
    b"\x05\x03",
    b"\x00\x00\x09",
]


def feed(data: bytes, step: int) -> tuple[str, bytes, bytes]:
    reader = rtmp.ChunkReader(message=1 << 20, held=1 << 21)
    reader.feed(SHAKE)
    records, reply = b"", b""
    for at in range(0, len(data), step):
        try:
            more, answer = reader.feed(exact(data[at : at + step]))
        except rtmp.ChunkError as error:
            # Records of the feed that fails are lost with it, so splits agree in the error only.
            return error.code, b"", b""
        records, reply = records + more, reply + answer
        assert reader.memory_bytes < 4 << 20
    return "", records, reply


@target("rtmp-chunks", seeds=[*CHUNKS, b"".join(CHUNKS)], words=WORDS)
def rtmp_chunks(data: bytes) -> object:
    error, records, _ = feed(data, len(data) or 1)
    step = data[0] % 19 + 1 if data else 1
    again, pieces, _ = feed(data, step)
    assert (again, pieces) == (error, records)
    taken = oracle.records(records)
    if not error and not any(data[i : i + 1] == b"\x16" for i in range(len(data))):  # the oracle reads no aggregates
        assert [message for message, _ in taken] == oracle.Reader().read(data)
    runs = split(records)
    assert sum(len(run) if isinstance(run, bytes) else 16 + len(run[3]) for run in runs) == len(records)
    return error, len(taken), frozenset(flags for _, flags in taken)


@target("rtmp-handshake", seeds=[SHAKE, SHAKE[:1537], b"\x06"], words=[b"\x80\x00\x07\x02"])
def rtmp_handshake(data: bytes) -> object:
    kinds = []
    for client in (False, True):
        reader = rtmp.ChunkReader(client=client)
        try:
            _, reply = reader.feed(exact(data))
        except rtmp.ChunkError as error:
            kinds.append(error.code)
        else:
            kinds.append(f"{len(reply) > 1600} {reader.handshaken}")
    return tuple(kinds)


@target(
    "rtmp-flags", seeds=[b"\x17\x01", b"\x91hvc1", b"\x97\x02abc\x01hvc1", b"\x96\x11", b"\xaf\x00", b"\x95\x00Opus"], words=[b"\xff\xff"]
)
def rtmp_flags(data: bytes) -> object:
    return rtmp.flags(9, exact(data)), rtmp.flags(8, exact(data))


@target(
    "amf0",
    seeds=[
        amf.encode("connect", 1, {"app": "live", "fourCcList": ["hvc1"]}, None, True, amf.Array(a=1.5), "x" * 70000),
        b"\x0a\xff\xff\xff\xff", b"\x03\x00\x01a" * 20, b"\x0a\x00\x00\x00\x01" * 40, b"\x0b" + bytes(10), b"\x10\x00\x01c\x00\x00\x09",
    ],
    words=[b"\x03", b"\x0a", b"\x08", b"\x00\x00\x09", b"\xff\xff\xff\xff", b"\x00\x01a", b"\x0c", b"\x07\x00\x00", b"\x11"],
)  # fmt: skip
def amf0(data: bytes) -> object:
    try:
        values = amf.decode(data)
    except amf.AmfError as error:
        return error.detail
    again = amf.decode(amf.encode(*values)) if len(data) < 60_000 else values  # invalid UTF-8 grows
    assert repr(again) == repr(values)  # by text, for NaN is not itself
    return tuple(type(value) for value in values[:6])


@target("rtmp-session", seeds=[*CALLS, b"".join(CALLS), b"".join(CALLS[:2] + CALLS[3:4])], words=[*WORDS, *CALLS])
def rtmp_session(data: bytes) -> object:
    reader = rtmp.ChunkReader()
    reader.feed(SHAKE)
    session = Session(Limits(), 0.0)
    seen = []
    for at in range(0, len(data), 50):
        try:
            records, _ = reader.feed(exact(data[at : at + 50]))
        except rtmp.ChunkError:
            break
        for event in session.receive(records, at / 1000):
            seen.append(type(event).__name__)
            if isinstance(event, PublishAsked):
                (session.start_publish if len(event.key) % 2 else lambda: session.refuse_publish("no"))()
            elif isinstance(event, PlayAsked):
                session.start_play()
    session.end("over", clean=True)
    return tuple(seen[:12])


@target(
    "flv",
    seeds=[file_header(audio=True, video=True) + tag_bytes(Tag(9, 0x1000000, b"\x17\x00")) + tag_bytes(Tag(8, 5, b"x"))],
    words=[b"FLV\x01"],
)
def flv(data: bytes) -> object:
    def read(step: int) -> tuple[str, list[Tag]]:
        reader, tags = FlvReader(), []
        try:
            for at in range(0, len(data), step):
                tags += reader.feed(data[at : at + step])
            reader.finish()
        except FlvError as error:
            return error.detail, tags
        return "", tags

    error, tags = read(len(data) or 1)
    assert read(7)[0] == error
    if not error:
        rebuilt = b"".join(tag_bytes(tag) for tag in tags)
        assert data.endswith(rebuilt)
    return error, len(tags)


@target("rtmp-play", seeds=[b"".join(CHUNKS[5:8]), CALLS[-1] + CHUNKS[5]], words=WORDS)
def rtmp_play(data: bytes) -> object:
    records = feed(data, len(data) or 1)[1]
    media = b"".join(run for run in split(records) if isinstance(run, bytes))
    encoder = PlayEncoder(data[0] + 1 if data else 1)
    encoder.media(media, False)
    encoder.restart()
    items = encoder.media(media, True)
    assert all(item for item, _ in items)
    assert not items or items[0][1]
    encoder.headers(encoder.last_timestamp)
    return len(items), sum(key for _, key in items)
