"""Makes inputs out of inputs: the same seed gives the same sequence."""

import random
from collections.abc import Sequence

MAX_INPUT = 65536  # bytes; enough for every limit that the kernels have on a single item
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0xFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutate(rng: random.Random, corpus: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    data = bytearray(rng.choice(corpus))
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5, 8))):
        _once(rng, data, corpus, words)
    return bytes(data[:MAX_INPUT])


def _once(rng: random.Random, data: bytearray, corpus: Sequence[bytes], words: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + int(rng.expovariate(1 / 8)) + 1)
    match rng.randrange(10):
        case 0 if at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        case 1 if at < len(data):
            data[at] = rng.randrange(256)
        case 2:
            del data[at:end]
        case 3:
            data[at:at] = data[at:end] * rng.choice((1, 1, 2, 10, 100))
        case 4 | 5 if words:
            data[at:at] = rng.choice(words)
        case 6:
            width = rng.choice((1, 2, 3, 4))
            data[at : at + width] = (rng.choice(NUMBERS) & (256**width - 1)).to_bytes(width, rng.choice(("big", "little")))
        case 7:
            other = rng.choice(corpus)
            data[at:] = other[rng.randrange(len(other) + 1) :]
        case 8:
            del data[at:]
        case _:
            data[at:at] = rng.randbytes(rng.randrange(1, 9))
