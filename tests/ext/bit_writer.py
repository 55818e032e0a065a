"""Writes headers bit by bit: the other direction of ext/bits.pxd, and the oracle of what reads them."""

from __future__ import annotations


class BitWriter:
    def __init__(self) -> None:
        self.bits: list[int] = []

    def u(self, count: int, value: int) -> BitWriter:
        self.bits += [value >> shift & 1 for shift in range(count - 1, -1, -1)]
        return self

    def ue(self, value: int) -> BitWriter:
        count = (value + 1).bit_length()
        return self.u(count - 1, 0).u(count, value + 1)

    def se(self, value: int) -> BitWriter:
        return self.ue(2 * value - 1 if value > 0 else -2 * value)

    def bytes(self) -> bytes:
        padded = self.bits + [0] * (-len(self.bits) % 8)
        return bytes(int("".join(map(str, padded[at : at + 8])), 2) for at in range(0, len(padded), 8))


def escape(payload: bytes) -> bytes:
    """Emulation prevention (H.264, 7.4.1)."""
    out, zeros = bytearray(), 0
    for byte in payload:
        if zeros >= 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


def avcc(sps: bytes, *, profile: int, constraints: int, level: int, pps: bytes = b"\x68\xce\x3c\x80", length_size: int = 4) -> bytes:
    head = bytes((1, profile, constraints, level, 0xFC | length_size - 1, 0xE1))
    return head + len(sps).to_bytes(2, "big") + sps + b"\x01" + len(pps).to_bytes(2, "big") + pps
