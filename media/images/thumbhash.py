"""ThumbHash: a picture in some 25 bytes, to be shown until it is there (evanw/thumbhash, the published format). Pure.

The cosine transform is done row by row, then column by column: the cost of a miniature of 32 x 32 is some milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi
from typing import Final

SIDE: Final = 32  # of the miniature; the format allows 100, the coefficients need no more


def thumbhash(width: int, height: int, rgba: bytes) -> bytes:
    """The hash of RGBA bytes, neither side above 100."""
    assert width <= 100
    assert height <= 100
    count = width * height
    alphas = [value / 255 for value in rgba[3::4]]
    total = sum(alphas)
    means = [0.0, 0.0, 0.0]
    for channel in range(3):
        weighed = sum(value / 255 * alpha for value, alpha in zip(rgba[channel::4], alphas, strict=True))
        means[channel] = weighed / total if total else 0.0
    transparent = total < count
    limit = 5 if transparent else 7
    longer = max(width, height)
    lx, ly = max(1, round(limit * width / longer)), max(1, round(limit * height / longer))
    luminance, yellow, green = [0.0] * count, [0.0] * count, [0.0] * count
    for at in range(count):
        alpha = alphas[at]
        r, g, b = (means[channel] * (1 - alpha) + alpha / 255 * rgba[4 * at + channel] for channel in range(3))
        luminance[at], yellow[at], green[at] = (r + g + b) / 3, (r + g) / 2 - b, r - g
    l_dc, l_ac, l_scale = _channel(luminance, width, height, max(3, lx), max(3, ly))
    p_dc, p_ac, p_scale = _channel(yellow, width, height, 3, 3)
    q_dc, q_ac, q_scale = _channel(green, width, height, 3, 3)
    landscape = width > height
    head = (
        round(63 * l_dc) | round(31.5 + 31.5 * p_dc) << 6 | round(31.5 + 31.5 * q_dc) << 12 | round(31 * l_scale) << 18 | transparent << 23
    )
    tail = (ly if landscape else lx) | round(63 * p_scale) << 3 | round(63 * q_scale) << 9 | landscape << 15
    found = bytearray([head & 255, head >> 8 & 255, head >> 16, tail & 255, tail >> 8])
    coefficients = [l_ac, p_ac, q_ac]
    if transparent:
        a_dc, a_ac, a_scale = _channel(alphas, width, height, 5, 5)
        found.append(round(15 * a_dc) | round(15 * a_scale) << 4)
        coefficients.append(a_ac)
    nibbles = [round(15 * value) for each in coefficients for value in each]
    for at in range(0, len(nibbles), 2):
        found.append(nibbles[at] | (nibbles[at + 1] << 4 if at + 1 < len(nibbles) else 0))
    return bytes(found)


def _channel(values: Sequence[float], width: int, height: int, nx: int, ny: int) -> tuple[float, list[float], float]:
    """The constant term, the others in 0 … 1 by the triangle's order, and their scale."""
    across = [[cos(pi / width * cx * (x + 0.5)) for x in range(width)] for cx in range(nx)]
    down = [[cos(pi / height * cy * (y + 0.5)) for y in range(height)] for cy in range(ny)]
    rows = [values[y * width : (y + 1) * width] for y in range(height)]
    # sums[cx][y]: the row's part; the column's comes below.
    sums = [[sum(map(float.__mul__, row, wave)) for row in rows] for wave in across]
    constant, others, scale = 0.0, list[float](), 0.0
    for cy in range(ny):
        cx = 0
        while cx * ny < nx * (ny - cy):
            value = sum(map(float.__mul__, sums[cx], down[cy])) / (width * height)
            if cx or cy:
                others.append(value)
                scale = max(scale, abs(value))
            else:
                constant = value
            cx += 1
    if scale < 1e-9:  # what rounding left of a plain colour
        return constant, [0.0] * len(others), 0.0
    return constant, [0.5 + 0.5 / scale * value for value in others], scale
