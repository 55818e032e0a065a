"""The session machine: as OBS, ffmpeg and librtmp talk to it, and as nobody should."""

import pytest

from nova.ext import rtmp
from nova.media.rtmp import amf, messages, session
from nova.media.rtmp.session import Close, Media, Metadata, PlayAsked, PlayStopped, PublishAsked, Session, Unpublished, split_path
from tests.media.rtmp.talk import Talk


def frame(timestamp: int = 0, msid: int = 1) -> bytes:
    return rtmp.encode(9, timestamp, msid, b"\x17\x01frame", csid=6)


def test_connect_is_answered_with_windows_chunk_size_and_success() -> None:
    talk = Talk()
    reader = rtmp.ChunkReader()
    reader.feed(b"\x03" + bytes(3072))
    records = reader.feed(messages.command(128, 0, "connect", 1, {"app": "live", "objectEncoding": 3.0}))[0]
    (send,) = talk.session.receive(records, 0.0)
    assert isinstance(send, session.Send)
    assert send.data.startswith(
        messages.control(messages.WINDOW_ACK_SIZE, 2_500_000)
        + messages.peer_bandwidth(2_500_000)
        + messages.control(messages.SET_CHUNK_SIZE, 4096)
    )
    ((name, transaction, server, info),) = Talk().hear(send.data)
    assert (name, transaction) == ("_result", 1.0)
    assert isinstance(server, dict)
    assert isinstance(info, dict)
    assert info["code"] == "NetConnection.Connect.Success"
    assert info["objectEncoding"] == 3.0


def test_obs_start_to_end() -> None:
    talk = Talk()
    assert talk.connect() == []
    assert talk.call("releaseStream", None, "key", transaction=2) == []
    assert talk.answers == [["_result", 2.0, None]]
    assert talk.call("FCPublish", None, "key", transaction=3) == []
    assert talk.call("createStream", None, transaction=4) == []
    assert talk.answers == [["_result", 4.0, None, 1.0]]
    assert talk.call("publish", None, "key", "live", transaction=5, msid=1) == [PublishAsked("live", "key")]
    assert talk.codes() == ["NetStream.Publish.Start"]
    values: amf.Encodable = amf.Array(width=1280, encoder="obs")
    assert talk.say(messages.data(128, 1, 0, "@setDataFrame", "onMetaData", values)) == [Metadata({"width": 1280.0, "encoder": "obs"})]
    (media,) = talk.say(frame(0) + frame(33))
    assert isinstance(media, Media)
    assert len(media.records) == 2 * (16 + 7)
    assert talk.call("FCUnpublish", None, "key", transaction=6) == [Unpublished()]
    assert talk.codes() == ["NetStream.Unpublish.Success"]
    assert talk.call("deleteStream", None, 1, transaction=7) == []
    assert not talk.session.publishing


@pytest.mark.parametrize("name", ["deleteStream", "closeStream"])
def test_either_command_ends_the_stream_and_another_may_begin(name: str) -> None:
    talk = Talk()
    talk.publish()
    assert talk.call(name, None, 1, msid=1) == [Unpublished()]
    assert talk.say(frame()) == []
    talk.call("createStream", None, transaction=9)
    assert talk.call("publish", None, "key", msid=1) == [PublishAsked("live", "key")]


def test_amf3_wrapped_commands_and_data_are_read() -> None:
    talk = Talk()
    connect = b"\0" + amf.encode("connect", 1, {"app": "live"})
    assert talk.say(rtmp.encode(17, 0, 0, connect, csid=3)) == []
    assert talk.codes() == ["NetConnection.Connect.Success"]
    talk.call("createStream", None)
    talk.say(rtmp.encode(17, 0, 1, b"\0" + amf.encode("publish", 3, None, "key"), csid=3))
    data = b"\0" + amf.encode("@setDataFrame", "onMetaData", {"a": 1})
    assert talk.say(rtmp.encode(15, 0, 1, data, csid=5)) == [Metadata({"a": 1.0})]


def test_media_before_and_after_publish_belongs_to_nobody() -> None:
    talk = Talk()
    assert talk.say(frame()) == []
    talk.publish()
    assert len(talk.say(frame())) == 1


def test_media_behind_publish_in_one_batch_is_media_of_that_stream() -> None:
    talk = Talk()
    talk.connect()
    talk.call("createStream", None)
    events = talk.say(messages.command(128, 1, "publish", 5, None, "key") + frame())
    assert [type(event) for event in events] == [PublishAsked, Media]


@pytest.mark.parametrize(
    ("app", "name", "expected"),
    [
        ("live", "key", ("live", "key")),
        ("live/", "key?a=b&c", ("live", "key")),
        ("live/key", "", ("live", "key")),
        ("/live?x=1", "/key/", ("live", "key")),
        ("live", "a/b", ("live", "a/b")),
        ("", "", ("", "")),
        ("other", "key", ("other", "key")),
    ],
)
def test_application_and_name_are_what_the_user_meant(app: str, name: str, expected: tuple[str, str]) -> None:
    assert split_path(app, name) == expected


def test_another_application_is_rejected() -> None:
    talk = Talk()
    assert talk.connect("vod") == [Close("bad_app")]
    assert talk.codes() == ["NetConnection.Connect.Rejected"]
    assert talk.say(frame()) == []


def test_player_is_told_that_it_plays() -> None:
    talk = Talk()
    talk.connect()
    talk.call("createStream", None)
    assert talk.call("getStreamLength", None, "id", transaction=3) == []
    assert talk.answers == [["_result", 3.0, None, 0.0]]
    assert talk.call("play", None, "id", -2000, msid=1) == [PlayAsked("live", "id")]
    assert talk.codes() == ["NetStream.Play.Reset", "NetStream.Play.Start"]
    assert talk.answers[-1] == ["|RtmpSampleAccess", True, True]
    assert talk.session.playing
    assert talk.call("closeStream", None, msid=1) == [PlayStopped()]


def test_refusals_carry_the_codes_that_encoders_show() -> None:
    for name, refuse, code in (
        ("publish", Session.refuse_publish, "NetStream.Publish.BadName"),
        ("play", Session.refuse_play, "NetStream.Play.StreamNotFound"),
    ):
        talk = Talk()
        talk.connect()
        talk.call("createStream", None)
        records = rtmp.ChunkReader()
        records.feed(b"\x03" + bytes(3072))
        wire = messages.command(128, 1, name, 5, None, "key")
        for _ in talk.session.receive(records.feed(wire + frame())[0], 0.0):
            talk.answers = []
            ((_, _, _, info),) = talk.hear(refuse(talk.session, "Not this one."))
            assert info == {"level": "error", "code": code, "description": "Not this one."}


@pytest.mark.parametrize(
    ("before", "call", "reason"),
    [
        ([], ("publish", None, "key"), "rtmp_command_order"),
        ([], ("createStream", None), "rtmp_command_order"),
        (["connect"], ("publish", None, "key"), "rtmp_command_order"),
        (["connect"], ("play", None, "key"), "rtmp_command_order"),
        (["connect"], ("connect", {"app": "live"}), "rtmp_command_order"),
        (["publish"], ("publish", None, "key"), "rtmp_command_order"),
        (["publish"], ("play", None, "id"), "rtmp_command_order"),
        ([], ("connect", None), "rtmp_command"),
        ([], ("connect", {"app": 5}), "rtmp_command"),
    ],
)
def test_commands_out_of_order_end_the_connection(before: list[str], call: tuple[amf.Encodable, ...], reason: str) -> None:
    talk = Talk()
    for step in before:
        getattr(talk, step)()
    name, *arguments = call
    assert talk.call(str(name), *arguments, msid=1) == [Close(reason)]
    assert talk.codes()[0] in ("NetConnection.Call.Failed", "NetStream.Failed")
    assert talk.say(frame()) == []


def test_nameless_command_and_amf_bomb_end_the_connection() -> None:
    assert Talk().say(rtmp.encode(20, 0, 0, amf.encode(5), csid=3)) == [Close("rtmp_command")]
    assert Talk().say(rtmp.encode(20, 0, 0, b"\x03\x00\x01a" * 5000, csid=3)) == [Close("rtmp_amf")]
    talk = Talk()
    talk.publish()
    assert talk.say(rtmp.encode(18, 0, 1, b"\x0a\xff\xff\xff\xff", csid=3)) == [Close("rtmp_amf")]
    assert talk.codes() == ["NetStream.Failed"]


def test_unknown_commands_are_answered_when_they_want_an_answer() -> None:
    talk = Talk()
    talk.connect()
    talk.call("frobnicate", None, transaction=8)
    assert talk.codes() == ["NetConnection.Call.Failed"]
    talk.call("frobnicate", None, transaction=0)
    assert talk.answers == []
    talk.call("receiveVideo", None, True, transaction=9)
    assert talk.answers == []


def test_createstream_without_end_is_stopped() -> None:
    talk = Talk()
    talk.connect()
    for _ in range(session.MAX_STREAMS):
        assert talk.call("createStream", None) == []
    assert talk.call("createStream", None) == [Close("rtmp_flood")]


def test_commands_are_bounded_in_rate_and_data_messages_dropped() -> None:
    talk = Talk()
    talk.publish()
    data = messages.data(128, 1, 0, "onMetaData", {"a": 1})
    assert len(talk.say(data * 500)) < session.COMMAND_BURST
    talk.now += 1.0
    assert len(talk.say(data * 500)) == session.COMMAND_RATE
    assert talk.call("_checkbw", None) == [Close("rtmp_flood")]


def test_end_tells_publishers_players_and_the_others() -> None:
    for setup, codes in (
        ("publish", ["NetStream.Unpublish.Success", "NetStream.Publish.BadName"]),
        ("connect", ["NetConnection.Connect.Closed"] * 2),
    ):
        for clean, code in zip((True, False), codes, strict=True):
            talk = Talk()
            getattr(talk, setup)()
            talk.answers = []
            talk.hear(talk.session.end("over", clean=clean))
            assert talk.codes() == [code]
            assert talk.say(frame()) == []
    assert Talk().session.end("over", clean=True) == b""
