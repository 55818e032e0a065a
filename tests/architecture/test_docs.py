"""Docs are true: generated pages are fresh, links lead somewhere, no machine's paths, commands run."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from source import ROOT

from nova.core.settings import load
from nova.surface.cli import parser

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").rglob("*.md")])


def _gendocs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gendocs", ROOT / "tools" / "gendocs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["docs/settings.md", "docs/errors.md", "docs/close-codes.md"])
def test_generated_page_is_fresh(page: str) -> None:
    assert (ROOT / page).read_text(encoding="utf-8") == _gendocs().PAGES[page](), "run `make docs`"


def _text(page: Path) -> str:
    """Without the code blocks, where brackets mean other things."""
    return re.sub(r"^(```|~~~).*?^\1", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes from headings."""
    found = set()
    for heading in re.findall(r"^#+\s+(.+?)\s*$", _text(page), re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", heading.lower())
        found.add(plain.replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^()\s]+)\)", _text(page)):
        if re.match(r"[a-z]+:", target):
            continue  # elsewhere: not ours to try, tests stay on this machine
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in _anchors(file)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_docs_name_no_machine(page: Path) -> None:
    assert not re.findall(r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+|mnt)/\S*", page.read_text(encoding="utf-8"))


def _commands() -> Iterator[object]:
    """The blocks that say ```sh test: each is a script that must succeed; ```sh test slow runs in `make test-all` only."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in re.finditer(r"^```(?:sh|console) test( slow)?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, found.start()) + 1
            marks = [pytest.mark.slow] if found[1] else []
            yield pytest.param(found[2], marks=marks, id=f"{page.relative_to(ROOT)}:{line}")


@pytest.mark.parametrize("script", list(_commands()))
def test_commands_of_the_docs_run(script: str, tmp_path: Path) -> None:
    """Each block runs as its reader would run it, in an empty directory and on free ports."""
    listeners = {f"NOVA_{name}_LISTEN": "127.0.0.1:0" for name in ("HTTP", "HTTPS", "RTMP", "GRPC")}
    environment = {**os.environ, **listeners, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    lines = [line.removeprefix("$ ") for line in script.splitlines()]
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(lines)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _blocks(kind: str) -> list[object]:
    """The code blocks of that language, as parameters of a test."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.finditer(rf"^```{kind}\b[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, block.start()) + 1
            found.append(pytest.param(block[1], id=f"{page.relative_to(ROOT)}:{line}"))
    return found


@pytest.mark.parametrize("block", _blocks("toml"))
def test_settings_of_the_docs_are_settings(block: str, tmp_path: Path) -> None:
    file = tmp_path / "nova.toml"
    file.write_text(re.sub(r'"file:[^"]*"', '"sixteen bytes or more"', block), encoding="utf-8")
    load(file, environ={})


@pytest.mark.parametrize("block", _blocks("(?:sh|console)"))
def test_commands_of_the_docs_are_commands(block: str) -> None:
    """Also in blocks that no test runs: they need a camera, a browser or another machine."""
    commands = parser()
    for found in re.finditer(r"(?:^|\$\(|[|&] )(?:\.venv/bin/)?nova +([^|&>)\n]*)", block.replace("\\\n", " "), re.MULTILINE):
        commands.parse_args(shlex.split(found[1], comments=True))


def test_every_benchmark_is_described() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(bench_\w+\.py)`", page, re.MULTILINE)) == {file.name for file in (ROOT / "bench").glob("bench_*.py")}


def test_readme_shows_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make serve" in readme
    assert "make test" in readme
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    pages = [page.read_text(encoding="utf-8") for page in PAGES]
    blocks = [block for page in pages for block in re.findall(r"^```.*?^```", page, re.MULTILINE | re.DOTALL)]
    named = set(re.findall(r"`make ([a-z-]+)", "".join(pages))) | set(re.findall(r"^make ([a-z-]+)", "\n".join(blocks), re.MULTILINE))
    assert named <= targets, f"docs name targets that do not exist: {sorted(named - targets)}"


def test_decisions_are_numbered_once() -> None:
    names = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("*.md"))
    assert all(re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", name) for name in names), names
    numbers = [name[:4] for name in names]
    assert len(set(numbers)) == len(numbers), "two decisions have one number"
