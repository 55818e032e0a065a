"""A site behind the reactor: hits without Python, one fetch for many, and what is done with what may not be kept."""

import contextlib
import socket
from types import ModuleType
from typing import Any

import pytest
import trio
import trio.testing

from nova.cdn.shield import collapse
from nova.ext.uring import available

FRESH = (b"cache-control", b"max-age=60")
ETAG = (b"etag", b'"one"')


def reply(house: ModuleType, body: bytes = b"hello", *fields: tuple[bytes, bytes], **rest: Any) -> Any:
    return house.origin.Reply(fields=list(fields or (FRESH, ETAG)), body=body, **rest)


async def test_second_request_is_answered_by_the_reactor(house: ModuleType) -> None:
    async with house.site(lambda request: reply(house)) as site, site.client() as client:
        status, headers, body = await client.get("/a?b=1")
        assert (status, body, headers["cache-status"]) == (200, b"hello", "nova; fwd=uri-miss; stored")
        assert headers["via"] == "1.1 nova-test"
        up = site.reactor.engine.stats()["handed_up"]
        site.advance(7)
        status, headers, body = await client.get("/a?b=1")
        assert (status, body, headers["cache-status"], headers["age"]) == (200, b"hello", "nova; hit; ttl=53", "7")
        assert headers["etag"] == '"one"'
        assert site.reactor.engine.stats()["handed_up"] == up
        assert len(site.origin.asked) == 1


async def test_conditions_and_ranges_are_answered_from_what_is_kept(house: ModuleType) -> None:
    async with house.site(lambda request: reply(house, b"0123456789")) as site, site.client() as client:
        await client.get("/a")
        assert (await client.get("/a", 'If-None-Match: "one"'))[0] == 304
        status, headers, body = await client.get("/a", "Range: bytes=2-4")
        assert (status, headers["content-range"], body) == (206, "bytes 2-4/10", b"234")
        status, headers, body = await client.get("/a", "Range: bytes=0-1,8-")
        assert status == 206
        assert headers["content-type"].startswith("multipart/byteranges")
        assert b"bytes 0-1/10\r\n\r\n01\r\n" in body
        assert b"bytes 8-9/10\r\n\r\n89\r\n" in body
        assert (await client.get("/a", "Range: bytes=99-"))[0] == 416
        await client.send(b"HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n")
        status, headers, _ = await client.answer(head_only=True)
        assert (status, headers["content-length"]) == (200, "10")
        assert len(site.origin.asked) == 1


async def test_many_ask_and_one_fetch_serves_them_while_it_comes(house: ModuleType) -> None:
    head, rest = trio.Event(), trio.Event()
    got = []

    def script(request: Any) -> Any:
        return reply(house, b"", FRESH, gate=head, pieces=[b"first", rest, b"-second"], length=12)

    async with house.site(script) as site:
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                async with site.client() as client:
                    await client.send(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
                    got.append(await client.until(b"first"))
                    rest.set()
                    got.append(await client.exactly(7))

            for _ in range(20):
                nursery.start_soon(ask)
            await house.served.until(lambda: site.stats()["collapsed"] == 19)
            head.set()
        assert len(site.origin.asked) == 1
        assert got.count(b"-second") == 20
        status, headers, body = await site.get("/big")
        assert (status, headers["cache-status"], body) == (200, "nova; hit; ttl=60", b"first-second")


async def test_everybody_who_waits_gets_the_head_before_the_first_body_begins(house: ModuleType) -> None:
    clients, gate, size = 60, trio.Event(), 1 << 20
    replies = [reply(house, bytes(size)), reply(house, b"", FRESH, ETAG, status=304, gate=gate)]

    async with house.site(lambda request: replies.pop(0)) as site, contextlib.AsyncExitStack() as open_:
        await site.get("/a")
        site.advance(61)
        waiting = [await open_.enter_async_context(site.client()) for _ in range(clients)]
        seen = [False] * clients

        async def ask(at: int) -> None:
            client = waiting[at]
            await client.send(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
            await client.until(b"\r\n\r\n")
            seen[at] = True
            await client.exactly(1)
            assert at == 0 or all(there or has_input(other) for there, other in zip(seen[1:], waiting[1:], strict=True))
            assert await client.exactly(size - 1) == bytes(size - 1)

        async with trio.open_nursery() as asking:
            asking.start_soon(ask, 0)  # leads, and is answered by trio
            await house.served.until(lambda: len(site.origin.asked) == 2)
            for at in range(1, clients):
                asking.start_soon(ask, at)
            await house.served.until(lambda: site.stats()["collapsed"] == clients - 1)
            gate.set()


@pytest.mark.parametrize("length", [1 << 20, None], ids=["length", "chunked"])
@pytest.mark.parametrize("uring", [False, True], ids=["send", "uring"])
async def test_those_who_have_waited_share_a_head(house: ModuleType, uring: bool, length: int | None) -> None:
    if uring and not available():
        pytest.skip("this kernel, or its sandbox, gives no io_uring")
    gate, rest, body = trio.Event(), trio.Event(), bytes(range(256)) * (1 << 12)

    def script(request: Any) -> Any:
        if request.target == b"/small":
            return reply(house, b"small")
        return reply(house, b"", FRESH, ETAG, gate=gate, pieces=[body[:5], rest, body[5:]], length=length)

    async with house.site(script, uring=uring) as site, contextlib.AsyncExitStack() as open_:
        await site.get("/small")
        lead, old, closing, piped, gone, *plain = [await open_.enter_async_context(site.client()) for _ in range(15)]
        await lead.send(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
        await house.served.until(lambda: len(site.origin.asked) == 2)
        await old.send(b"GET /big HTTP/1.0\r\nHost: h\r\n\r\n")
        await closing.send(b"GET /big HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        await piped.send(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\nGET /small HTTP/1.1\r\nHost: h\r\n\r\n")
        for client in (gone, *plain):
            await client.send(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
        await house.served.until(lambda: site.stats()["collapsed"] == 14)
        parked = site.reactor.engine.stats()["parked_now"]
        await gone.stream.aclose()
        await house.served.until(lambda: site.reactor.engine.stats()["parked_now"] == parked - 1)
        gate.set()
        heads = {await client.until(b"\r\n\r\n") for client in (piped, *plain)}
        assert len(heads) == 1
        assert b"fwd=uri-miss; collapsed\r\n" in heads.pop()
        await house.served.until(lambda: site.reactor.engine.stats()["uring_sends"] == (11 if uring else 0))
        for client in (old, closing):
            head = await client.until(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert b"Connection: close\r\n" in head
        rest.set()
        assert await old.to_end() == body
        ended = await closing.to_end()
        assert ended == body if length else ended.endswith(body[-100:] + b"\r\n0\r\n\r\n")
        for client in (lead, piped, *plain):
            if client is lead:
                await client.until(b"\r\n\r\n")
            got = b""
            while len(got) < len(body):
                got += await client.exactly(len(body) if length else int((await client.until(b"\r\n")).strip(), 16))
                assert length or await client.exactly(2) == b"\r\n"
            assert got == body
            assert length or await client.exactly(5) == b"0\r\n\r\n"
        assert (await piped.answer())[2] == b"small"
        for client in plain:
            assert (await client.get("/small"))[2] == b"small"
        assert len(site.origin.asked) == 2


@pytest.mark.parametrize("most", [30, 0], ids=["as-long-as-it-takes", "no-longer"])
async def test_body_is_read_when_a_crowd_has_its_heads(house: ModuleType, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(collapse, "HEADS_FIRST", most)
    clients, gate, waiting = 100, trio.Event(), list[int]()

    def script(request: Any) -> Any:
        return reply(house, b"", FRESH, gate=gate, pieces=[lambda: waiting.append(site.keeper.table.answering(collapse.CROWD)), b"body"])

    async with house.site(script) as site, trio.open_nursery() as nursery:

        async def ask() -> None:
            assert (await site.get("/a"))[2] == b"body"

        for _ in range(clients):
            nursery.start_soon(ask)
        await house.served.until(lambda: site.stats()["collapsed"] == clients - 1)
        gate.set()
    assert len(waiting) == 1
    assert not most or waiting[0] < collapse.CROWD


def has_input(client: Any) -> bool:
    try:
        return bool(client.stream.socket._sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


async def test_growing_body_goes_out_in_turns(house: ModuleType) -> None:
    size, rest = 1 << 20, trio.Event()
    pieces = [bytes([at]) * (size // 4) for at in range(40)]

    def script(request: Any) -> Any:
        return reply(house, b"", FRESH, pieces=[*pieces, rest, b"end"])

    async with house.site(script, capacity=512 << 20) as site, trio.open_nursery() as warming, site.client() as client:
        warming.start_soon(site.site.prewarm, b"/big", b"h")
        await house.served.until(lambda: site.keeper.account.bytes > 10 * size)  # all but the end is there
        before = site.reactor.engine.stats()
        # Nobody reads: a socket takes a mebibyte and more at once, and no turn comes of a reader that makes room.
        await client.send(b"GET /big HTTP/1.0\r\nHost: h\r\n\r\n")
        await house.served.until(lambda: site.reactor.engine.stats()["bytes_out"] - before["bytes_out"] > size)
        assert site.reactor.engine.stats()["turns"] - before["turns"] >= 7  # the first of eight is that of the request
        await client.until(b"\r\n\r\n")
        assert await client.exactly(10 * size) == b"".join(pieces)
        rest.set()
        assert await client.to_end() == b"end"


@pytest.mark.parametrize("kept", [False, True])
async def test_head_of_what_has_no_length_goes_at_once(house: ModuleType, kept: bool) -> None:
    fields = [FRESH] if kept else [(b"cache-control", b"no-store"), (b"content-type", b"text/event-stream")]
    event = trio.Event()

    def script(request: Any) -> Any:
        return reply(house, b"", *fields, pieces=[event, b"data: 1\n\n"])

    async with house.site(script) as site, site.client() as first, site.client() as second:
        for client in (first, second):  # who leads, and who passes or follows
            await client.send(b"GET /events HTTP/1.1\r\nHost: h\r\n\r\n")
            assert b"200" in await client.until(b"\r\n\r\n")
        event.set()
        for client in (first, second):
            assert await client.until(b"data: 1\n\n")


async def test_what_may_not_be_kept_releases_everybody_at_once(house: ModuleType) -> None:
    first, others = trio.Event(), trio.Event()
    asked = []

    def script(request: Any) -> Any:
        asked.append(request)
        return reply(house, b"mine", (b"cache-control", b"no-store"), gate=first if len(asked) == 1 else others)

    async with house.site(script) as site:
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                assert (await site.get("/p"))[2] == b"mine"

            for _ in range(10):
                nursery.start_soon(ask)
            await house.served.until(lambda: site.stats()["collapsed"] == 9)
            first.set()
            await house.served.until(lambda: len(asked) == 10)  # none waits for another
            others.set()
        before = len(asked)
        assert (await site.get("/p"))[1]["cache-status"] == "nova; fwd=uri-miss; detail=no-store"
        assert len(asked) == before + 1


async def test_object_that_may_be_kept_again_is_kept_by_the_next_fetch(house: ModuleType) -> None:
    replies = [(b"cache-control", b"no-store"), (b"cache-control", b"private"), FRESH, FRESH]

    async with house.site(lambda request: reply(house, b"hello", replies[len(site.origin.asked) - 1], ETAG)) as site:
        said = [(await site.get("/p"))[1]["cache-status"] for _ in range(5)]
        assert said == [
            "nova; fwd=uri-miss; detail=no-store",
            "nova; fwd=uri-miss; detail=private",
            "nova; fwd=uri-miss",  # nobody waits for it: it goes by, and the mark with it
            "nova; fwd=uri-miss; stored",
            "nova; hit; ttl=60",
        ]


@pytest.mark.parametrize("vary", [[], [(b"vary", b"Accept-Language")]])
async def test_late_answer_that_passes_takes_nothing_away_that_is_kept_by_now(house: ModuleType, vary: list[tuple[bytes, bytes]]) -> None:
    early, late = trio.Event(), trio.Event()
    gates = [None, early, late, None]

    def script(request: Any) -> Any:
        at = len(site.origin.asked) - 1
        return reply(house, b"hello", FRESH if at else (b"cache-control", b"no-store"), *vary, gate=gates[at])

    async with house.site(script) as site:
        await site.get("/p")
        async with trio.open_nursery() as passing:
            passing.start_soon(site.get, "/p")
            await house.served.until(lambda: len(site.origin.asked) == 2)
            passing.start_soon(site.get, "/p")
            await house.served.until(lambda: len(site.origin.asked) == 3)
            early.set()
            await house.served.until(lambda: site.origin.open == 1)
            assert (await site.get("/p"))[1]["cache-status"] == "nova; fwd=uri-miss; stored"
            late.set()
        assert (await site.get("/p"))[1]["cache-status"] == "nova; hit; ttl=60"


async def test_purge_by_tag_overtakes_a_short_body_that_has_not_begun(house: ModuleType) -> None:
    gate, tagged = trio.Event(), (b"surrogate-key", b"t")
    replies = [reply(house, b"", FRESH, tagged, pieces=[gate, b"old"], length=3), reply(house, b"new", FRESH)]
    async with house.site(lambda request: replies.pop(0)) as site:
        async with trio.open_nursery() as asking:
            asking.start_soon(site.get, "/a")
            await house.served.until(lambda: site.origin.asked)
            await trio.testing.wait_all_tasks_blocked()  # the head is here, the body is not
            assert site.site.doom(lambda key, tags: b"t" in tags, soft=False) == 1
            gate.set()
        assert (await site.get("/a"))[2] == b"new"


async def test_purge_by_tag_overtakes_the_renewal_of_what_has_that_tag(house: ModuleType) -> None:
    gate, tagged = trio.Event(), (b"surrogate-key", b"t")
    replies = [reply(house, b"old", FRESH, tagged), reply(house, b"old", FRESH, tagged, gate=gate), reply(house, b"new", FRESH)]
    async with house.site(lambda request: replies.pop(0)) as site:
        await site.get("/a")
        site.advance(61)
        async with trio.open_nursery() as asking:
            asking.start_soon(site.get, "/a")
            await house.served.until(lambda: len(site.origin.asked) == 2)
            assert site.site.doom(lambda key, tags: b"t" in tags, soft=False) == 1
            gate.set()
        assert (await site.get("/a"))[2] == b"new"


async def test_purge_overtakes_a_fetch_that_moved_to_a_key_which_another_one_fetches(house: ModuleType) -> None:
    heads, bodies, vary = trio.Event(), trio.Event(), (b"vary", b"x")
    same = [reply(house, b"", FRESH, gate=heads, pieces=[bodies, body]) for body in (b"old", b"old too")]  # do not vary any more
    replies = [reply(house, b"zero", FRESH, vary), *same, reply(house, b"new", FRESH)]
    async with house.site(lambda request: replies.pop(0)) as site:
        await site.get("/a", "X: 0")
        async with trio.open_nursery() as asking:
            for number in (1, 2):
                asking.start_soon(site.get, "/a", f"X: {number}")
                await house.served.until(lambda asked=number + 1: len(site.origin.asked) == asked)
            heads.set()
            await trio.testing.wait_all_tasks_blocked()  # both heads are here
            site.site.doom(lambda key, tags: True, soft=False)
            bodies.set()
        assert (await site.get("/a", "X: 1"))[2] == b"new"


async def test_conditions_about_an_object_that_is_not_kept_are_the_origins(house: ModuleType) -> None:
    def script(request: Any) -> Any:
        conditional = any(name == b"if-none-match" for name, _ in request.fields)
        return reply(house, b"" if conditional else b"mine", (b"cache-control", b"no-store"), ETAG, status=304 if conditional else 200)

    async with house.site(script) as site:
        assert (await site.get("/p"))[2] == b"mine"
        status, headers, _ = await site.get("/p", 'If-None-Match: "one"')
        assert (status, headers["cache-status"]) == (304, "nova; fwd=uri-miss")


async def test_client_that_leaves_does_not_end_the_fetch(house: ModuleType) -> None:
    gate = trio.Event()
    async with house.site(lambda request: reply(house, gate=gate)) as site:
        async with site.client() as client:
            await client.send(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
            await house.served.until(lambda: site.origin.asked)
        gate.set()
        await house.served.until(lambda: site.keeper.table.count == 1)
        assert (await site.get("/a"))[1]["cache-status"].startswith("nova; hit")


async def test_body_that_breaks_off_is_never_kept_and_ends_visibly(house: ModuleType) -> None:
    broken = house.load(house.HERE / "origin.py").OriginBroken("gone")
    replies = [reply(house, b"", FRESH, pieces=[b"some", broken], length=100), reply(house, b"whole")]
    async with house.site(lambda request: replies.pop(0)) as site:
        async with site.client() as client:
            await client.send(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
            assert (await client.to_end()).endswith(b"some")
        assert (await site.get("/a"))[2] == b"whole"


async def test_answers_vary_by_the_fields_that_the_origin_names(house: ModuleType) -> None:
    def script(request: Any) -> Any:
        language = dict(request.fields).get(b"accept-language", b"none")
        return reply(house, language, FRESH, (b"vary", b"Accept-Language"))

    async with house.site(script) as site, site.client() as client:
        assert (await client.get("/a", "Accept-Language: de"))[2] == b"de"
        assert (await client.get("/a", "Accept-Language: en"))[2] == b"en"
        assert (await client.get("/a"))[2] == b"none"
        for language in ("de", "en"):
            _, headers, body = await client.get("/a", f"Accept-Language: {language}")
            assert (body, headers["cache-status"]) == (language.encode(), "nova; hit; ttl=60")
        assert len(site.origin.asked) == 3


async def test_stale_answer_is_served_while_a_new_one_is_fetched(house: ModuleType) -> None:
    cc = (b"cache-control", b"max-age=10, stale-while-revalidate=30")
    replies = [reply(house, b"old", cc, ETAG), reply(house, b"new", cc)]
    async with house.site(lambda request: replies.pop(0)) as site, site.client() as client:
        await client.get("/a")
        site.advance(15)
        _, headers, body = await client.get("/a")
        assert (body, headers["cache-status"]) == (b"old", "nova; hit; ttl=-5")
        await house.served.until(lambda: site.site.counters.fills == 2)
        await house.served.until(lambda: site.origin.open == 0)
        assert (await client.get("/a"))[2] == b"new"
        assert dict(site.origin.asked[1].fields)[b"if-none-match"] == b'"one"'


async def test_304_renews_what_is_kept(house: ModuleType) -> None:
    replies = [reply(house, b"body", FRESH, ETAG, (b"x-a", b"1")), house.origin.Reply(304, [FRESH, ETAG, (b"x-a", b"2")])]
    async with house.site(lambda request: replies.pop(0)) as site, site.client() as client:
        await client.get("/a")
        site.advance(61)
        status, headers, body = await client.get("/a")
        assert (status, body, headers["x-a"]) == (200, b"body", "2")
        assert headers["cache-status"] == "nova; fwd=stale; fwd-status=304; stored"
        assert (await client.get("/a"))[1]["cache-status"] == "nova; hit; ttl=60"


async def test_stale_answer_stands_in_for_a_failing_origin(house: ModuleType) -> None:
    down = house.origin.OriginError("origin_unreachable", "refused")
    replies = [reply(house, b"old"), house.origin.Reply(error=down), house.origin.Reply(503, body=b"oops"), reply(house, b"new")]
    async with house.site(lambda request: replies.pop(0)) as site, site.client() as client:
        await client.get("/a")
        site.advance(100)
        status, headers, body = await client.get("/a")
        assert (status, body, headers["cache-status"]) == (200, b"old", "nova; fwd=stale; detail=stale-if-error")
        assert (await client.get("/a"))[2] == b"old"  # the origin is left alone
        assert len(site.origin.asked) == 2
        site.advance(3)
        assert (await client.get("/a"))[2] == b"old"


async def test_failure_is_remembered_and_then_asked_about_again(house: ModuleType) -> None:
    down = house.origin.OriginError("origin_unreachable", "refused")
    replies = [house.origin.Reply(error=down), reply(house, b"back")]
    async with house.site(lambda request: replies.pop(0)) as site, site.client() as client:
        status, headers, _ = await client.get("/a")
        assert (status, headers["cache-status"]) == (502, "nova; fwd=uri-miss; detail=origin-unreachable")
        assert (await client.get("/a"))[0] == 502
        assert len(site.origin.asked) == 1
        site.advance(2)
        assert (await client.get("/a"))[2] == b"back"


async def test_unsafe_methods_pass_and_forget_what_they_change(house: ModuleType) -> None:
    async with house.site(lambda request: reply(house, request.method.encode())) as site, site.client() as client:
        assert (await client.get("/a"))[2] == b"GET"
        await client.send(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\ndata")
        status, headers, body = await client.answer()
        assert (status, body, headers["cache-status"]) == (200, b"POST", "nova; fwd=method")
        assert site.origin.bodies == [b"data"]
        assert (await client.get("/a"))[1]["cache-status"] == "nova; fwd=uri-miss; stored"


async def test_loops_and_tunnels_are_refused(house: ModuleType) -> None:
    async with house.site(lambda request: reply(house)) as site, site.client() as client:
        status, _, body = await client.get("/a", "Via: 1.1 other, 1.1 nova-test")
        assert status == 502
        assert b'"loop"' in body
        await client.send(b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n")
        assert (await client.answer())[0] == 405


async def test_hop_by_hop_fields_stay_and_the_others_pass(house: ModuleType) -> None:
    async with (
        house.site(
            lambda request: reply(
                house, b"x", FRESH, (b"connection", b"x-mine"), (b"x-mine", b"1"), (b"x-all", b"2"), (b"surrogate-key", b"t")
            )
        ) as site,
        site.client() as client,
    ):
        _, headers, _ = await client.get("/a", "Connection: X-Hop", "X-Hop: 1", "X-End: 2", "TE: trailers")
        sent = dict(site.origin.asked[0].fields)
        assert sent[b"x-end"] == b"2"
        assert not sent.keys() & {b"x-hop", b"te", b"connection", b"host"}
        assert headers["x-all"] == "2"
        assert not headers.keys() & {"x-mine", "surrogate-key"}


async def test_a_bucket_is_read_and_nothing_else_and_a_path_is_not_left(house: ModuleType) -> None:
    origins = [{"url": "http://bucket", "s3_region": "us-east-1"}]
    async with house.site(lambda request: house.origin.Reply(body=b"x"), origins=origins) as site, site.client() as client:
        assert (await client.get("/a"))[0] == 200
        assert (await client.get("/"))[0] == 403
        assert (await client.get("/a/../../b"))[0] == 400
        await client.send(b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx")
        assert (await client.answer())[0] == 403
        assert [request.target for request in site.origin.asked] == [b"/a"]
