"""The namespace, and what a wheel and a source distribution hold."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from source import PACKAGES, ROOT

SUFFIXES = {".py", ".pyi", ".pyx", ".pxd", ".typed"}  # what package-data of pyproject.toml takes along, with the code itself


def _inside(package: str) -> list[Path]:
    found = (ROOT / package).rglob("*")
    return [
        path for path in found if path.is_file() and "__pycache__" not in path.parts and path.suffix not in {".so", ".c", ".h", ".html"}
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_package_is_linked_into_the_namespace(package: str) -> None:
    assert os.readlink(ROOT / "nova" / package) == f"../{package}"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_of_code_is_a_package(package: str) -> None:
    folders = {path.parent for path in _inside(package) if path.suffix == ".py"}
    assert not [str(folder.relative_to(ROOT)) for folder in sorted(folders) if not (folder / "__init__.py").exists()]


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_hold_nothing_that_a_wheel_would_leave_out(package: str) -> None:
    assert not [str(path.relative_to(ROOT)) for path in _inside(package) if path.suffix not in SUFFIXES]


@pytest.mark.slow
def test_wheel_of_the_source_distribution_works_in_a_fresh_environment(tmp_path: Path) -> None:
    def run(*command: str | Path, cwd: Path, **environ: str) -> str:
        done = subprocess.run(command, cwd=cwd, env={**os.environ, **environ}, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    code = f"from setuptools.build_meta import build_sdist; print(build_sdist({str(tmp_path)!r}))"
    sdist = tmp_path / run(sys.executable, "-c", code, cwd=ROOT, NOVA_EXT="none").splitlines()[-1]
    with tarfile.open(sdist) as archive:
        members = {member.name.partition("/")[2]: member for member in archive.getmembers()}
    assert {"Makefile", "README.md", "LICENSE", "tools/setup.py", "ext/buffer.pyx", "web/index.html", "tests/conftest.py"} <= members.keys()
    assert members["nova/core"].linkname == "../core"
    assert not [name for name in members if name.endswith((".so", ".pyc"))]

    # One kernel stands for all: the others are compiled by every other test run.
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    run(*pip, str(sdist), cwd=tmp_path, NOVA_EXT="buffer")
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"nova/core/settings.py", "nova/web/index.html", "nova/py.typed", "nova/ext/buffer.pxd"} <= names
    assert not [name for name in names if not name.startswith(("nova/", "nova_core-"))]

    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    where = run(python, "-c", "import nova.ext.buffer, nova.core.settings as s; print(s.__file__)", cwd=tmp_path)
    assert where.startswith(str(tmp_path / "venv"))
