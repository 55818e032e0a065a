"""A site's origins: real processes that answer well, badly, late or not at all, and that are killed and frozen."""

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest
import trio

from nova.cdn.errors import OriginBroken, OriginError
from nova.cdn.failover.breaker import State
from nova.cdn.origins.fetcher import Origins
from nova.cdn.origins.pool import Exchange
from nova.cdn.ports import FetchRequest, Fields
from tests.cdn.origins.running import Process, fetching, get, processes, site, who, whole
from tests.cdn.origins.server import body_of


@pytest.fixture(scope="module")
def shared() -> Iterator[list[Process]]:
    """Two origins that no test harms."""
    with processes("one", "two") as made:
        yield made


@pytest.fixture
def pair() -> Iterator[list[Process]]:
    with processes("one", "two") as made:
        yield made


def raw(text: str) -> str:
    from urllib.parse import quote

    return "/raw?bytes=" + quote(text, safe="")


async def test_requests_go_as_they_came_and_connections_are_kept(shared: list[Process]) -> None:
    async with fetching(site(shared[:1])) as origins:
        for _ in range(3):
            status, _, body = await whole(origins, get("/echo/a%20b?x=1", (b"accept", b"x/y"), (b"via", b"1.1 nova")))
            assert status == 200
            assert body == b"GET /echo/a%20b?x=1 HTTP/1.1\r\nhost: site.example\r\naccept: x/y\r\nvia: 1.1 nova\r\n\r\n"
        assert origins.origins[0]._pool.opened == 1
        assert (await whole(origins, get("/size/1000", method="HEAD")))[2] == b""
        assert (await whole(origins, get("/size/300000")))[2] == body_of(300000)
        assert origins.origins[0]._pool.opened == 1


async def test_the_origins_own_host_and_path_stand_before_the_request(shared: list[Process]) -> None:
    async with fetching(site([shared[0].url + "/echo/base"], host="origin")) as origins:
        body = (await whole(origins, get("/p")))[2]
        assert body.startswith(f"GET /echo/base/p HTTP/1.1\r\nhost: 127.0.0.1:{shared[0].port}\r\n".encode())


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.mark.parametrize("length", [None, 6])
async def test_bodies_are_sent_once_and_framed(shared: list[Process], length: int | None) -> None:
    async with fetching(site(shared[:1])) as origins:
        for _ in range(2):
            body = (await whole(origins, get("/echo", method="POST", body=lambda: pieces(b"abc", b"", b"def"), length=length)))[2]
            assert body.endswith(b"\r\n\r\nabcdef")
            assert (b"transfer-encoding: chunked" in body) == (length is None)
        assert origins.origins[0]._pool.opened == 1


async def test_an_answer_before_the_end_of_the_body_is_an_answer(shared: list[Process]) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65536

    async with fetching(site(shared[:1])) as origins:
        assert (await whole(origins, get("/early", method="POST", body=endless)))[0] == 413


async def test_an_upgrade_gives_both_ways(shared: list[Process]) -> None:
    async with fetching(site(shared[:1])) as origins, origins.fetch(get("/upgrade", upgrade=b"mine")) as answer:
        assert answer.status == 101
        assert answer.stream is not None
        await answer.stream.send_all(b"there")
        got = b""
        while len(got) < 8:
            got += await answer.stream.receive_some(3)  # type: ignore[call-arg]
        assert got == b"hi there"


async def test_interim_answers_are_told(shared: list[Process]) -> None:
    told: list[tuple[int, Fields]] = []

    def informational(status: int, fields: Fields) -> None:
        told.append((status, fields))

    async with fetching(site(shared[:1])) as origins, origins.fetch(get("/hints"), informational=informational) as answer:
        assert answer.status == 200
    assert told == [(103, ((b"link", b"</a>"),))]


BAD = {
    "garbage": "SSH-2.0-x\r\n\r\n",
    "two lengths": "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "both framings": "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "cut head": "HTTP/1.1 200 OK\r\nConte",
    "nothing": "",
    "not asked whether it has changed": 'HTTP/1.1 304 Not Modified\r\nETag: "v1"\r\n\r\n',
}


@pytest.mark.parametrize("bad", BAD)
async def test_answers_that_are_none_are_broken(shared: list[Process], bad: str) -> None:
    async with fetching(site(shared[:1], retry_burst=0)) as origins:
        with pytest.raises(OriginError) as caught:
            await whole(origins, get(raw(BAD[bad])))
        assert caught.value.code == "origin_broken"


async def test_interim_answers_for_ever_end(shared: list[Process]) -> None:
    async with fetching(site(shared[:1], retry_burst=0)) as origins:
        with pytest.raises(OriginError):
            await whole(origins, get("/interim"))


@pytest.mark.parametrize(
    ("said", "body"),
    [
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", None),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n", None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nshort and more", b"short"),
        ("HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        ("HTTP/1.1 304 Not Modified\r\n\r\nwith a body", b""),
    ],
)
async def test_lengths_are_kept_or_broken(shared: list[Process], said: str, body: bytes | None) -> None:
    async with fetching(site(shared[:1], retry_burst=0)) as origins:
        if body is None:
            with pytest.raises(OriginBroken):
                await whole(origins, get(raw(said)))
        else:
            keep = "" if body == b"until the end" else "&keep=1"
            for _ in range(2):  # what came too much is not the next answer
                assert (await whole(origins, get(raw(said) + keep, (b"if-none-match", b'"a"'))))[2] == body


async def test_what_stalls_is_given_up(shared: list[Process]) -> None:
    config = site([{"url": shared[0].url, "first_byte_timeout": 0.05, "idle_timeout": 0.05}], retry_burst=0)
    async with fetching(config) as origins:
        with pytest.raises(OriginError) as caught:
            await whole(origins, get("/black"))
        assert caught.value.code == "origin_timeout"
        with pytest.raises(OriginBroken):
            await whole(origins, get("/stall"))


async def test_a_torn_answer_goes_on_where_it_broke_off(shared: list[Process]) -> None:
    async with fetching(site(shared[:1])) as origins:
        for target in ("/torn/400000?a=1", "/torn/400000?times=3"):
            assert (await whole(origins, get(target)))[2] == body_of(400000)
        assert origins.counts.resumes == 4


async def test_a_torn_part_goes_on_as_a_part(shared: list[Process]) -> None:
    async with fetching(site(shared)) as origins:
        status, _, body = await whole(origins, get("/torn/5000?b=1", (b"range", b"bytes=1000-2999")))
        assert (status, body) == (206, body_of(5000)[1000:3000])


@pytest.mark.parametrize("query", ['etag=W/"v1"&c=1', 'after="v2"&c=1', "times=9&c=1"])
async def test_bytes_of_two_versions_are_never_joined(shared: list[Process], query: str) -> None:
    async with fetching(site(shared[:1])) as origins:
        with pytest.raises(OriginBroken):
            await whole(origins, get(f"/torn/4000?{query}"))


async def test_who_goes_on_with_an_answer_gives_no_more_than_is_missing(shared: list[Process]) -> None:
    async with fetching(site(shared[:1])) as origins, origins.fetch(get("/over/4000")) as answer:
        got = b""
        with pytest.raises(OriginBroken):
            while piece := await answer.read():
                got += piece
        assert got == body_of(4000)[: len(got)]


async def test_an_answer_from_elsewhere_is_not_gone_on_with_by_an_origin(shared: list[Process], monkeypatch: pytest.MonkeyPatch) -> None:
    """One tag says nothing of two addresses: the same path here may be another thing."""
    monkeypatch.setattr("nova.cdn.origins.dial.public_only", list)  # a test has no public address to lead to
    elsewhere = shared[1]
    async with fetching(site(shared[:1], redirects=1)) as origins:
        with pytest.raises(OriginBroken):
            await whole(origins, get(f"/redirect?to=http://127.0.0.1:{elsewhere.port}/torn/4000?e=1"))
        assert origins.counts.resumes == 0


async def test_304_that_was_not_asked_for_goes_to_the_next_origin(shared: list[Process]) -> None:
    said = raw("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n")
    async with fetching(site(shared)) as origins:
        with pytest.raises(OriginError):
            await whole(origins, get(said))
        assert origins.counts.retries == 1
        assert (await whole(origins, get(said, (b"if-none-match", b'"a"'))))[0] == 304


async def test_what_went_wrong_is_told_and_not_that_the_breaker_stopped_the_next_attempt(shared: list[Process]) -> None:
    config = site([{"url": shared[0].url, "breaker_failures": 1, "breaker_wait": "30s"}])
    async with fetching(config) as origins:
        with pytest.raises(OriginBroken, match="HTTP/1"):
            await whole(origins, get(raw("garbage\r\n\r\n")))


async def test_a_killed_primary_is_not_seen_by_requests(pair: list[Process]) -> None:
    async with fetching(site([pair[0], {"url": pair[1].url, "backup": True}], retry_burst=0)) as origins:
        assert who((await whole(origins, get("/")))[1]) == "one"
        pair[0].kill()
        for _ in range(20):
            assert who((await whole(origins, get("/")))[1]) == "two"
        assert origins.origins[0].breaker.state is State.OPEN
        assert not origins.down()


async def test_one_killed_in_the_middle_of_a_body_is_gone_on_with_by_another(pair: list[Process]) -> None:
    config = site([pair[0], {"url": pair[1].url, "backup": True}])
    size = 64 * 2**20
    async with fetching(config) as origins, origins.fetch(get(f"/size/{size}")) as answer:
        got = bytearray(await answer.read())
        pair[0].kill()
        while piece := await answer.read():
            got += piece
        assert bytes(got) == body_of(size)
        assert origins.counts.resumes == 1


async def test_a_frozen_primary_costs_a_hedge_and_is_then_left_alone(pair: list[Process]) -> None:
    config = site([{"url": pair[0].url, "breaker_failures": 3}, {"url": pair[1].url, "backup": True}], hedge_after=0.25)
    async with fetching(config) as origins:
        assert who((await whole(origins, get("/")))[1]) == "one"
        pair[0].freeze()
        for _ in range(10):
            assert who((await whole(origins, get("/")))[1]) == "two"
        assert origins.counts.hedges >= 3
        assert origins.origins[0].breaker.state is not State.CLOSED
        pair[0].thaw()


async def test_a_hedge_that_the_budget_refuses_leaves_the_next_origin_for_a_failure(pair: list[Process]) -> None:
    config = site([pair[0], {"url": pair[1].url, "backup": True}], hedge_after=0.02, retry_burst=0, retry_ratio=0.0)
    async with fetching(config) as origins:
        assert who((await whole(origins, get("/")))[1]) == "one"
        answered: list[str] = []

        async def ask() -> None:
            answered.append(who((await whole(origins, get("/black")))[1]))

        async def asked(number: int, times: int) -> None:
            while origins.origins[number].requests < times:
                await trio.sleep(0.001)

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await asked(0, 2)
                pair[0].kill()
                await asked(1, 1)
                nursery.cancel_scope.cancel()
        assert [origins.origins[1].requests, answered] == [1, []]  # the second one was asked, and is as silent


async def test_one_that_was_asked_later_was_not_overtaken(shared: list[Process]) -> None:
    config = site([{"url": shared[0].url, "weight": 1000}, {"url": shared[1].url, "backup": True, "breaker_failures": 1}], hedge_after=0.02)
    async with fetching(config) as origins:
        for _ in range(5):  # both are as slow, so the first one's answer comes first
            assert (await whole(origins, get("/slow/200")))[0] == 200
        assert origins.counts.hedges > 0
        assert origins.origins[1].failures == 0
        assert origins.origins[1].breaker.state is State.CLOSED


async def test_a_recovered_origin_is_taken_back_after_trials(pair: list[Process]) -> None:
    config = site([{"url": pair[0].url, "breaker_failures": 1, "breaker_wait": 0.05}, {"url": pair[1].url, "backup": True}])
    async with fetching(config) as origins:
        pair[0].kill()
        assert who((await whole(origins, get("/")))[1]) == "two"
        pair[0] = pair[0].again()
        with trio.fail_after(10):
            while origins.origins[0].breaker.state is not State.CLOSED:
                await whole(origins, get("/"))
                await trio.sleep(0.01)
        assert who((await whole(origins, get("/")))[1]) == "one"
        pair[0].close()


async def test_probes_take_an_origin_out_and_back(pair: list[Process]) -> None:
    config = site([{"url": pair[0].url, "health_path": "/", "health_interval": 0.1}, pair[1]])
    async with fetching(config) as origins:
        pair[0].kill()
        with trio.fail_after(10):
            while origins.origins[0].health.well:
                await trio.sleep(0.02)
        assert not origins.origins[0].ready()
        pair[0] = pair[0].again()
        with trio.fail_after(10):
            while not origins.origins[0].health.well:
                await trio.sleep(0.02)
        pair[0].close()


async def test_all_dead_is_down_and_refused_at_once(pair: list[Process]) -> None:
    config = site([{"url": each.url, "breaker_failures": 1} for each in pair])
    async with fetching(config) as origins:
        for each in pair:
            each.kill()
        with pytest.raises(OriginError) as caught:
            await whole(origins, get("/"))
        assert caught.value.code == "origin_unreachable"
        assert origins.down()
        with pytest.raises(OriginError):
            await whole(origins, get("/"))
        assert [each.requests for each in origins.origins] == [1, 1]
        with pytest.raises(OriginError):
            await whole(origins, get("/", method="POST", body=lambda: pieces(b"x"), length=1))


@pytest.mark.parametrize("many", [1, 2])
@pytest.mark.parametrize("bad", [raw("garbage\r\n\r\n"), raw(""), "/status/503?d=1"])
async def test_what_an_origin_answers_badly_does_not_close_the_site(shared: list[Process], many: int, bad: str) -> None:
    config = site([{"url": each.url, "breaker_failures": 1, "breaker_wait": "30s"} for each in shared[:many]])
    async with fetching(config) as origins:
        for _ in range(5):
            with suppress(OriginError):
                await whole(origins, get(bad))
        assert origins.down()
        assert (await whole(origins, get("/size/10")))[2] == body_of(10)
        assert (await whole(origins, get("/size/10", method="POST", body=lambda: pieces(b"x"), length=1)))[0] == 200


async def test_statuses_of_trouble_go_to_the_next_origin_and_the_last_one_is_shown(shared: list[Process]) -> None:
    async with fetching(site(shared)) as origins:
        status, fields, _ = await whole(origins, get("/status/503?d=1"))
        assert (status, who(fields)) == (503, "two")
        assert origins.counts.retries == 1
        assert [each.requests for each in origins.origins] == [1, 1]
        assert (await whole(origins, get("/status/500?d=1")))[0] == 500
        assert sum(each.requests for each in origins.origins) == 3


async def test_what_is_not_idempotent_is_asked_once(shared: list[Process]) -> None:
    async with fetching(site(shared)) as origins:
        with pytest.raises(OriginError):
            await whole(origins, get(raw(""), method="POST"))
        assert sum(each.requests for each in origins.origins) == 1
        with pytest.raises(OriginError):
            await whole(origins, get(raw(""), method="POST", body=lambda: pieces(b"x"), length=1))
        assert sum(each.requests for each in origins.origins) == 2


async def test_retries_stay_within_their_budget(shared: list[Process]) -> None:
    tables = [{"url": each.url, "breaker_failures": 1000} for each in shared]
    async with fetching(site(tables, retry_burst=2, hedge_after="off")) as origins:
        for _ in range(50):
            await whole(origins, get("/status/503?e=1"))
        extra = sum(each.requests for each in origins.origins) - 50
        assert 5 <= extra <= 2 + 5 + 2  # burst, a tenth, and what the seconds of a slow machine bring back


async def test_weights_are_shares(shared: list[Process]) -> None:
    config = site([{"url": shared[0].url, "weight": 3}, shared[1]])
    async with fetching(config) as origins:
        seen = [who((await whole(origins, get("/")))[1]) for _ in range(12)]
        assert (seen.count("one"), seen.count("two")) == (9, 3)


async def test_more_than_the_connections_of_an_origin_is_busy(shared: list[Process]) -> None:
    config = site([{"url": shared[0].url, "max_connections": 1, "connect_timeout": 0.05}], retry_burst=0)
    async with fetching(config) as origins, origins.fetch(get("/size/10")) as held:
        assert held.status == 200
        with pytest.raises(OriginError) as caught:
            await whole(origins, get("/"))
        assert caught.value.code == "origin_busy"
        assert origins.origins[0].breaker.state is State.CLOSED
        await held.read()
        await held.read()
        assert (await whole(origins, get("/")))[0] == 200


async def test_a_kept_connection_that_was_closed_is_no_failure(pair: list[Process]) -> None:
    async with fetching(site(pair[:1], retry_burst=0)) as origins:
        await whole(origins, get("/"))
        pair[0].kill()
        pair[0] = pair[0].again()
        assert (await whole(origins, get("/")))[0] == 200
        assert origins.origins[0].failures == 0
        pair[0].close()


async def test_redirects_are_the_clients_unless_the_site_follows(shared: list[Process]) -> None:
    async with fetching(site(shared[:1])) as origins:
        assert (await whole(origins, get("/redirect?to=/size/5")))[0] == 302
    async with fetching(site(shared[:1], redirects=3)) as origins:
        assert (await whole(origins, get("/redirect?to=/size/5")))[2] == body_of(5)
        assert (await whole(origins, get(f"/redirect?to=http://127.0.0.1:{shared[0].port}/size/6")))[2] == body_of(6)
        # In circles: the last one is what the client sees.
        assert (await whole(origins, get("/circle")))[0] == 302


@pytest.mark.parametrize(
    "to",
    [
        "http://127.0.0.1:1/",
        "http://169.254.169.254/latest",
        "http://[::1]:1/",
        "http://localhost:1/",
        "ftp://x/",
        "http://[",
        "http://10.0.0.1/",
    ],
)
async def test_redirects_lead_to_no_inside(shared: list[Process], to: str) -> None:
    async with fetching(site(shared[1:], redirects=3)) as origins:
        with pytest.raises(OriginError):
            await whole(origins, get(f"/redirect?to={to}"))


@pytest.mark.parametrize("to", ["/size/7", "/echo/base/../../size/7", "/echo/base/%2e%2e/x", "/echo/basement", "../../size/7"])
async def test_redirects_do_not_lead_above_the_path_of_an_origin(shared: list[Process], to: str) -> None:
    """A private address may only be asked for what its URL says."""
    async with fetching(site([f"{shared[0].url}/redirect"], redirects=3)) as origins:
        with pytest.raises(OriginError, match="kind"):
            await whole(origins, get(f"/?to={shared[0].url}{to}" if to[0] == "/" else f"/?to={to}"))
    async with fetching(site([f"{shared[0].url}/redirect"], redirects=1)) as origins:
        assert (await whole(origins, get(f"/?to={shared[0].url}/redirect/x/../y?to=z")))[0] == 302


async def test_shield_nodes_are_asked_first_and_gone_round(pair: list[Process], shared: list[Process]) -> None:
    config = site(shared[:1], shield=[each.url for each in pair])
    async with fetching(config) as origins:
        seen = {who((await whole(origins, get("/", key=str(number).encode())))[1]) for number in range(20)}
        assert seen == {"one", "two"}  # both nodes, by the keys
        body = (await whole(origins, get("/echo", key=b"x")))[2]
        assert b"x-nova-shield: 1" in body
        pair[0].kill()
        answers = [await whole(origins, get("/", key=str(number).encode())) for number in range(20)]
        assert {who(fields) for _, fields, _ in answers} == {"two"}
        pair[1].kill()
        assert who((await whole(origins, get("/")))[1]) == "one"  # the origin itself
        assert origins.origins[0].requests == 1
        # A node that is asked by an edge asks the origin, never another node.
        assert b"x-nova-shield" not in (await whole(origins, get("/echo", (b"x-nova-shield", b"1"))))[2]


async def test_a_caller_who_leaves_leaves_nothing_behind(shared: list[Process]) -> None:
    async with fetching(site([{"url": each.url, "first_byte_timeout": 30} for each in shared], hedge_after=0.01)) as origins:
        with trio.move_on_after(0.05):
            await whole(origins, get("/black"))
        with trio.move_on_after(0.05):
            async with origins.fetch(get("/stall")) as answer:
                while True:
                    await answer.read()
        assert [each.busy for each in origins.origins] == [0, 0]
        assert (await whole(origins, get("/")))[0] == 200


async def test_a_failing_body_of_the_client_is_its_own_error(shared: list[Process]) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise KeyError("gone")

    async with fetching(site(shared[:1])) as origins:
        with pytest.raises(KeyError):
            await whole(origins, FetchRequest("POST", b"/echo", b"h", (), broken, 5))
        assert origins.origins[0].busy == 0


def test_the_parts_fit_the_port() -> None:
    from nova.cdn.origins.fetcher import Answer
    from nova.cdn.ports import FetchAnswer, Fetcher

    def accepts(fetcher: Fetcher, answer: FetchAnswer) -> None: ...

    def given(origins: Origins, answer: Answer, exchange: Exchange) -> None:
        accepts(origins, answer)
