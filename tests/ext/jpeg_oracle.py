"""The JPEG kernels in a few lines each (ITU-T T.81; integers as the kernels have them)."""

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.int16]


def unstuff(data: bytes, room: int) -> tuple[bytes, int, int]:
    out, at = bytearray(), 0
    while len(out) < room:
        if at == len(data):
            return bytes(out), at, 0
        if data[at] == 0xFF:
            if at + 1 == len(data):
                return bytes(out), len(data), 0
            if data[at + 1] == 0xFF:
                at += 1
                continue
            if data[at + 1]:
                return bytes(out), at, data[at + 1]
            out.append(0xFF)
            at += 2
            continue
        out.append(data[at])
        at += 1
    return bytes(out), at, -1


def basis(n: int) -> npt.NDArray[np.int64]:
    """[sample][coefficient]: the N-point transform of coefficients of an eight-point one, 13 bits."""
    x, u = np.mgrid[0:n, 0:n]
    scale = np.where(u == 0, np.sqrt(1 / n), np.sqrt(2 / n)) * np.sqrt(n / 8)
    return np.rint(scale * np.cos((2 * x + 1) * u * np.pi / (2 * n)) * 8192).astype(np.int64)


def idct(block: Words, n: int) -> bytes:
    m, low = basis(n), block.reshape(8, 8)[:n, :n].astype(np.int64)
    half = np.clip((m @ low + (1 << 9)) >> 10, -32768, 32767)
    return bytes(np.clip(((half @ m.T + (1 << 15)) >> 16) + 128, 0, 255).astype(np.uint8))


def fdct(samples: bytes) -> bytes:
    m = basis(8).T
    level = np.frombuffer(samples, np.uint8).reshape(8, 8).astype(np.int64) - 128
    half = (m @ level + (1 << 8)) >> 9
    return ((half @ m.T + (1 << 12)) >> 13).astype(np.int16).tobytes()


def quantise(block: Words, reciprocal: npt.NDArray[np.float32]) -> bytes:
    return np.rint(block.astype(np.float32) * reciprocal).astype(np.int16).tobytes()


def vertical(rows: list[bytes], weights: Words) -> bytes:
    samples = np.stack([np.frombuffer(row, np.uint8) for row in rows]).astype(np.int64)
    return np.clip((weights.astype(np.int64) @ samples + (1 << 7)) >> 8, -32768, 32767).astype(np.int16).tobytes()


def horizontal(line: Words, start: npt.NDArray[np.int32], weights: Words) -> bytes:
    """weights: outputs x taps."""
    padded = np.concatenate([line, np.zeros(weights.shape[1], np.int16)]).astype(np.int64)
    sums = [int(weights[i].astype(np.int64) @ padded[at : at + weights.shape[1]]) for i, at in enumerate(start)]
    return bytes(np.clip((np.array(sums) + (1 << 19)) >> 20, 0, 255).astype(np.uint8))
