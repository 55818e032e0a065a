"""Under which Host a cookie counts, and which Origin may use it."""

import pytest

from nova.surface.identity.hosts import HostRules, host_name, origin_of


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("Example.org", "example.org"), ("example.org:8080", "example.org"), ("[::1]:80", "::1"), ("[::1]", "::1"),
        ("127.0.0.1:1", "127.0.0.1"), ("example.org.", "example.org"), ("", None), ("a@b", None), ("a/b", None), ("a?b", None),
        ("a#b", None), ("a:b", None), ("[::1", None), ("a:99999", None),
    ],
)  # fmt: skip
def test_a_host_field_is_a_name_or_nothing(host: str, name: str | None) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize(
    ("host", "counts"),
    [
        ("127.0.0.1:8080", True), ("[::1]:8080", True), ("192.168.1.7", True), ("localhost:8080", True), ("LOCALHOST.", True),
        ("app.localhost:8080", True), ("studio:8080", True), ("live.example.org", True), ("evil.example.org", False),
        ("127.0.0.1.evil.org", False), ("localhost.evil.org", False), ("", False), ("user@localhost", False), ("2130706433.", False),
    ],
)  # fmt: skip
def test_by_default_a_cookie_counts_under_our_own_names(host: str, counts: bool) -> None:
    assert HostRules(public_url="https://live.example.org", machine="Studio").counts(host) is counts


def test_named_hosts_are_the_only_ones() -> None:
    rules = HostRules(["tv.example.org", "10.0.0.1"], public_url="https://live.example.org")
    assert [rules.counts(host) for host in ("tv.example.org:8443", "10.0.0.1", "localhost", "127.0.0.1", "live.example.org")] == [
        True, True, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:8080", True), ("HTTP://LOCALHOST:8080", True), ("https://localhost:8080", False),
        ("http://localhost:8081", False), ("http://localhost", False), ("http://evil.org", False),
        ("http://localhost:8080.evil.org", False), ("null", False), ("", False),
        ("https://live.example.org", True), ("https://live.example.org:443", True), ("http://live.example.org", False),
        ("https://app.example.org", True), ("file://", False), ("http://localhost:port", False),
    ],
)  # fmt: skip
def test_only_our_own_pages_may_change_something(origin: str, allowed: bool) -> None:
    rules = HostRules(public_url="https://live.example.org", origins=["https://app.example.org", "*"])
    assert rules.may_change(origin, "localhost:8080", secure=False) is allowed


def test_the_scheme_is_part_of_an_origin() -> None:
    rules = HostRules()
    assert rules.may_change("https://localhost:8443", "localhost:8443", secure=True)
    assert not rules.may_change("http://localhost:8443", "localhost:8443", secure=True)
    assert origin_of("https://a.org") == origin_of("https://A.org.:443")
