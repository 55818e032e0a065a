"""The compiled JPEG path, behind one door: nova.ext.jpeg where it is built, nothing where it is not.

It decodes no more than the targets need, resizes YCbCr planes, and gives several results from one decode. What it does not take (CMYK,
12 bits, arithmetic coding) goes the slow way; what it finds damaged does not: that is an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

from nova.core.errors import BadRequest, NovaError, TooLarge, Unprocessable
from nova.media.images import codec
from nova.media.images.codec import Encoding, Pixels
from nova.media.images.geometry import Plan, Size, Window, plan
from nova.media.images.job import Done, Facts, Job, Made, Output
from nova.media.images.options import ATTENTION, Options

try:
    from nova.ext import jpeg as _jpeg
except ImportError:  # a machine without it: everything goes the slow way
    _jpeg = None  # type: ignore[assignment]

Finish = Callable[[Pixels, Output, bytes], tuple[Pixels, bytes]]

MEMORY: Final = 384 << 20  # bytes of one job; a progressive file of 50 megapixels takes 150 MB
_LARGE: Final = frozenset({"too_large", "file_too_large", "too_many_scans", "too_many_segments", "memory"})


def present() -> bool:
    """Whether the compiled path is built."""
    return _jpeg is not None


@dataclass(frozen=True, slots=True)
class _Part:
    """How one output comes about. whole: the plan's window is cut out afterwards, where the attention lies."""

    output: Output
    plan: Plan
    direct: bool
    whole: bool


def render(data: bytes, job: Job, *, finish: Finish, deadline: float) -> Done | None:
    """The results; None: not a file, or not options, for this path. Raises as render.render."""
    linear = any(each.options.linear for each in job.outputs)
    if any(not each.options.upright or each.options.linear != linear for each in job.outputs):
        return None
    try:
        info = _jpeg.probe(data, max_pixels=job.limits.pixels, max_file=job.limits.file_bytes)
        if not info.supported:
            return None
        size = (info.upright_width, info.upright_height)
        profile = info.icc_profile
        native = not profile or codec.is_srgb(profile)
        parts = [_part(each, size, native) for each in job.outputs]
        began = perf_counter()
        done = _jpeg.thumbnail(
            data, [_target(each, profile) for each in parts], fast=bool(parts) and all(each.output.options.fast for each in parts),
            linear=linear, placeholder=job.facts, deadline=deadline, memory=MEMORY, max_pixels=job.limits.pixels,
            max_file=job.limits.file_bytes, max_scans=job.limits.scans,
        )  # fmt: skip
    except _jpeg.JpegError as error:
        if error.code == "unsupported":
            return None
        raise _told(error) from None
    share = (perf_counter() - began) * 1000 / max(1, len(parts))
    facts = None
    if job.facts:
        facts = Facts("jpeg", *size, 1, info.orientation, False, done.color, done.thumbhash)
    return Done(facts, [_made(part, result, profile, finish, share) for part, result in zip(parts, done.results, strict=True)])


def resize_linear(image: Pixels, size: Size, window: Window) -> Pixels:
    """As codec.resize, in linear light: by sRGB's curve, which the profiles of most pictures share.

    image: grey, RGB or RGBA. Raises BadRequest: the compiled path is not built; TooLarge: memory.
    """
    if _jpeg is None:
        raise BadRequest("bad_options", "option 'li': not on this machine")
    if size == image.size and window == (0.0, 0.0, float(image.width), float(image.height)):
        return image
    try:
        data = _jpeg.resize_linear(image.tobytes(), *image.size, len(image.getbands()), *size, window=window, memory=MEMORY)
    except _jpeg.JpegError as error:
        raise _told(error) from None
    return codec.from_packed(image.mode, size, data)


def _part(output: Output, size: tuple[int, int], native: bool) -> _Part:
    options = output.options
    whole = options.gravity == ATTENTION and options.fit == "cover" and bool(options.width) and bool(options.height)
    chosen = plan(size, options)
    direct = output.format == "jpg" and not whole and chosen.canvas == chosen.size and _plain(options) and (native or options.keep_profile)
    return _Part(output, chosen, direct, whole)


def _plain(options: Options) -> bool:
    """Whether nothing is left to do once the size is right."""
    return not (options.rotate or options.flip or options.blur or options.sharpen or options.watermark)


def _target(part: _Part, profile: bytes) -> Any:
    options, chosen = part.output.options, part.plan
    if part.direct:
        return _jpeg.Target(
            *chosen.size, window=chosen.window, quality=options.quality or codec.QUALITIES["jpg"], max_bytes=options.max_bytes,
            progressive=options.progressive, optimize=options.progressive, icc=profile if options.keep_profile else b"",
        )  # fmt: skip
    if not part.whole:
        return _jpeg.Target(*chosen.size, window=chosen.window, output="rgb")
    x, y, width, height = _around(part)
    scale = chosen.size[0] / chosen.window[2], chosen.size[1] / chosen.window[3]
    return _jpeg.Target(max(1, round(width * scale[0])), max(1, round(height * scale[1])), window=(x, y, width, height), output="rgb")


def _around(part: _Part) -> tuple[float, float, float, float]:
    """What the attention is looked for in: the crop, or as much as `cover` slides over."""
    crop = part.output.options.crop
    x, y, width, height = part.plan.window
    if crop is not None:
        # The plan's window touches the crop's borders in one direction and lies centered in the other.
        left, top = float(crop[0]), float(crop[1])
        return left, top, width + 2 * (x - left), height + 2 * (y - top)
    return 0.0, 0.0, width + 2 * x, height + 2 * y


def _made(part: _Part, result: Any, profile: bytes, finish: Finish, share: float) -> Made:
    output, options = part.output, part.output.options
    if part.direct:
        return Made("jpg", result.width, result.height, result.quality, round(share, 2), result.data)
    began = perf_counter()
    pixels = codec.from_packed("RGB", (result.width, result.height), result.data)
    if part.whole:
        pixels = codec.cut(pixels, part.plan.size, codec.attention(pixels))
    pixels = codec.place(pixels, part.plan.canvas, part.plan.at, options.background)
    pixels, kept = finish(pixels, output, profile)
    if output.format == "webp" and max(pixels.size) > codec.MAX_WEBP:
        raise TooLarge("image_too_large", f"a webp has at most {codec.MAX_WEBP} pixels a side")
    data, quality = codec.encode(pixels, Encoding(output.format, options.quality, options.max_bytes, options.progressive, kept))
    return Made(output.format, pixels.width, pixels.height, quality, round(share + (perf_counter() - began) * 1000, 2), data)


def _told(error: Any) -> NovaError:
    if error.code in _LARGE:
        return TooLarge("image_too_large", f"the jpeg is above a limit ({error.code})")
    if error.code == "deadline":
        return Unprocessable("image_too_costly", "the jpeg takes more time than it may")
    return Unprocessable("bad_image", f"the jpeg is damaged or cut short ({error.code})")
