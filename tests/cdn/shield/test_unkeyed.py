"""Fields that origins heed and no key knows: no client chooses with them what others get."""

from types import ModuleType
from typing import Any

import pytest

from nova.cdn.shield import unkeyed

KEPT = [(b"cache-control", b"max-age=60"), (b"etag", b'"e"')]


def heeds(house: ModuleType, name: bytes, rest: Any = ()) -> Any:
    """An origin that makes its page of a field, and does not say so."""
    return lambda request: house.origin.Reply(200, [*KEPT, *rest], dict(request.fields).get(name, b"own"))


@pytest.mark.parametrize("name", sorted(unkeyed.APART))
async def test_answers_are_kept_apart_by_what_proxies_tell(house: ModuleType, name: bytes) -> None:
    async with house.site(heeds(house, name)) as site:
        field = f"{name.decode()}: evil"
        assert (await site.get("/a", field))[2] == b"evil"
        assert (await site.get("/a"))[2] == b"own"
        for fields, body in (((field,), b"evil"), ((), b"own")):
            _, headers, found = await site.get("/a", *fields)
            assert (found, headers["cache-status"]) == (body, "nova; hit; ttl=60")
        assert len(site.origin.asked) == 2


@pytest.mark.parametrize("field", ["X-Original-URL: /x", "Forwarded: for=1.2.3.4;host=evil", "Forwarded: for=a, for=b; Proto=https"])
async def test_what_asks_for_another_answer_passes_alone(house: ModuleType, field: str) -> None:
    name, _, value = field.partition(": ")
    async with house.site(heeds(house, name.lower().encode())) as site:
        _, headers, body = await site.get("/a", field)
        assert (body, headers["cache-status"]) == (value.encode(), "nova; fwd=bypass")
        assert (await site.get("/a"))[2] == b"own"


@pytest.mark.parametrize("field", ["X-Forwarded-For: 1.2.3.4", "Forwarded: for=1.2.3.4;by=x", "X-Forwarded-Host: H", "X-Real-IP: 1.2.3.4"])
async def test_what_says_nothing_of_the_page_keeps_nothing_apart(house: ModuleType, field: str) -> None:
    async with house.site(heeds(house, b"x-none")) as site:
        await site.get("/a", field)
        assert (await site.get("/a"))[1]["cache-status"] == "nova; hit; ttl=60"
        assert dict(site.origin.asked[0].fields)[field.partition(":")[0].lower().encode()]


async def test_a_host_that_is_no_part_of_the_name_is_told_apart(house: ModuleType) -> None:
    async with house.site(heeds(house, b"x-forwarded-host"), host="origin") as site:
        assert (await site.get("/a", "X-Forwarded-Host: h"))[2] == b"h"
        assert (await site.get("/a"))[2] == b"own"


async def test_what_is_kept_for_all_is_renewed_for_all(house: ModuleType) -> None:
    async with house.site(heeds(house, b"x-forwarded-host")) as site:
        assert (await site.get("/a"))[2] == b"own"
        assert (await site.get("/a", "X-Forwarded-Host: evil"))[1]["cache-status"] == "nova; hit; ttl=60"
        site.advance(61)
        _, headers, body = await site.get("/a", "X-Forwarded-Host: evil")
        assert (body, headers["cache-status"]) == (b"own", "nova; fwd=stale; stored")
        assert (await site.get("/a"))[1]["cache-status"] == "nova; hit; ttl=60"


async def test_variants_are_renewed_as_what_they_are(house: ModuleType) -> None:
    async with house.site(heeds(house, b"x-forwarded-proto"), stale_while_revalidate=60) as site:
        for fields, body in ((("X-Forwarded-Proto: https",), b"https"), ((), b"own")):
            assert (await site.get("/a", *fields))[2] == body
        site.advance(61)
        for fields in (("X-Forwarded-Proto: https",), ()):
            assert (await site.get("/a", *fields))[1]["cache-status"] == "nova; hit; ttl=-1"
        await house.served.until(lambda: len(site.origin.asked) == 4 and not site.site.slots.busy)
        for fields, body in ((("X-Forwarded-Proto: https",), b"https"), ((), b"own")):
            _, headers, found = await site.get("/a", *fields)
            assert (found, headers["cache-status"]) == (body, "nova; hit; ttl=60")


async def test_neither_head_nor_a_slice_is_a_way_around_it(house: ModuleType) -> None:
    def answer(request: Any) -> Any:
        who = dict(request.fields).get(b"x-forwarded-host", b"own")
        if b"range" in dict(request.fields):
            return house.origin.Reply(206, [*KEPT, (b"content-range", b"bytes 0-9/10")], who.ljust(10))
        return house.origin.Reply(200, [*KEPT, (b"content-location", who), (b"content-length", b"1")], b"x")

    async with house.site(answer) as site:
        await site.get("/a")
        site.advance(61)
        async with site.client() as client:
            await client.send(b"HEAD /a HTTP/1.1\r\nHost: h\r\nX-Forwarded-Host: evil\r\n\r\n")
            assert b"content-location: evil" in await client.until(b"\r\n\r\n")
        assert (await site.get("/a"))[1]["content-location"] == "own"
        assert (await site.get("/film", "Range: bytes=0-9", "X-Forwarded-Host: evil"))[2] == b"evil      "
        assert (await site.get("/film", "Range: bytes=0-9"))[2] == b"own       "


@pytest.mark.parametrize("name", ["X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
async def test_what_has_an_origin_see_another_request_poisons_no_key(house: ModuleType, name: str) -> None:
    lower = name.lower().encode()

    async with house.site(lambda request: house.origin.Reply(200, KEPT, dict(request.fields).get(lower, b"own"))) as site:
        assert (await site.get("/a", f"{name}: /admin"))[2] == b"/admin"  # it goes on as it came
        assert (await site.get("/a"))[2] == b"own"
        site.advance(61)
        assert (await site.get("/a", f"{name}: /admin"))[2] == b"/admin"
        assert (await site.get("/a"))[2] == b"own"
