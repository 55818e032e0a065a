"""`nova certs`, as a program."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nova.core.clock import SystemClock
from nova.surface.identity import certificates


def _run(data: Path, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nova", "certs", "--data", str(data), *more]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    certificates.ensure(data, SystemClock(), certificates.names_of_machine())
    return data


def test_the_self_made_certificate_is_shown(data: Path) -> None:
    told = json.loads(_run(data, "--json", HOME=str(data)).stdout)
    assert told["self_made"] is True
    assert told["cert"] == str(data / "tls" / "cert.pem")
    assert {"localhost", "127.0.0.1", "::1"} <= set(told["names"])
    assert len(told["sha256"]) == 64
    assert told["trusted_in"] == []


@pytest.mark.skipif(shutil.which("certutil") is None, reason="needs certutil: apt-get install libnss3-tools")
def test_trust_puts_it_into_the_users_store_once(data: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for _ in range(2):
        done = _run(data, "--trust", HOME=str(home))
        assert done.returncode == 0, done.stderr
    store = home / ".pki" / "nssdb"
    told = json.loads(_run(data, "--json", HOME=str(home)).stdout)
    assert told["trusted_in"] == [str(store)]
    assert "trust it" not in _run(data, HOME=str(home)).stdout
    listed = subprocess.run(["certutil", "-d", f"sql:{store}", "-L"], capture_output=True, text=True, check=True).stdout
    assert [line.split()[-1] for line in listed.splitlines() if line.startswith("Nova ")] == ["P,,"]


def test_without_certutil_the_remedy_is_one_line(data: Path, tmp_path: Path) -> None:
    done = _run(data, "--trust", HOME=str(tmp_path), PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "libnss3-tools" in done.stderr


def test_without_a_data_directory_nothing_is_made(tmp_path: Path) -> None:
    done = _run(tmp_path / "none")
    assert done.returncode != 0
    assert not (tmp_path / "none").exists()
