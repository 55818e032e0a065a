"""A setting that nobody reads is a promise that nobody keeps."""

import ast

from source import ROOT, files

from nova.core.settings_schema import lists_of, walk
from nova.core.settings_table import Settings

TABLE = ROOT / "core" / "settings_table.py"


def test_every_setting_is_read_somewhere() -> None:
    read = {
        node.attr
        for path in files(".py")
        if path != TABLE
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    }
    rows = [setting.key for setting in walk(Settings)]
    for section in Settings._sections.values():
        rows += [f"{key}[].{setting.key}" for key, inner in lists_of(section) for setting in walk(inner)]
    assert len(rows) > 100
    assert [row for row in rows if row.rpartition(".")[2] not in read] == []
