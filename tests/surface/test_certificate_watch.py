"""Renewed certificates reach new connections, and whoever is connected stays."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio
import trio.testing

from nova.core.clock import SystemClock
from nova.core.reactor import Reactor
from nova.core.settings import load
from nova.surface import certificate_watch, listeners
from nova.surface.certificate_watch import CertificateWatch
from tests.core.reactor.served import Client, dial, http, reactor
from tests.core.reactor.test_exchange import answer
from tests.core.reactor.test_tls import certificate


async def ok(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, b"ok")


class House:
    def __init__(self, watch: CertificateWatch, made: Reactor, address: tuple[str, int], cert: Path, key: Path, folder: Path) -> None:
        self.watch, self.made, self.address, self.cert, self.key, self.folder = watch, made, address, cert, key, folder
        self.for_h3: list[tuple[Path, Path]] = []

    def renew(self, name: str) -> None:
        cert, key = certificate(self.folder, name)
        shutil.copy(key, self.key)
        shutil.copy(cert, self.cert)

    async def dial(self) -> tuple[Client, bytes]:
        """A connection, and the certificate that it was shown."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        stream = trio.SSLStream(await dial(self.address), context, server_hostname="localhost", https_compatible=True)
        with trio.fail_after(10):
            await stream.do_handshake()
        shown = stream.getpeercert(binary_form=True)
        assert shown is not None
        return Client(stream), shown

    async def shown(self, not_this: bytes) -> bytes:
        """What new connections are shown, once it is another one."""
        with trio.fail_after(10):
            while True:
                client, shown = await self.dial()
                await client.stream.aclose()
                if shown != not_this:
                    return shown


@asynccontextmanager
async def house(tmp_path: Path) -> AsyncIterator[House]:
    cert, key = certificate(tmp_path, "first")
    served = (tmp_path / "cert.pem", tmp_path / "key.pem")
    shutil.copy(cert, served[0])
    shutil.copy(key, served[1])
    overrides = [f"https.cert={served[0]}", f"https.key={served[1]}", "https.listen=127.0.0.1:0"]
    settings, clock = load(environ={}, overrides=overrides).settings, SystemClock()
    context = listeners.https_context(settings, tmp_path, clock)
    async with reactor(replace(http(ok), name="https", tls=context)) as (made, [address]), trio.open_nursery() as nursery:
        for_h3: list[tuple[Path, Path]] = []
        watch = CertificateWatch(made, settings, tmp_path, clock, lambda cert, key: for_h3.append((cert, key)))
        await nursery.start(watch.run)
        at = House(watch, made, address, *served, tmp_path)
        at.for_h3 = for_h3
        yield at
        nursery.cancel_scope.cancel()


async def test_when_asked_new_connections_get_the_new_certificate_and_old_ones_live_on(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        client, first = await at.dial()
        at.renew("second")
        at.watch.look()
        assert await at.shown(first) != first
        assert at.for_h3 == [(at.cert, at.key)]
        assert (await client.get("/"))[2] == b"ok"


async def test_changed_files_are_found_without_being_asked(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(certificate_watch, "LOOK", 0.01)
    async with house(tmp_path) as at:
        _, first = await at.dial()
        at.renew("second")
        assert await at.shown(first) != first


async def test_files_that_do_not_fit_together_change_nothing_until_they_do(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        _, first = await at.dial()
        cert, key = certificate(tmp_path, "second")
        shutil.copy(cert, at.cert)  # the key is still the other one
        before = at.made.tls("https")
        at.watch.look()
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert at.made.tls("https") is before
        client, shown = await at.dial()
        assert shown == first
        assert (await client.get("/"))[2] == b"ok"
        shutil.copy(key, at.key)
        at.watch.look()
        assert await at.shown(first) != first
