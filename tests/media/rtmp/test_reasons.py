"""The table of reasons is closed and documented."""

import re
from pathlib import Path

from nova.media.rtmp.reasons import REASONS

ROOT = Path(__file__).parents[3]


def test_kernel_names_only_reasons_of_the_table() -> None:
    names = re.findall(r'return b"(rtmp_\w+)"', (ROOT / "ext/rtmp.pyx").read_text())
    assert len(names) == 10
    assert set(names) <= set(REASONS)


def test_code_names_only_reasons_of_the_table_and_all_of_them() -> None:
    code = "".join(path.read_text() for path in (ROOT / "media/rtmp").glob("*.py") if path.name != "reasons.py")
    code += (ROOT / "ext/rtmp.pyx").read_text()
    named = set(re.findall(r'"(\w+)"', code))
    # Two are the wish of others: whoever calls `drop`.
    assert set(REASONS) - named == {"key_revoked"}


def test_page_lists_every_reason() -> None:
    page = (ROOT / "docs/rtmp.md").read_text()
    for reason, meaning in REASONS.items():
        assert f"| `{reason}` | {meaning} |" in page
