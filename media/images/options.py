"""The options of a picture's URL: `rs:cover:320:320/q:80/g:attention` to a value and back. Pure.

An option is a word and its values, joined by `:`; options are joined by `/`, each at most once, in any order. `canonical` writes the same
wish the same way: it names the result in caches.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from nova.core.errors import BadRequest

MAX_TEXT: Final = 1024  # characters of all options; a wish of every kind stays below 300
NONE: Final = "-"
MAX_OPTIONS: Final = 24
MAX_SIDE: Final = 8192  # pixels of a result's side
MAX_PIXELS: Final = 25_000_000  # of a result
MAX_CROP: Final = 65_535  # pixels; the widest that a JPEG can be
BUCKETS: Final = (160, 320, 480, 640, 800, 1080, 1280, 1600, 1920, 2560)  # widths that a client's hint is rounded up to
RATIOS: Final = (1.0, 1.5, 2.0, 3.0)  # device pixel ratios that a hint is rounded up to

FITS: Final = ("inside", "outside", "cover", "contain", "fill")
GRAVITIES: Final = {
    "center": (0.5, 0.5), "north": (0.5, 0.0), "south": (0.5, 1.0), "west": (0.0, 0.5), "east": (1.0, 0.5),
    "northwest": (0.0, 0.0), "northeast": (1.0, 0.0), "southwest": (0.0, 1.0), "southeast": (1.0, 1.0),
}  # fmt: skip
ATTENTION: Final = "attention"
FOCAL: Final = "fp"
AUTO: Final = "auto"
FORMATS: Final = ("jpg", "png", "webp", "avif", "gif")
ANIMATED: Final = ("webp", "gif")  # formats that an animation stays one in
_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Watermark:
    """Another of our pictures, laid over this one. opacity, scale: percent; scale is its width in that of the result."""

    image: str
    opacity: int = 100
    gravity: str = "southeast"
    scale: int = 20


@dataclass(frozen=True, slots=True)
class Options:
    """What a result shall look like. Sizes are CSS pixels: `dpr` multiplies them.

    width, height: 0 leaves that side to the other one. width_hint: take the width from the client's hint.
    crop: x, y, width, height in the upright source. focal: fractions of the upright source, with gravity `fp`.
    dpr: 0.0 takes it from the client's hint. max_bytes: 0 for no bound. expires: unix seconds, 0 never.
    """

    fit: str = "inside"
    width: int = 0
    height: int = 0
    width_hint: bool = False
    enlarge: bool = False
    gravity: str = "center"
    focal: tuple[float, float] | None = None
    crop: tuple[int, int, int, int] | None = None
    upright: bool = True
    rotate: int = 0
    flip: str = ""
    blur: float = 0.0
    sharpen: float = 0.0
    background: str = ""
    watermark: Watermark | None = None
    quality: int = 0
    max_bytes: int = 0
    progressive: bool = False
    dpr: float = 1.0
    keep_profile: bool = False
    still: bool = False
    fast: bool = False
    linear: bool = False
    expires: int = 0

    @property
    def hinted(self) -> bool:
        """Whether the client's hints decide something."""
        return self.width_hint or self.dpr == 0.0


PLAIN: Final = Options()
Read = Callable[[list[str]], dict[str, Any]]
Write = Callable[[Options], str]


def _wrong(word: str, why: str) -> BadRequest:
    return BadRequest("bad_options", f"option {word[:20]!r}: {why}")


def _whole(text: str, least: int, most: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 20 or not least <= int(text) <= most:
        raise ValueError(f"{text[:20]!r} is not a whole number from {least} to {most}")
    return int(text)


def _real(text: str, least: float, most: float) -> float:
    if not re.fullmatch(r"[0-9]{1,5}(?:\.[0-9]{1,4})?", text) or not least <= float(text) <= most:
        raise ValueError(f"{text[:20]!r} is not a number from {least:g} to {most:g}")
    return float(text)


def _one(text: str, words: tuple[str, ...]) -> str:
    if text not in words:
        raise ValueError(f"{text[:20]!r} is none of {', '.join(words)}")
    return text


def _some(values: list[str], least: int, most: int) -> list[str]:
    if not least <= len(values) <= most:
        raise ValueError(f"it takes {least} values" if least == most else f"it takes {least} to {most} values")
    return values


def _resize(values: list[str]) -> dict[str, Any]:
    fit, width, height = [*_some(values, 2, 3), "0"][:3]
    found: dict[str, Any] = {"fit": "inside" if fit == "fit" else _one(fit, FITS)}
    found["width_hint"] = width == AUTO
    found["width"] = 0 if width == AUTO else _whole(width, 0, MAX_SIDE)
    found["height"] = _whole(height, 0, MAX_SIDE)
    if not (found["width"] or found["height"] or found["width_hint"]):
        raise ValueError("one of the sides is needed")
    return found


def _gravity(values: list[str]) -> dict[str, Any]:
    if values[0] == FOCAL:
        _, x, y = _some(values, 3, 3)
        return {"gravity": FOCAL, "focal": (_real(x, 0, 1), _real(y, 0, 1))}
    (word,) = _some(values, 1, 1)
    return {"gravity": _one(word, (*GRAVITIES, ATTENTION)), "focal": None}


def _crop(values: list[str]) -> dict[str, Any]:
    x, y, width, height = _some(values, 4, 4)
    return {"crop": (_whole(x, 0, MAX_CROP), _whole(y, 0, MAX_CROP), _whole(width, 1, MAX_CROP), _whole(height, 1, MAX_CROP))}


def _watermark(values: list[str]) -> dict[str, Any]:
    image, *rest = _some(values, 1, 4)
    if not _ID.fullmatch(image):
        raise ValueError("it begins with the id of a picture")
    opacity, gravity, scale = [*rest, *("100", "southeast", "20")[len(rest) :]]
    return {"watermark": Watermark(image, _whole(opacity, 1, 100), _one(gravity, tuple(GRAVITIES)), _whole(scale, 1, 100))}


def _colour(values: list[str]) -> dict[str, Any]:
    (colour,) = _some(values, 1, 1)
    if not re.fullmatch(r"[0-9a-fA-F]{6}", colour):
        raise ValueError("it is six hexadecimal digits, such as ffffff")
    return {"background": colour.lower()}


def _single(name: str, read: Callable[[str], Any]) -> Read:
    def found(values: list[str]) -> dict[str, Any]:
        (value,) = _some(values, 1, 1)
        return {name: read(value)}

    return found


def _flag(name: str) -> Read:
    return _single(name, lambda text: _one(text, ("0", "1")) == "1")


def _write_resize(options: Options) -> str:
    return f"{options.fit}:{AUTO if options.width_hint else options.width}:{options.height}"


def _write_gravity(options: Options) -> str:
    return options.gravity if options.focal is None else f"{FOCAL}:{options.focal[0]:g}:{options.focal[1]:g}"


def _write_watermark(options: Options) -> str:
    mark = options.watermark
    return "" if mark is None else f"{mark.image}:{mark.opacity}:{mark.gravity}:{mark.scale}"


@dataclass(frozen=True, slots=True)
class Word:
    """One option: how its values are read and written, and which members of Options they are."""

    read: Read
    write: Write
    members: tuple[str, ...]
    doc: str


def _value(member: str) -> Write:
    def write(options: Options) -> str:
        value = getattr(options, member)
        return str(int(value)) if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)

    return write


# The order is that of the canonical text.
WORDS: Final[Mapping[str, Word]] = {
    "c": Word(_crop, lambda options: ":".join(map(str, options.crop or ())), ("crop",),
              "`c:x:y:width:height`: this part of the upright source only, in its pixels"),
    "or": Word(_flag("upright"), _value("upright"), ("upright",), "`or:0`: do not turn by the EXIF orientation"),
    "rs": Word(_resize, _write_resize, ("fit", "width", "height", "width_hint"),
               "`rs:fit:width:height`: `inside` (or `fit`), `outside`, `cover`, `contain`, `fill`; 0 leaves a side to the other; "
               "width `auto` asks the client's hint"),
    "el": Word(_flag("enlarge"), _value("enlarge"), ("enlarge",), "`el:1`: may be larger than the source"),
    "g": Word(_gravity, _write_gravity, ("gravity", "focal"),
              "`g:center`, `north`, `northeast` …, `attention`, or `g:fp:x:y` in fractions: what `cover` keeps, where `contain` puts"),
    "rot": Word(_single("rotate", lambda text: int(_one(text, ("0", "90", "180", "270")))), _value("rotate"), ("rotate",),
                "`rot:90`, `180`, `270`: clockwise, at the end"),
    "fl": Word(_single("flip", lambda text: _one(text, ("h", "v", "hv"))), _value("flip"), ("flip",), "`fl:h`, `v`, `hv`: mirrored"),
    "bl": Word(_single("blur", lambda text: _real(text, 0.1, 100)), _value("blur"), ("blur",), "`bl:sigma`: blurred"),
    "sh": Word(_single("sharpen", lambda text: _real(text, 0.1, 10)), _value("sharpen"), ("sharpen",), "`sh:sigma`: sharpened"),
    "bg": Word(_colour, _value("background"), ("background",), "`bg:rrggbb`: behind what is transparent, and around `contain`"),
    "wm": Word(_watermark, _write_watermark, ("watermark",),
               "`wm:id[:opacity[:gravity[:scale]]]`: another picture of ours over it, in percent"),
    "q": Word(_single("quality", lambda text: _whole(text, 1, 100)), _value("quality"), ("quality",), "`q:1` to `q:100`"),
    "mb": Word(_single("max_bytes", lambda text: _whole(text, 100, 10**9)), _value("max_bytes"), ("max_bytes",),
               "`mb:bytes`: lower the quality until it fits"),
    "pr": Word(_flag("progressive"), _value("progressive"), ("progressive",), "`pr:1`: a progressive JPEG"),
    "dpr": Word(_single("dpr", lambda text: 0.0 if text == AUTO else _real(text, 1, 4)),
                lambda options: AUTO if options.dpr == 0.0 else f"{options.dpr:g}", ("dpr",),
                "`dpr:1` to `dpr:4`, or `auto` from the client's hint: pixels for each CSS pixel"),
    "icc": Word(_single("keep_profile", lambda text: _one(text, ("srgb", "keep")) == "keep"),
                lambda options: "keep" if options.keep_profile else "srgb", ("keep_profile",),
                "`icc:keep`: the source's colours with their profile, instead of sRGB"),
    "still": Word(_flag("still"), _value("still"), ("still",), "`still:1`: the first picture of an animation"),
    "fast": Word(_flag("fast"), _value("fast"), ("fast",), "`fast:1`: quicker, up to 1 dB less"),
    "li": Word(_flag("linear"), _value("linear"), ("linear",),
               "`li:1`: resized in linear light, slower: fine patterns keep their brightness"),
    "exp": Word(_single("expires", lambda text: _whole(text, 1, 2**40)), _value("expires"), ("expires",),
                "`exp:unix seconds`: the URL is refused from then on"),
}  # fmt: skip
_NAMES: Final = {each.name for each in fields(Options)}
assert {member for word in WORDS.values() for member in word.members} == _NAMES


def parse(text: str, presets: Mapping[str, Options] | None = None) -> tuple[Options, str]:
    """The options in `text` and the name of the preset that they begin from (empty: none).

    presets: what `preset:name` stands for; further options change it.
    Raises BadRequest `bad_options`: with the option at fault.
    """
    if text == NONE:
        return PLAIN, ""
    if not text or len(text) > MAX_TEXT:
        raise BadRequest("bad_options", f"options have 1 to {MAX_TEXT} characters")
    parts = text.split("/")
    if len(parts) > MAX_OPTIONS:
        raise BadRequest("bad_options", f"at most {MAX_OPTIONS} options")
    base, named, given, seen = PLAIN, "", dict[str, Any](), set[str]()
    for part in parts:
        word, *values = part.split(":")
        if word in seen:
            raise _wrong(word, "it comes twice")
        seen.add(word)
        if word == "preset":
            if len(values) != 1 or presets is None or values[0] not in presets:
                raise _wrong(word, f"there is no such preset; one of {', '.join(presets or ())}")
            base, named = presets[values[0]], values[0]
            continue
        if word not in WORDS:
            raise _wrong(word, "it is not known")
        try:
            if not values:
                raise ValueError("it needs a value")
            given |= WORDS[word].read(values)
        except ValueError as error:
            raise _wrong(word, str(error)) from None
    return replace(base, **given), named


def canonical(options: Options) -> str:
    """The shortest text of these options, always the same; `-` when nothing is asked for."""
    parts = []
    for word, row in WORDS.items():
        if any(getattr(options, member) != getattr(PLAIN, member) for member in row.members):
            parts.append(f"{word}:{row.write(options)}")
    return "/".join(parts) or NONE


def hinted(options: Options, width: float | None, ratio: float | None) -> Options:
    """`options` with the client's hints in their places, rounded up to a bucket: so that few results serve everybody.

    width: CSS pixels that the picture takes. ratio: device pixels for each of them. None: no hint.
    """
    chosen = options
    if chosen.dpr == 0.0:
        wanted = 1.0 if ratio is None else ratio
        chosen = replace(chosen, dpr=next((each for each in RATIOS if each >= wanted - 0.01), RATIOS[-1]))
    if chosen.width_hint:
        wanted = BUCKETS[5] if width is None else width
        chosen = replace(chosen, width_hint=False, width=next((each for each in BUCKETS if each >= wanted), BUCKETS[-1]))
    return chosen
