"""Connections of a trusted proxy: its PROXY header says who the peer is, before TLS and before every protocol."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import trio

from nova.core.reactor import Listen, Reactor
from nova.ext import rtmp
from nova.ext.tls import TlsContext
from tests.core.reactor.served import Client, Clock, connect, dial, http, reactor, until
from tests.core.reactor.test_exchange import answer
from tests.core.reactor.test_tls import certificate

LINE = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n"
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


async def who(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, b"%s %d" % (scope["client"][0].encode(), scope["client"][1]))


@asynccontextmanager
async def proxied(spec: Listen, *, most: int = 0, proxies: str = "127.0.0.0/8") -> AsyncIterator[tuple[Reactor, tuple[str, int]]]:
    async with reactor(spec) as (made, [address]):
        network = ip_network(proxies)
        made.bound(connections_per_address=most, exempt=[network], pinned_bytes=1 << 30, proxies=[network])
        yield made, address


async def test_header_names_the_client_in_any_split() -> None:
    async with proxied(http(who)) as (made, address):
        for cut in (0, 1, 5, 6, 20, len(LINE) - 1, len(LINE), len(LINE) + 3):
            async with connect(address) as client:
                data = LINE + GET
                if cut:
                    await client.send(data[:cut])
                    await until(lambda: made.engine.stats()["connections"] == 1)
                await client.send(data[cut:])
                assert (await client.answer())[2] == b"203.0.113.7 56324"
                assert (await client.get("/"))[2] == b"203.0.113.7 56324"
            await until(lambda: made.engine.stats()["connections"] == 0)


async def test_proxy_that_speaks_for_itself_keeps_its_address() -> None:
    async with proxied(http(who)) as (_, address), connect(address) as client:
        await client.send(b"PROXY UNKNOWN\r\n" + GET)
        assert (await client.answer())[2].startswith(b"127.0.0.1 ")


async def test_addresses_that_are_not_trusted_can_not_choose_theirs() -> None:
    async with proxied(http(who), proxies="192.0.2.0/24") as (_, address), connect(address) as client:
        assert (await client.get("/"))[2].startswith(b"127.0.0.1 ")
        await client.send(LINE + GET)
        assert (await client.answer())[0] == 400


@pytest.mark.parametrize(
    "data", [GET, b"PROXY TCP4 1.2.3.4 x 1 2\r\n", b"\r\n\r\n\x00\r\nQUIT\n\x99" + bytes(20), b"\x16\x03\x01" + bytes(80)]
)
async def test_whoever_begins_with_something_else_is_cut_off(data: bytes) -> None:
    async with proxied(http(who)) as (made, address):
        stream = await dial(address)
        await stream.send_all(data)
        with trio.fail_after(10):
            with suppress(trio.BrokenResourceError):
                assert await stream.receive_some(1) == b""
        await until(lambda: made.engine.stats()["connections"] == 0)
        assert made.engine.stats()["handed_up"] == 0


async def test_half_a_header_ends_with_its_peer_and_with_its_time_and_costs_no_turns() -> None:
    async with proxied(http(who, handshake_ms=5000)) as (made, address):
        for leaves in (True, False):
            stream = await dial(address)
            await stream.send_all(LINE[:10])
            await until(lambda: made.engine.stats()["connections"] == 1)
            if leaves:
                await stream.send_eof()
            else:
                clock = Clock(made)
                before = made.engine.stats()["turns"]
                await clock.advance(4)
                assert made.engine.stats()["turns"] - before < 1000  # it does not spin over the bytes that lie there
                await clock.advance(2)
            await until(lambda: made.engine.stats()["connections"] == 0)


async def test_clients_behind_one_proxy_are_counted_one_by_one() -> None:
    async with proxied(http(who), most=1) as (_, address), connect(address) as first, connect(address) as second, connect(address) as third:
        await first.send(LINE + GET)
        assert (await first.answer())[0] == 200
        await second.send(LINE + GET)
        with pytest.raises((EOFError, trio.BrokenResourceError)):
            await second.answer()
        await third.send(LINE.replace(b".7 ", b".8 ") + GET)
        assert (await third.answer())[2] == b"203.0.113.8 56324"


async def test_header_comes_before_tls(tmp_path: Path) -> None:
    pair = certificate(tmp_path, "localhost")
    async with proxied(replace(http(who), name="https", tls=TlsContext(*pair))) as (_, address):
        raw = await dial(address)
        await raw.send_all(LINE)
        context = ssl.create_default_context(cafile=str(pair[0]))
        async with trio.SSLStream(raw, context, server_hostname="localhost", https_compatible=True) as stream:
            client = Client(stream)
            assert (await client.get("/"))[2] == b"203.0.113.7 56324"


async def test_publishers_behind_a_proxy_have_their_own_addresses() -> None:
    seen: list[str] = []

    class Handler:
        def opened(self, conn: int, peer: str) -> None:
            seen.append(peer)

        def records(self, conn: int, data: object) -> None: ...
        def closed(self, conn: int, reason: str) -> None:
            seen.append(reason)

    async with proxied(Listen("rtmp", "127.0.0.1", 0, "rtmp", rtmp=Handler())) as (made, address):
        stream = await dial(address)
        reader = rtmp.ChunkReader(client=True)
        _, hello = reader.feed(b"")
        await stream.send_all(LINE[:7])
        await until(lambda: made.engine.stats()["connections"] == 1)
        await stream.send_all(LINE[7:] + hello)
        with trio.fail_after(10):
            while not reader.handshaken:
                _, reply = reader.feed(await stream.receive_some(8192))
                await stream.send_all(reply)
        await stream.aclose()
        await until(lambda: seen == ["203.0.113.7", "peer"])
