"""The RTMP kernel: against its oracle in any split, at its limits, and with what hostile peers send."""

import hmac
import struct
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.ext import rtmp, rtmp_handshake
from tests.ext import rtmp_oracle as oracle
from tests.ext.rtmp_oracle import Message, Writer

SHAKE = b"\x03" + bytes(1536) + bytes(1536)
FLASH = b"Genuine Adobe Flash Player 001" + bytes.fromhex("f0eec24a8068bee82e00d0d1029e7e576eec5d2d29806fab93b8e636cfeb31ae")
SERVER = b"Genuine Adobe Flash Media Server 001" + FLASH[30:]


def shaken(**limits: int) -> rtmp.ChunkReader:
    reader = rtmp.ChunkReader(**limits)
    reader.feed(SHAKE)
    assert reader.handshaken
    return reader


def feed(reader: rtmp.ChunkReader, data: bytes) -> list[Message]:
    return [message for message, _ in oracle.records(reader.feed(data)[0])]


def control(kind: int, *values: int) -> bytes:
    return rtmp.encode(kind, 0, 0, struct.pack(f">{len(values)}I", *values), csid=2)


# -- handshake ---------------------------------------------------------------------------------------------------------


def test_plain_handshake_echoes_the_clients_block() -> None:
    c1 = bytes(8) + bytes(range(256)) * 5 + bytes(248)
    reader = rtmp.ChunkReader()
    _, reply = reader.feed(b"\x03" + c1)
    assert len(reply) == 1 + 2 * 1536
    assert reply[0] == 3
    assert reply[5:9] == bytes(4)
    s2 = reply[1537:]
    assert (s2[:4], s2[8:]) == (c1[:4], c1[8:])
    assert not reader.handshaken
    reader.feed(bytes(1536))
    assert reader.handshaken


@pytest.mark.parametrize("scheme", [0, 1])
def test_digest_handshake_is_signed_in_the_clients_scheme(scheme: int) -> None:
    c1 = bytearray(struct.pack(">II", 7, 0x80000702) + bytes(i * 7 & 255 for i in range(1528)))
    base = 772 if scheme == 0 else 8
    place = base + 4 + sum(c1[base : base + 4]) % 728
    digest = hmac.digest(FLASH[:30], bytes(c1[:place] + c1[place + 32 :]), sha256)
    c1[place : place + 32] = digest
    assert rtmp_handshake.digest(bytes(c1), True) == place
    answer = rtmp_handshake.answer(bytes(c1), 5)
    s1, s2 = answer[1:1537], answer[1537:]
    theirs = rtmp_handshake.digest(s1, False)
    assert (theirs < 772) == (scheme == 1)
    assert s1[theirs : theirs + 32] == hmac.digest(SERVER[:36], s1[:theirs] + s1[theirs + 32 :], sha256)
    assert s2[-32:] == hmac.digest(hmac.digest(SERVER, digest, sha256), s2[:-32], sha256)


def test_our_client_and_our_server_shake_hands_in_any_split() -> None:
    client, server = rtmp.ChunkReader(client=True), rtmp.ChunkReader()
    _, to_server = client.feed(b"")
    to_client = b"".join(server.feed(to_server[i : i + 1])[1] for i in range(len(to_server)))
    c2 = b"".join(client.feed(to_client[i : i + 1])[1] for i in range(len(to_client)))
    s1 = to_client[1:1537]
    place = rtmp_handshake.digest(s1, False)
    assert place
    assert c2[-32:] == hmac.digest(hmac.digest(FLASH, s1[place : place + 32], sha256), c2[:-32], sha256)
    server.feed(c2)
    assert client.handshaken
    assert server.handshaken


@pytest.mark.parametrize("first", [b"\x06", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n"])
def test_another_protocol_is_refused_at_its_first_byte(first: bytes) -> None:
    with pytest.raises(rtmp.ChunkError, match="rtmp_version"):
        rtmp.ChunkReader().feed(first)


def test_reader_that_is_shaken_and_idle_takes_less_than_a_kibibyte() -> None:
    assert shaken().memory_bytes < 512


# -- messages ----------------------------------------------------------------------------------------------------------

stamps = st.one_of(st.integers(0, 5000), st.integers(0xFFFFF0, 0x1000100), st.integers(0xFFFFFF00, 0xFFFFFFFF))
messages = st.builds(
    Message, st.sampled_from([8, 9, 15, 17, 18, 20]), stamps, st.integers(0, 2**32 - 1), st.binary(min_size=1, max_size=600)
)
csids = st.one_of(st.integers(3, 63), st.sampled_from([64, 319, 320, 65599]))


@st.composite
def wires(draw: st.DrawFn) -> tuple[bytes, list[Message]]:
    """Messages of up to eight chunk streams, interleaved at chunks, with the messages in the order of their last chunks."""
    chunk_size = draw(st.sampled_from([1, 2, 5, 128, 4096, 0x7FFFFFFF]))
    writer = Writer(repeats=draw(st.booleans()), chunk_size=chunk_size)
    queues = []
    for csid in draw(st.lists(csids, min_size=1, max_size=8, unique=True)):
        queue = []
        for message in draw(st.lists(messages, min_size=1, max_size=4)):
            parts = writer.chunks(csid, message, draw(st.integers(0, 3)), draw(st.sampled_from([0, 3])))
            queue += [(part, message if i == len(parts) - 1 else None) for i, part in enumerate(parts)]
        queues.append(queue)
    wire, done = control(1, chunk_size), []
    while queues := [queue for queue in queues if queue]:
        part, message = queues[draw(st.integers(0, len(queues) - 1))].pop(0)
        wire += part
        if message is not None:
            done.append(message)
    return wire, done


@given(wires())
def test_messages_come_out_as_they_went_in(case: tuple[bytes, list[Message]]) -> None:
    wire, expected = case
    assert feed(shaken(), wire) == expected
    assert oracle.Reader().read(wire) == expected


@given(wires(), st.data())
def test_any_split_gives_the_same_messages(case: tuple[bytes, list[Message]], data: st.DataObject) -> None:
    wire, expected = case
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=20)))
    reader, got = shaken(), []
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        got += feed(reader, wire[start:end])
    assert got == expected
    reader, got = shaken(), []
    for i in range(len(wire)):
        got += feed(reader, wire[i : i + 1])
    assert got == expected


@given(st.binary(max_size=400), st.lists(st.integers(1, 50), max_size=30))
def test_noise_is_read_as_the_oracle_reads_it(noise: bytes, sizes: list[int]) -> None:
    reader, got, failed = shaken(), [], False
    cuts = [0]
    for size in sizes:
        cuts.append(min(cuts[-1] + size, len(noise)))
    try:
        for start, end in zip(cuts, [*cuts[1:], len(noise)], strict=True):
            got += feed(reader, noise[start:end])
    except rtmp.ChunkError:
        failed = True
    if not failed:
        assert got == oracle.Reader().read(noise)


@given(messages, csids, st.integers(1, 700))
def test_encoder_and_oracle_agree(message: Message, csid: int, chunk_size: int) -> None:
    writer = Writer(chunk_size=chunk_size)
    expected = b"".join(writer.chunks(csid, message))
    assert rtmp.encode(message.type, message.timestamp, message.msid, message.payload, csid=csid, chunk_size=chunk_size) == expected


@pytest.mark.parametrize("repeats", [True, False])
def test_extended_timestamp_of_a_continuation_is_told_from_payload_that_looks_like_it(repeats: bool) -> None:
    """The first bytes of each later chunk begin like the time stamp, so that only the last of them decides."""
    stamp = 0x01020304
    payload = b"\x01\x02\x03\x05" * 64
    wire = b"".join(Writer(repeats=repeats, chunk_size=4).chunks(4, Message(8, stamp, 1, payload)))
    reader = shaken()
    assert feed(reader, control(1, 4)) == []
    got = [message for i in range(len(wire)) for message in feed(reader, wire[i : i + 1])]
    assert got == [Message(8, stamp, 1, payload)]


def test_continuation_that_repeats_the_absolute_time_of_a_delta_is_understood() -> None:
    first = Message(9, 0x02000000, 1, bytes(10))
    delta, total = 0x01000000, 0x03000000
    header = b"\xff\xff\xff" + (200).to_bytes(3, "big") + b"\x09"
    wire = rtmp.encode(*first[:3], first.payload, csid=6)
    wire += b"\x46" + header + delta.to_bytes(4, "big") + bytes(128) + b"\xc6" + total.to_bytes(4, "big") + bytes(72)
    assert feed(shaken(), wire) == [first, Message(9, total, 1, bytes(200))]


def test_librtmp_may_open_the_control_stream_with_a_short_header() -> None:
    ping = b"\x42" + bytes(3) + b"\x00\x00\x06\x04" + b"\x00\x06\x00\x00\x00\x2a"
    _, reply = shaken().feed(ping)
    assert reply == b"\x02" + bytes(3) + b"\x00\x00\x06\x04" + bytes(4) + b"\x00\x07\x00\x00\x00\x2a"


@pytest.mark.parametrize("fmt", [2, 3])
def test_chunk_stream_cannot_begin_with_a_header_that_refers_back(fmt: int) -> None:
    with pytest.raises(rtmp.ChunkError, match="rtmp_chunk_order"):
        shaken().feed(oracle.basic_header(fmt, 5) + bytes(20))


def test_message_inside_a_message_is_refused() -> None:
    head = rtmp.encode(9, 0, 1, bytes(300), csid=6)[:140]
    with pytest.raises(rtmp.ChunkError, match="rtmp_chunk_interrupted"):
        shaken().feed(head + rtmp.encode(9, 0, 1, bytes(10), csid=6))


def test_abort_drops_the_unfinished_message_and_its_memory() -> None:
    reader = shaken()
    idle = reader.memory_bytes
    chunks = Writer().chunks(6, Message(9, 0, 1, bytes(100_000)))
    assert feed(reader, b"".join(chunks[:10])) == []
    assert reader.memory_bytes > idle + 1000
    whole = Message(9, 40, 1, bytes(20))
    assert feed(reader, control(2, 6) + rtmp.encode(*whole[:3], whole.payload, csid=6)) == [whole]
    assert reader.memory_bytes < idle + 1000


def test_abort_of_an_unknown_chunk_stream_is_nothing() -> None:
    assert shaken().feed(control(2, 77)) == (b"", b"")


@pytest.mark.parametrize("size", [0, 2**31, 2**32 - 1])
def test_impossible_chunk_size_is_refused(size: int) -> None:
    with pytest.raises(rtmp.ChunkError, match="rtmp_chunk_size"):
        shaken().feed(control(1, size))


def test_chunk_size_of_one_byte_and_of_two_gibibytes_work() -> None:
    message = Message(9, 1, 1, bytes(range(256)) * 40)
    for size in (1, 2**31 - 1):
        reader = shaken()
        assert feed(reader, control(1, size)) == []
        assert feed(reader, rtmp.encode(*message[:3], message.payload, csid=6, chunk_size=size)) == [message]


def test_sixty_four_interleaved_chunk_streams_are_read_and_the_next_is_refused() -> None:
    reader = shaken()
    writer = Writer()
    expected = [Message(8, csid, 1, bytes((csid & 255,)) * 1000) for csid in range(3, 67)]
    parts = [writer.chunks(message.timestamp, message) for message in expected]
    wire = b"".join(chunks[i] for i in range(8) for chunks in parts)
    assert feed(reader, wire) == expected
    with pytest.raises(rtmp.ChunkError, match="rtmp_chunk_streams"):
        reader.feed(rtmp.encode(8, 0, 1, b"x", csid=70))


def test_largest_message_passes_and_a_lower_limit_refuses_it_at_its_header() -> None:
    payload = bytes(0xFFFFFF)
    wire = rtmp.encode(9, 0, 1, payload, csid=6, chunk_size=0xFFFFFF)
    reader = shaken()
    reader.feed(control(1, 0xFFFFFF))
    got = [m for at in range(0, len(wire), 65536) for m in feed(reader, wire[at : at + 65536])]
    assert got == [Message(9, 0, 1, payload)]
    assert reader.memory_bytes < 1024
    with pytest.raises(rtmp.ChunkError, match="rtmp_message_size"):
        shaken(message=1 << 20).feed(wire[:12])


def test_claimed_lengths_take_little_memory_and_what_is_held_has_a_limit() -> None:
    claims = [bytes((csid,)) + bytes(3) + b"\xff\xff\xff\x09" + bytes(4) + bytes(128) for csid in range(3, 63)]
    reader = shaken()
    for claim in claims:
        reader.feed(claim)
    assert reader.memory_bytes < 8 << 20  # of the 960 MiB that were claimed
    reader = shaken(held=1 << 20)
    for claim in claims[:8]:
        reader.feed(claim)
    with pytest.raises(rtmp.ChunkError, match="rtmp_held_bytes"):
        reader.feed(claims[8])
    assert reader.memory_bytes < (1 << 20) + 2048


def test_truncation_at_every_byte_is_neither_a_message_nor_an_error() -> None:
    message = Message(20, 0x01000000, 1, bytes(range(256)) * 2)
    wire = rtmp.encode(*message[:3], message.payload, csid=3)
    for cut in range(len(wire)):
        assert feed(shaken(), wire[:cut]) == []
    for cut in range(1, 3073):
        reader = rtmp.ChunkReader()
        assert reader.feed(SHAKE[:cut])[0] == b""
        assert not reader.handshaken


def test_empty_messages_and_unknown_types_are_dropped() -> None:
    wire = b"".join(rtmp.encode(kind, 0, 1, b"", csid=5) for kind in (8, 9, 18, 20))
    wire += b"".join(rtmp.encode(kind, 0, 1, b"data", csid=5) for kind in (0, 7, 10, 16, 19, 21, 255))
    assert shaken().feed(wire) == (b"", b"")


def test_short_control_messages_are_refused() -> None:
    for kind in (1, 2, 3, 5, 6):
        with pytest.raises(rtmp.ChunkError, match="rtmp_control"):
            shaken().feed(rtmp.encode(kind, 0, 0, b"abc", csid=2))
    with pytest.raises(rtmp.ChunkError, match="rtmp_control"):
        shaken().feed(rtmp.encode(4, 0, 0, b"\x00\x06ab", csid=2))


def test_aggregate_message_is_its_tags() -> None:
    def sub(kind: int, stamp: int, body: bytes) -> bytes:
        head = bytes((kind,)) + len(body).to_bytes(3, "big") + (stamp & 0xFFFFFF).to_bytes(3, "big") + bytes((stamp >> 24, 0, 0, 0))
        return head + body + (len(head) + len(body)).to_bytes(4, "big")

    body = sub(9, 0x01000010, b"\x17\x01video") + sub(8, 0x01000020, b"\xaf\x01audio")
    assert feed(shaken(), rtmp.encode(22, 5000, 1, body, csid=6)) == [
        Message(9, 5000, 1, b"\x17\x01video"),
        Message(8, 5016, 1, b"\xaf\x01audio"),
    ]
    for cut in range(1, len(body)):
        if cut != len(sub(9, 0, b"\x17\x01video")):
            with pytest.raises(rtmp.ChunkError, match="rtmp_aggregate"):
                shaken().feed(rtmp.encode(22, 5000, 1, body[:cut], csid=6))


# -- answers -----------------------------------------------------------------------------------------------------------


def test_acknowledgement_after_each_window_with_the_count_of_bytes() -> None:
    reader = shaken(window=0)
    size = control(5, 1000)
    assert reader.feed(size) == (b"", b"")
    data = rtmp.encode(9, 0, 1, bytes(100), csid=6)
    sent = len(size)
    replies = []
    for _ in range(20):
        sent += len(data)
        reply = reader.feed(data)[1]
        if reply:
            replies.append((sent, struct.unpack(">I", reply[12:])[0]))
            assert reply[:12] == b"\x02" + bytes(3) + b"\x00\x00\x04\x03" + bytes(4)
    assert len(replies) == 2
    assert all(count == said for count, said in replies)


def test_peer_bandwidth_is_answered_once_with_our_window() -> None:
    reader = shaken()
    wish = rtmp.encode(6, 0, 0, struct.pack(">IB", 5000, 2), csid=2)
    assert reader.feed(wish)[1] == control(5, 5000)
    assert reader.feed(wish)[1] == b""


def test_flood_of_pings_is_answered_in_bounds() -> None:
    ping = rtmp.encode(4, 0, 0, struct.pack(">HI", 6, 1), csid=2)
    assert len(shaken().feed(ping * 1000)[1]) == 8 * len(ping)


# -- flags -------------------------------------------------------------------------------------------------------------

KEY, HEADER, MEDIA = 1, 2, 4


@pytest.mark.parametrize(
    ("kind", "payload", "expected"),
    [
        (9, b"\x17\x00\x00\x00\x00", MEDIA | HEADER),
        (9, b"\x17\x01\x00\x00\x00", MEDIA | KEY),
        (9, b"\x27\x01\x00\x00\x00", MEDIA),
        (9, b"\x17\x02\x00\x00\x00", MEDIA),
        (9, b"\x1c\x00\x00\x00\x00", MEDIA | HEADER),  # HEVC as it was before Enhanced RTMP
        (9, b"\x17", MEDIA),
        (9, b"\x12", MEDIA | KEY),  # Sorenson
        (9, b"\x57\x00", MEDIA | HEADER),
        (9, b"\x90hvc1", MEDIA | HEADER),
        (9, b"\x91hvc1", MEDIA | KEY),
        (9, b"\x93av01", MEDIA | KEY),
        (9, b"\xa1hvc1", MEDIA),
        (9, b"\x92hvc1", MEDIA),
        (9, b"\x94hvc1", MEDIA),
        (9, b"\x95av01", MEDIA | HEADER),
        (9, b"\x96\x00hvc1", MEDIA | HEADER),  # multitrack
        (9, b"\x96\x11", MEDIA | KEY),
        (9, b"\x96", MEDIA),
        (9, b"\x97\x02abc\x01hvc1", MEDIA | KEY),  # a modifier before the coded frames
        (9, b"\x97\x02abc", MEDIA),
        (9, b"\x97\xff\x00\x00a\x01hvc1", MEDIA | KEY),
        (9, b"\x97\xff\xff\xff", MEDIA),
        (9, b"\x97", MEDIA),
        (8, b"\xaf\x00\x12\x10", MEDIA | HEADER),
        (8, b"\xaf\x01", MEDIA),
        (8, b"\x2f\x00", MEDIA),
        (8, b"\x90Opus", MEDIA | HEADER),
        (8, b"\x91Opus", MEDIA),
        (8, b"\x95\x00Opus", MEDIA | HEADER),
        (18, b"\x02", 0),
    ],
)
def test_flags_say_what_a_message_carries(kind: int, payload: bytes, expected: int) -> None:
    assert rtmp.flags(kind, payload) == expected
    assert oracle.records(shaken().feed(rtmp.encode(kind, 0, 1, payload, csid=6))[0])[0][1] == expected


@given(st.sampled_from([8, 9]), st.binary(max_size=12))
def test_flags_of_noise_are_always_of_the_known_ones(kind: int, payload: bytes) -> None:
    assert rtmp.flags(kind, payload) & ~(KEY | HEADER) == MEDIA
