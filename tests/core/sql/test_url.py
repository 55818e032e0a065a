"""`store.url` names a file, or says why not."""

from pathlib import Path

import pytest

from nova.core import errors
from nova.core.sql import parse_store_url

DATA = Path("/data")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (None, "/data/nova.db"),
        ("sqlite:nova.db", "/data/nova.db"),
        ("sqlite:sub/nova.db", "/data/sub/nova.db"),
        ("sqlite:/var/lib/nova.db", "/var/lib/nova.db"),
        ("sqlite:///var/lib/nova.db", "/var/lib/nova.db"),
    ],
)
def test_files(text: str | None, path: str) -> None:
    assert parse_store_url(text, DATA).path == Path(path)


@pytest.mark.parametrize(
    "text", ["", "nova.db", "sqlite:", "sqlite://host/x.db", "sqlite:a?mode=ro", "mysql://u:secret@h/d", "sqlite:dir/"]
)
def test_other_text_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(errors.BadRequest) as refused:
        parse_store_url(text, DATA)
    assert "secret" not in refused.value.detail


def test_postgresql_comes_later() -> None:
    with pytest.raises(errors.NotYet):
        parse_store_url("postgresql://u:secret@h/d", DATA)
