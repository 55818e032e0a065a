"""What may be asked to be forgotten."""

import pytest

from nova.cdn.invalidation.ask import Place, Wanted, located, places, purges
from nova.cdn.ports import Purge
from nova.core.errors import BadRequest


def locate(url: str) -> Place | None:
    return located(url, lambda host, port: "films" if (host, port) == ("127.0.0.1", 8090) else None)


@pytest.mark.parametrize(
    ("wanted", "purge"),
    [
        (Wanted(urls=["/a?b=1"], site="s"), Purge("key", b"/a?b=1", "s")),
        (Wanted(urls=["http://127.0.0.1:8090/a?b"], soft=True), Purge("key", b"/a?b", "films", soft=True)),
        (Wanted(urls=["https://h.example:1/cdn/s/music/x"]), Purge("key", b"/x", "music")),
        (Wanted(urls=["https://Other.example"]), Purge("key", b"/", None, b"other.example")),
        (Wanted(pattern="/a/**"), Purge("prefix", b"/a/")),
        (Wanted(pattern="/**", site="s"), Purge("prefix", b"/", "s")),
        (Wanted(pattern="/a/*/b*"), Purge("glob", b"/a/*/b*")),
        (Wanted(pattern="/a/**/b"), Purge("glob", b"/a/**/b")),
        (Wanted(tags=["t:1"]), Purge("tag", b"t:1")),
    ],
)
def test_what_is_asked_becomes_purges(wanted: Wanted, purge: Purge) -> None:
    assert purges(wanted, locate) == (purge,)


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(),
        Wanted(urls=["/a"]),
        Wanted(urls=["a"], site="s"),
        Wanted(urls=["ftp://x/"]),
        Wanted(urls=["http://"]),
        Wanted(urls=["http://h:99999/"]),
        Wanted(urls=["http://[/"]),
        Wanted(urls=["/a b"], site="s"),
        Wanted(urls=["/" + "x" * 5000], site="s"),
        Wanted(pattern="a*"),
        Wanted(pattern="/" + "*/" * 9),
        Wanted(pattern="/***"),
        Wanted(pattern="/" + "x" * 2000),
        Wanted(pattern="/é"),
        Wanted(tags=[""]),
        Wanted(tags=["a b"]),
        Wanted(tags=["a,b"]),
        Wanted(tags=["x" * 1025]),
    ],
)
def test_what_is_not_clear_or_not_bounded_is_refused(wanted: Wanted) -> None:
    with pytest.raises(BadRequest) as caught:
        purges(wanted, locate)
    assert caught.value.fields


def test_where_a_url_leads_is_told_with_its_host() -> None:
    urls = ["/a", "http://127.0.0.1:8090/b", "https://Shop.example/c"]
    assert places(urls, "films", locate) == [
        Place("films", b"/a"),
        Place("films", b"/b", b"127.0.0.1:8090"),
        Place("films", b"/c", b"shop.example"),
    ]
