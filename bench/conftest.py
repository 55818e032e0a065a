"""Fixtures of the benchmarks: the comparison, its length, the cores, a scratch directory in RAM."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.method.cpu import cores
from bench.method.results import RESULTS
from bench.method.versus import MIN_PAIRS, Versus

SCRATCH = Path("build/bench")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("nova")
    group.addoption("--pairs", type=int, default=MIN_PAIRS, help=f"anchor and ours, this many times ({MIN_PAIRS})")
    group.addoption("--seconds", type=float, default=3.0, help="length of one measured window (3)")
    group.addoption("--smoke", action="store_true", help="one short pair: does it run? Results go to build/bench/results")


@pytest.fixture(scope="session")
def seconds(pytestconfig: pytest.Config) -> float:
    """Length of a measured window."""
    return 0.5 if pytestconfig.option.smoke else float(pytestconfig.option.seconds)


@pytest.fixture(scope="session")
def smoke(pytestconfig: pytest.Config) -> bool:
    return bool(pytestconfig.option.smoke)


@pytest.fixture(scope="session", autouse=True)
def generator_core() -> int:
    """This process and the generators that it starts stay off the server's core."""
    core = cores()[1]
    os.sched_setaffinity(0, {core})
    return core


@pytest.fixture
def versus(benchmark: object, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]) -> Versus:
    options = pytestconfig.option
    pairs = 1 if options.smoke else options.pairs

    def say(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}", flush=True)

    return Versus(benchmark, pairs, RESULTS if pairs >= MIN_PAIRS else SCRATCH / "results", say)


@pytest.fixture
def ram() -> Iterator[Path]:
    """A directory on tmpfs: no server waits for a disk."""
    path = Path(tempfile.mkdtemp(prefix="nova-bench-", dir="/dev/shm"))
    path.chmod(0o755)  # nginx's worker is another user
    yield path
    shutil.rmtree(path)
