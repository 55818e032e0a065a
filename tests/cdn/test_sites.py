"""All sites of a node: purges by every kind, warm-ups, what is counted, and changes of the settings."""

from __future__ import annotations

import base64
import gzip
import importlib.util
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trio

from nova.cdn.cache.disk import DiskTier
from nova.cdn.cache.keeper import glob
from nova.cdn.ports import Purge
from nova.cdn.sites import Sites
from nova.core.clock import FakeClock
from nova.core.errors import NotFound, Unprocessable
from nova.core.offload import Offload
from nova.core.reactor import Listen, Reactor
from nova.core.settings_schema import make
from nova.core.settings_table import Cdn, CdnSite
from nova.ext.kept import Answer


def _house() -> ModuleType:
    path = Path(__file__).resolve().parent / "house.py"
    if "cdn_house" not in sys.modules:
        spec = importlib.util.spec_from_file_location("cdn_house", path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules["cdn_house"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["cdn_house"])
    return sys.modules["cdn_house"]


house = _house()


def row(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "listen": "127.0.0.1:0", "origins": [{"url": f"http://{name}"}], "compress": False, **more}


def answer(request: Any) -> Any:
    tag = request.target.split(b"/")[1] or b"root"
    fields = [(b"cache-control", b"max-age=60, stale-while-revalidate=600"), (b"surrogate-key", b"all " + tag), (b"etag", b'"e"')]
    return house.origin.Reply(200, fields, request.host + request.target)


class Node:
    def __init__(
        self, sites: Sites, reactor: Reactor, addresses: dict[str, tuple[str, int]], origins: dict[str, Any], clock: FakeClock
    ) -> None:
        self.sites, self.reactor, self.addresses, self.origins, self.clock = sites, reactor, addresses, origins, clock

    async def get(self, site: str, path: str, host: str = "h") -> tuple[int, dict[str, str], bytes]:
        async with house.served.connect(self.addresses[site]) as client:
            await client.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            return await client.answer()

    async def is_hit(self, site: str, path: str, host: str = "h") -> bool:
        return (await self.get(site, path, host))[1]["cache-status"].startswith("nova; hit")


@asynccontextmanager
async def node(
    *rows: dict[str, Any], disk: Path | None = None, called: bytes | None = None, before: Purge | None = None
) -> AsyncIterator[Node]:
    """before: what is purged before the sites open."""
    clock, offload = FakeClock(), Offload()
    reactor = Reactor(clock, event_ring=1 << 20, command_ring=1 << 20)
    addresses: dict[str, tuple[str, int]] = {}
    origins: dict[str, Any] = {}

    def fetcher(site: CdnSite) -> Any:
        origins[site.name] = house.origin.Origin(answer)
        return origins[site.name]

    def listen(site: CdnSite, number: int) -> None:
        assert site.listen is not None
        try:
            addresses[site.name] = reactor.listen(Listen(f"site:{site.name}", "127.0.0.1", site.listen.port, site=number))
        except OSError:
            raise Unprocessable(detail="in use") from None

    async def told() -> None:
        if before is not None:
            await sites.purge(before)

    config = make(Cdn, sites=list(rows), memory="8MiB")
    tier = None if disk is None else DiskTier(disk, 1 << 24, "s3fifo", offload, clock)
    sites = Sites(
        reactor, config, clock, offload, via=b"nova-t", fetcher=fetcher, listen=listen,
        close=lambda site: reactor.unlisten(f"site:{site.name}"), disk=tier,
        called=lambda site: called, before=told,
    )  # fmt: skip
    async with trio.open_nursery() as nursery:
        await nursery.start(reactor.run)
        reactor.engine.set_clock(unix=int(clock.wall()))
        await nursery.start(sites.run)
        try:
            yield Node(sites, reactor, addresses, origins, clock)
        finally:
            nursery.cancel_scope.cancel()


PATHS = ("/a/1", "/a/2?x", "/b/c/1", "/b/d.jpg")


@pytest.mark.parametrize(
    ("what", "gone"),
    [
        (Purge("key", b"/a/1"), {"/a/1"}),
        (Purge("key", b"/a/2"), set()),
        (Purge("key", b"/a/1", host=b"other"), set()),
        (Purge("key", b"/a/1", site="one", host=b"H"), {"/a/1"}),
        (Purge("prefix", b"/a/"), {"/a/1", "/a/2?x"}),
        (Purge("glob", b"/a/*"), {"/a/1", "/a/2?x"}),
        (Purge("glob", b"/b/*"), {"/b/d.jpg"}),
        (Purge("glob", b"/b/**"), {"/b/c/1", "/b/d.jpg"}),
        (Purge("glob", b"**.jpg"), {"/b/d.jpg"}),
        (Purge("tag", b"b"), {"/b/c/1", "/b/d.jpg"}),
        (Purge("tag", b"all"), set(PATHS)),
        (Purge("tag", b""), set()),
        (Purge("all"), set(PATHS)),
        (Purge("all", site="two"), set()),
        (Purge("all", site="none"), set()),
    ],
)
async def test_purge_takes_what_it_says_and_nothing_else(what: Purge, gone: set[str]) -> None:
    async with node(row("one"), row("two")) as found:
        for path in PATHS:
            await found.get("one", path)
        assert await found.sites.purge(what) == len(gone)
        assert {path for path in PATHS if not await found.is_hit("one", path)} == gone


async def test_soft_purge_makes_stale(tmp_path: Path) -> None:
    async with node(row("one")) as found:
        await found.get("one", "/a/1")
        assert await found.sites.purge(Purge("tag", b"a", soft=True)) == 1
        _, headers, _ = await found.get("one", "/a/1")
        assert headers["cache-status"] == "nova; hit; ttl=0"
        await house.served.until(lambda: len(found.origins["one"].asked) == 2)


@pytest.mark.parametrize("tier", ["memory", "disk"])
async def test_what_was_purged_softly_is_used_stale_only_as_its_origin_allows(tmp_path: Path, tier: str) -> None:
    """Not until the lifetime that it had would have ended: it has ended."""

    def told(rule: bytes) -> Any:
        return lambda request: house.origin.Reply(200, [(b"cache-control", b"max-age=600" + rule)], b"x")

    disk = tmp_path if tier == "disk" else None
    async with node(row("one"), disk=disk) as found:
        for path, rule in (("/checked", b""), ("/strict", b", must-revalidate"), ("/a-while", b", stale-while-revalidate=30")):
            found.origins["one"].script = told(rule)
            await found.get("one", path)
        if found.sites.disk is not None:
            await house.served.until(lambda: found.sites.disk.writes == 3)
        assert await found.sites.purge(Purge("prefix", b"/", soft=True)) == 3
        for path in ("/checked", "/strict", "/a-while") if tier == "disk" else ():
            assert found.sites.keeper.drop(1, b"h" + path.encode())
        found.clock.advance(10)
        found.reactor.engine.set_clock(unix=int(found.clock.wall()))
        found.origins["one"].script = lambda request: house.origin.Reply(503)
        assert (await found.get("one", "/checked"))[1]["cache-status"] == "nova; fwd=stale; fwd-status=503; detail=stale-if-error"
        assert (await found.get("one", "/strict"))[0] == 503
        assert (await found.get("one", "/a-while"))[1]["cache-status"].startswith("nova; hit; ttl=-10")


async def test_purge_reaches_the_disk_and_it_stays_gone(tmp_path: Path) -> None:
    async with node(row("one"), disk=tmp_path) as found:
        for path in PATHS:
            await found.get("one", path)
        disk = found.sites.disk
        assert disk is not None
        await house.served.until(lambda: disk.writes == len(PATHS))
        await found.sites.purge(Purge("tag", b"a"))
    async with node(row("one"), disk=tmp_path) as found:
        hit = {path: (await found.get("one", path))[1]["cache-status"] for path in PATHS}
        assert [path for path in PATHS if "detail=disk" in hit[path]] == ["/b/c/1", "/b/d.jpg"]
        assert len(found.origins["one"].asked) == 2


async def on_disk_alone(tmp_path: Path) -> None:
    async with node(row("one"), disk=tmp_path) as found:
        for path in PATHS:
            await found.get("one", path)
        disk = found.sites.disk
        assert disk is not None
        await house.served.until(lambda: disk.writes == len(PATHS))


async def test_soft_purge_makes_stale_what_is_on_disk_alone(tmp_path: Path) -> None:
    await on_disk_alone(tmp_path)
    async with node(row("one"), disk=tmp_path) as found:
        assert await found.sites.purge(Purge("tag", b"a", soft=True)) == 2
    async with node(row("one"), disk=tmp_path) as found:  # it is stale after a restart, too
        origin = found.origins["one"]
        status, headers, _ = await found.get("one", "/a/1")
        assert (status, headers["cache-status"]) == (200, "nova; hit; ttl=0; detail=disk")
        await found.get("one", "/a/1")
        await house.served.until(lambda: len(origin.asked) == 1)  # behind the answer
        assert dict(origin.asked[0].fields)[b"if-none-match"] == b'"e"'
        assert "ttl=60; detail=disk" in (await found.get("one", "/b/c/1"))[1]["cache-status"]


async def test_what_is_stale_on_disk_alone_is_validated_and_stands_in_for_its_origin(tmp_path: Path) -> None:
    await on_disk_alone(tmp_path)
    async with node(row("one"), disk=tmp_path) as found:
        found.clock.advance(60 + 600 + 1)
        found.reactor.engine.set_clock(unix=int(found.clock.wall()))
        origin = found.origins["one"]
        origin.script = lambda request: house.origin.Reply(304, [(b"etag", b'"e"'), (b"cache-control", b"max-age=60")])
        status, headers, body = await found.get("one", "/a/1")
        assert (status, body, headers["cache-status"]) == (200, b"h/a/1", "nova; fwd=stale; fwd-status=304; stored")
        assert dict(origin.asked[0].fields)[b"if-none-match"] == b'"e"'
        origin.script = lambda request: house.origin.Reply(503)
        status, headers, body = await found.get("one", "/b/d.jpg")
        assert (status, body) == (200, b"h/b/d.jpg")
        assert "stale-if-error" in headers["cache-status"]


async def test_hard_purge_takes_what_is_on_disk_alone(tmp_path: Path) -> None:
    await on_disk_alone(tmp_path)
    async with node(row("one"), disk=tmp_path) as found:
        assert await found.sites.purge(Purge("prefix", b"/a/")) == 2
        assert (await found.get("one", "/a/1"))[1]["cache-status"] == "nova; fwd=uri-miss; stored"
    assert not list(tmp_path.glob("??/*.soft"))


async def test_9111_4_4_a_write_that_succeeds_takes_variants_from_the_disk_too(tmp_path: Path) -> None:
    def varying(request: Any) -> Any:
        return house.origin.Reply(200, [(b"cache-control", b"max-age=60"), (b"vary", b"x-a")], request.method.encode())

    async with node(row("one"), disk=tmp_path) as found:
        found.origins["one"].script = varying
        disk = found.sites.disk
        assert disk is not None
        await found.get("one", "/a")
        await house.served.until(lambda: disk.writes == 1)
        async with house.served.connect(found.addresses["one"]) as client:
            await client.send(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
            assert (await client.answer())[0] == 200
        assert len(disk) == 0
        assert "fwd=uri-miss" in (await found.get("one", "/a"))[1]["cache-status"]


async def test_a_purge_that_the_disk_refuses_fails(tmp_path: Path) -> None:
    from nova.cdn.cache.disk import file_name
    from nova.core.errors import Unavailable

    await on_disk_alone(tmp_path)
    async with node(row("one"), disk=tmp_path) as found:
        path = tmp_path / file_name("one", b"h/a/1")
        path.unlink()
        path.mkdir()
        with pytest.raises(Unavailable):
            await found.sites.purge(Purge("key", b"/a/1"))


@pytest.mark.parametrize(("kind", "value"), [("tag", b"a"), ("key", b"/a/1"), ("all", b"")])
async def test_what_comes_up_from_the_disk_meanwhile_is_purged_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, value: bytes
) -> None:
    await on_disk_alone(tmp_path)
    async with node(row("one"), disk=tmp_path) as found:
        names = found.sites._names
        found.origins["one"].script = lambda request: house.origin.Reply(200, [(b"cache-control", b"max-age=60")], b"new")

        async def interrupted(*args: Any) -> Any:
            """A client asks between two steps of the purge."""
            listed = await names(*args)
            await found.get("one", "/a/1")
            return listed

        monkeypatch.setattr(found.sites, "_names", interrupted)
        await found.sites.purge(Purge(kind, value))
        assert (await found.get("one", "/a/1"))[2] == b"new"


@pytest.mark.parametrize("soft", [False, True])
async def test_fetch_under_way_does_not_bring_back_what_was_purged(soft: bool) -> None:
    gate = trio.Event()
    async with node(row("one")) as found:
        found.origins["one"].script = lambda request: house.origin.Reply(
            200, [(b"cache-control", b"max-age=60")], pieces=[b"old", gate, b"!"], length=4
        )
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                assert (await found.get("one", "/a"))[2] == b"old!"

            nursery.start_soon(ask)
            await house.served.until(lambda: found.sites.site("one").counters.fills == 1)
            assert await found.sites.purge(Purge("key", b"/a", soft=soft)) == 1
            found.origins["one"].script = answer
            assert (await found.get("one", "/a"))[2] == b"h/a"
            gate.set()
        assert await found.is_hit("one", "/a")
        assert (await found.get("one", "/a"))[2] == b"h/a"


async def test_a_tag_that_is_not_known_yet_is_purged_too() -> None:
    gate = trio.Event()
    async with node(row("one")) as found:
        origin = found.origins["one"]
        fields = [(b"cache-control", b"max-age=60"), (b"surrogate-key", b"t")]
        origin.script = lambda request: house.origin.Reply(200, fields, b"old", gate=gate)
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                assert (await found.get("one", "/a"))[2] == b"old"

            nursery.start_soon(ask)
            await house.served.until(lambda: len(origin.asked) == 1)
            await found.sites.purge(Purge("tag", b"t"))
            await found.sites.purge(Purge("tag", b"other"))
            gate.set()
        origin.script = lambda request: house.origin.Reply(200, fields, b"new")
        assert (await found.get("one", "/a"))[2] == b"new"


@pytest.mark.parametrize("soft", [False, True])
async def test_a_304_does_not_bring_back_what_was_purged_by_its_tag(soft: bool) -> None:
    gate = trio.Event()
    async with node(row("one")) as found:
        origin = found.origins["one"]
        fields = [(b"cache-control", b"max-age=60"), (b"surrogate-key", b"t"), (b"etag", b'"e"')]
        origin.script = lambda request: house.origin.Reply(200, fields, b"old")
        await found.get("one", "/a")
        found.clock.advance(61)
        found.reactor.engine.set_clock(unix=int(found.clock.wall()))
        origin.script = lambda request: house.origin.Reply(304, fields, gate=gate)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(found.get, "one", "/a")
            await house.served.until(lambda: len(origin.asked) == 2)
            assert await found.sites.purge(Purge("tag", b"t", soft=soft)) >= 1
            gate.set()
        origin.script = lambda request: house.origin.Reply(200, fields, b"new")
        assert (await found.get("one", "/a"))[2] == b"new"


async def test_warm_up_goes_through_the_same_fetch() -> None:
    async with node(row("one")) as found:
        warmed = await found.sites.prewarm("one", b"/a/1", host=b"h")
        assert warmed == (200, 5, True)
        assert await found.is_hit("one", "/a/1")
        assert await found.sites.prewarm("one", b"/a/1", host=b"h") == warmed
        assert len(found.origins["one"].asked) == 1
        with pytest.raises(NotFound):
            await found.sites.prewarm("none", b"/")
        with pytest.raises(Unprocessable):
            await found.sites.prewarm("one", b"a")


async def test_usage_equals_what_was_sent() -> None:
    async with node(row("one")) as found:
        sent = 0
        for _ in range(4):
            sent += len((await found.get("one", "/a/1"))[2])
        (usage,) = found.sites.drain_usage()
        assert usage == ("one", b"h", b"/a/1", 4, 3, sent)
        assert found.sites.drain_usage() == []
        total = found.sites.stats()["one"]
        assert (total["requests"], total["hits"], total["fills"], total["bytes"]) == (4, 3, 1, sent)
        ((number, key, kept),) = [each for stretch in found.sites.keeper.names(None) for each in stretch]
        assert (key, kept.total, found.sites.keeper.tags_of(number, key)) == (b"h/a/1", 5, (b"all", b"a"))


async def test_sites_come_change_and_go_while_they_serve() -> None:
    async with node(row("one")) as found:
        await found.get("one", "/a/1")
        changed = make(CdnSite, **row("one", client_rate="1/d"))
        await found.sites.apply([changed, make(CdnSite, **row("two"))])
        assert (await found.get("two", "/a/1"))[0] == 200
        assert await found.is_hit("one", "/a/1")  # what was kept stays
        assert [(await found.get("one", f"/new/{number}"))[0] for number in range(2)] == [200, 429]  # the new rules
        assert await found.is_hit("one", "/a/1")  # they are about the origin's side
        async with house.served.connect(found.addresses["one"]) as client:
            assert (await client.get("/a/1"))[0] == 200  # it is not only waiting to be accepted
            await found.sites.apply([make(CdnSite, **row("two"))])
            assert (await client.get("/a/1"))[0] == 404
        # Refused, or reset: whoever came before the thread had closed the listener.
        with pytest.raises((OSError, trio.BrokenResourceError), match=r"refused|reset"):
            await found.get("one", "/a/1")
        assert await found.is_hit("two", "/a/1")


async def test_what_cannot_listen_changes_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = f"127.0.0.1:{taken.getsockname()[1]}"
        async with node(row("one"), row("two")) as found:
            port = found.addresses["one"][1]
            fixed = row("one", listen=f"127.0.0.1:{port}")
            await found.sites.apply([make(CdnSite, **fixed), make(CdnSite, **row("two"))])
            await found.get("one", "/a/1")
            wanted = [row("one", listen="127.0.0.1:0", client_rate="1/d"), row("three", listen=busy)]
            with pytest.raises(Unprocessable):
                await found.sites.apply([make(CdnSite, **each) for each in wanted])
            assert found.addresses["one"][1] == port
            assert await found.is_hit("one", "/a/1")
            assert [(await found.get("one", f"/new/{number}"))[0] for number in range(3)] == [200, 200, 200]  # the old rules
            assert (await found.get("two", "/a/1"))[0] == 200
            assert found.sites.sites().keys() == {"one", "two"}


async def test_sites_may_change_places_and_names() -> None:
    async with node(row("one"), row("two")) as found:
        first, second = (f"127.0.0.1:{found.addresses[name][1]}" for name in ("one", "two"))
        await found.sites.apply([make(CdnSite, **row("one", listen=second)), make(CdnSite, **row("two", listen=first))])
        assert [found.addresses[name][1] for name in ("two", "one")] == [int(each.rpartition(":")[2]) for each in (first, second)]
        await found.get("one", "/a/1")
        assert await found.is_hit("one", "/a/1")
        assert not await found.is_hit("two", "/a/1")
        await found.sites.apply([make(CdnSite, **row("three", listen=second)), make(CdnSite, **row("two", listen=first))])
        assert not await found.is_hit("three", "/a/1")
        assert await found.is_hit("two", "/a/1")


async def test_requests_under_way_outlive_a_change_and_forget_what_is_purged_after_it() -> None:
    gate = trio.Event()

    def slow(request: Any) -> Any:
        return house.origin.Reply(200, [(b"cache-control", b"max-age=600")], pieces=[b"one-", gate, b"two"], length=7)

    async with node(row("one")) as found:
        found.origins["one"].script = slow
        async with house.served.connect(found.addresses["one"]) as client:
            await client.send(b"GET /a/1 HTTP/1.1\r\nHost: h\r\n\r\n")
            await client.until(b"one-")
            await found.sites.apply([make(CdnSite, **row("one", client_rate="9/s"))])
            await found.sites.purge(Purge("key", b"/a/1"))
            gate.set()
            assert await client.until(b"two") == b"two"  # the fetch of the site as it was went on to its end
        assert (await found.get("one", "/a/1"))[2] == b"h/a/1"  # and its answer is not kept


async def test_what_was_validated_is_found_on_disk_though_it_is_kept_compressed(tmp_path: Path) -> None:
    fields = [(b"cache-control", b"max-age=60"), (b"etag", b'"e"'), (b"content-type", b"text/plain")]

    def text(request: Any) -> Any:
        if b"if-none-match" in dict(request.fields):
            return house.origin.Reply(304, fields)
        return house.origin.Reply(200, fields, b"text " * 1000)

    async with node(row("one", compress=True), disk=tmp_path) as found:
        found.origins["one"].script = text
        disk = found.sites.disk
        assert disk is not None
        await found.get("one", "/a")
        await house.served.until(lambda: disk.writes == 1)
        found.clock.advance(61)
        found.reactor.engine.set_clock(unix=int(found.clock.wall()))
        assert "fwd-status=304" in (await found.get("one", "/a"))[1]["cache-status"]
        await house.served.until(lambda: disk.writes == 2)
    async with node(row("one", compress=True), disk=tmp_path) as found:
        assert "detail=disk" in (await found.get("one", "/a"))[1]["cache-status"]


async def test_compressed_forms_do_not_say_what_the_bytes_were() -> None:
    digest = (b"repr-digest", b"sha-256=:" + base64.b64encode(sha256(b"text " * 1000).digest()) + b":")
    fields = [(b"cache-control", b"max-age=60"), (b"etag", b'"e"'), (b"content-type", b"text/plain"), digest]

    async with node(row("one", compress=True)) as found:
        found.origins["one"].script = lambda request: house.origin.Reply(200, fields, b"text " * 1000)
        async with house.served.connect(found.addresses["one"]) as client:
            assert "repr-digest" in (await client.get("/a"))[1]
            await house.served.until(lambda: found.sites.stats()[""]["compressed"] == 3)
            _, headers, body = await client.get("/a", "Accept-Encoding: gzip")
            assert (headers["content-encoding"], headers["etag"]) == ("gzip", '"e-gz"')
            assert gzip.decompress(body) == b"text " * 1000
            assert "repr-digest" not in headers


async def test_a_path_is_warmed_under_the_name_that_viewers_use() -> None:
    async with node(row("one"), called=b"viewers.example") as found:
        await found.sites.prewarm("one", b"/a/1")
        await found.sites.prewarm("one", b"/a/1", host=b"other.example")
        for host in ("viewers.example", "other.example"):
            assert await found.is_hit("one", "/a/1", host)
        assert [request.host for request in found.origins["one"].asked] == [b"viewers.example", b"other.example"]


async def test_sites_of_one_name_of_hosts_share_answers_when_the_origin_decides() -> None:
    async with node(row("one", host="origin")) as found:
        await found.get("one", "/a/1", "first")
        assert await found.is_hit("one", "/a/1", "second")


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        (b"/a/*", b"/a/b", True), (b"/a/*", b"/a/b/c", False), (b"/a/**", b"/a/b/c", True), (b"/*.js", b"/x.js", True),
        (b"/a.b", b"/aXb", False), (b"/[a]", b"/a", False), (b"**", b"/", True), (b"/*/x", b"//x", True),
    ],
)  # fmt: skip
def test_globs(pattern: bytes, path: bytes, matches: bool) -> None:
    assert (glob(pattern).fullmatch(path) is not None) is matches


async def test_patterns_are_bounded() -> None:
    async with node(row("one")) as found:
        for pattern in (b"/" + b"*a" * 9, b"/" + b"a" * 2000):
            with pytest.raises(Unprocessable):
                await found.sites.purge(Purge("glob", pattern))


async def test_fetches_of_a_site_that_is_closed_are_not_kept_for_the_next_one() -> None:
    gate = trio.Event()

    def slow(request: Any) -> Any:
        return house.origin.Reply(200, [(b"cache-control", b"max-age=600")], pieces=[b"one-", gate, b"two"], length=7)

    async with node(row("one")) as found:
        found.origins["one"].script = slow
        async with house.served.connect(found.addresses["one"]) as client:
            await client.send(b"GET /a/1 HTTP/1.1\r\nHost: h\r\n\r\n")
            await client.until(b"one-")
            leaving = found.sites.site("one")
            await found.sites.apply([])
            gate.set()
            await leaving.idle()
        assert [name for stretch in found.sites.keeper.names(None) for name in stretch] == []


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("what", [Purge("key", b"/a/1"), Purge("tag", b"a"), Purge("prefix", b"/a/"), Purge("all")])
async def test_what_is_being_written_to_disk_is_purged_too(
    tmp_path: Path, what: Purge, soft: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the fetch and the file nothing on disk is known by that name yet."""
    monkeypatch.setattr(DiskTier, "_write", stuck := Stuck(DiskTier._write))
    async with node(row("one"), disk=tmp_path / "d") as made:
        await made.get("one", "/a/1")
        await house.served.until(lambda: stuck.waiting == 1)
        await made.sites.purge(Purge(what.kind, what.value, "one", soft=soft))
        stuck.go.set()
        await house.served.until(lambda: stuck.waiting == 0)
        made.sites.keeper.drop(1, b"h/a/1")  # as what is not asked for leaves memory
        status = (await made.get("one", "/a/1"))[1]["cache-status"]
        assert "hit" not in status, status


class Stuck:
    """`_write` of a disk that takes its time. waiting: answers that are being written."""

    def __init__(self, write: Any) -> None:
        self.write, self.waiting, self.go = write, 0, trio.Event()

    def __get__(self, disk: DiskTier, kind: type[DiskTier]) -> Any:
        async def run(*arguments: Any) -> None:
            self.waiting += 1
            await self.go.wait()
            await self.write(disk, *arguments)
            self.waiting -= 1

        return run


@pytest.mark.parametrize("host", ["client", "origin"])
async def test_a_purge_by_url_looks_at_nothing_else(host: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with node(row("one", host=host), row("two", host=host), disk=tmp_path / "d") as made:
        for where in ("h", "other"):
            await made.get("one", "/a/1", where)
        await made.get("two", "/a/1")
        await made.get("one", "/a/2")
        monkeypatch.delattr("nova.cdn.cache.keeper.Keeper.names")
        monkeypatch.delattr("nova.cdn.cache.disk.DiskTier.names")
        await made.sites.purge(Purge("key", b"/a/1", "one"))
        assert [await made.is_hit("one", "/a/1", where) for where in ("h", "other")] == [False, host == "origin"]
        assert await made.is_hit("one", "/a/2") and await made.is_hit("two", "/a/1")
        await made.sites.purge(Purge("key", b"/a/1", host=b"h"))
        assert await made.is_hit("one", "/a/1", "other") is (host == "client")
        assert not await made.is_hit("two", "/a/1")


async def test_a_purge_by_url_finds_its_object_under_more_hosts_than_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nova.cdn.cache.keeper.HOSTS", 3)
    async with node(row("one")) as made:
        for number in range(5):
            await made.get("one", "/a/1", f"h{number}")
        await made.sites.purge(Purge("key", b"/a/1", "one"))
        assert not any([await made.is_hit("one", "/a/1", f"h{number}") for number in range(5)])


async def test_many_urls_under_more_hosts_than_are_known_are_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nova.cdn.cache.keeper.HOSTS", 3)
    looks: list[int | None] = []
    async with node(row("one"), disk=tmp_path) as made:
        for number in range(5):
            for path in ("/a/1", "/a/2", "/a/3"):
                await made.get("one", path, f"h{number}")
        keeper = made.sites.keeper
        names = keeper.names

        def look(site: int | None) -> Iterator[list[tuple[int, bytes, Answer]]]:
            looks.append(site)
            return names(site)

        monkeypatch.setattr(keeper, "names", look)
        urls = [Purge("key", target, "one") for target in (b"/a/1", b"/a/2", *(b"/b/%d" % each for each in range(100)))]
        assert await made.sites.purge(*urls, Purge("tag", b"none")) == 10
        assert looks == [1]
        for number in range(5):
            assert [await made.is_hit("one", path, f"h{number}") for path in ("/a/1", "/a/2", "/a/3")] == [False, False, True]


async def test_what_is_told_before_the_sites_open_is_forgotten_on_disk(tmp_path: Path) -> None:
    await on_disk_alone(tmp_path)
    async with node(row("one"), disk=tmp_path, before=Purge("key", b"/a/1", "one")) as made:
        assert not await made.is_hit("one", "/a/1") and await made.is_hit("one", "/a/2?x")


async def test_libraries_for_compressed_forms_are_loaded_before_the_first_text(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, bytes]] = []
    monkeypatch.setattr("nova.cdn.shield.compress.encode", lambda index, data: asked.append((index, data)))
    async with node(row("one")) as made:
        await made.get("one", "/a/1")
        assert asked == []
    async with node(row("one", compress=True), row("two", compress=True)):
        await house.served.until(lambda: asked == [(0, b""), (1, b""), (2, b"")])


@pytest.mark.parametrize(("viewers", "purged", "gone"), [
    ("h:80", b"h", True), ("h", b"h:80", True), ("h:443", b"H", True), ("h:8080", b"h", False), ("h", b"h:8080", False),
    ("h:8080", b"h:8080", True), ("[::1]:80", b"[::1]", True),
])  # fmt: skip
async def test_a_url_means_its_host_with_the_schemes_own_port_and_without(viewers: str, purged: bytes, gone: bool) -> None:
    async with node(row("one")) as made:
        await made.get("one", "/a/1", viewers)
        await made.sites.purge(Purge("key", b"/a/1", host=purged))
        assert await made.is_hit("one", "/a/1", viewers) is not gone
