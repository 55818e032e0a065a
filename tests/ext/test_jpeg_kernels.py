"""Every kernel of the JPEG path against its oracle: plain C and what this machine has beside it give the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.ext import jpeg, jpeg_kernels
from tests.ext import jpeg_oracle as oracle


def _here(name: str) -> bool:
    try:
        jpeg.encode(b"\0", 1, 1, kernels=name)
    except ValueError:
        return False
    return True


KERNELS = [name for name in ("scalar", "avx2") if _here(name)]
every = pytest.mark.parametrize("kernels", KERNELS)
seeds = st.integers(0, 2**32 - 1)
# Entropy coded bytes: mostly anything, with the bytes that mean something more often than by chance.
coded = st.lists(
    st.one_of(st.binary(max_size=70), st.sampled_from([b"\xff\x00", b"\xff", b"\xff\xff", b"\xff\xd0", b"\xff\xd9"])), max_size=12
).map(b"".join)


def test_kernels_that_are_not_here_are_refused() -> None:
    with pytest.raises(ValueError, match="no such kernels"):
        jpeg.encode(b"\0", 1, 1, kernels="mmx")


@every
@given(data=coded, room=st.integers(1, 200))
def test_unstuffing_stops_where_the_oracle_does(kernels: str, data: bytes, room: int) -> None:
    assert jpeg_kernels.unstuff(kernels, data, room) == oracle.unstuff(data, room)


@every
@given(seed=seeds, n=st.integers(1, 8), reach=st.sampled_from([8, 200, 2000, 32767]))
def test_inverse_transform_of_every_size_is_the_oracles(kernels: str, seed: int, n: int, reach: int) -> None:
    rng = np.random.default_rng(seed)
    block = rng.integers(-reach, reach + 1, 64, endpoint=False).astype(np.int16)
    block[rng.random(64) < rng.random()] = 0
    assert jpeg_kernels.idct(kernels, block.tobytes(), n) == oracle.idct(block, n)


@every
@pytest.mark.parametrize("n", range(1, 9))
def test_inverse_transform_of_extremes_does_not_overflow(kernels: str, n: int) -> None:
    for value in (-32768, 32767):
        block = np.full(64, value, np.int16)
        assert jpeg_kernels.idct(kernels, block.tobytes(), n) == oracle.idct(block, n)


@every
@given(seed=seeds, count=st.integers(1, 20), width=st.integers(1, 100))
def test_sum_of_rows_is_the_oracles(kernels: str, seed: int, count: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [rng.integers(0, 256, width).astype(np.uint8).tobytes() for _ in range(2 * count)]
    weights = rng.integers(-4000, 16385, 2 * count).astype(np.int16)
    assert jpeg_kernels.vertical(kernels, rows, weights.tobytes()) == oracle.vertical(rows, weights)


@every
@given(seed=seeds, taps=st.sampled_from([16, 32, 48]), eights=st.integers(1, 5))
def test_sums_along_a_row_are_the_oracles(kernels: str, seed: int, taps: int, eights: int) -> None:
    rng = np.random.default_rng(seed)
    line = rng.integers(-2000, 22000, 150).astype(np.int16)
    start = rng.integers(0, 150, 8 * eights).astype(np.int32)
    weights = rng.integers(-500, 1500, (8 * eights, taps)).astype(np.int16)
    found = jpeg_kernels.horizontal(kernels, line.tobytes(), start.tobytes(), weights.tobytes(), taps)
    assert found == oracle.horizontal(line, start, weights)


@every
@given(samples=st.binary(min_size=64, max_size=64))
def test_forward_transform_is_the_oracles(kernels: str, samples: bytes) -> None:
    assert jpeg_kernels.fdct(kernels, samples) == oracle.fdct(samples)


@every
@given(seed=seeds)
def test_quantising_rounds_as_the_oracle(kernels: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    block = rng.integers(-16384, 16385, 64).astype(np.int16)
    reciprocal = (1 / (16 * rng.integers(1, 256, 64))).astype(np.float32)
    assert jpeg_kernels.quantise(kernels, block.tobytes(), reciprocal.tobytes()) == oracle.quantise(block, reciprocal)


def test_transform_and_back_is_the_picture() -> None:
    samples = bytes(np.random.default_rng(5).integers(0, 256, 64).astype(np.uint8))
    there = np.frombuffer(jpeg_kernels.fdct("scalar", samples), np.int16)
    back = jpeg_kernels.idct("scalar", np.rint(there / 16).astype(np.int16).tobytes(), 8)
    assert max(abs(a - b) for a, b in zip(samples, back, strict=True)) <= 2
