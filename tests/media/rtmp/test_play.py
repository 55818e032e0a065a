"""A stream for players: where items begin, what they carry, and what it costs when nobody plays."""

import struct

import pytest

from nova.ext import rtmp
from nova.ext.rtmp_play import PlayEncoder, split
from nova.media.rtmp import amf
from nova.media.rtmp.play import REST_MS, LivePlay
from tests.ext import rtmp_oracle
from tests.media.rtmp.twin import MemorySequence

VIDEO_HEADER, KEY, INTER = b"\x17\x00\x00\x00\x00avcC", b"\x17\x01\x00\x00\x00idr", b"\x27\x01\x00\x00\x00p"
AUDIO_HEADER, AUDIO = b"\xaf\x00\x12\x10", b"\xaf\x01aac"


def records(*messages: tuple[int, bytes]) -> bytes:
    out = b""
    for stamp, payload in messages:
        kind = 8 if payload[0] >> 4 == 10 else 9
        out += struct.pack("<IIIBBH", len(payload), stamp & 0xFFFFFFFF, 1, kind, rtmp.flags(kind, payload), 0) + payload
    return out


def read(chunks: bytes, chunk_size: int = 4096) -> list[tuple[int, bytes]]:
    reader = rtmp.ChunkReader()
    reader.feed(b"\x03" + bytes(3072))
    reader.feed(rtmp.encode(1, 0, 0, struct.pack(">I", chunk_size), csid=2))
    return [(message.timestamp, message.payload) for message, _ in rtmp_oracle.records(reader.feed(chunks)[0])]


def items(encoder: PlayEncoder, *messages: tuple[int, bytes]) -> list[tuple[list[tuple[int, bytes]], bool]]:
    return [(read(data), key) for data, key in encoder.media(records(*messages), True)]


def test_split_gives_runs_of_media_and_the_messages_between() -> None:
    one, two = records((0, KEY), (10, AUDIO)), records((20, INTER))
    other = struct.pack("<IIIBBH", 3, 7, 1, 18, 0, 0) + b"abc"
    assert split(one) == [one]
    assert split(one + other + two) == [one, (18, 7, 1, b"abc"), two]
    assert split(other + other) == [(18, 7, 1, b"abc")] * 2
    assert split(b"") == []
    for cut in (1, 15, 17, len(one) - 1):
        with pytest.raises(ValueError, match="cut short"):
            split(one[:cut])


def test_without_players_nothing_is_encoded_but_headers_are_kept() -> None:
    encoder = PlayEncoder(4096)
    assert encoder.media(records((0, VIDEO_HEADER), (0, AUDIO_HEADER), (0, KEY)), False) == []
    assert read(encoder.headers(40)) == [(40, VIDEO_HEADER), (40, AUDIO_HEADER)]


def test_items_begin_at_key_pictures() -> None:
    encoder = PlayEncoder(4096)
    encoder.media(records((0, VIDEO_HEADER)), False)
    got = items(encoder, (10, INTER), (12, AUDIO), (20, KEY), (30, INTER), (32, AUDIO), (40, KEY), (50, INTER))
    assert got == [
        ([(20, VIDEO_HEADER), (20, KEY), (30, INTER), (32, AUDIO)], True),
        ([(40, KEY), (50, INTER)], True),
    ]
    assert items(encoder, (60, INTER), (70, KEY)) == [([(60, INTER)], False), ([(70, KEY)], True)]


def test_sound_alone_starts_anywhere() -> None:
    encoder = PlayEncoder(4096)
    assert items(encoder, (0, AUDIO_HEADER), (0, AUDIO), (23, AUDIO)) == [([(0, AUDIO_HEADER), (0, AUDIO), (23, AUDIO)], True)]
    assert items(encoder, (46, AUDIO)) == [([(46, AUDIO)], True)]
    # Video that comes late takes the lead.
    assert items(encoder, (60, VIDEO_HEADER), (60, KEY), (69, AUDIO))[-1] == ([(60, KEY), (69, AUDIO)], True)
    assert items(encoder, (92, AUDIO)) == [([(92, AUDIO)], False)]


def test_changed_parameters_come_with_every_later_key_item() -> None:
    encoder = PlayEncoder(4096)
    items(encoder, (0, VIDEO_HEADER), (0, KEY))
    changed = VIDEO_HEADER + b"2"
    assert items(encoder, (100, changed), (100, KEY)) == [([(100, changed)], False), ([(100, changed), (100, KEY)], True)]
    assert items(encoder, (200, KEY)) == [([(200, changed), (200, KEY)], True)]


def test_time_goes_on_over_a_takeover_and_over_the_wrap() -> None:
    encoder = PlayEncoder(4096)
    items(encoder, (0xFFFFFFF0, KEY), (0xFFFFFFE0, AUDIO))
    assert encoder.last_timestamp == 0xFFFFFFF0
    encoder.restart()
    assert items(encoder, (5000, INTER), (5033, KEY), (5066, INTER)) == [
        ([(0xFFFFFFF1 + 33 & 0xFFFFFFFF, KEY), (0xFFFFFFF1 + 66 & 0xFFFFFFFF, INTER)], True)
    ]


def test_chunks_have_the_size_that_players_were_told() -> None:
    encoder = PlayEncoder(100)
    big = KEY + bytes(1000)
    ((data, key),) = encoder.media(records((0, big)), True)
    assert key
    assert read(data, 100) == [(0, big)]


def test_play_begins_with_metadata_and_headers_and_ends_with_a_farewell() -> None:
    made: list[MemorySequence] = []

    def new() -> MemorySequence:
        made.append(MemorySequence())
        return made[-1]

    play = LivePlay(4096, new)
    play.metadata({"width": 1280.0})
    play.media(records((0, VIDEO_HEADER), (0, AUDIO_HEADER), (0, KEY), (40, INTER)))
    assert not play.wanted
    sequence, prologue = play.join()
    assert play.join().sequence is sequence
    wire = read(prologue)
    assert amf.decode(wire[0][1]) == ["onMetaData", {"width": 1280.0}]
    assert wire[1:] == [(40, VIDEO_HEADER), (40, AUDIO_HEADER)]
    play.media(records((80, INTER), (120, KEY)))
    play.metadata({"width": 640.0})
    play.end()
    (sequence,) = made
    assert [key for _, key in sequence.items] == [True, False, True]
    assert sequence.closed
    assert amf.decode(read(sequence.items[-1][0])[0][1])[3]["code"] == "NetStream.Play.UnpublishNotify"  # type: ignore[index, call-overload]
    play.end()


def test_sequence_rests_when_nobody_has_played_for_a_while() -> None:
    play = LivePlay(4096, MemorySequence)
    first = play.join().sequence
    assert isinstance(first, MemorySequence)
    first.readers = 1
    play.media(records((0, KEY), (REST_MS * 2, KEY)))
    first.readers = 0
    play.media(records((REST_MS * 3, KEY)))
    assert play.wanted
    play.media(records((REST_MS * 3 + 1, KEY)))
    assert first.closed
    assert not play.wanted
    second = play.join().sequence
    assert isinstance(second, MemorySequence)
    play.media(records((REST_MS * 3 + 2, INTER)))
    assert second.items == []
