"""Ranges of objects that are not here: slices, each fetched once, put together under one strong ETag."""

import re
from types import ModuleType
from typing import Any

import trio

BODY = bytes(range(256)) * 40  # 10,240 bytes


def script(house: ModuleType, etag: Any = lambda: b'"one"', gate: trio.Event | None = None) -> Any:
    def answer(request: Any) -> Any:
        fields = [(b"cache-control", b"max-age=60"), (b"etag", etag()), (b"content-type", b"video/mp4")]
        wanted = dict(request.fields).get(b"range")
        if wanted is None:
            return house.origin.Reply(200, fields, BODY)
        found = re.fullmatch(rb"bytes=(\d+)-(\d*)", wanted)
        assert found is not None
        first, last = int(found[1]), min(int(found[2] or 1 << 40), len(BODY) - 1)
        if first >= len(BODY):
            return house.origin.Reply(416, [(b"content-range", b"bytes */%d" % len(BODY))])
        fields.append((b"content-range", b"bytes %d-%d/%d" % (first, last, len(BODY))))
        return house.origin.Reply(206, fields, BODY[first : last + 1], gate=gate)

    return answer


async def test_seek_fetches_its_slices_once(house: ModuleType) -> None:
    async with house.site(script(house), slice_size=1024) as site:
        status, headers, body = await site.get("/film", "Range: bytes=1500-3500")
        assert (status, body) == (206, BODY[1500:3501])
        assert headers["content-range"] == "bytes 1500-3500/10240"
        assert headers["cache-status"] == "nova; fwd=partial; stored"
        asked = [dict(each.fields)[b"range"] for each in site.origin.asked]
        assert asked == [b"bytes=1024-2047", b"bytes=2048-3071", b"bytes=3072-4095"]
        status, headers, body = await site.get("/film", "Range: bytes=2000-2100")
        assert (status, body, len(site.origin.asked)) == (206, BODY[2000:2101], 3)
        assert headers["cache-status"].startswith("nova; hit")
        assert (await site.get("/film", "Range: bytes=10000-"))[2] == BODY[10000:]


async def test_many_who_seek_to_one_place_make_one_fetch(house: ModuleType) -> None:
    gate = trio.Event()
    async with house.site(script(house, gate=gate), slice_size=1024) as site:
        async with trio.open_nursery() as nursery:

            async def ask(first: int) -> None:
                assert (await site.get("/film", f"Range: bytes={first}-{first + 9}"))[2] == BODY[first : first + 10]

            for first in range(10):
                nursery.start_soon(ask, first)
            await house.served.until(lambda: site.site.counters.requests == 10)
            gate.set()
        assert len(site.origin.asked) == 1


async def test_object_that_changes_between_slices_ends_visibly_and_is_forgotten(house: ModuleType) -> None:
    etags = [b'"one"', b'"two"', b'"two"', b'"two"']
    async with house.site(script(house, lambda: etags.pop(0)), slice_size=1024) as site:
        async with site.client() as client:
            await client.send(b"GET /film HTTP/1.1\r\nHost: h\r\nRange: bytes=1000-1100\r\n\r\n")
            got = await client.to_end()
        assert len(got.partition(b"\r\n\r\n")[2]) < 101
        assert (await site.get("/film", "Range: bytes=1000-1100"))[2] == BODY[1000:1101]


async def test_weak_etags_make_no_slices(house: ModuleType) -> None:
    async with house.site(script(house, lambda: b'W/"one"'), slice_size=1024) as site:
        status, headers, body = await site.get("/film", "Range: bytes=5-9")
        assert (status, body) == (206, BODY[5:10])
        assert headers["cache-status"] == "nova; fwd=uri-miss"


async def test_if_range_of_another_object_gets_the_whole(house: ModuleType) -> None:
    async with house.site(script(house), slice_size=1024) as site:
        assert (await site.get("/film", "Range: bytes=5-9", 'If-Range: "one"'))[0] == 206
        await site.get("/film", "Range: bytes=99999-")
        assert (await site.get("/film", "Range: bytes=99999-"))[0] == 416


async def test_a_purge_takes_the_slices_along(house: ModuleType) -> None:
    async with house.site(script(house), slice_size=1024) as site:
        await site.get("/film", "Range: bytes=0-3000")
        assert site.keeper.drop_object(1, b"h/film", soft=False, now=site.clock.wall()) == 3
        await site.get("/film", "Range: bytes=0-10")
        assert len(site.origin.asked) == 4


async def test_a_slice_under_way_does_not_bring_back_what_was_purged(house: ModuleType) -> None:
    gate = trio.Event()
    async with house.site(script(house, gate=gate), slice_size=1024) as site:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(site.get, "/film", "Range: bytes=0-9")
            await house.served.until(lambda: len(site.origin.asked) == 1)
            site.site.doom(lambda key, tags: key == b"h/film", soft=False)
            gate.set()
        assert (await site.get("/film", "Range: bytes=0-9"))[2] == BODY[:10]
        assert len([each for each in site.origin.asked if dict(each.fields).get(b"range") == b"bytes=0-1023"]) == 2


async def test_a_range_behind_the_end_of_a_slice_that_is_here_is_not_satisfiable(house: ModuleType) -> None:
    async with house.site(script(house)) as site:
        assert (await site.get("/film", "Range: bytes=0-9"))[0] == 206
        status, headers, body = await site.get("/film", "Range: bytes=10240-")
        assert (status, headers["content-range"], body) == (416, "bytes */10240", b"")
        assert len(site.origin.asked) == 1


async def test_slices_say_how_long_they_are_fresh_and_stand_in_for_a_failing_origin(house: ModuleType) -> None:
    answer = script(house)
    async with house.site(lambda request: answer(request), slice_size=1024) as site:
        await site.get("/film", "Range: bytes=0-2000")
        site.advance(20)
        assert (await site.get("/film", "Range: bytes=0-9"))[1]["cache-status"] == "nova; hit; ttl=40"
        site.advance(50)
        for failing in (house.origin.Reply(503), house.origin.Reply(error=house.origin.OriginError("origin_unreachable", "refused"))):
            site.origin.script = lambda request, failing=failing: failing
            status, headers, body = await site.get("/film", "Range: bytes=5-1500")
            assert (status, body) == (206, BODY[5:1501])
            assert headers["cache-status"] == "nova; fwd=stale; detail=stale-if-error"
        assert (await site.get("/film", "Range: bytes=3000-3001"))[0] == 502  # this one is not here


async def test_what_an_origin_gives_whole_only_is_kept_whole(house: ModuleType) -> None:
    async with house.site(lambda request: house.origin.Reply(200, [(b"cache-control", b"max-age=60")], BODY)) as site:
        status, headers, body = await site.get("/film", "Range: bytes=5-9")
        assert (status, body, headers["cache-status"]) == (206, BODY[5:10], "nova; fwd=uri-miss; stored")
        await house.served.until(lambda: site.origin.open == 0)
        assert (await site.get("/film", "Range: bytes=-2"))[2] == BODY[-2:]
        assert len(site.origin.asked) == 2


async def test_9111_5_2_1_directives_of_requests_count_for_slices_too(house: ModuleType) -> None:
    wanted = "Range: bytes=0-9"
    async with house.site(script(house), slice_size=1024, request_directives=True) as site:
        for field, fetches, status in (
            ("Accept: */*", 1, "nova; fwd=partial; stored"),
            ("Cache-Control: max-age=60", 1, "nova; hit; ttl=60"),
            ("Cache-Control: no-cache", 2, "nova; fwd=partial; stored"),
            ("Cache-Control: min-fresh=61", 3, "nova; fwd=partial; stored"),
            ("Cache-Control: no-store", 4, "nova; fwd=uri-miss"),
        ):
            code, headers, body = await site.get("/film", wanted, field)
            assert (code, body, headers["cache-status"], len(site.origin.asked)) == (206, BODY[:10], status, fetches)


def parts(headers: dict[str, str], body: bytes) -> list[tuple[bytes, bytes]]:
    """(Content-Range, bytes) of each part of a multipart/byteranges body."""
    boundary = headers["content-type"].partition("boundary=")[2].encode()
    begin, *found, end = body.split(b"\r\n--" + boundary)
    assert (begin, end, int(headers["content-length"])) == (b"", b"--\r\n", len(body))
    split = [part.partition(b"\r\n\r\n") for part in found]
    return [(head.partition(b"Content-Range: ")[2], data) for head, _, data in split]


async def test_ranges_from_the_end_come_from_slices_once_one_tells_the_length(house: ModuleType) -> None:
    async with house.site(script(house), slice_size=1024) as site:
        await site.get("/film", "Range: bytes=0-9")
        status, headers, body = await site.get("/film", "Range: bytes=-100")
        assert (status, body, headers["content-range"]) == (206, BODY[-100:], "bytes 10140-10239/10240")
        assert [dict(each.fields)[b"range"] for each in site.origin.asked] == [b"bytes=0-1023", b"bytes=9216-10239"]
        status, headers, body = await site.get("/film", "Range: bytes=-1000")
        assert (status, body, headers["cache-status"]) == (206, BODY[-1000:], "nova; hit; ttl=60")
        assert (await site.get("/film", "Range: bytes=-0"))[0] == 416
        assert (await site.get("/film", "Range: bytes=-99999"))[2] == BODY


async def test_several_ranges_come_from_slices(house: ModuleType) -> None:
    async with house.site(script(house), slice_size=1024) as site:
        status, headers, body = await site.get("/film", "Range: bytes=10-19,1020-1030,-5")
        assert (status, headers["cache-status"], headers.get("content-range")) == (206, "nova; fwd=partial; stored", None)
        assert parts(headers, body) == [
            (b"bytes 10-19/10240", BODY[10:20]),
            (b"bytes 1020-1030/10240", BODY[1020:1031]),
            (b"bytes 10235-10239/10240", BODY[-5:]),
        ]
        asked = len(site.origin.asked)
        status, headers, body = await site.get("/film", "Range: bytes=-5,0-0")
        assert (status, [data for _, data in parts(headers, body)], len(site.origin.asked)) == (206, [BODY[-5:], BODY[:1]], asked)


async def test_a_few_bytes_of_many_slices_do_not_fetch_them_all(house: ModuleType) -> None:
    async with house.site(script(house), slice_size=512) as site:
        answer = site.origin.script
        site.origin.script = lambda request: answer(request) if b"," not in dict(request.fields)[b"range"] else house.origin.Reply(206)
        many = ",".join(f"{at}-{at}" for at in range(0, 512 * 9, 512))
        assert (await site.get("/film", f"Range: bytes={many}"))[1]["cache-status"] == "nova; fwd=uri-miss"
        assert len(site.origin.asked) == 2


async def test_parts_that_can_not_be_kept_are_not_asked_for_in_slices_each_time(house: ModuleType) -> None:
    for rule in (b"private, max-age=60", b"no-store"):

        def answer(request: Any, rule: bytes = rule) -> Any:
            reply = script(house)(request)
            reply.fields[0] = (b"cache-control", rule)
            return reply

        async with house.site(answer, slice_size=1024) as site:
            for at in range(5):
                status, headers, body = await site.get("/film", f"Range: bytes={at}-{at + 9}")
                assert (status, body, headers["cache-status"]) == (206, BODY[at : at + 10], "nova; fwd=uri-miss")
            assert len(site.origin.asked) == 6
            site.advance(61)
            site.origin.script = script(house)
            assert (await site.get("/film", "Range: bytes=0-9"))[1]["cache-status"] == "nova; fwd=partial; stored"


async def test_a_range_of_what_is_not_there_is_remembered_as_such(house: ModuleType) -> None:
    async with house.site(lambda request: house.origin.Reply(404, [], b"none"), slice_size=1024) as site:
        for _ in range(3):
            assert (await site.get("/film", "Range: bytes=0-9"))[0] == 404
        assert len(site.origin.asked) == 2  # of the slice, and of the object
