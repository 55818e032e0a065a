"""Replies and pushes: both forms hold the same, as the usual libraries read them, in the order of the contract."""

import json
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.ext import pushes
from nova.ext.commands import COMMANDS
from nova.ext.values import JSON, MSGPACK

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).map(str.encode)
offsets = st.integers(0, 2**53 - 1)
times = st.integers(0, 2**45)
values = st.sampled_from([None, 1, "x", [1, {"a": 2.5}], {"text": "hé"}, {}])
users = st.none() | texts
publications = st.lists(st.tuples(offsets, values, times, st.none() | values.filter(lambda value: value is not None)), max_size=20)


def packed(form: int, value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() if form == JSON else msgpack.packb(value)


def says(encode: Callable[[int], bytes], wanted: dict[str, Any]) -> None:
    """Both forms hold `wanted`, every object in this order, in their shortest spelling."""
    assert encode(JSON) == packed(JSON, wanted)
    assert encode(MSGPACK) == packed(MSGPACK, wanted)


def rows(form: int, given: list[tuple[int, Any, int, Any]]) -> list[tuple[int, bytes, int, bytes | None]]:
    return [(offset, packed(form, data), at, None if info is None else packed(form, info)) for offset, data, at, info in given]


def dicts(given: list[tuple[int, Any, int, Any]]) -> list[dict[str, Any]]:
    return [{"offset": offset, "data": data, "at": at} | ({} if info is None else {"info": info}) for offset, data, at, info in given]


def text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


@given(texts, offsets, values, times, st.none() | st.just({"user": "u"}))
def test_a_publication(channel: bytes, offset: int, data: Any, at: int, info: Any) -> None:
    wanted = {"channel": text(channel), "offset": offset, "data": data, "at": at} | ({"info": info} if info else {})
    says(lambda form: pushes.pub(form, channel, offset, packed(form, data), at, packed(form, info) if info else None), {"pub": wanted})


@given(texts, users, texts, offsets, offsets, st.integers(0, 2**32 - 1))
def test_the_other_pushes(channel: bytes, user: bytes | None, client: bytes, first: int, last: int, ms: int) -> None:
    name = text(channel)
    says(
        lambda form: pushes.join(form, True, channel, user, client), {"join": {"channel": name, "user": text(user), "client": text(client)}}
    )
    says(
        lambda form: pushes.join(form, False, channel, user, client),
        {"leave": {"channel": name, "user": text(user), "client": text(client)}},
    )
    says(lambda form: pushes.gap(form, channel, b"e", first, last), {"gap": {"channel": name, "epoch": "e", "from": first, "to": last}})
    says(lambda form: pushes.unsub(form, channel, 4301, client), {"unsub": {"channel": name, "code": 4301, "reason": text(client)}})
    says(lambda form: pushes.bye(form, 4002, client, ms), {"bye": {"code": 4002, "reason": text(client), "reconnect_after_ms": ms}})


@given(st.integers(1, 2**31 - 1), texts, users, offsets, st.booleans(), st.integers(0, 2**32 - 1))
def test_the_short_replies(number: int, word: bytes, user: bytes | None, offset: int, flag: bool, seconds: int) -> None:
    name = text(word)
    says(
        lambda form: pushes.published(form, number, offset, word, flag),
        {"id": number, "publish": {"offset": offset, "epoch": name, "durable": flag}},
    )
    says(
        lambda form: pushes.connected(form, number, word, user, seconds, 25),
        {"id": number, "connect": {"client": name, "user": text(user), "expires_in": seconds or None, "ping_s": 25}},
    )
    says(lambda form: pushes.refreshed(form, number, seconds), {"id": number, "refresh": {"expires_in": seconds or None}})
    error = {"code": "rate_limited", "message": name} | ({"retry_ms": seconds} if seconds else {})
    says(lambda form: pushes.error(form, number, b"rate_limited", word, seconds), {"id": number, "error": error})
    for place, command in enumerate(COMMANDS, 1):
        says(lambda form, place=place: pushes.empty(form, number, place), {"id": number, command: {}})  # type: ignore[misc]


@given(publications, offsets, st.booleans())
def test_replies_with_publications(given: list[tuple[int, Any, int, Any]], offset: int, flag: bool) -> None:
    says(
        lambda form: pushes.subscribed(form, 1, offset, b"e", flag, rows(form, given)),
        {"id": 1, "subscribe": {"offset": offset, "epoch": "e", "recovered": flag, "publications": dicts(given)}},
    )
    says(
        lambda form: pushes.history(form, 1, offset, b"e", flag, rows(form, given)),
        {"id": 1, "history": {"publications": dicts(given), "offset": offset, "epoch": "e", "more": flag}},
    )


@given(st.lists(st.tuples(users, texts, times), max_size=20), offsets, st.booleans())
def test_presence(members: list[tuple[bytes | None, bytes, int]], count: int, more: bool) -> None:
    wanted = [{"user": text(user), "client": text(client), "since": since} for user, client, since in members]
    says(
        lambda form: pushes.presence(form, 1, count, more, members),
        {"id": 1, "presence": {"count": count, "members": wanted, "more": more}},
    )


@pytest.mark.parametrize("count", [1, 2, 15, 16, 70_000])
def test_a_batch_is_an_array_of_its_items(count: int) -> None:
    items = [{"id": 1, "ping": {}}] * count
    assert json.loads(pushes.batch(JSON, [pushes.empty(JSON, 1, 8)] * count)) == items
    assert pushes.batch(MSGPACK, [pushes.empty(MSGPACK, 1, 8)] * count) == msgpack.packb(items)
