"""ThumbHash against a plain reading of its format."""

from math import cos, pi

from hypothesis import given, settings
from hypothesis import strategies as st

from nova.media.images.thumbhash import thumbhash


def average(found: bytes) -> tuple[float, float, float]:
    """Red, green and blue of the whole, as a reader of the format takes it from the first three bytes."""
    head = found[0] | found[1] << 8 | found[2] << 16
    luminance, p, q = (head & 63) / 63, (head >> 6 & 63) / 31.5 - 1, (head >> 12 & 63) / 31.5 - 1
    blue = luminance - 2 / 3 * p
    red = (3 * luminance - blue + q) / 2
    return red, red - q, blue


def ratio(found: bytes) -> float:
    """Width to height, as a reader takes it."""
    alpha, landscape = found[2] & 0x80, found[4] & 0x80
    lx = (5 if alpha else 7) if landscape else found[3] & 7
    ly = found[3] & 7 if landscape else 5 if alpha else 7
    return lx / ly


def test_a_plain_colour_is_that_colour() -> None:
    for colour in ((255, 0, 0), (0, 128, 0), (10, 20, 200), (255, 255, 255), (0, 0, 0)):
        found = thumbhash(8, 8, bytes([*colour, 255]) * 64)
        assert all(abs(a * 255 - b) < 14 for a, b in zip(average(found), colour, strict=True))
        assert found[5:] == b"\0" * len(found[5:])


def test_the_shape_is_kept() -> None:
    assert ratio(thumbhash(32, 16, bytes([9, 9, 9, 255]) * 512)) > 1.5
    assert ratio(thumbhash(16, 32, bytes([9, 9, 9, 255]) * 512)) < 0.7
    assert len(thumbhash(16, 16, bytes([9, 9, 9, 100]) * 256)) > len(thumbhash(8, 16, bytes([9, 9, 9, 100]) * 128)) - 6


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_the_first_coefficient_is_that_of_a_plain_transform(width: int, height: int, data: st.DataObject) -> None:
    rgba = data.draw(st.binary(min_size=3 * width * height, max_size=3 * width * height))
    pixels = b"".join(rgba[3 * at : 3 * at + 3] + b"\xff" for at in range(width * height))
    found = thumbhash(width, height, pixels)
    luminance = [sum(pixels[4 * at : 4 * at + 3]) / 765 for at in range(width * height)]
    assert found[0] & 63 == round(63 * sum(luminance) / len(luminance))
    nx, ny = max(3, round(7 * width / max(width, height))), max(3, round(7 * height / max(width, height)))
    values = []
    for cy in range(ny):
        for cx in range(nx):
            if cx * ny < nx * (ny - cy) and (cx or cy):
                values.append(sum(
                    luminance[x + y * width] * cos(pi / width * cx * (x + 0.5)) * cos(pi / height * cy * (y + 0.5))
                    for y in range(height) for x in range(width)
                ) / (width * height))  # fmt: skip
    scale = max(map(abs, values))
    assert (found[2] >> 2 & 31) == round(31 * scale)
    first = round(15 * (0.5 + 0.5 / scale * values[0])) if scale else 0
    assert abs((found[5] & 15) - first) <= 1
