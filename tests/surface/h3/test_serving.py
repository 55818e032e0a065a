"""`nova serve` over HTTP/3, and how it is offered."""

import http.client
import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from nova.ext import ws
from tests.serving import Served, serve
from tests.surface.h3.client import connect


@pytest.fixture(scope="module")
def nova(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("h3") / "data", https__advertise_h3="true") as served:
        yield served


def _ca(served: Served) -> Path:
    return served.data / "tls" / "cert.pem"


def test_listener_shares_its_number_with_https(nova: Served) -> None:
    assert nova.address("h3") == nova.address("https")


async def test_same_application_answers(nova: Served) -> None:
    async with connect(nova.address("h3"), _ca(nova)) as client:
        answer = await client.get("/v1/streams?limit=1")
        assert answer.status == 200
        assert set(json.loads(answer.body)) == {"items", "cursor"}
        assert b"alt-svc" not in answer.headers
        problem = await client.get("/v1/streams/nothing", fields=[(b"x-correlation-id", b"abc")])
        assert (problem.status, problem.headers[b"x-correlation-id"]) == (404, b"abc")
        posted, answer = client.ask("/v1/streams", method="POST", fields=[(b"content-type", b"application/json")], end=False)
        client.send(posted, b'{"title":"x"}', end=True)
        assert (await answer.whole()).status == 401


async def test_resident_objects_answer_with_conditions_and_ranges(nova: Served) -> None:
    async with connect(nova.address("h3"), _ca(nova)) as client:
        while (page := await client.get("/")).status != 200:
            pass  # pages are resident a moment after `ready`
        tag = page.headers[b"etag"]
        assert (await client.get("/", fields=[(b"if-none-match", tag)])).status == 304
        part = await client.get("/", fields=[(b"range", b"bytes=0-8")])
        assert (part.status, bytes(part.body)) == (206, bytes(page.body[:9]))


@pytest.mark.parametrize("path", ["/", "/v1/streams"])
def test_answers_over_tcp_offer_h3_when_told_to(nova: Served, path: str) -> None:
    host, port = nova.address("https")
    connection = http.client.HTTPSConnection(host, port, context=ssl.create_default_context(cafile=str(_ca(nova))), timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert (answer.status, answer.headers["alt-svc"]) == (200, f'h3=":{port}"; ma=86400')
    connection.close()


async def test_stopping_server_says_goodbye(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as served:
        async with connect(served.address("h3"), _ca(served)) as client:
            assert (await client.get("/healthz")).status == 200
            served.process.terminate()
            await client.over.wait()
            assert client.ended is not None
            assert client.ended.error_code == 0x100  # H3_NO_ERROR
            assert client.http.goaways


def test_h3_can_be_left_out(tmp_path: Path) -> None:
    with serve(tmp_path / "data", h3__enabled="false") as served:
        assert "h3" not in [event.get("name") for event in served.events]


async def test_channels_are_followed_over_h3(nova: Served) -> None:
    """RFC 9220 and server-sent events: the same channels as over HTTP/1.1."""
    async with connect(nova.address("h3"), _ca(nova)) as client:
        stream, answer = client.websocket("/v1/ws", "nova.json.v1")
        _, events = client.ask("/v1/events?channels=public:h3")
        await answer.until(lambda a: a.headers)
        assert (answer.status, answer.headers[b"sec-websocket-protocol"]) == (200, b"nova.json.v1")
        await events.until(lambda a: a.headers)
        commands = [
            {"id": 1, "connect": {}},
            {"id": 2, "subscribe": {"channel": "public:h3"}},
            {"id": 3, "publish": {"channel": "public:h3", "data": {"text": "over QUIC"}}},
        ]
        client.send(stream, ws.frame(ws.TEXT, json.dumps(commands).encode(), key=b"abcd"))
        await answer.until(lambda a: b'"pub"' in a.body)
        await events.until(lambda a: b"event: pub" in a.body)
        assert b"over QUIC" in events.body
        frames = ws.FrameReader(client=True, max_message=1 << 20).feed(bytes(answer.body))
        said = []
        for opcode, payload, _, _ in frames:
            found = json.loads(payload) if opcode == ws.TEXT else []
            said += found if isinstance(found, list) else [found]
        assert [each["id"] for each in said if "id" in each] == [1, 2, 3]
        assert [each["pub"]["data"] for each in said if "pub" in each] == [{"text": "over QUIC"}]
        client.send(stream, ws.close_frame(1000, key=b"abcd"), end=True)
        await answer.whole()
