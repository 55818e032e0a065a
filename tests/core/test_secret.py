"""Secrets do not show, whatever way they are printed."""

import copy
import json
import pickle
from pathlib import Path

import pytest

from nova.core.secret import Secret, SecretUrl


def test_secret_does_not_show() -> None:
    secret = Secret("hunter2-of-the-server")
    shown = [
        str(secret), repr(secret), f"{secret}", f"{secret:>30}", "%s" % secret,  # noqa: UP031
        json.dumps([secret], default=str), repr({"a": secret}),
    ]
    assert not any("hunter2" in text for text in shown)
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        copy.deepcopy(secret)


def test_secret_compares_by_value_with_text_and_bytes() -> None:
    secret = Secret("ä-key")
    assert secret == Secret("ä-key".encode())
    assert secret == "ä-key"
    assert secret == "ä-key".encode()
    assert secret != "other"
    assert secret != Secret("other")
    assert secret != 5
    assert bool(secret)


def test_secret_is_no_key_of_a_dict() -> None:
    with pytest.raises(TypeError):
        hash(Secret("x"))


def test_secret_may_stand_in_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("from-file\n")
    monkeypatch.setenv("SOME_KEY", "from-env")
    assert Secret.refer(f"file:{tmp_path}/key").reveal() == b"from-file"
    assert Secret.refer("env:SOME_KEY").reveal() == b"from-env"
    assert Secret.refer("plain").reveal() == b"plain"
    for missing in (f"file:{tmp_path}/none", "env:NO_SUCH_VARIABLE", ""):
        with pytest.raises(ValueError):
            Secret.refer(missing)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://:p4ss@host:6379/0", "redis://:***@host:6379/0"),
        ("postgresql://nova:p4ss@host/db?sslkey=p4ss", "postgresql://nova:***@host/db"),
        ("postgresql://nova:p4/p@:p4?ss@host/db", "postgresql://nova:***@host/db"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
    ],
)
def test_url_shows_without_its_password(url: str, shown: str) -> None:
    secret = SecretUrl(url)
    assert str(secret) == f"{secret}" == repr(secret) == shown
    assert secret.text() == url
