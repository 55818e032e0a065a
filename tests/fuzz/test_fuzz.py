"""Each fuzz target for a moment, always on the same inputs; `make test-all` gives them time and the address sanitizer."""

import random

import pytest

from tests.fuzz.__main__ import fuzz
from tests.fuzz.mutate import mutate
from tests.fuzz.registry import targets

RUNS = 400  # inputs each: tenths of a second


@pytest.mark.parametrize("name", sorted(targets()))
def test_target_survives(name: str) -> None:
    done, _ = fuzz(targets()[name], seed=0, seconds=10, runs=max(RUNS, len(targets()[name].seeds)))
    assert done > 0


def test_same_seed_gives_the_same_inputs() -> None:
    def some() -> list[bytes]:
        rng = random.Random("x")
        return [mutate(rng, [b"abcdef", b"\x00" * 50], [b"word"]) for _ in range(200)]

    assert some() == some()
