"""The one door to Pillow: decoding, pixels, encoding. Only worker processes come through here, and `nova check`.

What is opened is opened with the one format that its bytes announced; Pillow's warnings are errors; a file that ends early is one too.
Pillow raises many things for damaged files: `damaged` names them, whoever calls turns them into `bad_image`.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import PIL
from PIL import Image, ImageChops, ImageCms, ImageFile, ImageFilter, ImageOps, features

from nova.core.errors import NovaError, Unprocessable
from nova.media.images.geometry import Size, Window
from nova.media.images.sniff import Header, Limits

Pixels = Image.Image

WANTED: Final = ("jpeg", "png", "gif", "webp", "avif", "tiff", "icc", "turbo")  # what a build of ours has
LOWEST_QUALITY: Final = 10  # that a bound on bytes may lead to
QUALITIES: Final = {"jpg": 80, "webp": 80, "avif": 60, "png": 0, "gif": 0}
WEBP_METHOD: Final = 2  # 2.2 times as fast as 4 for 4 % more bytes
AVIF_SPEED: Final = 9  # slower ones gain 4 % for three times the time
MAX_WEBP: Final = 16_383  # pixels a side
MAX_PROFILE: Final = 1 << 20  # bytes; printers' profiles reach half of it
GAP: Final = 2.0  # how many times larger than the result a JPEG is decoded at least
_PIL: Final = {"jpeg": "JPEG", "png": "PNG", "gif": "GIF", "webp": "WEBP", "avif": "AVIF", "tiff": "TIFF", "heic": "HEIF"}
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
_ROTATIONS: Final = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}
_ORIENTATION: Final = 0x0112
# What Pillow raises about files that are wrong.
_FAULTS: Final = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, struct.error, zlib.error, OverflowError, AttributeError,
    NotImplementedError, RuntimeError, UserWarning, ImageCms.PyCMSError, AssertionError, ZeroDivisionError,
)  # fmt: skip
_ABOUT_METADATA: Final = r"(?s).*(EXIF|Metadata Warning|MPO|APNG|[Pp]alette)"

warnings.simplefilter("error", Image.DecompressionBombWarning)
ImageFile.LOAD_TRUNCATED_IMAGES = False


def abilities() -> dict[str, bool]:
    """What the installed build can do, by the words of WANTED, and `heic`."""
    found = {
        "jpeg": features.check("jpg"), "turbo": features.check("libjpeg_turbo"), "png": features.check("zlib"), "gif": True,
        "webp": features.check("webp"), "tiff": features.check("libtiff"), "icc": features.check("littlecms2"),
        "avif": _plugin("pillow_avif"), "heic": _plugin("pillow_heif"),
    }  # fmt: skip
    return {name: bool(value) for name, value in found.items()}


def version() -> str:
    """Of the installed Pillow; `post` in it is pillow-simd's mark."""
    return str(PIL.__version__)


def _plugin(name: str) -> bool:
    from importlib import import_module

    try:
        module = import_module(name)
    except ImportError:
        return False
    if name == "pillow_heif":
        module.register_heif_opener(thumbnails=False)
    else:
        module.AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # there is a process for each core already
    return True


@contextmanager
def damaged(what: str) -> Iterator[None]:
    """Errors of Pillow about a file become `bad_image`; what the file made it say stays here."""
    try:
        yield
    except NovaError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Unprocessable("bad_image", f"the {what} has more pixels than its header says") from None
    except _FAULTS:
        raise Unprocessable("bad_image", f"the {what} is damaged or cut short") from None


@contextmanager
def _strict(what: str) -> Iterator[None]:
    """`damaged`, with warnings as errors, but those about what is thrown away anyway."""
    with damaged(what), warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=_ABOUT_METADATA)
        yield


@dataclass(slots=True)
class Opened:
    """A picture whose pixels are not decoded yet. size: as stored. orientation: 1 to 8. profile: ICC, empty without one.

    turned: the orientation of a picture that Pillow itself turns upright while it decodes (TIFF); `size` is the upright one then, and
    `orientation` 1.
    """

    image: Pixels
    header: Header
    size: Size
    orientation: int
    profile: bytes
    data: bytes = b""
    turned: int = 1


def reopened(opened: Opened) -> Opened:
    """The same picture from its first frame: after `decode` an animation stands elsewhere."""
    with _strict(opened.header.format):
        return replace(opened, image=Image.open(io.BytesIO(opened.data), formats=[_PIL[opened.header.format]]))


def open_picture(data: bytes, header: Header, limits: Limits) -> Opened:
    """Raises Unprocessable `bad_image`."""
    if header.format in ("avif", "heic"):
        name = "pillow_avif" if header.format == "avif" else "pillow_heif"
        if not _plugin(name):
            from nova.core.errors import UnsupportedType

            raise UnsupportedType("unsupported_image", f"{header.format} is not read by this installation")
    Image.MAX_IMAGE_PIXELS = limits.pixels
    with _strict(header.format):
        image = Image.open(io.BytesIO(data), formats=[_PIL[header.format]])
        if image.size[0] * image.size[1] > limits.pixels:
            raise Image.DecompressionBombError
        profile = image.info.get("icc_profile")
        if not isinstance(profile, bytes) or len(profile) > MAX_PROFILE:  # a PNG's text of that name is one for Pillow, too
            profile = b""
        if header.format == "png":
            image.load()  # its EXIF may stand behind the pixels: looking for it loads them, too, and a second time damage is not told
        found = _orientation(image)
        orientation, turned = (1, found) if header.format == "tiff" else (found, 1)
        return Opened(image, header, image.size, orientation, profile, data, turned)


def _orientation(image: Pixels) -> int:
    """By the EXIF data, however broken the rest of it is; 1 when it says nothing sensible."""
    with suppress(*_FAULTS):
        found = image.getexif().get(_ORIENTATION, 1)
        if isinstance(found, int) and 1 <= found <= 8:
            return found
    return 1


def decode(opened: Opened, wanted: Size | None) -> tuple[Pixels, float]:
    """The pixels of the first frame, and by which factor they are fewer than the file's.

    wanted: the largest size (as stored) that any result needs of the whole picture; a JPEG is decoded smaller when that is enough.
    Raises Unprocessable `bad_image`.
    """
    image = opened.image
    with _strict(opened.header.format):
        if wanted is not None and opened.header.format == "jpeg":
            image.draft(None, (int(wanted[0] * GAP), int(wanted[1] * GAP)))
        image.load()
        return image, opened.size[0] / image.size[0]


def frames(opened: Opened, limits: Limits) -> Iterator[tuple[Pixels, int]]:
    """(picture, milliseconds) of an animation, each a whole canvas. Raises Unprocessable `bad_image`."""
    image, at, pixels = opened.image, 0, 0
    while True:
        with _strict(opened.header.format):
            try:
                image.seek(at)
            except EOFError:
                return
            image.load()
            pixels += image.size[0] * image.size[1]
            if at >= limits.frames or pixels > limits.total_pixels:
                raise Image.DecompressionBombError
            copy = image.copy()
            duration = image.info.get("duration", 100)
        yield copy, min(max(int(duration or 0), 10), 60_000)
        at += 1


def plain(image: Pixels) -> Pixels:
    """As grey, RGB, RGBA or CMYK, 8 bits a channel: what everything after this takes."""
    if image.mode in ("L", "RGB", "RGBA", "CMYK"):
        return image
    if image.mode.startswith("I;16") or image.mode == "I":
        deep = image if image.mode == "I" else image.convert("I")
        if image.mode != "I" or _is_deep(deep):
            deep = deep.point(lambda value: value * (1 / 256))
        return deep.convert("L")
    if image.mode in ("LA", "La", "PA", "RGBa") or "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode in ("1", "F"):
        return image.convert("L")
    return image.convert("RGB")


def _is_deep(image: Pixels) -> bool:
    most: Any = image.getextrema()
    return bool(most[1] > 255)


def resize(image: Pixels, size: Size, window: Window) -> Pixels:
    """A window of `image`, resized with Lanczos3; colours are premultiplied by alpha on the way."""
    x, y, width, height = window
    box = (max(0.0, x), max(0.0, y), min(float(image.width), x + width), min(float(image.height), y + height))
    if size == image.size and box == (0.0, 0.0, float(image.width), float(image.height)):
        return image
    return image.resize(size, Image.Resampling.LANCZOS, box=box, reducing_gap=None)


def turn(image: Pixels, orientation: int) -> Pixels:
    """Upright."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def turn_back(image: Pixels, orientation: int) -> Pixels:
    """As it was stored. image: upright."""
    return turn(image, {6: 8, 8: 6}.get(orientation, orientation))


def rotate(image: Pixels, degrees: int) -> Pixels:
    """Clockwise, by a multiple of 90."""
    return image.transpose(_ROTATIONS[degrees]) if degrees in _ROTATIONS else image


def flip(image: Pixels, how: str) -> Pixels:
    if "h" in how:
        image = ImageOps.mirror(image)
    return ImageOps.flip(image) if "v" in how else image


def is_srgb(profile: bytes) -> bool:
    """Whether a profile says of itself that it is sRGB, or cannot be read, which counts as none."""
    try:
        return "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return True


def from_packed(mode: str, size: Size, data: bytes) -> Pixels:
    """A picture from packed samples of 8 bits. mode: L, RGB or RGBA."""
    return Image.frombytes(mode, size, data)


def cut(image: Pixels, size: Size, focus: tuple[float, float]) -> Pixels:
    """A part of that size around a point in fractions, within the picture."""
    width, height = min(size[0], image.width), min(size[1], image.height)
    left = min(max(0, round(focus[0] * image.width - width / 2)), image.width - width)
    top = min(max(0, round(focus[1] * image.height - height / 2)), image.height - height)
    return image.crop((left, top, left + width, top + height))


def to_srgb(image: Pixels, profile: bytes) -> Pixels:
    """In sRGB; a profile that cannot be used counts as none, as in browsers."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if image.mode != "CMYK" and "sRGB" in ImageCms.getProfileDescription(source):
                return image
            alpha = image.getchannel("A") if image.mode == "RGBA" else None
            base = image.convert("RGB") if alpha is not None else image
            done = ImageCms.profileToProfile(base, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if done is not None:
                if alpha is not None:
                    done.putalpha(alpha)
                return done
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass
    return image.convert("RGB") if image.mode == "CMYK" else image


def has_alpha(image: Pixels) -> bool:
    """Whether anything shines through."""
    if image.mode != "RGBA":
        return False
    extrema: Any = image.getchannel("A").getextrema()
    return bool(extrema[0] < 255)


def flatten(image: Pixels, colour: str) -> Pixels:
    """Without alpha, over a colour of six digits."""
    if image.mode != "RGBA":
        return image
    base = Image.new("RGB", image.size, f"#{colour or 'ffffff'}")
    base.paste(image, mask=image.getchannel("A"))
    return base


def place(image: Pixels, canvas: Size, at: tuple[int, int], colour: str) -> Pixels:
    """On a larger canvas, transparent where there is no colour."""
    if image.size == canvas:
        return image
    # The box lies within the canvas (geometry.plan): Pillow 12.1 writes past the end for one that does not.
    assert 0 <= at[0] <= canvas[0] - image.width
    assert 0 <= at[1] <= canvas[1] - image.height
    base = Image.new("RGB", canvas, f"#{colour}") if colour else Image.new("RGBA", canvas, (0, 0, 0, 0))
    base.paste(image, at, image.getchannel("A") if image.mode == "RGBA" else None)
    return base


def blur(image: Pixels, sigma: float) -> Pixels:
    return image.filter(ImageFilter.GaussianBlur(sigma))


def sharpen(image: Pixels, sigma: float) -> Pixels:
    return image.filter(ImageFilter.UnsharpMask(radius=sigma, percent=120, threshold=2))


def overlay(image: Pixels, mark: Pixels, gravity: tuple[float, float], opacity: int, scale: int) -> Pixels:
    """`mark` over `image`. scale: its width in percent of the picture's; it never sticks out."""
    width = max(1, image.width * scale // 100)
    height = max(1, mark.height * width // mark.width)
    if height > image.height:
        width, height = max(1, width * image.height // height), image.height
    small = mark.convert("RGBA").resize((width, height), Image.Resampling.LANCZOS)
    alpha = small.getchannel("A")
    if opacity < 100:
        alpha = alpha.point(lambda value: value * opacity // 100)
    at = (round((image.width - width) * gravity[0]), round((image.height - height) * gravity[1]))
    base = image.convert("RGBA") if image.mode == "RGBA" else image.convert("RGB")
    if base.mode == "RGBA":
        layer = Image.new("RGBA", base.size, (0, 0, 0, 0))
        small.putalpha(alpha)
        layer.paste(small, at)
        return Image.alpha_composite(base, layer)
    base.paste(small.convert("RGB"), at, alpha)
    return base


def attention(image: Pixels) -> tuple[float, float]:
    """Where people look first, in fractions: edges, colours and skin, weighed as libvips does, gathered by a wide blur."""
    small = flatten(to_srgb(image, b""), "808080").convert("RGB")
    small.thumbnail((64, 64), Image.Resampling.BILINEAR)
    edges = ImageOps.grayscale(small).filter(ImageFilter.Kernel((3, 3), (0, -1, 0, -1, 4, -1, 0, -1, 0), 1, 0))
    _, saturation, _ = small.convert("HSV").split()
    red, green, blue = small.split()
    skin = ImageChops.subtract(red, ImageChops.lighter(green, blue)).point(lambda value: min(255, value * 4) if 12 < value < 110 else 0)
    score = ImageChops.add(ImageChops.add(edges.point(lambda value: min(255, value * 3)), saturation, 2), skin, 2)
    score = score.filter(ImageFilter.GaussianBlur(max(1.0, max(small.size) / 12)))
    values = score.tobytes()
    at = values.index(max(values))
    return (at % small.width + 0.5) / small.width, (at // small.width + 0.5) / small.height


def small_rgba(image: Pixels, side: int) -> tuple[int, int, bytes]:
    """Width, height and RGBA bytes of a miniature whose longer side is `side` at most."""
    copy = image.convert("RGBA")
    copy.thumbnail((side, side), Image.Resampling.BILINEAR)
    return copy.width, copy.height, copy.tobytes()


def dominant(image: Pixels) -> str:
    """The commonest colour of a few, as `#rrggbb`."""
    small = flatten(image, "ffffff").convert("RGB")
    small.thumbnail((48, 48), Image.Resampling.BILINEAR)
    few = small.quantize(6, Image.Quantize.MEDIANCUT)
    counts = few.getcolors() or [(1, 0)]
    index: Any = max(counts, key=lambda pair: pair[0])[1]
    palette = few.getpalette() or [0, 0, 0]
    red, green, blue = palette[3 * index : 3 * index + 3]
    return f"#{red:02x}{green:02x}{blue:02x}"


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a result is written. quality 0: the format's own default. profile: kept with the picture, else none is."""

    format: str
    quality: int = 0
    max_bytes: int = 0
    progressive: bool = False
    profile: bytes = b""


def encode(image: Pixels, wanted: Encoding) -> tuple[bytes, int]:
    """The file, with no metadata but the profile, and the quality that it has."""
    image.info.clear()  # what the source said of itself, its place among it
    quality = wanted.quality or QUALITIES[wanted.format]
    return _bounded(lambda chosen: _encoded([(image, 0)], wanted, chosen), wanted, quality)


def encode_frames(pictures: list[tuple[Pixels, int]], wanted: Encoding) -> tuple[bytes, int]:
    """An animation that loops for ever: (picture, milliseconds) each. WebP or GIF."""
    for image, _ in pictures:
        image.info.clear()
    quality = wanted.quality or QUALITIES[wanted.format]
    return _bounded(lambda chosen: _encoded(pictures, wanted, chosen), wanted, quality)


def _bounded(write: Callable[[int], bytes], wanted: Encoding, quality: int) -> tuple[bytes, int]:
    """The best quality up to `quality` that fits `max_bytes`; the lowest one when none does."""
    data = write(quality)
    if not wanted.max_bytes or len(data) <= wanted.max_bytes or wanted.format in ("png", "gif"):
        return data, quality
    low, high, best, chosen = LOWEST_QUALITY, quality - 1, b"", LOWEST_QUALITY
    while low <= high:
        middle = (low + high) // 2
        data = write(middle)
        if len(data) <= wanted.max_bytes:
            best, chosen, low = data, middle, middle + 1
        else:
            high = middle - 1
    return (best, chosen) if best else (write(LOWEST_QUALITY), LOWEST_QUALITY)


def _encoded(pictures: list[tuple[Pixels, int]], wanted: Encoding, quality: int) -> bytes:
    image = pictures[0][0]
    target = io.BytesIO()
    more: dict[str, Any] = {}
    if len(pictures) > 1:
        more = {
            "save_all": True, "append_images": [each for each, _ in pictures[1:]], "duration": [each for _, each in pictures], "loop": 0,
        }  # fmt: skip
    if wanted.profile:
        more["icc_profile"] = wanted.profile
    match wanted.format:
        case "jpg":
            more.pop("duration", None)
            image.save(target, "JPEG", quality=quality, subsampling=2, progressive=wanted.progressive, optimize=wanted.progressive, **more)
        case "webp":
            image.save(target, "WEBP", quality=quality, method=WEBP_METHOD, exif=b"", xmp=b"", **more)
        case "avif":
            _plugin("pillow_avif")
            image.save(target, "AVIF", quality=quality, speed=AVIF_SPEED, exif=b"", xmp=b"", **more)
        case "png":
            image.save(target, "PNG", compress_level=6, **more)
        case "gif":
            more.pop("icc_profile", None)
            image.save(target, "GIF", optimize=False, **({"disposal": 2} if len(pictures) > 1 else {}), **more)
    return target.getvalue()
