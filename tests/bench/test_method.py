"""The measuring itself: verdicts, CPU time, memory, result files."""

import json
import mmap
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench.method import cpu, memory
from bench.method.results import RESULTS, Question, Result, Sample, Spread
from bench.report import load, write_report
from bench.servers.process import Server

HIGHER = Question("some-thing", "how much?", "requests per server-CPU-second", "higher", 1.5)


def sample(figure: float, **also: float) -> Sample:
    return Sample(100, 0.5, 1.0, figure, also)


def result(*ratios: float) -> Result:
    return Result(HIGHER, "anchor 1.0", "nova test", [(sample(100), sample(100 * ratio)) for ratio in ratios])


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [((1.6, 1.5, 1.4, 1.5, 1.7), "reached"), ((1.45, 1.4, 1.49, 1.6, 1.7, 1.3, 1.55), "tie"), ((1.0, 1.1, 1.2, 1.3, 1.6), "missed")],
)
def test_goal_is_judged_by_the_median_and_the_better_quartile(ratios: tuple[float, ...], verdict: str) -> None:
    assert result(*ratios).verdict() == verdict


def test_ratio_is_taken_within_pairs() -> None:
    pairs: list[tuple[Sample | None, Sample]] = [(sample(100), sample(200)), (sample(10), sample(20)), (sample(1), sample(2))]
    found = Result(HIGHER, "a", "b", pairs).ratio
    assert found == Spread(2, 2, 2, 2, 2)


def test_worst_of_several_limits_decides() -> None:
    question = Question("late", "how late?", "ms, median", "lower", limits={"figure": 5, "p95_ms": 10})
    assert Result(question, None, "nova", [(None, sample(4, p95_ms=11))]).verdict() == "missed"
    assert Result(question, None, "nova", [(None, sample(4, p95_ms=9))]).verdict() == "reached"


def conforms(value: Any, schema: dict[str, Any], root: dict[str, Any], at: str = "$") -> None:
    """The part of JSON Schema that `schema.json` uses."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        for option in schema["anyOf"]:
            try:
                return conforms(value, option, root, at)
            except AssertionError:
                continue
        raise AssertionError(f"{at}: {value!r} is none of {schema['anyOf']}")
    assert "const" not in schema or value == schema["const"], at
    assert "enum" not in schema or value in schema["enum"], at
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "null": type(None)}
    names = schema.get("type", [])
    wanted = tuple(kind for name in ([names] if isinstance(names, str) else names) for kind in [kinds[name]])
    if wanted:
        assert isinstance(value, sum(((k if isinstance(k, tuple) else (k,)) for k in wanted), ())) and not isinstance(value, bool), at
    if isinstance(value, dict):
        assert set(schema.get("required", ())) <= value.keys(), at
        known, more = schema.get("properties", {}), schema.get("additionalProperties", {})
        for key, item in value.items():
            assert key in known or more is not False, f"{at}.{key} is unknown"
            conforms(item, known.get(key, more or {}), root, f"{at}.{key}")
    if isinstance(value, list):
        assert len(value) >= schema.get("minItems", 0), at
        for i, item in enumerate(value):
            conforms(item, schema.get("items", {}), root, f"{at}[{i}]")


SCHEMA = json.loads((RESULTS / "schema.json").read_text())


def test_result_fits_its_schema(tmp_path: Path) -> None:
    path = result(1.5, 1.6).write(tmp_path)
    conforms(json.loads(path.read_text()), SCHEMA, SCHEMA)
    with pytest.raises(AssertionError):
        conforms(json.loads(path.read_text()) | {"extra": 1}, SCHEMA, SCHEMA)


def test_every_kept_result_fits_the_schema_and_was_made_with_enough_pairs() -> None:
    for kept in load(RESULTS):
        conforms(kept, SCHEMA, SCHEMA, kept["name"])
        assert len(kept["pairs"]) >= 7, kept["name"]


def test_report_names_every_result_and_is_the_same_again(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result(1.5, 1.6, 1.7).write(tmp_path)
    first = write_report(tmp_path).read_text()
    plots = {path.name: path.read_bytes() for path in (tmp_path / "plots").iterdir()}
    assert "some-thing" in first
    assert plots.keys() == {"overview.svg", "some-thing.svg"}
    assert write_report(tmp_path).read_text() == first
    assert {path.name: path.read_bytes() for path in (tmp_path / "plots").iterdir()} == plots


BUSY = """
import sys, time
sys.stdin.readline()
end = time.process_time() + 0.2
while time.process_time() < end:
    pass
print("done", flush=True)
sys.stdin.read()
"""


def test_cpu_time_counts_children() -> None:
    shell = ["sh", "-c", f'"{sys.executable}" -c "$0"; true', BUSY]
    with subprocess.Popen(shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        before = cpu.read(process.pid)
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"done\n"
        spent = before.until(cpu.read(process.pid))
        process.stdin.close()
    assert spent >= 0.19  # the child says how much it used itself


def test_memory_counts_a_memfd_once_mapped_or_not() -> None:
    size = 64 << 20  # beside which what else this process takes and gives back is little
    before = memory.bytes_held(os.getpid())
    fd = os.memfd_create("bench-test")
    try:
        os.write(fd, bytes(size))
        assert 0.9 < (memory.bytes_held(os.getpid()) - before) / size < 1.3
        with mmap.mmap(fd, size) as mapped:
            mapped[::4096]
            assert 0.9 < (memory.bytes_held(os.getpid()) - before) / size < 1.3
    finally:
        os.close(fd)


class Sleeps(Server):
    name, ports = "sleeps", ()

    def command(self) -> list[str]:
        return ["sleep", "60"]

    def wait_ready(self) -> None:
        while Path(f"/proc/{self.process.pid}/comm").read_text() != "sleep\n":  # until then nothing ends it with its parent
            assert self.process.poll() is None
            time.sleep(0.01)


def test_a_server_has_a_session_of_its_own_and_ends_with_it(tmp_path: Path) -> None:
    with Sleeps(tmp_path) as server:
        pid = server.process.pid
        assert os.getsid(pid) == pid
    assert server.process.returncode == -signal.SIGTERM


def test_a_server_ends_with_a_benchmark_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from tests.bench.test_method import Sleeps\n"
        "with Sleeps(Path(sys.argv[1])) as server:\n    print(server.process.pid, flush=True)\n    os.kill(os.getpid(), 9)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=RESULTS.parents[1], stdout=subprocess.PIPE, timeout=60, text=True
    ).stdout
    pid = int(said)
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
