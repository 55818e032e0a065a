"""What HTTP asks of a cache between a client and an origin, on sockets (RFC 9110 and 9111, by section)."""

from types import ModuleType
from typing import Any

import pytest
import trio

FRESH = (b"cache-control", b"max-age=60")
ETAG = (b"etag", b'"one"')


def reply(house: ModuleType, body: bytes = b"hello", *fields: tuple[bytes, bytes], **rest: Any) -> Any:
    return house.origin.Reply(fields=list(fields or (FRESH, ETAG)), body=body, **rest)


async def test_9111_4_3_4_a_304_about_another_object_is_not_believed(house: ModuleType) -> None:
    replies = [reply(house), house.origin.Reply(304, [FRESH, (b"etag", b'"two"')]), reply(house, b"new", FRESH, (b"etag", b'"two"'))]
    async with house.site(lambda request: replies.pop(0)) as site:
        await site.get("/a")
        site.advance(61)
        assert (await site.get("/a"))[2] == b"new"
        assert b"if-none-match" not in dict(site.origin.asked[2].fields)


async def test_9111_5_2_2_4_no_cache_is_asked_about_each_time_and_nobody_waits(house: ModuleType) -> None:
    no_cache = (b"cache-control", b"no-cache")
    async with house.site(
        lambda request: (
            house.origin.Reply(304, [no_cache, ETAG]) if b"if-none-match" in dict(request.fields) else reply(house, b"x", no_cache, ETAG)
        )
    ) as site:
        assert (await site.get("/a"))[2] == b"x"
        for _ in range(3):
            status, headers, body = await site.get("/a")
            assert (status, body, headers["cache-status"]) == (200, b"x", "nova; fwd=stale; fwd-status=304; stored")
        assert len(site.origin.asked) == 4


async def test_9111_4_3_5_head_freshens_or_ends_what_is_kept(house: ModuleType) -> None:
    heads = [reply(house, b"", FRESH, ETAG, (b"content-length", b"5")), reply(house, b"", FRESH, (b"etag", b'"two"'))]
    async with house.site(lambda request: heads.pop(0) if request.method == "HEAD" else reply(house)) as site, site.client() as client:
        await client.get("/a")
        site.advance(61)
        await client.send(b"HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await client.answer(head_only=True))[0] == 200
        assert (await client.get("/a"))[1]["cache-status"] == "nova; hit; ttl=60"
        site.advance(61)
        await client.send(b"HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n")
        await client.answer(head_only=True)
        assert (await client.get("/a"))[1]["cache-status"].startswith("nova; fwd=")


async def test_9111_4_4_location_of_the_same_host_is_forgotten_too(house: ModuleType) -> None:
    def script(request: Any) -> Any:
        if request.method == "POST":
            return house.origin.Reply(201, [(b"location", b"/made"), (b"content-location", b"http://elsewhere/kept")])
        return reply(house)

    async with house.site(script) as site, site.client() as client:
        for path in ("/made", "/kept"):
            await client.get(path)
        await client.send(b"POST /other HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
        assert (await client.answer())[0] == 201
        assert (await client.get("/made"))[1]["cache-status"].startswith("nova; fwd=")
        assert (await client.get("/kept"))[1]["cache-status"].startswith("nova; hit")


@pytest.mark.parametrize(
    ("host", "location", "forgotten"),
    [
        ("h", "http://h:80/made", True),
        ("h", "https://h:443/made", True),
        ("h:80", "http://H/made", True),
        ("h", "http://h:8080/made", False),
        ("h", "http://h:443/made", False),
        ("h:8080", "http://h/made", False),
        ("h:8080", "http://h:8080/made", True),
    ],
)
async def test_9111_4_4_a_host_is_the_same_with_its_schemes_own_port(house: ModuleType, host: str, location: str, forgotten: bool) -> None:
    def script(request: Any) -> Any:
        return house.origin.Reply(201, [(b"location", location.encode())]) if request.method == "POST" else reply(house)

    async with house.site(script) as site, site.client() as client:
        for get_first in (True, False):
            await client.send(b"GET /made HTTP/1.1\r\nHost: %s\r\n\r\n" % host.encode())
            found = (await client.answer())[1]["cache-status"]
            if get_first:
                await client.send(b"POST /other HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n\r\n" % host.encode())
                assert (await client.answer())[0] == 201
        assert found.startswith("nova; fwd=") == forgotten


async def test_9111_4_4_a_failed_write_forgets_nothing(house: ModuleType) -> None:
    async with (
        house.site(lambda request: house.origin.Reply(500) if request.method == "PUT" else reply(house)) as site,
        site.client() as client,
    ):
        await client.get("/a")
        await client.send(b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
        assert (await client.answer())[0] == 500
        assert (await client.get("/a"))[1]["cache-status"].startswith("nova; hit")


async def test_9111_3_5_authorized_requests_lead_nobody_and_take_what_is_open(house: ModuleType) -> None:
    def script(request: Any) -> Any:
        secret = b"authorization" in dict(request.fields)
        return reply(house, b"secret" if secret else b"open", FRESH)

    async with house.site(script) as site:
        assert (await site.get("/a", "Authorization: Basic x"))[2] == b"secret"
        assert (await site.get("/a"))[2] == b"open"
        assert (await site.get("/a", "Authorization: Basic x"))[2] == b"open"  # kept from an open request: everybody's


async def test_9111_5_2_1_directives_of_requests_count_where_a_site_says_so(house: ModuleType) -> None:
    async with house.site(lambda request: reply(house), request_directives=True) as site:
        assert (await site.get("/a", "Cache-Control: only-if-cached"))[0] == 504
        await site.get("/a")
        site.advance(20)
        assert (await site.get("/a", "Cache-Control: max-age=30"))[1]["cache-status"] == "nova; hit; ttl=40"
        assert (await site.get("/a", "Cache-Control: max-age=10"))[1]["cache-status"].startswith("nova; fwd=")
        assert (await site.get("/a", "Cache-Control: no-cache"))[1]["cache-status"].startswith("nova; fwd=")
        assert (await site.get("/a", "Pragma: no-cache"))[1]["cache-status"].startswith("nova; fwd=")


async def test_9111_5_2_1_5_no_store_of_a_request_is_about_its_own_answer_only(house: ModuleType) -> None:
    async with house.site(lambda request: reply(house), request_directives=True) as site:
        _, headers, _ = await site.get("/a", "Cache-Control: no-store")
        assert headers["cache-status"] == "nova; fwd=uri-miss; detail=request-no-store"
        assert (await site.get("/a"))[1]["cache-status"] == "nova; fwd=uri-miss; stored"  # nobody was told to pass
        assert (await site.get("/a"))[1]["cache-status"] == "nova; hit; ttl=60"


async def test_9111_directives_of_requests_do_not_count_by_default(house: ModuleType) -> None:
    async with house.site(lambda request: reply(house)) as site:
        await site.get("/a")
        assert (await site.get("/a", "Cache-Control: no-cache", "Pragma: no-cache"))[1]["cache-status"].startswith("nova; hit")


async def test_9110_15_2_informational_answers_pass(house: ModuleType) -> None:
    early = [(103, [(b"link", b"</a.css>")]), (103, [(b"link", b"</b.css>")])]
    async with (
        house.site(lambda request: reply(house, b"x", (b"cache-control", b"no-store"), informational=early)) as site,
        site.client() as client,
    ):
        await client.send(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
        assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 103")
        assert b"</b.css>" in await client.until(b"\r\n\r\n")
        assert (await client.answer())[2] == b"x"


async def test_8297_early_hints_of_what_is_kept_reach_the_client_who_began_the_fetch(house: ModuleType) -> None:
    gate = trio.Event()
    early = [(103, [(b"link", b"</a.css>"), (b"connection", b"x-hop"), (b"x-hop", b"1"), (b"surrogate-key", b"t")])]
    async with house.site(lambda request: reply(house, b"x", informational=early, gate=gate)) as site, site.client() as leader:
        await leader.send(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        hint = await leader.until(b"\r\n\r\n")
        assert hint == b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n"
        async with site.client() as follower:
            await follower.send(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
            while site.stats()["collapsed"] < 1:
                await trio.sleep(0.001)
            gate.set()
            assert (await leader.answer())[2] == b"x"
            assert (await follower.answer())[2] == b"x"  # without the hint: what it names is on its way in the answer
        assert (await leader.get("/a"))[1]["cache-status"].startswith("nova; hit")
        assert len(site.origin.asked) == 1


async def test_8297_a_client_that_leaves_after_its_hints_ends_no_fetch(house: ModuleType) -> None:
    gate = trio.Event()
    early = [(103, [(b"link", b"</a.css>")])]
    async with house.site(lambda request: reply(house, b"x", informational=early, gate=gate)) as site:
        async with site.client() as leader:
            await leader.send(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
            await leader.until(b"\r\n\r\n")
        gate.set()
        assert (await site.get("/a"))[2] == b"x"
        assert len(site.origin.asked) == 1


async def test_8297_http_2_is_told_of_early_hints_by_its_own_message(house: ModuleType) -> None:
    told: list[Any] = []
    scope = {
        "type": "http", "method": "GET", "http_version": "2", "path": "/a", "raw_path": b"/a", "query_string": b"", "scheme": "https",
        "headers": [(b"host", b"h")], "client": ("127.0.0.1", 1), "extensions": {"http.response.early_hint": {}},
    }  # fmt: skip

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        told.append(message)

    early = [(102, []), (103, [(b"link", b"</a.css>"), (b"x", b"y")])]
    async with house.site(lambda request: reply(house, b"x", informational=early)) as site:
        await site.site.app(scope, receive, send)
    assert told[0] == {"type": "http.response.early_hint", "links": [b"</a.css>"]}
    assert [message["type"] for message in told[1:]][:2] == ["http.response.start", "http.response.body"]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_8297_a_client_that_does_not_read_its_hints_holds_up_its_own_answer_alone(house: ModuleType, method: str) -> None:
    told: list[Any] = []
    reads, fetched = trio.Event(), trio.Event()
    scope = {
        "type": "http", "method": method, "http_version": "2", "path": "/a", "raw_path": b"/a", "query_string": b"", "scheme": "https",
        "headers": [(b"host", b"h")], "client": ("127.0.0.1", 1), "extensions": {"http.response.early_hint": {}},
    }  # fmt: skip

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.early_hint":
            await reads.wait()
        told.append(message)

    def script(request: Any) -> Any:
        if request.method == method:
            fetched.set()
        return reply(house, b"x", informational=[(103, [(b"link", b"</%d.css>" % at)]) for at in range(40)])

    async with house.site(script) as site:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(site.site.app, scope, receive, send)
            await fetched.wait()
            assert (await site.get("/a"))[2] == b"x"  # from the same fetch, where that is shared
            assert not told
            reads.set()
        assert len(site.origin.asked) == (1 if method == "GET" else 2)
    links = [message["links"][0] for message in told if message["type"] == "http.response.early_hint"]
    assert links == [b"</%d.css>" % at for at in range(16)]  # as many as wait for one client
    assert [message["type"] for message in told[16:]][:2] == ["http.response.start", "http.response.body"]


async def test_9110_15_2_a_client_of_http_1_0_is_told_of_no_interim_answer(house: ModuleType) -> None:
    early = [(103, [(b"link", b"</a.css>")])]
    async with house.site(lambda request: reply(house, b"x", informational=early)) as site, site.client() as client:
        await client.send(b"GET /a HTTP/1.0\r\nHost: h\r\n\r\n")
        assert (await client.answer())[0] == 200


async def test_9530_a_short_body_with_a_wrong_digest_is_502_and_not_kept(house: ModuleType) -> None:
    from base64 import b64encode
    from hashlib import sha256, sha512

    right = b"sha-256=:" + b64encode(sha256(b"hello").digest()) + b":"
    wrong = b"md5=:AAAA:, sha-512=:" + b64encode(sha512(b"other").digest()) + b":;x=1"
    for name in (b"content-digest", b"repr-digest"):
        replies = [reply(house, b"hello", FRESH, (name, value)) for value in (wrong, right)]
        replies[0].pieces, replies[0].length = [b"hel", b"lo"], 5
        async with house.site(lambda request, replies=replies: replies.pop(0), negative_backoff=0.0) as site:
            status, headers, body = await site.get("/a")
            assert (status, headers["content-type"], b"origin_broken" in body) == (502, "application/problem+json", True)
            assert headers["cache-status"].startswith("nova; fwd=uri-miss")
            site.advance(2)
            assert (await site.get("/a"))[2] == b"hello"
            assert (await site.get("/a"))[1]["cache-status"].startswith("nova; hit")


async def test_9530_a_long_body_with_a_wrong_digest_breaks_off_and_is_not_kept(house: ModuleType) -> None:
    wrong = (b"repr-digest", b"sha-256=:" + b"A" * 43 + b"=:")
    pieces = [bytes(100_000), bytes(100_000)]
    async with house.site(lambda request: reply(house, b"", FRESH, wrong, pieces=list(pieces), length=200_000)) as site:
        async with site.client() as client:
            await client.send(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
            got = await client.to_end()
        assert got.startswith(b"HTTP/1.1 200")
        assert len(got.partition(b"\r\n\r\n")[2]) == 100_000  # the last piece waited for the digest
        assert site.keeper.find(1, b"h/a", [])[1] is None


async def test_9530_a_digest_that_is_none_does_not_count(house: ModuleType) -> None:
    odd = [(b"content-digest", value) for value in (b"sha-256=:AAAA:", b"sha-256=:!:", b"sha-256=abc", b"", b"crc32c=:AAAA:")]
    async with house.site(lambda request: reply(house, b"hello", FRESH, *odd)) as site:
        assert (await site.get("/a"))[2] == b"hello"


async def test_9111_4_1_a_fetch_of_what_varies_is_over_when_its_body_is(house: ModuleType) -> None:
    varies = [FRESH, ETAG, (b"vary", b"x-a"), (b"cache-control", b"stale-while-revalidate=600")]
    replies = [reply(house, b"one", *varies), reply(house, b"two", *varies)]
    async with house.site(lambda request: replies.pop(0)) as site:
        assert (await site.get("/a", "X-A: 1"))[2] == b"one"
        with trio.fail_after(30):
            await site.site.idle()
        site.advance(61)
        assert (await site.get("/a", "X-A: 1"))[2] == b"one"  # and a new one is fetched behind it
        await house.served.until(lambda: not replies)
        await site.site.idle()
        assert (await site.get("/a", "X-A: 1"))[2] == b"two"


async def test_9111_4_1_what_varies_with_more_than_a_key_holds_passes_whole(house: ModuleType) -> None:
    long = "Cookie: a=" + "x" * 3000
    fields = (FRESH, (b"vary", b"Cookie"), (b"content-length", b"5"))
    async with house.site(lambda request: reply(house, b"whole", *fields)) as site, site.client() as client:
        for _ in range(4):
            _, headers, body = await client.get("/a", long)
            assert (body, headers["content-length"], headers["cache-status"]) == (b"whole", "5", "nova; fwd=uri-miss; detail=vary-long")
        said = [(await client.get("/a"))[1]["cache-status"] for _ in range(3)]
        assert said == ["nova; fwd=uri-miss", "nova; fwd=uri-miss; stored", "nova; hit; ttl=60"]  # others are not held to it
        assert (await client.get("/a", long))[2] == b"whole"
        assert (await client.get("/a"))[1]["cache-status"] == "nova; hit; ttl=60"


async def test_9110_13_conditions_of_a_first_request_are_answered_here(house: ModuleType) -> None:
    async with house.site(lambda request: reply(house)) as site:
        assert (await site.get("/a", 'If-None-Match: "one"'))[0] == 304
        assert b"if-none-match" not in dict(site.origin.asked[0].fields)
        assert (await site.get("/a"))[1]["cache-status"].startswith("nova; hit")
        assert (await site.get("/a", 'If-Match: "two"'))[0] == 412
        assert (await site.get("/a", "Range: bytes=0-0", 'If-Range: "two"'))[0] == 200
        assert (await site.get("/a", "Range: bytes=0-0", 'If-Range: "one"'))[0] == 206


async def test_9110_7_6_3_via_is_on_requests_and_answers(house: ModuleType) -> None:
    async with house.site(lambda request: reply(house, b"x", FRESH, (b"via", b"1.1 inner"))) as site:
        _, headers, _ = await site.get("/a", "Via: 1.0 outer")
        assert headers["via"] == "1.1 inner, 1.1 nova-test"
        assert dict(site.origin.asked[0].fields)[b"via"] == b"1.0 outer, 1.1 nova-test"


async def test_9110_7_6_2_max_forwards_is_counted_down_and_ends_here(house: ModuleType) -> None:
    async with house.site(lambda request: reply(house, b"", (b"cache-control", b"no-store"))) as site, site.client() as client:
        for method, hops, status in (("OPTIONS", "2", 200), ("OPTIONS", "0", 204), ("TRACE", "0", 405), ("OPTIONS", "many", 200)):
            await client.send(f"{method} /a HTTP/1.1\r\nHost: h\r\nMax-Forwards: {hops}\r\n\r\n".encode())
            found, headers, _ = await client.answer()
            assert (found, "allow" in headers) == (status, status != 200)
        assert [dict(request.fields)[b"max-forwards"] for request in site.origin.asked] == [b"1", b"many"]


async def test_range_of_what_is_being_fetched_comes_from_there(house: ModuleType) -> None:
    rest = trio.Event()

    def script(request: Any) -> Any:
        return reply(house, b"", FRESH, pieces=[b"0123456789", rest, b"abcdefghij"], length=20)

    async with house.site(script) as site, site.client() as leader:
        await leader.send(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        await house.served.until(lambda: site.site.counters.fills == 1)
        status, headers, body = await site.get("/a", "Range: bytes=2-5")
        assert (status, headers["content-range"], body) == (206, "bytes 2-5/20", b"2345")
        rest.set()
        assert (await leader.answer())[2] == b"0123456789abcdefghij"
        assert len(site.origin.asked) == 1


async def test_9111_3_2_a_304_adds_no_field_that_may_not_be_kept(house: ModuleType) -> None:
    private = (b"cache-control", b'max-age=60, private="set-cookie"')
    replies = [
        reply(house, b"x", private, ETAG, (b"set-cookie", b"of=one")),
        house.origin.Reply(304, [private, ETAG, (b"set-cookie", b"of=another")]),
    ]
    async with house.site(lambda request: replies.pop(0)) as site:
        await site.get("/a")
        site.advance(61)
        assert (await site.get("/a"))[1]["cache-status"] == "nova; fwd=stale; fwd-status=304; stored"
        status, headers, _ = await site.get("/a")
        assert (status, headers["cache-status"]) == (200, "nova; hit; ttl=60")
        assert "set-cookie" not in headers


async def test_9111_4_3_4_a_304_with_another_date_is_not_believed(house: ModuleType) -> None:
    first, second = (b"last-modified", b"Tue, 30 Dec 2025 00:00:00 GMT"), (b"last-modified", b"Wed, 31 Dec 2025 00:00:00 GMT")
    replies = [reply(house, b"old", FRESH, first), house.origin.Reply(304, [FRESH, second]), reply(house, b"new", FRESH, second)]
    async with house.site(lambda request: replies.pop(0)) as site:
        await site.get("/a")
        site.advance(61)
        assert (await site.get("/a"))[2] == b"new"
        assert b"if-modified-since" not in dict(site.origin.asked[2].fields)


async def test_9111_4_4_a_fetch_that_began_before_a_write_is_not_kept(house: ModuleType) -> None:
    gate = trio.Event()
    replies = [reply(house, b"before", gate=gate), reply(house, b"after")]

    def script(request: Any) -> Any:
        return house.origin.Reply(204) if request.method == "PUT" else replies.pop(0)

    async with house.site(script) as site, site.client() as reader:
        await reader.send(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        await house.served.until(lambda: len(site.origin.asked) == 1)
        async with site.client() as writer:
            await writer.send(b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx")
            assert (await writer.answer())[0] == 204
            assert (await writer.get("/a"))[2] == b"after"  # it waits for no older fetch
        gate.set()
        assert (await reader.answer())[2] == b"before"
        assert (await site.get("/a"))[2] == b"after"


@pytest.mark.parametrize(
    ("target", "location", "host"),
    [
        (b"/items/", b"7", "client"),
        (b"/x", b"/items/7", "client"),
        (b"/x", b"http://H/items/7", "client"),
        (b"/x", b"//h/items/7", "client"),
        (b"/x", b"http://origin/items/7", "origin"),  # what the origin is called when it is asked by its own name
    ],
)
async def test_9111_4_4_locations_are_read_as_references(house: ModuleType, target: bytes, location: bytes, host: str) -> None:
    def script(request: Any) -> Any:
        return house.origin.Reply(201, [(b"location", location)]) if request.method == "POST" else reply(house)

    async with house.site(script, host=host) as site, site.client() as client:
        await client.get("/items/7")
        await client.send(b"POST " + target + b" HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
        assert (await client.answer())[0] == 201
        assert (await client.get("/items/7"))[1]["cache-status"].startswith("nova; fwd=")


@pytest.mark.parametrize("word", [b"public, max-age=60", b"s-maxage=60", b"must-revalidate, max-age=60"])
async def test_9111_3_5_what_says_so_is_kept_of_an_authorized_request(house: ModuleType, word: bytes) -> None:
    async with house.site(lambda request: reply(house, b"x", (b"cache-control", word))) as site:
        assert (await site.get("/a", "Authorization: Basic x"))[1]["cache-status"] == "nova; fwd=uri-miss; stored"
        assert (await site.get("/a"))[1]["cache-status"] == "nova; hit; ttl=60"


async def test_9111_3_5_an_authorized_request_that_is_not_kept_marks_nothing(house: ModuleType) -> None:
    async with house.site(lambda request: reply(house)) as site:
        _, headers, _ = await site.get("/a", "Authorization: Basic x")
        assert headers["cache-status"] == "nova; fwd=uri-miss; detail=authorization"
        assert (await site.get("/a"))[1]["cache-status"] == "nova; fwd=uri-miss; stored"
        assert (await site.get("/a"))[1]["cache-status"] == "nova; hit; ttl=60"


async def test_9110_13_1_5_a_date_is_strong_only_when_the_answer_is_later(house: ModuleType) -> None:
    from email.utils import formatdate

    async with house.site(lambda request: replies.pop(0)) as site:
        now = int(site.clock.wall())
        old, new = (formatdate(at, usegmt=True) for at in (now - 1, now))
        replies = [reply(house, b"0123", FRESH, (b"last-modified", at.encode())) for at in (old, new)]
        for path, at, status in (("/old", old, 206), ("/new", new, 200)):
            await site.get(path)
            assert (await site.get(path, "Range: bytes=0-1", f"If-Range: {at}"))[0] == status  # by the reactor
            assert (await site.get(path, "Range: bytes=0-0,3-3", f"If-Range: {at}"))[0] == status  # by trio


@pytest.mark.parametrize(
    ("asked", "coding", "suits"),
    [
        ("gzip", b"gzip", True),
        ("x-gzip", b"x-gzip", True),
        ("*", b"br", True),
        ("deflate", b"deflate", False),
        ("gzip;q=0, *", b"gzip", False),
        ("identity", b"gzip", False),
        ("br", b"identity", True),
        ("gzip;\tq=0", b"gzip", False),
        ("gzip;Q=0", b"gzip", False),
        ("gzip; a=b; q=0.0", b"gzip", False),
    ],
)
async def test_9111_4_1_codings_that_the_key_does_not_know_are_not_kept(house: ModuleType, asked: str, coding: bytes, suits: bool) -> None:
    vary = (b"vary", b"accept-encoding")
    async with house.site(lambda request: reply(house, b"x", FRESH, vary, (b"content-encoding", coding))) as site:
        _, headers, _ = await site.get("/a", f"Accept-Encoding: {asked}")
        assert headers["cache-status"] == f"nova; fwd=uri-miss; {'stored' if suits else 'detail=encoding'}"


async def test_9211_2_2_the_reason_is_told_as_it_is(house: ModuleType) -> None:
    async with house.site(lambda request: reply(house, b"x", FRESH, (b"vary", b"x-user")), request_directives=True) as site:
        assert (await site.get("/a", "X-User: 1"))[1]["cache-status"] == "nova; fwd=uri-miss; stored"
        assert (await site.get("/a", "X-User: 2"))[1]["cache-status"] == "nova; fwd=vary-miss; stored"
        assert (await site.get("/a", "X-User: 2", "Cache-Control: no-cache"))[1]["cache-status"] == "nova; fwd=request; stored"
        site.advance(61)
        assert (await site.get("/a", "X-User: 2"))[1]["cache-status"] == "nova; fwd=stale; stored"


async def test_a_range_of_what_is_stale_renews_the_whole(house: ModuleType) -> None:
    replies = [reply(house, b"0123456789"), house.origin.Reply(304, [FRESH, ETAG]), reply(house, b"abcdefghij", FRESH, (b"etag", b'"two"'))]
    async with house.site(lambda request: replies.pop(0)) as site:
        await site.get("/a")
        site.advance(61)
        status, headers, body = await site.get("/a", "Range: bytes=2-3")
        assert (status, body, headers["cache-status"]) == (206, b"23", "nova; fwd=stale; fwd-status=304; stored")
        assert b"range" not in dict(site.origin.asked[1].fields)
        assert (await site.get("/a", "Range: bytes=2-3"))[1]["cache-status"] == "nova; hit; ttl=60"
        site.advance(61)
        status, _, body = await site.get("/a", "Range: bytes=2-3")
        assert (status, body) == (206, b"cd")
        await house.served.until(lambda: site.origin.open == 0)
        assert (await site.get("/a"))[2] == b"abcdefghij"
        assert len(site.origin.asked) == 3


async def test_9111_4_4_a_fetch_that_nobody_waits_for_is_not_kept_either_when_a_write_overtakes_it(house: ModuleType) -> None:
    gate = trio.Event()

    def script(request: Any) -> Any:
        if request.method == "DELETE":
            return house.origin.Reply(204)
        slow = b"authorization" in dict(request.fields)
        return reply(house, b"before" if slow else b"after", (b"cache-control", b"public, max-age=60"), gate=gate if slow else None)

    async with house.site(script) as site, site.client() as reader, site.client() as writer:
        await reader.send(b"GET /a HTTP/1.1\r\nHost: h\r\nAuthorization: Basic x\r\n\r\n")
        await house.served.until(lambda: len(site.origin.asked) == 1)
        await writer.send(b"DELETE /a HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await writer.answer())[0] == 204
        gate.set()
        assert (await reader.answer())[2] == b"before"
        assert (await site.get("/a"))[2] == b"after"


async def test_9110_12_5_3_what_anybody_may_get_is_not_for_who_takes_identity_alone(house: ModuleType) -> None:
    def script(request: Any) -> Any:
        coding = [] if b"accept-encoding" in dict(request.fields) else [(b"content-encoding", b"gzip")]
        swr = (b"cache-control", b"max-age=60, stale-while-revalidate=60")
        return reply(house, b"packed" if coding else b"plain", swr, (b"vary", b"accept-encoding"), *coding)

    async with house.site(script) as site:
        assert (await site.get("/a"))[2] == b"packed"
        for asked in ("identity", "gzip;q=0", ""):
            assert (await site.get("/a", f"Accept-Encoding: {asked}"))[2] == b"plain"
        assert (await site.get("/a"))[1]["cache-status"] == "nova; hit; ttl=60"
        site.advance(61)
        assert (await site.get("/a"))[2] == b"packed"
        await house.served.until(lambda: len(site.origin.asked) == 3)
        assert b"accept-encoding" not in dict(site.origin.asked[2].fields)  # as it was asked for


@pytest.mark.parametrize("soft", [False, True])
async def test_9111_4_3_5_head_brings_nothing_back_that_was_forgotten_meanwhile(house: ModuleType, soft: bool) -> None:
    gate = trio.Event()
    bodies = [b"before", b"after"]

    def script(request: Any) -> Any:
        if request.method == "HEAD":
            return reply(house, b"", FRESH, ETAG, gate=gate)
        return reply(house, bodies.pop(0))

    async with house.site(script) as site, site.client() as header:
        await site.get("/a")
        site.advance(61)
        await header.send(b"HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n")
        await house.served.until(lambda: len(site.origin.asked) == 2)
        site.site.doom(lambda key, tags: key == b"h/a", soft=soft)
        site.keeper.drop_object(1, b"h/a", soft=soft, now=site.clock.wall())
        gate.set()
        assert (await header.answer(head_only=True))[0] == 200
        assert (await site.get("/a"))[2] == b"after"


async def test_9111_4_3_5_head_of_one_client_adds_nothing_to_what_all_get(house: ModuleType) -> None:
    def script(request: Any) -> Any:
        if request.method == "HEAD":
            return reply(house, b"", FRESH, ETAG, (b"x-user", b"ann"))
        return reply(house)

    async with house.site(script) as site, site.client() as header:
        await site.get("/a")
        site.advance(61)
        await header.send(b"HEAD /a HTTP/1.1\r\nHost: h\r\nAuthorization: x\r\n\r\n")
        assert (await header.answer(head_only=True))[0] == 200
        assert "x-user" not in (await site.get("/a"))[1]


async def test_9111_4_3_5_head_that_varies_ends_what_is_kept_for_all(house: ModuleType) -> None:
    def script(request: Any) -> Any:
        if request.method == "HEAD":
            return reply(house, b"", FRESH, ETAG, (b"vary", b"accept-language"))
        return reply(house, dict(request.fields).get(b"accept-language", b"any"))

    async with house.site(script) as site, site.client() as header:
        await site.get("/a")
        site.advance(61)
        await header.send(b"HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await header.answer(head_only=True))[0] == 200
        assert (await site.get("/a", "Accept-Language: de"))[2] == b"de"
