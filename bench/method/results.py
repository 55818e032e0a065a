"""What a benchmark found: samples, their summary, the verdict, and the JSON file that keeps them (`bench/results/schema.json`)."""

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

RESULTS = Path(__file__).parents[1] / "results"
VERSION = 1

Better = Literal["higher", "lower"]
Verdict = Literal["reached", "tie", "missed"]


@dataclass(frozen=True, slots=True)
class Question:
    """One row of the goals. name: also the file name; figure: what is compared, with its unit."""

    name: str
    asks: str
    figure: str
    better: Better
    goal: float | None = None  # of ours / anchor; None when every check is absolute
    limits: dict[str, float] = field(default_factory=dict)  # of ours: name in `Sample.also` -> at most this


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one server."""

    work: float  # requests, bytes, stream-seconds …
    cpu_s: float  # of the server
    wall_s: float
    figure: float  # work per CPU-second, or the other way round
    also: dict[str, float] = field(default_factory=dict)  # latencies and the like, each with its unit in its name


@dataclass(frozen=True, slots=True)
class Spread:
    median: float
    low: float  # first quartile
    high: float  # third quartile
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        ordered = sorted(values)
        low, median, high = statistics.quantiles(ordered, n=4, method="inclusive") if len(ordered) > 1 else (ordered[0],) * 3
        return cls(median, low, high, ordered[0], ordered[-1])

    def against(self, bound: float, better: Better) -> Verdict:
        """A tie: the median misses the bound, the middle half of the runs does not."""
        if better == "lower":
            return "reached" if self.median <= bound else "tie" if self.low <= bound else "missed"
        return "reached" if self.median >= bound else "tie" if self.high >= bound else "missed"


@dataclass(frozen=True, slots=True)
class Result:
    question: Question
    anchor: str | None  # name and version
    ours: str
    pairs: list[tuple[Sample | None, Sample]]

    @property
    def ratio(self) -> Spread | None:
        """Ours / anchor, pair by pair: what the machine did to one it did to the other."""
        ratios = [ours.figure / anchor.figure for anchor, ours in self.pairs if anchor and anchor.figure]
        return Spread.of(ratios) if ratios else None

    def checks(self) -> dict[str, tuple[float, Spread, Verdict]]:
        """Name of what is bound -> (bound, what was found, verdict)."""
        question, found = self.question, {}
        if question.goal is not None and (ratio := self.ratio):
            found["ratio"] = (question.goal, ratio, ratio.against(question.goal, question.better))
        for name, bound in question.limits.items():
            spread = Spread.of([ours.figure if name == "figure" else ours.also[name] for _, ours in self.pairs])
            found[name] = (bound, spread, spread.against(bound, "lower"))
        return found

    def verdict(self) -> Verdict:
        worst: dict[str, int] = {"reached": 0, "tie": 1, "missed": 2}
        return max((verdict for _, _, verdict in self.checks().values()), key=worst.__getitem__, default="reached")

    def to_json(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            **asdict(self.question),
            "anchor": self.anchor,
            "ours": self.ours,
            "machine": machine(),
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "pairs": [{"anchor": asdict(anchor) if anchor else None, "ours": asdict(ours)} for anchor, ours in self.pairs],
            "summary": {
                "anchor": asdict(Spread.of([a.figure for a, _ in self.pairs if a])) if self.anchor else None,
                "ours": asdict(Spread.of([o.figure for _, o in self.pairs])),
                "ratio": asdict(self.ratio) if self.ratio else None,
                "checks": {
                    name: {"bound": bound, "found": asdict(spread), "verdict": verdict}
                    for name, (bound, spread, verdict) in self.checks().items()
                },
                "verdict": self.verdict(),
            },
        }

    def write(self, folder: Path = RESULTS) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.question.name}.json"
        path.write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")
        return path


def machine() -> dict[str, str | int]:
    info = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in info if line.startswith("model name")), platform.machine())
    return {
        "cpu": model,
        "cores": os.cpu_count() or 1,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def our_version() -> str:
    said = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=RESULTS)
    return f"nova {said.stdout.strip() or 'unknown'}"
