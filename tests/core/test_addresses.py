"""Client addresses: only trusted hops are believed, and nobody becomes exempt by a claim."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.core.addresses import MAX_FORWARDED, Addresses, Client, Kind, parse_forwarded
from nova.core.limits import Networks

TRUSTED = Networks([ip_network("10.0.0.0/8"), ip_network("fd00::/8"), ip_network("127.0.0.1/32")])
EXEMPT = Networks([ip_network("127.0.0.0/8"), ip_network("192.0.2.0/24")])


def client(peer: str, *headers: tuple[str, str], kind: Kind = "auto", trusted: Networks = TRUSTED) -> Client:
    encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return Addresses(trusted, EXEMPT, kind).client(peer, encoded, scheme="http", host="direct.example")


def address(peer: str, *headers: tuple[str, str], kind: Kind = "auto") -> str:
    return str(client(peer, *headers, kind=kind).address)


def test_stranger_is_not_believed() -> None:
    found = client("203.0.113.9", ("X-Forwarded-For", "1.1.1.1"), ("Forwarded", "for=1.1.1.1"), ("X-Forwarded-Proto", "https"))
    assert (str(found.address), found.scheme, found.host, found.exempt) == ("203.0.113.9", "http", "direct.example", False)


@pytest.mark.parametrize(
    ("header", "value", "wanted"),
    [
        ("X-Forwarded-For", "203.0.113.7", "203.0.113.7"),
        ("X-Forwarded-For", "1.1.1.1, 203.0.113.7, 10.1.1.1", "203.0.113.7"),
        ("X-Forwarded-For", "10.2.2.2, 10.1.1.1", "10.2.2.2"),
        ("X-Forwarded-For", "1.1.1.1, nonsense, 10.1.1.1", "10.1.1.1"),
        ("X-Forwarded-For", "nonsense", "10.0.0.1"),
        ("X-Forwarded-For", "2001:db8::7", "2001:db8::7"),
        ("X-Forwarded-For", "[2001:db8::7]:443", "2001:db8::7"),
        ("X-Forwarded-For", "203.0.113.7:5000", "203.0.113.7"),
        ("X-Forwarded-For", "::ffff:203.0.113.7", "203.0.113.7"),
        ("Forwarded", "for=203.0.113.7", "203.0.113.7"),
        ("Forwarded", 'For="[2001:db8::7]:4711";proto=https', "2001:db8::7"),
        ("Forwarded", "for=1.1.1.1, for=203.0.113.7;by=10.0.0.1 , for=10.1.1.1", "203.0.113.7"),
        ("Forwarded", "for=unknown, for=10.1.1.1", "10.1.1.1"),
        ("Forwarded", "for=_hidden", "10.0.0.1"),
        ("Forwarded", 'for="1.1.1.1, for=203.0.113.7', "203.0.113.7"),
        ("Forwarded", "for=1.1.1.1;for=2.2.2.2", "10.0.0.1"),
        ("Forwarded", "for=203.0.113.7 for=1.1.1.1", "10.0.0.1"),
        ("Forwarded", 'for="203.0.\\113.7"', "203.0.113.7"),
        ("Forwarded", ", ,for=203.0.113.7,", "203.0.113.7"),
        ("Forwarded", "proto=https", "10.0.0.1"),
    ],
)
def test_chain_is_walked_from_the_right(header: str, value: str, wanted: str) -> None:
    assert address("10.0.0.1", (header, value)) == wanted


def test_repeated_headers_are_one_list() -> None:
    assert address("10.0.0.1", ("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "203.0.113.7")) == "203.0.113.7"
    assert address("10.0.0.1", ("Forwarded", "for=1.1.1.1"), ("Forwarded", "for=203.0.113.7")) == "203.0.113.7"


def test_scheme_and_host_are_those_of_the_believed_hop() -> None:
    found = client("10.0.0.1", ("Forwarded", "for=1.1.1.1;proto=http;host=evil.example, for=203.0.113.7;proto=https;host=live.example"))
    assert (found.scheme, found.host) == ("https", "live.example")
    found = client(
        "10.0.0.1",
        ("X-Forwarded-For", "203.0.113.7, 10.1.1.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "live.example:8443"),
    )
    assert (found.scheme, found.host) == ("https", "live.example:8443")
    found = client("10.0.0.1", ("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-Proto", "gopher"), ("X-Forwarded-Host", "a b"))
    assert (found.scheme, found.host) == ("http", "direct.example")


def test_contradiction_believes_neither_unless_the_kind_is_set() -> None:
    both = (("Forwarded", "for=1.1.1.1"), ("X-Forwarded-For", "203.0.113.7"))
    found = client("127.0.0.1", *both)
    assert str(found.address) == "127.0.0.1" and not found.exempt
    assert address("10.0.0.1", *both, kind="x-forwarded") == "203.0.113.7"
    assert address("10.0.0.1", *both, kind="forwarded") == "1.1.1.1"
    assert address("10.0.0.1", ("Forwarded", "for=203.0.113.7"), ("X-Forwarded-For", "203.0.113.7")) == "203.0.113.7"


def test_exemption_is_for_clients_not_for_their_proxies() -> None:
    assert client("127.0.0.1").exempt
    assert client("127.0.0.1", ("X-Forwarded-For", "192.0.2.1")).exempt
    assert not client("127.0.0.1", ("X-Forwarded-For", "203.0.113.7")).exempt
    assert not client("127.0.0.1", ("X-Forwarded-For", "nonsense")).exempt
    assert not client("127.0.0.1", ("Forwarded", "for=unknown")).exempt
    # A proxy on this machine that nobody told us of: everybody behind it would be exempt.
    assert not client("127.0.0.1", ("X-Forwarded-For", "203.0.113.7"), trusted=Networks([])).exempt


def test_peer_without_an_address_is_nobody() -> None:
    found = client("", ("X-Forwarded-For", "203.0.113.7"))
    assert found.address is None and not found.exempt


@given(st.text(st.characters(max_codepoint=255), max_size=200))
def test_no_header_breaks_the_parser(text: str) -> None:
    parse_forwarded(text)
    for header in ("Forwarded", "X-Forwarded-For"):
        client("10.0.0.1", (header, text), ("X-Forwarded-Proto", text), ("X-Forwarded-Host", text))


@pytest.mark.parametrize("text", ["a" * 40_000, 'a="' * 15_000, "for=1.1.1.1," * 3000])
def test_long_headers_are_unknown(text: str) -> None:
    assert len(text) > MAX_FORWARDED
    assert address("10.0.0.1", ("Forwarded", text)) == "10.0.0.1"


def test_what_the_nearest_proxy_added_is_found_behind_any_invention() -> None:
    """A client may send what it likes: the hop that our proxy appended decides."""
    for invention in ("for=1.1.1.1", "for=unknown;", "x", ";;;", "for=10.0.0.9"):
        assert address("10.0.0.1", ("Forwarded", f"{invention}, for=203.0.113.7")) == "203.0.113.7"
    assert address("10.0.0.1", ("X-Forwarded-For", "10.0.0.9, " * 100 + "203.0.113.7")) == "203.0.113.7"
