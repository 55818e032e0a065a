"""Reads the sources as the house rules see them: files, and what each imports."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("core", "ext", "media", "realtime", "cdn", "surface")


@dataclass(frozen=True)
class Import:
    file: str  # relative to the checkout
    line: int
    module: str  # full name; for `from a import b`, `a.b` when b may be a module of Nova, else `a`

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def files(*suffixes: str, folders: tuple[str, ...] = PACKAGES) -> list[Path]:
    """Sources below the packages' own folders: `nova/` only links to them."""
    found = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in suffixes]
    return sorted(path for path in found if not path.name.endswith(("_pb2.py", "_pb2_grpc.py")) and "vendor" not in path.parts)


@cache
def imports() -> tuple[Import, ...]:
    """Every import and cimport of every package, also those within functions and under TYPE_CHECKING."""
    found: list[Import] = []
    for path in files(".py", ".pyi"):
        found += _python(path)
    for path in files(".pyx", ".pxd"):
        found += _cython(path)
    return tuple(found)


def _python(path: Path) -> Iterator[Import]:
    name = str(path.relative_to(ROOT))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), name)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(name, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(path, node.module or "", node.level)
            for alias in node.names:
                yield Import(name, node.lineno, f"{base}.{alias.name}" if base.split(".")[0] == "nova" else base)


def _cython(path: Path) -> Iterator[Import]:
    """The imports of Cython, which ast cannot read and import-linter does not see."""
    name = str(path.relative_to(ROOT))
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if found := re.match(r"\s*from\s+(\.*)([\w.]*)\s+c?import\s+(.+)", line):
            base = _absolute(path, found[2], len(found[1]))
            for part in re.findall(r"\w+(?=\s*(?:,|$|\)|\s+as\b|#))", found[3]) or [""]:
                yield Import(name, number, f"{base}.{part}" if base.split(".")[0] == "nova" and part else base)
        elif found := re.match(r"\s*c?import\s+([\w., ]+)", line):
            for part in found[1].split(","):
                yield Import(name, number, part.split()[0])


def _absolute(path: Path, module: str, level: int) -> str:
    if level == 0:
        return module
    parts = ["nova", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join([*parts[:-level], *([module] if module else [])])
