"""TLS in the I/O thread: versions, ALPN, resumption, reload, HTTP/2 behind it, and clients that vanish."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from nova.core.clock import SystemClock
from nova.core.reactor import Listen, RawStream
from nova.core.reactor.resident import ResidentObjects
from nova.core.settings import load
from nova.ext.tls import TlsContext, TlsError
from nova.ext.ws import TEXT, frame
from nova.surface.h2 import H2
from tests.core.reactor.served import Client, dial, http, reactor
from tests.core.reactor.talking import KEY, house

Pair = tuple[Path, Path]


def certificate(folder: Path, name: str) -> Pair:
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}",
         "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True, capture_output=True, timeout=20,
    )
    return cert, key


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    return certificate(tmp_path_factory.mktemp("tls"), "localhost")


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/forever":
        while True:
            await send({"type": "http.response.body", "body": bytes(10_000), "more_body": True})
    await send({"type": "http.response.body", "body": b"%s %s" % (scope["http_version"].encode(), scope["scheme"].encode())})


def https(pair: Pair, **limits: int) -> Listen:
    return replace(http(app, **limits), name="https", tls=TlsContext(*pair), h2=H2(app, load(environ={}).settings).serve)


def client_context(pair: Pair, *alpn: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(pair[0]))
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


async def tls(
    address: tuple[str, int], context: ssl.SSLContext, name: str = "localhost", window: int = 0
) -> trio.SSLStream[trio.SocketStream]:
    stream = trio.SSLStream(await dial(address, window), context, server_hostname=name, https_compatible=True)
    with trio.fail_after(10):
        await stream.do_handshake()
    return stream


async def curl(*args: str) -> tuple[int, bytes]:
    done = await trio.run_process(["curl", "-s", "-m", "10", *args], capture_stdout=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_both_versions_serve_hot_and_cold_answers(pair: Pair, version: ssl.TLSVersion) -> None:
    big = bytes(range(256)) * 8192
    async with reactor(https(pair)) as (made, [address]):
        made.objects.put(b"/hot", b"Content-Type: video/mp4\r\n", [big], etag=b'"1"')
        context = client_context(pair)
        context.minimum_version = context.maximum_version = version
        client = Client(await tls(address, context))
        for _ in range(3):
            assert (await client.get("/hot"))[2] == big
            assert (await client.get("/"))[2] == b"1.1 https"
        await client.stream.aclose()


async def test_older_versions_and_plain_text_are_refused(pair: Pair) -> None:
    async with reactor(https(pair)) as (_, [address]):
        code, _out = await curl("-k", "--tls-max", "1.1", f"https://127.0.0.1:{address[1]}/")
        assert code == 35
        plain = await trio.open_tcp_stream(*address)
        await plain.send_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * 100)
        with trio.fail_after(30):
            try:
                while await plain.receive_some(1000):
                    pass
            except trio.BrokenResourceError:
                pass
        assert (await curl("-k", f"https://127.0.0.1:{address[1]}/"))[1] == b"2 https"


async def test_alpn_chooses_h2_and_both_protocols_answer(pair: Pair) -> None:
    async with reactor(https(pair)) as (_, [address]):
        url = f"https://localhost:{address[1]}/"
        args = ("--cacert", str(pair[0]), "--resolve", f"localhost:{address[1]}:127.0.0.1", url)
        assert (await curl("--http2", *args))[1] == b"2 https"
        assert (await curl("--http1.1", *args))[1] == b"1.1 https"


async def test_a_viewer_without_a_session_counts_once_over_both_protocols(pair: Pair) -> None:
    h2: list[H2] = []

    async def serve(stream: RawStream) -> None:
        await h2[0].serve(stream)

    async with reactor(replace(https(pair), h2=serve)) as (made, [address]), trio.open_nursery() as nursery:
        resident = ResidentObjects(made.objects, made.viewers, SystemClock(), sessions=None, render=lambda path: None, wait=1.0)
        await nursery.start(resident.run)
        h2.append(H2(resident.before(app), load(environ={}).settings))
        made.objects.put(b"/seg", b"Content-Type: video/mp4\r\n", [b"segment"], tag=3)
        for agent, protocol in (("one", "--http1.1"), ("one", "--http2"), ("two", "--http2"), ("two", "--http1.1")):
            assert (await curl("-k", "-A", agent, protocol, f"https://127.0.0.1:{address[1]}/seg"))[1] == b"segment"
        assert made.viewers.count(3, int(SystemClock().wall())) == 2
        nursery.cancel_scope.cancel()


async def test_session_is_resumed_across_a_reload_and_the_new_certificate_is_shown(pair: Pair, tmp_path: Path) -> None:
    spec = https(pair)
    other = certificate(tmp_path, "localhost")
    async with reactor(spec) as (made, [address]):
        context = client_context(pair)
        context.load_verify_locations(str(other[0]))
        first = Client(await tls(address, context))
        assert (await first.get("/"))[0] == 200
        ssl_object = first.stream._ssl_object  # type: ignore[union-attr]
        shown = ssl_object.getpeercert(True)
        made.reload_tls("https", TlsContext(*other, resume=spec.tls))
        assert (await first.get("/"))[0] == 200  # nobody is dropped
        second = Client(await tls(address, context))
        assert second.stream._ssl_object.getpeercert(True) != shown  # type: ignore[union-attr]
        resumed = context.wrap_bio(i := ssl.MemoryBIO(), o := ssl.MemoryBIO(), server_hostname="localhost", session=ssl_object.session)
        raw = await trio.open_tcp_stream(*address)
        with trio.fail_after(30):
            while True:
                try:
                    resumed.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    await raw.send_all(o.read())
                    i.write(await raw.receive_some(65536))
        assert resumed.session_reused


async def test_server_name_chooses_its_certificate(pair: Pair, tmp_path: Path) -> None:
    other = certificate(tmp_path, "other.test")
    spec = replace(https(pair), tls=TlsContext(*pair, names={"other.test": other}))
    async with reactor(spec) as (_, [address]):
        await tls(address, client_context(pair))
        await tls(address, client_context(other), "other.test")


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_frames_behind_an_upgrade_are_answered_wherever_the_bytes_are_cut(pair: Pair, secure: bool) -> None:
    """Nothing else would make the loop look at what came in one read, or in one record, with the head."""
    head = (
        b"GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: nova.json.v1\r\n\r\n"
    )
    ping = frame(TEXT, b'{"id":1,"ping":{}}', key=KEY)
    text = head + frame(TEXT, b'{"id":7,"connect":{}}', key=KEY) + ping
    async with house() as h:
        address = h.reactor.listen(Listen("both", "127.0.0.1", 0, tls=TlsContext(*pair) if secure else None, websockets=True))
        for cut in (0, 10, len(head) - 1, len(head), len(head) + 1, len(head) + 9, len(text) - 1):
            async with await (tls(address, client_context(pair)) if secure else dial(address)) as stream:
                if cut:
                    await stream.send_all(text[:cut])
                    await trio.testing.wait_all_tasks_blocked(0.01)
                await stream.send_all(text[cut:])
                found = b""
                with trio.fail_after(30):
                    for pings in (1, 2):
                        while found.count(b'"id":1,"ping"') < pings:
                            found += await stream.receive_some(65536) or pytest.fail("closed")
                        await stream.send_all(ping)
                assert found.startswith(b"HTTP/1.1 101 ")
                assert found.count(b'"id":7,"connect"') == 1


async def test_silent_peer_is_gone_after_the_handshake_time(pair: Pair) -> None:
    async with reactor(https(pair, handshake_ms=100)) as (_, [address]):
        stream = await trio.open_tcp_stream(*address)
        with trio.fail_after(30):
            assert await stream.receive_some(1) == b""


async def test_h2_clients_that_vanish_end_their_tasks_and_harm_nobody(pair: Pair) -> None:
    from h2.config import H2Configuration
    from h2.connection import H2Connection

    async def vanish(address: tuple[str, int], step: int) -> None:
        stream = await tls(address, client_context(pair, "h2"))
        h2 = H2Connection(H2Configuration(client_side=True))
        h2.initiate_connection()
        head = [(":method", "GET"), (":path", "/forever"), (":scheme", "https"), (":authority", "h")]
        for i in range(3):
            h2.send_headers(1 + 2 * i, head, end_stream=step % 2 == 0)
        data = h2.data_to_send()
        await stream.send_all(data[: len(data) - step % 20] if step % 3 == 0 else data)
        if step % 3:
            with trio.move_on_after(0.02 * (step % 4)):
                await stream.receive_some(65536)
        raw = stream.transport_stream.socket
        raw.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, no goodbye
        raw.close()

    async with reactor(https(pair)) as (made, [address]):
        for round_ in range(3):
            async with trio.open_nursery() as nursery:
                for step in range(12):
                    nursery.start_soon(vanish, address, round_ * 12 + step)
        url = f"https://localhost:{address[1]}/"
        assert (await curl("--http2", "-k", "--resolve", f"localhost:{address[1]}:127.0.0.1", url))[1] == b"2 https"
        with trio.fail_after(10):
            await made.drain()  # every task of theirs has ended


async def test_a_target_that_is_no_text_ends_its_own_h2_stream_alone(pair: Pair) -> None:
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.events import ResponseReceived

    async with reactor(https(pair)) as (_, [address]), await tls(address, client_context(pair, "h2")) as stream:
        h2 = H2Connection(H2Configuration(client_side=True, header_encoding=None, validate_outbound_headers=False))
        h2.initiate_connection()
        wanted: dict[int, bytes] = {}
        for number, (method, path, status) in enumerate(
            (
                (b"GET", b"/", b"200"),
                (b"GET", b"/caf\xc3\xa9", b"400"),
                (b"POST", b"/?\xff", b"400"),
                (b"G\xcbT", b"/", b"400"),
                (b"CONNECT", b"", b"405"),
                (b"GET", b"/", b"200"),
            )
        ):
            fields = [(b":method", method), (b":authority", b"h")]
            if path:
                fields += [(b":path", path), (b":scheme", b"https")]
            h2.send_headers(1 + 2 * number, fields, end_stream=method != b"POST")
            wanted[1 + 2 * number] = status
        found: dict[int, bytes] = {}
        with trio.fail_after(30):
            while len(found) < 7:
                if found == wanted:  # a body behind its answer, and one request more
                    h2.send_data(5, b"body", end_stream=True)
                    more = [(b":method", b"GET"), (b":authority", b"h"), (b":path", b"/"), (b":scheme", b"https")]
                    h2.send_headers(13, more, end_stream=True)
                    wanted[13] = b"200"
                await stream.send_all(h2.data_to_send())
                for event in h2.receive_data(await stream.receive_some(65536) or pytest.fail(f"closed after {found}")):
                    if isinstance(event, ResponseReceived):
                        assert event.headers is not None
                        found[event.stream_id or 0] = dict(event.headers)[b":status"]  # type: ignore[index]
        assert found == wanted


async def test_h2_connection_lives_through_any_number_of_requests(pair: Pair) -> None:
    """Hypercorn ended one after a thousand, with whatever else it carried: a player asks for so many parts in three minutes."""
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.events import StreamEnded

    go = trio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    listen = replace(https(pair), h2=H2(application, load(environ={}).settings).serve)
    async with reactor(listen) as (_, [address]), await tls(address, client_context(pair, "h2")) as stream:
        h2 = H2Connection(H2Configuration(client_side=True))
        h2.initiate_connection()
        paths = ["/slow", *["/"] * 1100]
        ended: set[int] = set()
        asked = 0
        with trio.fail_after(60):
            while len(ended) < len(paths):
                while asked < len(paths) and asked - len(ended) <= 50:
                    head = [(":method", "GET"), (":authority", "h"), (":path", paths[asked]), (":scheme", "https")]
                    h2.send_headers(1 + 2 * asked, head, end_stream=True)
                    asked += 1
                await stream.send_all(h2.data_to_send())
                events = h2.receive_data(await stream.receive_some(65536) or pytest.fail(f"closed after {len(ended)} answers"))
                ended |= {event.stream_id or 0 for event in events if isinstance(event, StreamEnded)}
                if len(ended) == len(paths) - 1:
                    assert 1 not in ended
                    go.set()


def test_useless_certificates_are_refused_with_the_file_named(tmp_path: Path, pair: Pair) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_bytes(b"")
    with pytest.raises(TlsError, match=r"empty\.pem"):
        TlsContext(empty, pair[1])
    with pytest.raises(TlsError, match="key"):
        TlsContext(pair[0], certificate(tmp_path, "x")[1])
