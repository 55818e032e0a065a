"""Nobody catches everything except `guard`, and every code that is raised has its row."""

import ast
import re

from source import ROOT, files

from nova.core.errors import CLASSES, TABLE

GUARD = {"core/guard.py"}


def _catches_all(handler: ast.ExceptHandler) -> bool:
    names = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(name is None or (isinstance(name, ast.Name) and name.id in {"Exception", "BaseException"}) for name in names)


def _raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and (last.exc is None or (isinstance(last.exc, ast.Name) and last.exc.id == handler.name))


def test_only_guard_catches_everything() -> None:
    wrong = []
    for path in files(".py"):
        name = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            # To tidy up and raise again is no catching.
            if isinstance(node, ast.ExceptHandler) and _catches_all(node) and not _raises_again(node) and name not in GUARD:
                wrong.append(f"{name}:{node.lineno}")
    assert not wrong


def test_only_guard_catches_everything_in_the_compiled_core() -> None:
    # A kernel may tidy up and raise again; a callback that Python must not see fail writes it with `PyErr_WriteUnraisable`.
    wrong = []
    for path in files(".pyx"):
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines):
            if re.match(r"\s*except\s*(?:Exception|BaseException)?\s*(?:as \w+)?:", line):
                indent = len(line) - len(line.lstrip())
                body = [later for later in lines[number + 1 :] if later.strip()]
                end = next((at for at, later in enumerate(body) if len(later) - len(later.lstrip()) <= indent), len(body))
                if not any(re.match(r"\s*(?:raise\b|PyErr_WriteUnraisable|sys\.unraisablehook)", later) for later in body[:end]):
                    wrong.append(f"{path.relative_to(ROOT)}:{number + 1}")
    assert not wrong


def test_every_code_that_is_raised_has_its_row() -> None:
    kinds = {kind.__name__: kind.kind for kind in CLASSES.values()}
    wrong = []
    for path in files(".py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""
            code = node.args[0].value
            if called in kinds and isinstance(code, str) and (code not in TABLE or TABLE[code].parent != kinds[called]):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {called}({code!r})")
    assert not wrong
