"""JSON as protobuf's Value: against protobuf's own reading of it."""

import json
from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from nova.surface.grpc.values import value_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=40) | st.dictionaries(TEXT, inner, max_size=8),
    max_leaves=60,
)


@given(JSON)
def test_value_is_that_of_protobuf(value: Any) -> None:
    text = json.dumps(value)
    assert struct_pb2.Value.FromString(value_of(text.encode())) == json_format.Parse(text, struct_pb2.Value())


def test_numbers_beyond_a_double_have_no_value() -> None:
    assert value_of(b"[1, %d]" % 10**400) == b""


@pytest.mark.parametrize("text", ["[" * 32 + "]" * 32, '{"a":' * 32 + "1" + "}" * 32])
def test_deepest_data_can_be_read(text: str) -> None:
    """Protobuf's own limit is 100 messages within one another, and a page of history adds two."""
    found = struct_pb2.ListValue()
    found.values.add().list_value.values.add().MergeFromString(value_of(text.encode()))
    again = struct_pb2.ListValue.FromString(found.SerializeToString())
    assert json_format.MessageToDict(again) == [[json.loads(text)]]
