"""Traces of requests like those of a CDN: (object, bytes), made anew from a seed."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Iterator
from itertools import accumulate

Request = tuple[int, int]


def zipf(count: int, objects: int, skew: float, seed: int) -> Iterator[Request]:
    """Small objects of lognormal sizes, by a Zipf law of their popularity."""
    rand = random.Random(seed)
    weights = list(accumulate(1 / (rank + 1) ** skew for rank in range(objects)))
    sizes = [max(200, min(int(rand.lognormvariate(9, 1.2)), 400_000)) for _ in range(objects)]
    for _ in range(count):
        chosen = bisect(weights, rand.random() * weights[-1])
        yield chosen, sizes[chosen]


def hls(count: int, streams: int, seed: int) -> Iterator[Request]:
    """Sliding live windows: players ask for the newest segments of a stream, popular streams more."""
    rand = random.Random(seed)
    edge = [0] * streams
    for number in range(count):
        stream = min(int(rand.paretovariate(0.8)) - 1, streams - 1)
        if number % 20 == 0:
            edge[stream] += 1
        segment = max(0, edge[stream] - int(rand.expovariate(0.7)))
        yield (1 << 40) + stream * 1_000_000 + segment, 400_000 + (stream * 7919 + segment) % 100_000


def mix(count: int, seed: int) -> list[Request]:
    """55 % small objects, 25 % live windows, 20 % that nobody asks for twice."""
    rand = random.Random(seed)
    small, live = zipf(count, 20_000, 0.9, seed + 1), hls(count, 60, seed + 2)
    found = []
    for number in range(count):
        dice = rand.random()
        if dice < 0.55:
            found.append(next(small))
        elif dice < 0.8:
            found.append(next(live))
        else:
            found.append(((1 << 50) + number, rand.randrange(1000, 100_000)))
    return found


def hash64(name: int) -> int:
    """A good hash of a number (splitmix64)."""
    x = (name + 0x9E3779B97F4A7C15) & (2**64 - 1)
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & (2**64 - 1)
    return x ^ x >> 31
