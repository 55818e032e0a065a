"""Imports point down only: surface -> {media | realtime | cdn} -> core -> ext."""

import sys

import pytest
from source import PACKAGES, ROOT, Import, _cython, imports

MAY_USE = {
    "surface": {"surface", "media", "realtime", "cdn", "core", "ext"},
    "media": {"media", "core", "ext"},
    "realtime": {"realtime", "core", "ext"},
    "cdn": {"cdn", "core", "ext"},
    "core": {"core", "ext"},
    "ext": {"ext"},
}


def violations(found: tuple[Import, ...]) -> list[str]:
    wrong = []
    for item in found:
        package, parts = item.file.split("/")[0], item.module.split(".")
        if parts[0] == "nova" and len(parts) > 1 and parts[1] in PACKAGES and parts[1] not in MAY_USE[package]:
            wrong.append(str(item))
    return wrong


def test_imports_point_down_only() -> None:
    assert not violations(imports())


def test_packages_are_imported_through_nova() -> None:
    # Both spellings work inside a checkout, and would load the module twice.
    assert not [str(item) for item in imports() if item.module.split(".")[0] in PACKAGES]


def test_nothing_imports_the_composition_root() -> None:
    allowed = ("surface/app.py", "surface/cli/", "surface/__main__.py")
    root = [item for item in imports() if item.module == "nova.surface.app" or item.module.startswith("nova.surface.app.")]
    assert not [str(item) for item in root if not item.file.startswith(allowed)]


def test_compiled_core_knows_no_policy_and_no_trio() -> None:
    allowed = {"nova", "cpython", "libc", "posix", "cython", "__future__"} | set(sys.stdlib_module_names)
    compiled = [item for item in imports() if item.file.startswith("ext/") and not item.file.endswith(".pyi")]
    foreign = [item for item in compiled if item.module.split(".")[0] not in allowed]
    assert not [str(item) for item in foreign]


def test_reader_sees_every_form_of_cython_import(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ROOT / "ext" / "buffer.pyx"
    text = (
        "from libc.stdint cimport uint8_t\n"
        "from nova.core cimport x\n"
        "cimport nova.core.y as z, cython\n"
        "    from nova.media.libav import thing\n"
        "from . cimport ring\n"
        "import nova.surface.app\n"
    )
    monkeypatch.setattr("pathlib.Path.read_text", lambda self, encoding: text)
    found = tuple(_cython(path))
    assert [item.module for item in found] == [
        "libc.stdint", "nova.core.x", "nova.core.y", "cython", "nova.media.libav.thing", "nova.ext.ring", "nova.surface.app",
    ]  # fmt: skip
    assert len(violations(found)) == 4
