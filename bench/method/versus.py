"""The fixture's heart: anchor and ours in turn, pair by pair, in one run.

Each pair is one round of pytest-benchmark. The order changes from pair to pair, so that a machine that slows down during the
run slows both. One pair before the first is thrown away: caches, lazy imports and connection tables are warm after it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.method.results import Question, Result, Sample, our_version

Run = Callable[[], Sample]
MIN_PAIRS = 7  # fewer say too little to be kept


class Versus:
    def __init__(self, benchmark: Any, pairs: int, results: Path, say: Callable[[str], None]) -> None:
        self._benchmark = benchmark
        self._pairs = pairs
        self._results = results
        self._say = say

    def __call__(self, question: Question, *, ours: Run, anchor: Run | None = None, anchor_name: str | None = None) -> Result:
        """Measures, writes the result file, says what was found. Never fails on a missed goal: the report shows it."""
        pairs: list[tuple[Sample | None, Sample]] = []

        def pair() -> None:
            if anchor is None:
                pairs.append((None, ours()))
            elif len(pairs) % 2:
                sample = ours()
                pairs.append((anchor(), sample))
            else:
                pairs.append((anchor(), ours()))

        if self._pairs > 1:
            pair()
            pairs.clear()
        self._benchmark.pedantic(pair, rounds=self._pairs, iterations=1, warmup_rounds=0)
        result = Result(question, anchor_name, our_version(), pairs)
        said = result.to_json()
        self._benchmark.extra_info.update(said["summary"])
        path = result.write(self._results)
        for name, (bound, spread, verdict) in result.checks().items():
            self._say(f"{question.name}: {name} {spread.median:.4g} [{spread.low:.4g} … {spread.high:.4g}], goal {bound:g}: {verdict}")
        self._say(f"{question.name}: {path}")
        return result
