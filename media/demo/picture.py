"""The demo picture: planets on their way around a star over a still night sky, the time, and the time for programs.

Pure. Planes are planar YUV 4:2:0 (BT.601, limited range). What does not move is drawn once; a frame copies it and
writes rows of bytes over it, which is a thousandth of what the encoder takes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeAlias

from nova.media.demo import font, stamp

WHITE: Final = 235  # luma
BLACK: Final = 16
NEUTRAL: Final = 128  # chroma

Sprite: TypeAlias = tuple[tuple[int, bytes], ...]  # for each row: columns to skip, samples


class Plane:
    """One plane of 8-bit samples, `width` per row, without padding."""

    __slots__ = ("data", "height", "width")

    def __init__(self, width: int, height: int, value: int = 0, data: bytearray | None = None) -> None:
        self.width = width
        self.height = height
        self.data = bytearray([value]) * (width * height) if data is None else data

    def copy(self) -> Plane:
        return Plane(self.width, self.height, data=bytearray(self.data))

    def box(self, x: int, y: int, width: int, height: int, value: int) -> None:
        """Fill a rectangle that lies inside."""
        self.rows(x, y, height, bytes([value]) * width)

    def rows(self, x: int, y: int, count: int, row: bytes) -> None:
        """Write the same bytes into `count` rows, from (x, y) on."""
        for at in range(y * self.width + x, (y + count) * self.width + x, self.width):
            self.data[at : at + len(row)] = row

    def put(self, x: int, y: int, sprite: Sprite) -> None:
        """Write a sprite with its corner at (x, y); it lies inside."""
        at = y * self.width + x
        for skip, row in sprite:
            self.data[at + skip : at + skip + len(row)] = row
            at += self.width


@dataclass(frozen=True, slots=True)
class Planet:
    """A shaded disc on an ellipse around the star. Lengths in parts of the picture's height, period in seconds."""

    radius: float
    orbit_x: float
    orbit_y: float
    period: float
    phase: float  # parts of a turn
    luma: int
    cb: int
    cr: int


PLANETS: Final = (
    Planet(radius=0.048, orbit_x=0.24, orbit_y=0.10, period=5.0, phase=0.10, luma=196, cb=92, cr=150),
    Planet(radius=0.085, orbit_x=0.47, orbit_y=0.17, period=11.0, phase=0.55, luma=150, cb=160, cr=98),
    Planet(radius=0.062, orbit_x=0.70, orbit_y=0.22, period=19.0, phase=0.80, luma=170, cb=116, cr=176),
)
STAR_Y: Final = 0.34  # of the height; the centre of every orbit


class Picture:
    """Draws frames of one size. width: a multiple of 64, so that no plane needs padding; height: even, at least 180."""

    def __init__(self, width: int, height: int) -> None:
        if width % 64 or height % 2 or height < 180 or width < height:
            raise ValueError(f"a picture of {width}x{height} cannot be drawn")
        self.width = width
        self.height = height
        self._clock_scale = max(2, width // 100)
        self._clock_x = (width - font.text_width("00:00:00.000", self._clock_scale)) // 2
        self._clock_y = round(height * 0.68)
        self._square = width // 96 & ~1
        self._still = self._night()
        self._planets = [
            (planet, self._lit_disc(planet), self._flat_disc(planet, planet.cb), self._flat_disc(planet, planet.cr)) for planet in PLANETS
        ]
        self._signs = {sign: self._sign_rows(sign, self._clock_scale) for sign in font.GLYPHS}

    def draw(self, at_ms: int) -> tuple[bytes, bytes, bytes]:
        """The planes Y, Cb and Cr of the frame made at `at_ms`, milliseconds since 1970."""
        luma, cb, cr = (plane.copy() for plane in self._still)
        for planet, lit, blue, red in self._planets:
            turn = 2 * math.pi * (at_ms / 1000 % planet.period / planet.period + planet.phase)
            radius = len(lit) // 2
            x = round(self.width / 2 + planet.orbit_x * self.height * math.cos(turn)) - radius & ~1
            y = round(self.height * (STAR_Y + planet.orbit_y * math.sin(turn))) - radius & ~1
            luma.put(x, y, lit)
            cb.put(x // 2, y // 2, blue)
            cr.put(x // 2, y // 2, red)
        time = datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%H:%M:%S.") + f"{at_ms % 1000:03}"
        self._write(luma, time, self._clock_x, self._clock_y)
        self._stamp(luma, at_ms)
        return bytes(luma.data), bytes(cb.data), bytes(cr.data)

    def squares(self) -> list[tuple[int, int]]:
        """The centre of every square of the time stamp, left to right: what a reader of the screen samples."""
        left, top = self._stamp_corner()
        half = self._square // 2
        return [(left + i * self._square + half, top + half) for i in range(stamp.BITS)]

    def _stamp_corner(self) -> tuple[int, int]:
        return (self.width - stamp.BITS * self._square) // 2 & ~1, self.height - 3 * self._square

    def _stamp(self, luma: Plane, at_ms: int) -> None:
        x, y = self._stamp_corner()
        row = b"".join(bytes([WHITE if bit else BLACK]) * self._square for bit in stamp.encode(at_ms))
        luma.rows(x, y, self._square, row)

    def _write(self, luma: Plane, text: str, x: int, y: int) -> None:
        scale = self._clock_scale
        for i in range(font.HEIGHT):
            luma.rows(x, y + i * scale, scale, b"".join(self._signs[sign][i] for sign in text))

    def _sign_rows(self, sign: str, scale: int, ink: int = WHITE, ground: int = BLACK + 12) -> tuple[bytes, ...]:
        return tuple(b"".join(bytes([ink if dot else ground]) * scale for dot in row) for row in font.GLYPHS[sign])

    def _radius(self, planet: Planet) -> int:
        return round(planet.radius * self.height / 2) * 2  # even: chroma has half of it

    def _lit_disc(self, planet: Planet) -> Sprite:
        """The planet's luma, lit from the upper left."""
        radius = self._radius(planet)
        rows = []
        for dy, half in _disc(radius):
            light = (max(0.32, 0.80 - 0.55 * dx / radius - 0.39 * dy / radius) for dx in range(-half, half))
            rows.append((radius - half, bytes(min(WHITE, BLACK + int((planet.luma - BLACK) * part)) for part in light)))
        return tuple(rows)

    def _flat_disc(self, planet: Planet, value: int) -> Sprite:
        """One of the planet's chroma planes."""
        radius = self._radius(planet) // 2
        return tuple((radius - half, bytes([value]) * (2 * half)) for _, half in _disc(radius))

    def _night(self) -> tuple[Plane, Plane, Plane]:
        """The sky, the star and the panel of the clock."""
        width, height = self.width, self.height
        luma, cb, cr = Plane(width, height, BLACK), Plane(width // 2, height // 2, NEUTRAL), Plane(width // 2, height // 2, NEUTRAL)
        for y in range(height):
            luma.rows(0, y, 1, bytes([24 + 30 * y // height]) * width)
        for y in range(height // 2):
            cb.rows(0, y, 1, bytes([150 - 8 * y // (height // 2)]) * (width // 2))
            cr.rows(0, y, 1, bytes([120 + 26 * y // (height // 2)]) * (width // 2))
        sky = random.Random(7)  # noqa: S311 -- the same stars in every frame and every run
        for _ in range(width // 8):
            luma.box(sky.randrange(width - 2), sky.randrange(height * 2 // 3), 2, 2, sky.randrange(70, 190))
        self._nova(luma, cb, cr)
        scale = self._clock_scale
        panel_x, panel_y = self._clock_x - 3 * scale, self._clock_y - 2 * scale
        panel_width, panel_height = width - 2 * panel_x, (font.HEIGHT + 4) * scale
        luma.box(panel_x, panel_y, panel_width, panel_height, BLACK + 12)
        square, (left, top) = self._square, self._stamp_corner()
        for plane in (cb, cr):
            plane.box(panel_x // 2, panel_y // 2, panel_width // 2, panel_height // 2, NEUTRAL)
            plane.box((left - square) // 2, (top - square) // 2, (stamp.BITS + 2) * square // 2, 3 * square // 2, NEUTRAL)
        luma.box(left - square, top - square, (stamp.BITS + 2) * square, 3 * square, BLACK)
        self._title(luma, panel_x, panel_y, scale)
        return luma, cb, cr

    def _title(self, luma: Plane, x: int, y: int, scale: int) -> None:
        small = max(1, scale // 3)
        y -= (font.HEIGHT + 2) * small
        for text, left in (("NOVA DEMO", x), ("UTC", self.width - x - font.text_width("UTC", small))):
            for row in range(font.HEIGHT):
                for i, sign in enumerate(text):
                    for column, dot in enumerate(font.GLYPHS[sign][row]):
                        if dot:
                            luma.box(left + (i * (font.WIDTH + 1) + column) * small, y + row * small, small, small, 200)

    def _nova(self, luma: Plane, cb: Plane, cr: Plane) -> None:
        """A star of four points, |x|^½ + |y|^½ <= 1, golden."""
        reach = round(self.height * 0.11) & ~1
        middle_x, middle_y = self.width // 2, round(self.height * STAR_Y) & ~1
        for dy in range(-reach, reach):
            half = int(reach * (1 - math.sqrt(abs(dy) / reach)) ** 2)
            if half == 0:
                continue
            luma.box(middle_x - half, middle_y + dy, 2 * half, 1, 190)
            if dy % 2 == 0:
                cb.box((middle_x - half) // 2, (middle_y + dy) // 2, half, 1, 40)
                cr.box((middle_x - half) // 2, (middle_y + dy) // 2, half, 1, 158)


def _disc(radius: int) -> Iterator[tuple[int, int]]:
    """For each row of a disc: its offset from the middle, and half its width."""
    for dy in range(-radius, radius):
        yield dy, int(math.sqrt(max(0.0, radius**2 - (dy + 0.5) ** 2)))
