"""The set-up: what it finds missing, how it asks for it, what it says when it cannot, and when it does nothing."""

import importlib.metadata
import importlib.util
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, with its log and environment in a scratch directory."""
    spec = importlib.util.spec_from_file_location("nova_setup", ROOT / "tools" / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "LOG", str(tmp_path / "setup.log"))
    monkeypatch.setattr(module, "VENV", str(tmp_path / "venv"))
    monkeypatch.setattr(module, "PYTHON", str(tmp_path / "venv" / "bin" / "python"))
    return module


def program(folder: Path, name: str, body: str) -> None:
    """A stand-in for a program of the system: it writes its arguments down, then does `body`."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f'#!/bin/sh\necho "{name} $*" >> "{folder}/calls"\n{body}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def calls(folder: Path) -> list[str]:
    path = folder / "calls"
    return path.read_text().splitlines() if path.exists() else []


def test_this_machine_lacks_nothing(setup: ModuleType) -> None:
    assert setup.missing_for_build() == {}


def test_missing_headers_are_asked_of_debian(setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(setup.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(setup.os.path, "realpath", lambda path: "/usr/bin/python3.11")
    monkeypatch.setattr(setup, "compiles", lambda source, compiler: "openssl" not in source and "sodium" not in source)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    found = setup.missing_for_build()
    assert found[f"python{version}-dev"] == "Python.h"
    asked = found.keys() - {"zlib1g-dev", "liburing-dev"} - set(setup.PICTURES.values())
    assert asked == {f"python{version}-dev", "libssl-dev", "libsodium-dev"}


def test_missing_formats_are_asked_of_debian(setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(setup, "INCLUDES", (str(tmp_path),))
    assert set(setup.PICTURES.values()) <= setup.missing_for_build().keys()
    for name in setup.PICTURES:
        path = tmp_path / name.replace("*", "2.5")
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    assert setup.missing_for_build() == {}


def test_a_wheel_of_other_headers_or_another_compiler_is_another_one(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(setup, "INCLUDES", (str(tmp_path),))
    without = setup.wheel_store()
    (tmp_path / "jpeglib.h").write_text("/* 2.1 */")
    older = setup.wheel_store()
    (tmp_path / "jpeglib.h").write_text("/* 3.0 */")
    newer = setup.wheel_store()
    monkeypatch.setattr(setup, "pictures_compiler", lambda: "cc -mother")
    assert len({without, older, newer, setup.wheel_store()}) == 4


def test_nothing_that_is_installed_brings_pillow() -> None:
    """It would write over pillow-simd's files, and nobody would be told."""
    installed = {str(each.metadata["Name"]).lower(): each for each in importlib.metadata.distributions()}
    assert "pillow" not in installed
    assert "pillow-simd" in installed
    spec = importlib.util.spec_from_file_location("nova_setup", ROOT / "tools" / "setup.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    wanting = {
        name
        for name, each in installed.items()
        for need in each.requires or ()
        if re.match(r"pillow(?![\w-])", need, re.IGNORECASE) and "extra ==" not in need
    }
    assert wanting <= set(module.ALONE), "install it without its dependencies, or not at all"


def test_pillow_simd_is_pinned_by_its_hash(setup: ModuleType) -> None:
    pin = Path(setup.PICTURES_PIN).read_text(encoding="utf-8")
    assert re.search(r"^pillow-simd==\S+ --hash=sha256:[0-9a-f]{64}$", pin, re.MULTILINE)
    version = re.search(r"pillow-simd==(\S+)", pin)
    assert version is not None
    assert f'"pillow-simd=={version[1]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert not any(name.startswith("pillow-simd") for name in setup.requirements([]))


def test_missing_headers_of_another_python_are_not_asked_of_debian(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(setup.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(setup.os.path, "realpath", lambda path: "/opt/python/bin/python3.11")
    with pytest.raises(SystemExit):
        setup.missing_for_build()
    assert "make PYTHON=/usr/bin/python3" in capsys.readouterr().err


def test_root_installs_only_what_is_missing(setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program(tmp_path / "bin", "apt-get", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(setup.os, "geteuid", lambda: 0)
    setup.install({}, required=True)
    assert not calls(tmp_path / "bin")
    setup.install({"libssl-dev": "openssl/ssl.h"}, required=True)
    update, install = calls(tmp_path / "bin")
    assert update.endswith("update")
    assert install.endswith("install -y --no-install-recommends libssl-dev")


def test_user_installs_through_sudo(setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program(tmp_path / "bin", "apt-get", "exit 0")
    program(tmp_path / "bin", "sudo", 'test "$1" = -n && exit 0; exec "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(setup.os, "geteuid", lambda: 1000)
    setup.install({"gcc": "a C compiler"}, required=True)
    assert [call.split()[0] for call in calls(tmp_path / "bin")] == ["sudo", "sudo", "apt-get", "sudo", "apt-get"]


def test_user_without_sudo_is_told_what_to_run(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program(tmp_path / "bin", "apt-get", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(setup.os, "geteuid", lambda: 1000)
    with pytest.raises(SystemExit) as stopped:
        setup.install({"libssl-dev": "openssl/ssl.h"}, required=True)
    assert stopped.value.code == 1
    assert "run as root: apt-get install libssl-dev" in capsys.readouterr().err
    assert not calls(tmp_path / "bin")


def test_what_only_tests_need_is_no_reason_to_stop(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program(tmp_path / "bin", "apt-get", "exit 100")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(setup.os, "geteuid", lambda: 0)
    setup.install({"chromium": "the tests in a browser"}, required=False)
    said = capsys.readouterr().err
    assert "chromium (the tests in a browser)" in said
    assert "skipped" in said


def test_system_without_apt_is_told_the_names(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit):
        setup.install({"libssl-dev": "openssl/ssl.h"}, required=True)
    assert "no apt-get; install what Debian calls: libssl-dev" in capsys.readouterr().err


def test_failure_shows_the_last_lines_and_names_the_log(setup: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        setup.run(["sh", "-c", "echo no route to host; exit 3"], "pip install")
    said = capsys.readouterr().err
    assert "no route to host" in said
    assert "pip install failed (exit 3)" in said
    assert "setup.log" in said


def test_requirements_follow_the_extras(setup: ModuleType) -> None:
    serve, dev = setup.requirements([]), setup.requirements(["dev"])
    assert any(name.startswith("trio") for name in serve)
    assert not any(name.startswith("pytest") for name in serve)
    assert {re.split(r"[<>=]", name)[0] for name in dev} >= {"pytest", "ruff", "pytest-benchmark", "Cython"}


def test_kernels_name_only_libraries_that_the_set_up_knows(setup: ModuleType) -> None:
    assert set(setup.declared_libraries()) <= {*setup.LIBRARIES, "pthread", "dl", "m"}


def test_changed_source_is_compiled_again(setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kernels = tmp_path / "ext"
    kernels.mkdir()
    (tmp_path / "venv").mkdir()
    (tmp_path / "setup.py").write_text("")
    (kernels / "a.pyx").write_text("x = 1\n")
    monkeypatch.setattr(setup, "ROOT", str(tmp_path))
    assert not setup.built()
    (kernels / f"a{setup.sysconfig.get_config_var('EXT_SUFFIX')}").touch()
    setup.write_stamp("core", setup.core_stamp(setup.sources()[0]))
    assert setup.built()
    os.utime(kernels / "a.pyx", (1, 1))
    assert setup.built(), "times do not count, contents do"
    (kernels / "a.pyx").write_text("x = 2\n")
    assert not setup.built()


def test_changed_module_gets_new_bytecode(setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = tmp_path / "core" / "a.py"
    module.parent.mkdir()
    (tmp_path / "nova").mkdir()
    (tmp_path / "nova" / "core").symlink_to("../core")
    module.write_text("x = 1\n")
    monkeypatch.setattr(setup, "ROOT", str(tmp_path))
    monkeypatch.setattr(setup, "PYTHON", sys.executable)
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
    assert setup.stale_bytecode() == ["core"]
    setup.compile_bytecode(["core"])
    assert setup.stale_bytecode() == []
    module.write_text("x = 12345\n")
    assert setup.stale_bytecode() == ["core"]


def test_unknown_purpose_is_refused() -> None:
    done = subprocess.run([sys.executable, ROOT / "tools" / "setup.py", "servve"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "serve, test, bench" in done.stderr
    assert not done.stdout


def test_every_target_of_the_makefile_says_what_it_does() -> None:
    text = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.+)$", text, re.MULTILINE)
    assert set(phony.split()) == set(re.findall(r"^([a-z-]+):.*## \w", text, re.MULTILINE))
