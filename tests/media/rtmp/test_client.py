"""The publishing client: addresses, servers that refuse, vanish or talk nonsense."""

import pytest
import trio

from nova.core.errors import BadRequest
from nova.ext import rtmp
from nova.media.rtmp import client, messages
from nova.media.rtmp.client import PublishError, PublishMachine, Ready, Refused, Send, Target, publishing
from nova.media.rtmp.flv import Tag

TARGET = Target("h", 1935, False, "live", "key")


@pytest.mark.parametrize(
    ("url", "expected", "server"),
    [
        ("rtmp://h/live/key", Target("h", 1935, False, "live", "key"), "rtmp://h:1935/live"),
        ("rtmps://h:444/live/key?a=b", Target("h", 444, True, "live", "key?a=b"), "rtmps://h:444/live"),
        ("rtmp://[::1]:5/app/a/b", Target("::1", 5, False, "app", "a/b"), "rtmp://[::1]:5/app"),
    ],
)
def test_address_is_taken_apart(url: str, expected: Target, server: str) -> None:
    target = Target.parse(url)
    assert target == expected
    assert target.server_url == server
    assert "key" not in repr(target).replace("key=", "")


@pytest.mark.parametrize(
    "url", ["", "http://h/live/key", "rtmp://h/live", "rtmp:///live/key", "rtmp://h:x/live/key", "rtmp://h:99999/live/key"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(BadRequest):
        Target.parse(url)


def connected() -> tuple[PublishMachine, rtmp.ChunkReader]:
    """A machine whose handshake is done, and the server's reader."""
    machine, server = PublishMachine(TARGET), rtmp.ChunkReader()
    (hello,) = machine.receive(b"")
    assert isinstance(hello, Send)
    answer = server.feed(hello.data)[1]
    sent = machine.receive(answer)
    for event in sent:
        assert isinstance(event, Send)
        server.feed(event.data)
    return machine, server


def test_machine_goes_from_connect_to_publish() -> None:
    machine, server = connected()
    (calls,) = machine.receive(messages.command(128, 0, "_result", 1, None, {}))
    assert isinstance(calls, Send)
    assert len(server.feed(calls.data)[0]) > 3 * 16
    (publish,) = machine.receive(messages.command(128, 0, "_result", 4, None, 7))
    assert isinstance(publish, Send)
    assert machine.receive(messages.status(128, 7, "status", "NetStream.Publish.Start", "")) == [Ready()]
    server.feed(publish.data)
    records, _ = server.feed(machine.message(Tag(9, 5, b"\x17\x01x")))
    assert records[8:12] == b"\x07\0\0\0"
    assert machine.receive(messages.status(128, 7, "error", "NetStream.Failed", "no")) == [Refused("NetStream.Failed", "no")]


def test_errors_about_release_and_fcpublish_do_not_matter() -> None:
    machine, _ = connected()
    assert machine.receive(messages.command(128, 0, "_error", 2, None, {"code": "x"})) == []
    assert machine.receive(messages.command(128, 0, "_error", 3, None, {"code": "x"})) == []
    assert machine.receive(messages.command(128, 0, "_error", 1, None, {"code": "x", "description": "y"})) == [Refused("x", "y")]
    (refused,) = connected()[0].receive(messages.command(128, 0, "_result", 4, None, "seven"))
    assert isinstance(refused, Refused)


async def against(answer: bytes, *, close: bool) -> None:
    """Publish to a server that says `answer` and nothing else."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")

        async def serve() -> None:
            async with await listener.accept() as stream:
                await stream.receive_some()
                if answer:
                    await stream.send_all(answer)
                if not close:
                    await trio.sleep_forever()

        nursery.start_soon(serve)
        try:
            async with publishing(Target("127.0.0.1", listener.socket.getsockname()[1], False, "live", "key")):
                pass
        except PublishError as error:
            raise error from None
        finally:
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("answer", "said"), [(b"", "closed"), (b"HTTP/1.1 400 Bad Request\r\n\r\n", "speak RTMP"), (b"\x03" + bytes(100), "closed")]
)
async def test_server_that_is_none_is_said(answer: bytes, said: str) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(PublishError, match=said)):
        await against(answer, close=True)


async def test_server_that_is_silent_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SET_UP_S", 0.05)
    with pytest.RaisesGroup(pytest.RaisesExc(PublishError, match="in time")):
        await against(b"", close=False)


async def test_nobody_listening_is_said() -> None:
    with pytest.raises(PublishError, match="cannot connect"):
        async with publishing(Target("127.0.0.1", 1, False, "live", "key")):
            pass
