"""No client and no origin holds a site up, fills it up or misleads it: bounds, and names that are read in one way only."""

from types import ModuleType
from typing import Any

import pytest
import trio

from nova.cdn.errors import OriginBroken

FRESH = (b"cache-control", b"max-age=60")
ETAG = (b"etag", b'"one"')


def reply(house: ModuleType, body: bytes = b"hello", *fields: tuple[bytes, bytes], **rest: Any) -> Any:
    return house.origin.Reply(fields=list(fields or (FRESH, ETAG)), body=body, **rest)


async def test_an_origin_that_dies_before_the_first_byte_of_its_body_is_an_error_for_everybody(house: ModuleType) -> None:
    from nova.cdn.errors import OriginBroken

    dies = {"length": 10, "pieces": [OriginBroken("gone")]}
    for fields in ((FRESH,), ((b"cache-control", b"no-store"),)):
        async with house.site(lambda request, fields=fields: reply(house, b"", *fields, **dies)) as site:
            status, headers, body = await site.get("/a")
            assert (status, headers["content-type"], b"origin_broken" in body) == (502, "application/problem+json", True)


async def test_a_body_that_breaks_off_is_not_kept_under_a_variant_either(house: ModuleType) -> None:
    from nova.cdn.errors import OriginBroken

    varies = [FRESH, (b"vary", b"x-a")]
    replies = [reply(house, b"", *varies, length=10, pieces=[b"hal", OriginBroken("gone")]), reply(house, b"whole", *varies)]
    async with house.site(lambda request: replies.pop(0)) as site:
        async with site.client() as client:
            await client.send(b"GET /a HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n\r\n")
            assert (await client.to_end()).endswith(b"hal")
        await site.site.idle()
        assert (await site.get("/a", "X-A: 1"))[2] == b"whole"


async def test_9112_absolute_form_and_host_must_agree(house: ModuleType) -> None:
    async with house.site(lambda request: reply(house)) as site, site.client() as client:
        await client.send(b"GET http://other/a HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await client.answer())[0] == 400
        assert not site.origin.asked


async def test_names_of_hosts_do_not_mix(house: ModuleType) -> None:
    async with house.site(lambda request: reply(house, request.host)) as site, site.client() as client:
        for host in (b"one", b"two", b"ONE"):
            await client.send(b"GET /a HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
            assert (await client.answer())[2] == host.lower()
        assert len(site.origin.asked) == 2


async def test_targets_go_on_as_they_were_sent(house: ModuleType) -> None:
    async with house.site(lambda request: reply(house)) as site, site.client() as client:
        for target in ("/a?", "/a", "/a/../b", "/%41?access_token=x&y", "//a"):
            await client.get(target)
        assert [each.target for each in site.origin.asked] == [b"/a?", b"/a", b"/a/../b", b"/%41?access_token=x&y", b"//a"]
        await client.send(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n")
        await client.answer()
        assert site.origin.asked[-1].target == b"*"


async def test_growing_answers_of_unknown_length_come_in_chunks_or_to_the_end(house: ModuleType) -> None:
    rest = trio.Event()

    def script(request: Any) -> Any:
        return reply(house, b"", FRESH, pieces=[b"one-", rest, b"two"])

    async with house.site(script) as site, trio.open_nursery() as nursery:
        got = []

        async def ask(version: bytes) -> None:
            async with site.client() as client:
                await client.send(b"GET /s HTTP/" + version + b"\r\nHost: h\r\n\r\n")
                got.append(await client.to_end() if version == b"1.0" else (await client.answer())[2])

        nursery.start_soon(ask, b"1.1")
        await house.served.until(lambda: site.origin.asked and site.site.counters.fills == 1)
        nursery.start_soon(ask, b"1.1")
        nursery.start_soon(ask, b"1.0")
        await house.served.until(lambda: site.stats()["hits"] == 2)
        rest.set()
        await house.served.until(lambda: len(got) == 3)
        assert all(body.endswith(b"one-two") for body in got)
        assert sum(b"HTTP/1.1 200" in body for body in got) == 1  # that of 1.0, up to its end


async def test_slow_followers_do_not_hold_up_the_others(house: ModuleType) -> None:
    size = 3 << 20
    rest = trio.Event()

    def script(request: Any) -> Any:
        return reply(house, b"", FRESH, pieces=[bytes(65536), rest, *([bytes(65536)] * (size // 65536 - 1))], length=size)

    async with house.site(script) as site, site.client(window=4096) as slow:
        await slow.send(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
        await house.served.until(lambda: site.origin.asked)
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                assert len((await site.get("/big"))[2]) == size

            for _ in range(5):
                nursery.start_soon(ask)
            await house.served.until(lambda: site.stats()["requests"] == 6)
            rest.set()
        assert len((await slow.answer())[2]) == size
        assert len(site.origin.asked) == 1


async def test_variants_are_bounded(house: ModuleType) -> None:
    async with house.site(lambda request: reply(house, b"x", FRESH, (b"vary", b"x-user")), vary_most=4) as site:
        for number in range(20):
            await site.get("/a", f"X-User: {number}")
        assert site.keeper.table.count == 5  # and the list of names
        assert (await site.get("/a", "X-User: 19"))[1]["cache-status"].startswith("nova; hit")


async def test_memory_is_bounded_and_counted(house: ModuleType) -> None:
    async with house.site(lambda request: reply(house, bytes(10_000)), capacity=200_000) as site, site.client() as client:
        for number in range(100):
            await client.get(f"/{number}")
        assert site.keeper.table.bytes == site.keeper.account.bytes <= 200_000
        assert 15 <= site.keeper.table.count <= 20
        assert site.keeper.evictions >= 80


async def test_larger_than_the_site_keeps_passes(house: ModuleType) -> None:
    async with house.site(lambda request: reply(house, bytes(5000)), max_object=4000) as site:
        for _ in range(2):
            status, headers, body = await site.get("/a")
            assert (status, len(body), headers["cache-status"]) == (200, 5000, "nova; fwd=uri-miss; detail=too-large")


async def test_queue_for_the_origin_is_bounded(house: ModuleType) -> None:
    gate = trio.Event()

    async with house.site(lambda request: reply(house, gate=gate), fetch_slots=1, fetch_queue=1) as site, trio.open_nursery() as nursery:
        got = []

        async def ask(path: str) -> None:
            got.append((await site.get(path))[0])

        nursery.start_soon(ask, "/1")
        await house.served.until(lambda: site.site.slots.busy == 1)
        nursery.start_soon(ask, "/2")
        await house.served.until(lambda: site.site.slots.waiting == 1)
        status, headers, _ = await site.get("/3")
        assert (status, headers["retry-after"]) == (503, "1")
        gate.set()
        await house.served.until(lambda: got == [200, 200])


async def test_clients_are_limited_by_address(house: ModuleType) -> None:
    async with house.site(lambda request: reply(house, b"x", (b"cache-control", b"no-store")), client_rate="2/d") as site:
        assert [(await site.get("/a"))[0] for _ in range(3)] == [200, 200, 429]


async def test_9112_6_3_what_two_could_read_in_two_ways_reaches_no_origin(house: ModuleType) -> None:
    heads = [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked, identity",
        b"Content-Length: +5",
        b"Bad Name: x",
    ]
    async with house.site(lambda request: reply(house)) as site:
        for head in heads:
            async with site.client() as client:
                await client.send(b"POST /a HTTP/1.1\r\nHost: h\r\n" + head + b"\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: h\r\n\r\n")
                assert (await client.answer())[0] in (400, 501)
        assert not site.origin.asked


async def test_segments_that_left_their_playlist_go_first(house: ModuleType) -> None:
    window = [1, 2, 3]

    def script(request: Any) -> Any:
        if request.target == b"/live/index.m3u8":
            body = b'#EXTM3U\n#EXT-X-MAP:URI="init.mp4"\n' + b"".join(b"#EXTINF:2,\n%d.m4s\n" % number for number in window)
            return reply(house, body, (b"cache-control", b"max-age=1"), (b"content-type", b"application/vnd.apple.mpegurl"))
        return reply(house, bytes(10_000), (b"cache-control", b"max-age=3600"))

    async with house.site(script, capacity=120_000) as site:
        await site.get("/live/index.m3u8")
        for path in ("init.mp4", "1.m4s", "2.m4s", "3.m4s"):
            for _ in range(4):  # well liked
                await site.get("/live/" + path)
        window[:] = [2, 3, 4]
        site.advance(2)
        await site.get("/live/index.m3u8")
        for number in range(8):
            await site.get(f"/other/{number}")
        assert site.keeper.evictions >= 1
        assert not (await site.get("/live/1.m4s"))[1]["cache-status"].startswith("nova; hit")
        assert (await site.get("/live/2.m4s"))[1]["cache-status"].startswith("nova; hit")


async def test_bodies_under_way_are_bounded(house: ModuleType) -> None:
    gate = trio.Event()

    def script(request: Any) -> Any:
        return reply(house, b"", FRESH, pieces=[bytes(10), gate, bytes(39_990)], length=40_000)

    async with house.site(script, capacity=100_000) as site, trio.open_nursery() as nursery:
        got = []

        async def ask(path: str) -> None:
            got.append((await site.get(path))[1]["cache-status"])

        for number in range(3):
            nursery.start_soon(ask, f"/{number}")
            await house.served.until(lambda number=number: len(site.origin.asked) == number + 1)
        gate.set()
        await house.served.until(lambda: len(got) == 3)
        assert sorted(got) == ["nova; fwd=uri-miss; detail=memory", *["nova; fwd=uri-miss; stored"] * 2]
        assert (site.keeper.account.promised, site.keeper.account.bytes) == (0, site.keeper.table.bytes)


async def test_bodies_of_unknown_length_end_visibly_when_they_are_too_large(house: ModuleType) -> None:
    async with house.site(lambda request: reply(house, b"", FRESH, pieces=[bytes(600)] * 10), max_object=4096) as site:
        async with site.client() as client:
            await client.send(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
            assert not (await client.to_end()).endswith(b"0\r\n\r\n")
        for _ in range(3):  # it is known now, and passes
            status, headers, body = await site.get("/a")
            assert (status, headers["cache-status"], len(body)) == (200, "nova; fwd=uri-miss", 6000)


async def test_9110_7_6_3_a_fetch_that_comes_back_does_not_wait_for_itself(house: ModuleType) -> None:
    gate = trio.Event()
    async with house.site(lambda request: reply(house, gate=gate)) as site, site.client() as leader:
        await leader.send(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        await house.served.until(lambda: site.origin.asked)
        status, _, body = await site.get("/a", f"Via: {dict(site.origin.asked[0].fields)[b'via'].decode()}")
        assert (status, b'"loop"' in body) == (502, True)
        async with site.client() as other:  # behind another proxy one waits as usual
            await other.send(b"GET /a HTTP/1.1\r\nHost: h\r\nVia: 1.1 other\r\n\r\n")
            await house.served.until(lambda: site.site.counters.requests == 3)
            gate.set()
            assert (await other.answer())[2] == b"hello"
        assert (await leader.answer())[2] == b"hello"
        assert len(site.origin.asked) == 1


@pytest.mark.parametrize(
    ("asked", "passed"),
    [("h2c", None), ("HTTP/2.0", None), ("TLS/1.0", None), ("h2c, websocket", b"websocket"), ("websocket", b"websocket")],
)
async def test_9113_3_1_no_other_http_is_spoken_behind_the_sites_rules(house: ModuleType, asked: str, passed: bytes | None) -> None:
    async with house.site(lambda request: reply(house)) as site:
        await site.get("/a", f"Upgrade: {asked}", "Connection: upgrade", "HTTP2-Settings: AAMAAABk")
        (request,) = site.origin.asked
        assert (request.upgrade, dict(request.fields).get(b"http2-settings")) == (passed, None)


async def test_an_answer_that_one_clients_fields_break_is_not_told_to_all(house: ModuleType) -> None:
    def script(request: Any) -> Any:
        if b"x-evil" in dict(request.fields):
            return house.origin.Reply(error=OriginBroken("the connection ended without an answer"))
        return reply(house, b"fine")

    async with house.site(script) as site:
        assert (await site.get("/a", "X-Evil: 1", "Accept-Encoding: gzip"))[2] == b"fine"
        assert (await site.get("/a"))[1]["cache-status"] == "nova; hit; ttl=60"
        assert dict(site.origin.asked[1].fields).keys() == {b"via"}


async def test_an_origin_that_is_broken_is_asked_twice_and_then_left_alone(house: ModuleType) -> None:
    async with house.site(lambda request: house.origin.Reply(error=OriginBroken("garbage"))) as site:
        for _ in range(3):
            assert (await site.get("/a", "Accept: x/y"))[0] == 502
        assert len(site.origin.asked) == 2


async def over_h2(site: Any, host: bytes, target: bytes) -> int:
    """The status of a GET over HTTP/2, whose fields carry what HTTP/1.1 cannot."""
    told: list[Any] = []
    path, _, query = target.partition(b"?")
    scope = {
        "type": "http", "method": "GET", "http_version": "2", "path": path.decode("latin-1"), "raw_path": path, "query_string": query,
        "scheme": "https", "headers": [(b"host", host)], "client": ("127.0.0.1", 1), "extensions": {},
    }  # fmt: skip

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        told.append(message)

    await site.site.app(scope, receive, send)
    return int(told[0]["status"])


@pytest.mark.parametrize("host", [b"h/a", b"h?", b"h#", b"u@h", b"a b", b"h:x", b"h:1:2", b"h\\", b"[h]"])
async def test_9113_8_3_1_no_host_reaches_into_the_names_of_another(house: ModuleType, host: bytes) -> None:
    async with house.site(lambda request: reply(house, request.host + b" " + request.target)) as site:
        assert await over_h2(site, host, b"/b") == 400
        assert (await site.get("/a/b"))[2] == b"h /a/b"


@pytest.mark.parametrize("target", [b"/a b", b"/a#b", b"/a\\b", b"/a\xffb", b"/a?b#c", b"/a?b c"])
async def test_9113_8_3_1_targets_are_those_of_http_1(house: ModuleType, target: bytes) -> None:
    async with house.site(lambda request: reply(house)) as site:
        assert await over_h2(site, b"h", target) == 400
        assert site.origin.asked == []


@pytest.mark.parametrize("host", [b"h", b"H.example:8080", b"[::1]:80", b"10.0.0.1", b"a_b", b"xn--a"])
async def test_9113_8_3_1_others_pass(house: ModuleType, host: bytes) -> None:
    async with house.site(lambda request: reply(house)) as site:
        assert await over_h2(site, host, b"/a;b=%20,(c)'!$&*+@:~?d=[]{}|/?^`") == 200
