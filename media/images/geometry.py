"""Where the pixels of a result come from: sizes, windows and orientations as arithmetic. Pure.

All windows are real numbers (x, y, width, height) from the upper left corner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nova.core.errors import BadRequest, TooLarge
from nova.media.images.options import ATTENTION, GRAVITIES, MAX_PIXELS, MAX_SIDE, Options

Size = tuple[int, int]
Window = tuple[float, float, float, float]

TURNED: Final = frozenset({5, 6, 7, 8})  # EXIF orientations that swap width and height


@dataclass(frozen=True, slots=True)
class Plan:
    """How one result is made from an upright source.

    window: of the source. size: what the window is resized to. canvas: the size of the result before `rotate`; larger than `size` around
    `contain`. at: where the picture lies on it.
    """

    window: Window
    size: Size
    canvas: Size
    at: tuple[int, int] = (0, 0)


def upright(size: Size, orientation: int) -> Size:
    """The size of a picture once its EXIF orientation is applied."""
    return (size[1], size[0]) if orientation in TURNED else size


def stored(window: Window, size: Size, orientation: int) -> Window:
    """A window of the upright picture as one of the picture as it is stored. size: of the upright picture."""
    x, y, w, h = window
    width, height = size
    match orientation:
        case 2:
            return (width - x - w, y, w, h)
        case 3:
            return (width - x - w, height - y - h, w, h)
        case 4:
            return (x, height - y - h, w, h)
        case 5:
            return (y, x, h, w)
        case 6:
            return (y, width - x - w, h, w)
        case 7:
            return (height - y - h, width - x - w, h, w)
        case 8:
            return (height - y - h, x, h, w)
        case _:
            return window


def plan(source: Size, options: Options, focus: tuple[float, float] | None = None) -> Plan:
    """The plan for a result of `options` from an upright source of that size.

    focus: where the attention lies, in fractions; needed for `g:attention` only, and the middle without it.
    Raises BadRequest `bad_options`: the crop lies outside; TooLarge `image_too_large`: the result would be.
    """
    x, y, width, height = 0.0, 0.0, float(source[0]), float(source[1])
    if options.crop is not None:
        x, y, width, height = map(float, options.crop)
        if x >= source[0] or y >= source[1]:
            raise BadRequest("bad_options", f"the crop lies outside of the picture, which has {source[0]} x {source[1]} pixels")
        width, height = min(width, source[0] - x), min(height, source[1] - y)
    wanted_w, wanted_h = options.width * options.dpr, options.height * options.dpr
    if not wanted_w and not wanted_h:
        size = _whole((width, height))
        return _bounded(Plan((x, y, width, height), size, size))
    fit = options.fit
    if not wanted_w or not wanted_h:
        scale = (wanted_w / width) if wanted_w else (wanted_h / height)
        wanted_w, wanted_h = width * scale, height * scale
        fit = "inside" if fit in ("inside", "outside") else fit
    horizontal, vertical = _point(options, focus, source, (x, y, width, height))
    if fit == "fill":
        if not options.enlarge:
            wanted_w, wanted_h = min(wanted_w, width), min(wanted_h, height)
        size = _whole((wanted_w, wanted_h))
        return _bounded(Plan((x, y, width, height), size, size))
    if fit == "cover":
        scale = max(wanted_w / width, wanted_h / height)
        w, h = wanted_w / scale, wanted_h / scale  # of the source, in the shape that is wanted
        if scale > 1 and not options.enlarge:
            wanted_w, wanted_h = w, h
        left = (
            x + _clamp(horizontal * width - w / 2, 0, width - w) if options.gravity in ("fp", ATTENTION) else x + horizontal * (width - w)
        )
        top = y + _clamp(vertical * height - h / 2, 0, height - h) if options.gravity in ("fp", ATTENTION) else y + vertical * (height - h)
        size = _whole((wanted_w, wanted_h))
        return _bounded(Plan((left, top, w, h), size, size))
    scale = (max if fit == "outside" else min)(wanted_w / width, wanted_h / height)
    if not options.enlarge:
        scale = min(scale, 1.0)
    size = _whole((width * scale, height * scale))
    if fit == "contain":
        canvas = _whole((wanted_w, wanted_h))
        size = (min(size[0], canvas[0]), min(size[1], canvas[1]))
        at = (round(horizontal * (canvas[0] - size[0])), round(vertical * (canvas[1] - size[1])))
        return _bounded(Plan((x, y, width, height), size, canvas, at))
    return _bounded(Plan((x, y, width, height), size, size))


def _point(options: Options, focus: tuple[float, float] | None, source: Size, window: Window) -> tuple[float, float]:
    """What shall be kept, in fractions of the window."""
    if options.gravity == "fp" and options.focal is not None:
        return _within(options.focal, source, window)
    if options.gravity == ATTENTION:
        return (0.5, 0.5) if focus is None else _within(focus, source, window)
    return GRAVITIES[options.gravity]


def _within(point: tuple[float, float], source: Size, window: Window) -> tuple[float, float]:
    x, y, width, height = window
    return _clamp((point[0] * source[0] - x) / width, 0, 1), _clamp((point[1] * source[1] - y) / height, 0, 1)


def _clamp(value: float, least: float, most: float) -> float:
    return min(max(value, least), max(most, least))


def _whole(size: tuple[float, float]) -> Size:
    return max(1, round(size[0])), max(1, round(size[1]))


def _bounded(plan: Plan) -> Plan:
    width, height = plan.canvas[0], plan.canvas[1]
    widest = max(width, height, *plan.size)
    if widest > 2 * MAX_SIDE or max(width * height, plan.size[0] * plan.size[1]) > 2 * MAX_PIXELS:
        raise TooLarge("image_too_large", f"a result of {width} x {height} pixels is too large")
    return plan
