"""Stream keys are unguessable, and found without a store."""

import re

from hypothesis import given
from hypothesis import strategies as st

from nova.media.streams import keys
from nova.media.streams.model import KeyId, StreamId, StreamKey, UnixMs


def kept(text: str, stream: str = "s", id: str = "k") -> StreamKey:
    return StreamKey(KeyId(id), StreamId(stream), keys.digest(text), keys.hint(text), UnixMs(0))


def test_a_key_has_the_contracts_shape_and_no_two_are_the_same() -> None:
    made = {keys.make_key() for _ in range(1000)}
    assert len(made) == 1000
    assert all(re.fullmatch("sk_[a-z0-9]{25,}", key) for key in made)  # 25 symbols of 36 are 129 bits


def test_a_hint_leaves_enough_secret() -> None:
    key = keys.make_key()
    assert key.startswith(keys.hint(key))
    assert (len(key) - len(keys.hint(key))) * 5.16 >= 128


def test_a_right_key_opens_its_stream_and_a_wrong_one_nothing() -> None:
    one, two = keys.make_key(), keys.make_key()
    index = keys.KeyIndex([kept(one, "s1", "k1"), kept(two, "s2", "k2")])
    assert index.find(one) == ("s1", "k1")
    assert index.find(two) == ("s2", "k2")
    assert index.find(one[:-1] + ("a" if one[-1] != "a" else "b")) is None
    assert index.find(one.upper()) is None


@given(st.text())
def test_any_text_may_be_asked_for(text: str) -> None:
    assert keys.KeyIndex([kept(keys.make_key())]).find(text) is None


def test_a_removed_key_opens_nothing_and_leaves_the_others() -> None:
    one, two = keys.make_key(), keys.make_key()
    index = keys.KeyIndex([kept(one, "s", "k1"), kept(two, "s", "k2")])
    assert index.remove(StreamId("s"), KeyId("k1"))
    assert not index.remove(StreamId("s"), KeyId("k1"))
    assert index.find(one) is None
    assert index.find(two) == ("s", "k2")
    index.remove_stream(StreamId("s"))
    assert index.find(two) is None
    assert len(index) == 0


def test_a_key_record_does_not_print_its_digest() -> None:
    assert "digest" not in repr(kept(keys.make_key()))
