"""Signed path prefixes against a short oracle in Python."""

import base64
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.ext.session import SessionError, SessionKeys

NOW = 1_790_000_000
KEY = b"k" * 32
VIEWER = bytes(range(16))


def oracle(key_id: int, key: bytes, scope: bytes, viewer: bytes, expires: int) -> bytes:
    data = bytes([1, key_id]) + expires.to_bytes(5, "big") + viewer
    return base64.urlsafe_b64encode(data + hmac.digest(key, b"nova session" + data + scope, "sha256")[:16])


def keys() -> SessionKeys:
    made = SessionKeys()
    made.add(7, KEY)
    return made


def reason(made: SessionKeys, text: bytes, scope: bytes = b"s", now: int = NOW) -> str:
    try:
        made.verify(text, scope, now)
    except SessionError as error:
        return str(error.reason)
    return "ok"


@given(st.integers(0, 255), st.binary(min_size=32, max_size=90), st.binary(min_size=1, max_size=128), st.binary(min_size=16, max_size=16),
       st.integers(NOW + 1, 2**40 - 1))  # fmt: skip
def test_sessions_are_what_the_oracle_writes(key_id: int, key: bytes, scope: bytes, viewer: bytes, expires: int) -> None:
    made = SessionKeys()
    made.add(key_id, key)
    text = made.mint(scope, viewer, expires)
    assert text == oracle(key_id, key, scope, viewer, expires)
    assert made.verify(text, scope, NOW) == (int.from_bytes(viewer[:8], "little") or 1)
    assert SessionKeys.viewer(text) == viewer


def test_every_changed_character_is_refused() -> None:
    made = keys()
    text = made.mint(b"s", VIEWER, NOW + 60)
    for at in range(len(text)):
        for other in b"AZaz09-_=./%":
            if text[at] != other:
                assert reason(made, text[:at] + bytes([other]) + text[at + 1 :]) != "ok"
    assert reason(made, text) == "ok"


def test_other_sizes_are_malformed() -> None:
    made = keys()
    text = made.mint(b"s", VIEWER, NOW + 60)
    for size in range(len(text)):
        assert reason(made, text[:size]) == "malformed"
    assert reason(made, text + b"A") == "malformed"
    assert reason(made, text, scope=b"") == "malformed"
    assert reason(made, text, scope=b"s" * 129) == "malformed"


def test_a_session_is_for_its_scope_and_its_time() -> None:
    made = keys()
    text = made.mint(b"stream-1", VIEWER, NOW + 60)
    assert reason(made, text, b"stream-1", NOW + 59) == "ok"
    assert reason(made, text, b"stream-1", NOW + 60) == "expired"
    assert reason(made, text, b"stream-2") == "forged"
    assert reason(made, text, b"stream-1 ") == "forged"


def test_keys_rotate_and_the_fifth_pushes_the_first_out() -> None:
    made = keys()
    texts = [made.mint(b"s", VIEWER, NOW + 60)]
    for key_id in (8, 9, 10):
        made.add(key_id, bytes([key_id]) * 32)
        texts.append(made.mint(b"s", VIEWER, NOW + 60))
    assert [reason(made, text) for text in texts] == ["ok"] * 4
    made.add(11, b"z" * 32)
    assert made.ids() == [8, 9, 10, 11]
    assert [reason(made, text) for text in texts] == ["unknown_key", "ok", "ok", "ok"]


def test_a_revoked_viewer_is_out_on_every_scope() -> None:
    made = keys()
    one, other = made.mint(b"s", VIEWER, NOW + 60), made.mint(b"s", b"o" * 16, NOW + 60)
    made.revoke(VIEWER, until=NOW + 60, now=NOW)
    assert reason(made, one) == "revoked"
    assert reason(made, made.mint(b"t", VIEWER, NOW + 60), b"t") == "revoked"
    assert reason(made, other) == "ok"


def test_bad_arguments_are_refused() -> None:
    made = keys()
    for bad in (lambda: made.add(7, KEY), lambda: made.add(256, KEY), lambda: made.add(1, b"short"), lambda: made.mint(b"", VIEWER, NOW),
                lambda: made.mint(b"s", b"x", NOW), lambda: made.mint(b"s", VIEWER, 0), lambda: made.revoke(b"x", until=1, now=0),
                lambda: SessionKeys().mint(b"s", VIEWER, NOW), lambda: SessionKeys.viewer(b"x")):  # fmt: skip
        with pytest.raises(ValueError):
            bad()
