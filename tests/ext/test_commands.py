"""The commands of the channel protocol against their oracle, in both forms, and at their limits."""

import json
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.core.errors import TABLE
from nova.ext.commands import COMMANDS, ERRORS, FrameRefused, read, valid_channel
from nova.ext.values import JSON, MSGPACK
from tests.exact import exact
from tests.ext import commands_oracle as oracle
from tests.ext.values_oracle import Pairs, same, to_msgpack

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**40) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(texts, inner), max_size=3).map(Pairs),
    max_leaves=6,
)
channels = st.sampled_from(
    ["public:lobby", "stream:0190-a.b~c", "a:b", "public", "Public:x", ":x", "x:", "p:" + "x" * 129, "x" * 33 + ":y"]
)
keys = st.sampled_from(["k", "a b", "", "x" * 255, "x" * 256, "é"])
places = st.one_of(
    values,
    st.builds(
        lambda offset, epoch, more: Pairs([("offset", offset), ("epoch", epoch), *more]),
        st.sampled_from([0, 7, 2**53 - 1, 2**53, -1, 1.5, 7.0, "7"]),
        st.sampled_from(["e", "x" * 16, "x" * 17, "", 5]),
        st.lists(st.sampled_from([("offset", 1), ("epoch", "f"), ("x", 1)]), max_size=1),
    ),
)
fields: dict[str, st.SearchStrategy[Any]] = {
    "channel": st.sampled_from(["public:lobby"] * 4) | channels | values,
    "data": values,
    "idempotency_key": keys | values,
    "conflate_key": keys | values,
    "token": st.just("a.b.c") | keys | values,
    "name": keys | values,
    "recover": places,
    "since": places,
    "limit": st.sampled_from([0, 1, 50, 2**31 - 1, 2**31, 5.0, "5", None]),
    "x": values,
}


def bodies(command: str) -> st.SearchStrategy[Any]:
    """Mostly its own fields, each once."""
    own = sorted(oracle.NEEDED.get(command, set()) | oracle.OPTIONAL.get(command, set()))
    right = st.tuples(*(st.tuples(st.just(name), fields[name]) for name in own)).map(list)
    strays = st.sampled_from(sorted(fields)).flatmap(lambda name: st.tuples(st.just(name), fields[name]))
    changed = st.builds(lambda pairs, stray, at: [*pairs[:at], stray, *pairs[at + 1 :]], right, strays, st.integers(0, 3))
    return st.one_of(right, right.flatmap(st.permutations), right.map(lambda pairs: pairs[:1]), changed).map(Pairs) | values


ids = st.integers(1, 2**31 - 1) | st.integers(1, 3) | st.sampled_from([1, 2, 3, 4, 5, 2**31 - 1] * 5 + [0, -1, 2**31, 1.0, "1", None, True])
extra = st.sampled_from([None, None, None, None, ("id", 1), ("ping", Pairs()), ("x", 1)])


def framed(number: object, name: str, body: object, more: tuple[str, object] | None, first: bool) -> Pairs:
    rest = [(name, body), *([more] if more else [])]
    return Pairs([("id", number), *rest] if first else [*rest, ("id", number)])


commands = st.sampled_from([*COMMANDS, *COMMANDS, "nothing"]).flatmap(
    lambda name: st.builds(framed, ids, st.just(name), bodies(name), extra, st.booleans())
)
frames = st.one_of(commands, commands, st.lists(commands, max_size=4), st.lists(commands | values, max_size=2))


def dumps(tree: Any, ascii_only: bool = False, gap: str = "") -> str:
    """JSON that keeps names that come twice."""
    if isinstance(tree, Pairs):
        inside = f",{gap}".join(
            f"{gap}{json.dumps(name, ensure_ascii=ascii_only)}{gap}:{dumps(value, ascii_only, gap)}" for name, value in tree
        )
        return f"{{{inside}{gap}}}"
    if isinstance(tree, list):
        return f"[{gap}{f',{gap}'.join(dumps(value, ascii_only, gap) for value in tree)}{gap}]"
    return json.dumps(tree, ensure_ascii=ascii_only)


def refused(form: int, data: bytes) -> str:
    with pytest.raises(FrameRefused) as caught:
        read(form, exact(data))
    return caught.value.code


def agree(form: int, data: bytes) -> None:
    wanted = oracle.read(form, data)
    if isinstance(wanted, str):
        # What cannot be read at all may end the kernel earlier, at something else that is wrong.
        assert wanted in {refused(form, data), "frame_syntax"}
        return
    rows = read(form, exact(data))
    assert len(rows) == len(wanted)
    for row, expected in zip(rows, wanted, strict=True):
        if "data" in row and "error" not in expected:
            raw = row.pop("data")
            assert isinstance(raw, bytes)
            assert same(oracle.tree_of(form, raw), (expected.pop("data"),))
        assert row == expected


@given(frames, st.booleans(), st.sampled_from(["", "", " ", "\n\t"]))
def test_json_commands_mean_what_the_oracle_says(frame: Any, ascii_only: bool, gap: str) -> None:
    agree(JSON, (gap + dumps(frame, ascii_only, gap) + gap).encode())


@given(frames)
def test_msgpack_commands_mean_what_the_oracle_says(frame: Any) -> None:
    agree(MSGPACK, to_msgpack(frame))


@given(frames, st.sampled_from([JSON, MSGPACK]), st.integers(0, 300), st.binary(max_size=2))
def test_damaged_commands_mean_what_the_oracle_says(frame: Any, form: int, at: int, damage: bytes) -> None:
    data = dumps(frame).encode() if form == JSON else to_msgpack(frame)
    at %= len(data)
    agree(form, data[:at] + damage + data[at + 1 :])


def test_extensions_are_values_of_no_use_not_the_end_of_the_frame() -> None:
    for code in (b"\x05", b"\xa2"):
        data = b"\x92\x82\xa4ping\x80\xa2id\x01\x82\xa2id\x02\xa7publish\x81\xa7channel\xd5" + code + b":x"
        agree(MSGPACK, data)
        assert [row.get("error") for row in read(MSGPACK, exact(data))] == [None, "invalid_field"]


def both(command: dict[str, Any]) -> dict[str, object]:
    """The same command in both forms is read as the same, but for the spelling of its data."""
    (row,) = read(JSON, json.dumps(command).encode())
    (packed,) = read(MSGPACK, msgpack.packb(command))
    data = row.pop("data", None)
    if data is not None:
        assert isinstance(data, bytes)
        assert json.loads(data) == msgpack.unpackb(packed.pop("data"))
    assert packed == row
    return row


def test_every_command_with_all_its_fields() -> None:
    place = {"offset": 7, "epoch": "k3"}
    assert both({"id": 1, "connect": {"token": "a.b.c", "name": "Zoë"}}) == {
        "id": 1,
        "command": "connect",
        "token": b"a.b.c",
        "name": "Zoë".encode(),
    }
    assert both({"id": 2, "refresh": {"token": "t"}}) == {"id": 2, "command": "refresh", "token": b"t"}
    assert both({"id": 3, "subscribe": {"channel": "a:b", "recover": place}}) == {
        "id": 3, "command": "subscribe", "channel": b"a:b", "recover": (7, b"k3"),
    }  # fmt: skip
    assert both({"unsubscribe": {"channel": "a:b"}, "id": 4}) == {"id": 4, "command": "unsubscribe", "channel": b"a:b"}
    assert both({"id": 5, "publish": {"channel": "a:b", "data": {"x": [1]}, "idempotency_key": "i", "conflate_key": "c"}}) == {
        "id": 5, "command": "publish", "channel": b"a:b", "idempotency_key": b"i", "conflate_key": b"c",
    }  # fmt: skip
    assert both({"id": 6, "presence": {"channel": "a:b"}}) == {"id": 6, "command": "presence", "channel": b"a:b"}
    assert both({"id": 7, "history": {"channel": "a:b", "since": place, "limit": 20}}) == {
        "id": 7, "command": "history", "channel": b"a:b", "since": (7, b"k3"), "limit": 20,
    }  # fmt: skip
    assert both({"id": 2**31 - 1, "ping": {}}) == {"id": 2**31 - 1, "command": "ping"}


def error(command: str) -> tuple[object, object]:
    (row,) = read(JSON, command.encode())
    return row["error"], row["wrong"]


def test_what_is_wrong_with_one_command_is_its_own_reply() -> None:
    assert error('{"id":1}') == ("bad_request", "")
    assert error('{"id":1,"ping":[]}') == ("bad_request", "")
    assert error('{"id":1,"ping":{},"ping":{}}') == ("bad_request", "")
    assert error('{"id":1,"pong":{}}') == ("unknown_command", "")
    assert error('{"id":1,"ping":{"x":1}}') == ("unknown_field", "")
    assert error('{"id":1,"publish":{"data":1}}') == ("missing_field", "channel")
    assert error('{"id":1,"publish":{"channel":"a:b"}}') == ("missing_field", "data")
    assert error('{"id":1,"subscribe":{"channel":"a:b","channel":"a:b"}}') == ("invalid_field", "channel")
    assert error('{"id":1,"subscribe":{"channel":"a:b","recover":{"offset":1}}}') == ("invalid_field", "recover")
    assert error('{"id":1,"publish":{"channel":"a:b","data":1e999}}') == ("invalid_field", "data")
    rows = read(MSGPACK, msgpack.packb([{"id": 1, "publish": {"channel": "a:b", "data": b"binary"}}, {"id": 2, "ping": {}}]))
    assert [(row["id"], row.get("error"), row.get("wrong")) for row in rows] == [(1, "invalid_field", "data"), (2, None, None)]


def test_an_id_twice_in_a_frame_is_told_to_the_second() -> None:
    rows = read(JSON, b'[{"id":1,"ping":{}},{"id":2,"ping":{}},{"id":1,"ping":{}}]')
    assert [row.get("error") for row in rows] == [None, None, "id_in_use"]


def test_a_frame_without_replies_is_refused_whole() -> None:
    for data in (b"", b" ", b"{", b'{"id":1,"ping":{}', b'{"id":1,"ping":{}}x', b'[{"id":1,"ping":{}},]', b'{"id":1,"ping":{},}',
                 b'{"id":1 "ping":{}}', b'[{"id":1,"ping":{}} {"id":2,"ping":{}}]', b"\xff", b'{"id":1,"ping":{"\xff":1}}',
                 b'{"id":1,"p\ning":{}}'):  # fmt: skip
        assert refused(JSON, data) == "frame_syntax", data
    for data in (b"", b"\xc1", b"\x81", b"\x82\xa2id\x01\xa4ping\x80\x00", b"\x81\x01\x02"):
        assert refused(MSGPACK, data) == "frame_syntax", data
    for text in ("1", '"x"', "[]", "[1]", '[[{"id":1,"ping":{}}]]'):
        assert refused(JSON, text.encode()) == "frame_shape"
        assert refused(MSGPACK, msgpack.packb(json.loads(text))) == "frame_shape"
    for text in ("{}", '{"ping":{}}', '{"id":0,"ping":{}}', '{"id":2147483648,"ping":{}}', '{"id":-1,"ping":{}}', '{"id":"1","ping":{}}'):
        assert refused(JSON, text.encode()) == "frame_id"
        assert refused(MSGPACK, msgpack.packb(json.loads(text))) == "frame_id"
    assert refused(JSON, b'{"id":1,"id":1,"ping":{}}') == "frame_id"


@pytest.mark.parametrize("form", [JSON, MSGPACK])
def test_a_frame_has_room_for_so_many_commands(form: int) -> None:
    def batch(count: int) -> bytes:
        rows = [{"id": number + 1, "ping": {}} for number in range(count)]
        return json.dumps(rows).encode() if form == JSON else msgpack.packb(rows)

    assert len(read(form, batch(128))) == 128
    assert refused(form, batch(129)) == "frame_count"
    with pytest.raises(FrameRefused, match="frame_count"):
        read(form, batch(3), 2)


@pytest.mark.parametrize("form", [JSON, MSGPACK])
def test_data_nests_so_deep(form: int) -> None:
    def publish(levels: int, field: str = "data") -> bytes:
        inner = b"[" * levels + b"]" * levels if form == JSON else b"\x91" * (levels - 1) + b"\x90"
        if form == JSON:
            return b'{"id":1,"publish":{"channel":"a:b","%s":%s}}' % (field.encode(), inner)
        return b"\x82\xa2id\x01\xa7publish\x82\xa7channel\xa3a:b" + msgpack.packb(field) + inner

    assert "error" not in read(form, publish(32))[0]
    assert read(form, publish(33))[0]["error"] == "too_deep"
    assert read(form, publish(256))[0]["error"] == "too_deep"
    assert refused(form, publish(257)) == "frame_depth"
    assert refused(form, publish(257, "other")) == "frame_depth"


def test_escapes_mean_what_they_stand_for() -> None:
    (row,) = read(JSON, rb'{"\u0069d":1,"publ\u0069sh":{"ch\u0061nnel":"a\u003ab","data":"\u0041\n","conflate_key":"\/"}}')
    assert row == {"id": 1, "command": "publish", "channel": b"a:b", "data": rb'"\u0041\n"', "conflate_key": b"/"}


@pytest.mark.parametrize("form", [JSON, MSGPACK])
def test_numbers_may_be_floats_when_they_are_whole(form: int) -> None:
    def history(id: float, offset: float) -> bytes:
        value = {"id": id, "history": {"channel": "a:b", "since": {"offset": offset, "epoch": "e"}}}
        return json.dumps(value).encode() if form == JSON else msgpack.packb(value)

    (row,) = read(form, history(1.0, 2.0**40))
    assert (row["id"], row["since"]) == (1, (2**40, b"e"))
    for wrong in (0.5, -1.0, 2.0**53, 1e300):
        assert read(form, history(1.0, wrong))[0]["error"] == "invalid_field"
    for wrong in (1.5, 0.0, -1.0, 2.0**31):
        assert refused(form, history(wrong, 1)) == "frame_id"


@given(
    st.from_regex(r"[a-z][a-z0-9_-]{0,31}:[A-Za-z0-9._~-]{1,128}", fullmatch=True) | st.text(st.characters(max_codepoint=127), max_size=8)
)
def test_channel_names_are_those_of_the_contract(name: str) -> None:
    assert valid_channel(name.encode()) == (oracle.CHANNEL.fullmatch(name) is not None)


def test_errors_are_rows_of_the_error_table() -> None:
    assert set(ERRORS) <= set(TABLE)
    assert {code: TABLE[code].title for code in ERRORS} == ERRORS
