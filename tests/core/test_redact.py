"""What must never reach a log line does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.core.redact import redact, redact_text
from nova.core.secret import Secret

TOKEN = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET /v1/ws?access_token=abc&x=1 HTTP/1.1", "GET /v1/ws?*** HTTP/1.1"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        (f"token {TOKEN} is expired", "token *** is expired"),
        ("rtmp://h:1935/live/sk_0123456789abcdef refused", "rtmp://h:1935/live/sk_*** refused"),
        ("/live/~v1.abc-DEF_0/0190/seg-1.m4s", "/live/~***/0190/seg-1.m4s"),
        ("redis://:p4ss@host/0 is down", "redis://:***@host/0 is down"),
        ("http://127.0.0.1:8080/#code=abc123", "http://127.0.0.1:8080/#code=***"),
        ("password=hunter2, next", "password=***, next"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----", "***"),
        ("is it on? yes", "is it on? yes"),
        ("two\nlines \x1b[31m and \x07", "two\\x0alines \\x1b[31m and \\x07"),
    ],
)
def test_text_loses_its_secrets(text: str, shown: str) -> None:
    assert redact_text(text) == shown


@pytest.mark.parametrize("name", ["Authorization", "cookie", "Set-Cookie", "token", "stream_key", "payload", "password"])
def test_hidden_fields_are_hidden_whatever_they_hold(name: str) -> None:
    for value in ("x", b"x", ["x"], {"a": "x"}, 7):
        assert redact(name, value) == "***"


def test_values_within_values_are_redacted() -> None:
    shown = redact("headers", {"cookie": "a=b", "path": "/x?token=1", "sizes": [1, 2], "raw": b"12345", "secret_type": Secret("s3cret")})
    assert shown == {"cookie": "***", "path": "/x?***", "sizes": [1, 2], "raw": "<5 bytes>", "secret_type": "***"}


def test_long_values_are_cut() -> None:
    assert len(redact_text("x" * 100_000)) < 5000


SIGNS = st.sampled_from([*map(chr, range(256)), "\u2028", "\u2029", "ä", "…"])


@given(st.text(SIGNS))
def test_no_control_character_survives(text: str) -> None:
    assert not any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in redact_text(text))


@given(st.from_regex(r"[a-z0-9]{20,40}", fullmatch=True), st.text(SIGNS, max_size=20), st.text(SIGNS, max_size=20))
def test_a_token_is_found_wherever_it_stands(secret: str, before: str, after: str) -> None:
    for form in ("Bearer {}", "?access_token={}", "sk_{}"):
        assert secret not in redact_text(f"{before} {form.format(secret)} {after}")
