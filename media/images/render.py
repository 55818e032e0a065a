"""One source to its results, from one decode. Pure compute: runs in a worker process.

JPEGs and PNGs go through the compiled paths (`fast`, `png`) as far as those take them; everything else, and what they leave, through
`codec`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Final

from nova.core.errors import TooLarge
from nova.media.images import codec, fast, geometry, png, sniff
from nova.media.images.codec import Opened, Pixels
from nova.media.images.geometry import Plan, Size, Window, plan
from nova.media.images.job import Done, Facts, Job, Made, Output
from nova.media.images.options import ANIMATED, ATTENTION, GRAVITIES, Options
from nova.media.images.thumbhash import SIDE, thumbhash

SAMPLE: Final = 128  # pixels of the miniature for placeholders and attention


def render(data: bytes, job: Job, marks: Mapping[str, bytes] | None = None, *, deadline: float = float("inf")) -> Done:
    """The results of `job` from the bytes of a picture.

    marks: bytes of the pictures that are laid over. deadline: CLOCK_MONOTONIC seconds, for the compiled paths; processes have limits of
    their own. Raises NovaError with a code that tells the sender what is wrong.
    """
    header = sniff.look(memoryview(data), job.limits)
    if header.format == "jpeg" and fast.present():

        def finish(pixels: Pixels, output: Output, profile: bytes) -> tuple[Pixels, bytes]:
            return _finish(pixels, output, profile, _marks(job, marks))

        done = fast.render(data, job, finish=finish, deadline=deadline)
        if done is not None:
            return done
    if header.format == "png" and png.present():
        done = _by_rows(data, header, job, marks, deadline)
        if done is not None:
            return done
    return _slow(data, header, job, marks)


def _by_rows(data: bytes, header: sniff.Header, job: Job, marks: Mapping[str, bytes] | None, deadline: float) -> Done | None:
    """As `_slow`, from the rows of a PNG as they are inflated; None: not a file, or not options, for that."""
    began = perf_counter()
    source = png.look(data, header, job.limits)
    if source is None:
        return None
    opened = source.opened
    places = [_place(opened, each.options) for each in job.outputs]
    wanted = [(each.size, each.window) for each in places if each is not None]
    attentive = any(each.options.gravity == ATTENTION for each in job.outputs)
    if job.facts or attentive:
        wanted.append((_small(opened.size), (0.0, 0.0, float(opened.size[0]), float(opened.size[1]))))
    # What keeps its size is not resampled; where colours are weighed by alpha it would lose bits here.
    kept = source.alpha and any(size == (round(window[2]), round(window[3])) for size, window in wanted)
    if not wanted or None in places or kept:
        return None
    found = png.shrink(source, wanted, deadline)
    if found is None:
        return None
    pictures, opaque = found
    overlays = _marks(job, marks)
    small = codec.turn(pictures[-1], opened.orientation)
    facts = None
    if job.facts:
        size = geometry.upright(opened.size, opened.orientation)
        alpha = source.alpha and not opaque
        facts = facts_of(header.format, size, 1, opened.orientation, alpha, codec.to_srgb(small, opened.profile))
    focus = codec.attention(small) if attentive else (0.5, 0.5)
    share = (perf_counter() - began) / max(1, len(job.outputs))
    made = []
    for output, pixels in zip(job.outputs, pictures, strict=False):
        began = perf_counter() - share
        size, orientation = _lies(opened, output.options)
        chosen = plan(size, output.options)
        upright = codec.turn(pixels, orientation)
        if output.options.gravity == ATTENTION:
            upright = codec.cut(upright, chosen.size, focus)
        placed = codec.place(upright, chosen.canvas, chosen.at, output.options.background)
        made.append(_encoded(*_finish(placed, output, opened.profile, overlays), output, began))
    return Done(facts, made)


@dataclass(frozen=True, slots=True)
class _Place:
    """Which window of the picture one result comes from, and in which size, both as stored."""

    size: Size
    window: Window


def _place(opened: Opened, options: Options) -> _Place | None:
    """None: not an option for pictures that come row by row. Raises as geometry.plan."""
    size, orientation = _lies(opened, options)
    chosen = plan(size, options)
    if options.linear:
        return None
    window, wanted = chosen.window, chosen.size
    if options.gravity == ATTENTION:
        if options.fit != "cover" or not options.width or not options.height or options.crop is not None:
            return None
        # Where it lies is known at the end: as much as `cover` slides over.
        wanted = max(1, round(size[0] * wanted[0] / window[2])), max(1, round(size[1] * wanted[1] / window[3]))
        window = (0.0, 0.0, float(size[0]), float(size[1]))
    return _Place(geometry.upright(wanted, orientation), geometry.stored(window, size, orientation))


def _slow(data: bytes, header: sniff.Header, job: Job, marks: Mapping[str, bytes] | None) -> Done:
    opened = codec.open_picture(data, header, job.limits)
    sniff.check(replace(header, width=opened.size[0], height=opened.size[1]), job.limits)
    overlays = _marks(job, marks)
    moving = [_moves(header, each) for each in job.outputs]
    still: Pixels | None = None
    factor, focus = 1.0, None
    facts = None
    if job.facts or not all(moving):
        largest = _largest(opened, [each for each, moves in zip(job.outputs, moving, strict=True) if not moves], job.facts)
        raw, factor = codec.decode(opened, largest)
        with codec.damaged(header.format):
            still = codec.plain(raw)
            if header.frames > 1:
                still = still.copy()
    if still is not None:
        if job.facts:
            facts = _facts(opened, still)
        if any(each.options.gravity == ATTENTION for each in job.outputs):
            focus = codec.attention(codec.turn(_miniature(still), opened.orientation))
    made: list[Made | None] = []
    for output, moves in zip(job.outputs, moving, strict=True):
        if moves:
            made.append(None)
            continue
        began = perf_counter()
        assert still is not None
        with codec.damaged(header.format):
            pixels = _fitted(opened, still, factor, output.options, focus)
        made.append(_encoded(*_finish(pixels, output, opened.profile, overlays), output, began))
    if any(moving):
        made = _animations(opened, job, moving, made, overlays, focus)
    return Done(facts, [each for each in made if each is not None])


def _marks(job: Job, marks: Mapping[str, bytes] | None) -> dict[str, Pixels]:
    """The pictures that are laid over, decoded small: none is wider than what it lies on."""
    found = {}
    for name in job.marks:
        data = (marks or {})[name]
        header = sniff.look(memoryview(data), job.limits)
        opened = codec.open_picture(data, header, job.limits)
        raw, _ = codec.decode(opened, (1024, 1024))
        with codec.damaged(header.format):
            found[name] = codec.turn(codec.to_srgb(codec.plain(raw), opened.profile), opened.orientation)
    return found


def _moves(header: sniff.Header, output: Output) -> bool:
    return header.frames > 1 and not output.options.still and output.format in ANIMATED


def _lies(opened: Opened, options: Options) -> tuple[Size, int]:
    """The size that `options` speak of, and the orientation that leads from the stored picture there."""
    if options.upright:
        return geometry.upright(opened.size, opened.orientation), opened.orientation
    return geometry.upright(opened.size, opened.turned), 1


def _largest(opened: Opened, outputs: Sequence[Output], facts: bool) -> Size | None:
    """How large, as stored, the whole source must be decoded for all of these; None: as it is."""
    if any(each.options.linear for each in outputs):
        return None
    width, height = (SAMPLE, SAMPLE) if facts or outputs else (1, 1)
    for output in outputs:
        size, _ = _lies(opened, output.options)
        for chosen in _plans(size, output.options):
            scale = max(chosen.size[0] / chosen.window[2], chosen.size[1] / chosen.window[3])
            width, height = max(width, round(opened.size[0] * scale)), max(height, round(opened.size[1] * scale))
    return width, height


def _plans(size: Size, options: Options) -> list[Plan]:
    return [plan(size, options)]


def _small(size: Size) -> Size:
    scale = min(1.0, SAMPLE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _miniature(image: Pixels) -> Pixels:
    return codec.resize(image, _small(image.size), (0, 0, image.width, image.height))


def _facts(opened: Opened, still: Pixels) -> Facts:
    width, height = geometry.upright(opened.size, opened.orientation)
    with codec.damaged(opened.header.format):
        small = codec.turn(codec.to_srgb(_miniature(still), opened.profile), opened.orientation)
        return facts_of(opened.header.format, (width, height), opened.header.frames, opened.orientation, codec.has_alpha(still), small)


def facts_of(format: str, size: Size, frames: int, orientation: int, alpha: bool, small: Pixels) -> Facts:
    """small: an upright miniature in sRGB."""
    hash_ = thumbhash(*codec.small_rgba(small, SIDE))
    return Facts(format, size[0], size[1], frames, orientation, alpha, codec.dominant(small), hash_)


def _fitted(opened: Opened, image: Pixels, factor: float, options: Options, focus: tuple[float, float] | None) -> Pixels:
    """Window, size and orientation of one result, from pixels that are `factor` times fewer than the file's."""
    size, orientation = _lies(opened, options)
    if not options.upright:
        image = codec.turn_back(image, opened.turned)
    chosen = plan(size, options, focus)
    x, y, width, height = geometry.stored(chosen.window, size, orientation)
    wanted = geometry.upright(chosen.size, orientation)
    resize = codec.resize
    if options.linear:
        # Inks are no light; what is RGB already has nothing to do with this profile afterwards.
        resize, image = fast.resize_linear, codec.to_srgb(image, opened.profile) if image.mode == "CMYK" else image
    pixels = resize(image, wanted, (x / factor, y / factor, width / factor, height / factor))
    return codec.place(codec.turn(pixels, orientation), chosen.canvas, chosen.at, options.background)


def _finish(pixels: Pixels, output: Output, profile: bytes, overlays: Mapping[str, Pixels]) -> tuple[Pixels, bytes]:
    """What comes after the size: colours and effects; the picture and the profile that it keeps."""
    options = output.options
    keep = options.keep_profile and pixels.mode != "CMYK"
    pixels = pixels if keep else codec.to_srgb(pixels, profile)
    if options.background or output.format == "jpg":
        pixels = codec.flatten(pixels, options.background)
    pixels = codec.flip(codec.rotate(pixels, options.rotate), options.flip)
    if options.blur:
        pixels = codec.blur(pixels, options.blur)
    if options.sharpen:
        pixels = codec.sharpen(pixels, options.sharpen)
    if options.watermark is not None:
        mark = options.watermark
        pixels = codec.overlay(pixels, overlays[mark.image], GRAVITIES[mark.gravity], mark.opacity, mark.scale)
    if pixels.mode == "RGBA" and not codec.has_alpha(pixels):
        pixels = pixels.convert("RGB")
    return pixels, profile if keep else b""


def _encoding(options: Options, format: str, profile: bytes) -> codec.Encoding:
    return codec.Encoding(format, options.quality, options.max_bytes, options.progressive, profile)


def _encoded(pixels: Pixels, profile: bytes, output: Output, began: float) -> Made:
    if output.format == "webp" and max(pixels.size) > codec.MAX_WEBP:
        raise TooLarge("image_too_large", f"a webp has at most {codec.MAX_WEBP} pixels a side")
    data, quality = codec.encode(pixels, _encoding(output.options, output.format, profile))
    return Made(output.format, pixels.width, pixels.height, quality, round((perf_counter() - began) * 1000, 2), data)


@dataclass(slots=True)
class _Reel:
    output: Output
    pictures: list[tuple[Pixels, int]]
    profile: bytes = b""
    pixels: int = 0


def _animations(
    opened: Opened, job: Job, moving: Sequence[bool], made: list[Made | None], overlays: Mapping[str, Pixels],
    focus: tuple[float, float] | None,
) -> list[Made | None]:  # fmt: skip
    """Fills the gaps of `made`: one pass over the frames for all of them."""
    began = perf_counter()
    reels = [_Reel(output, []) for output, moves in zip(job.outputs, moving, strict=True) if moves]
    fresh = codec.reopened(opened)
    for image, duration in codec.frames(fresh, job.limits):
        with codec.damaged(opened.header.format):
            whole = codec.plain(image)
            for reel in reels:
                fitted = _fitted(opened, whole, 1.0, reel.output.options, focus)
                pixels, reel.profile = _finish(fitted, reel.output, opened.profile, overlays)
                reel.pixels += pixels.width * pixels.height
                if reel.pixels > job.limits.total_pixels:
                    raise TooLarge("image_too_large", f"an animation has at most {job.limits.total_pixels} pixels in all its frames")
                reel.pictures.append((pixels, duration))
    results = iter(reels)
    for at, moves in enumerate(moving):
        if moves:
            reel = next(results)
            options, format_ = reel.output.options, reel.output.format
            if any(pixels.mode == "RGBA" for pixels, _ in reel.pictures):
                reel.pictures = [(pixels.convert("RGBA"), duration) for pixels, duration in reel.pictures]
            data, quality = codec.encode_frames(reel.pictures, _encoding(options, format_, reel.profile))
            width, height = reel.pictures[0][0].size
            made[at] = Made(format_, width, height, quality, round((perf_counter() - began) * 1000, 2), data)
    return made
