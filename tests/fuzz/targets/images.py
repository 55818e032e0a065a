"""Picture URLs' options, upload headers, and what files say of themselves before a decoder sees them."""

from nova.core.errors import NovaError
from nova.media.images import negotiate, sniff
from nova.media.images.options import canonical, parse
from nova.media.images.presets import PRESETS
from nova.media.images.sniff import Limits
from nova.media.uploads import kinds, tus
from tests.fuzz.registry import target

OPTIONS = [
    b"rs:cover:320:320/q:80/g:attention",
    b"preset:avatar/dpr:2",
    b"g:fp:0.25:1/c:1:2:30:40",
    b"exp:1790000000/bg:ffaa00/pr:1/el:1/or:0",
    b"wm:018f0000-0000-7000-8000-000000000000:50:north:30",
    b"bl:2.5/sh:1/mb:20000/icc:keep/still:1/fast:1/li:1",
    b"rs:outside:auto:0/dpr:auto",
    b"-",
]


@target(
    "image-options",
    seeds=OPTIONS,
    words=[b"/", b":", b"rs:", b"g:", b"c:", b"preset:", b"auto", b"0", b"99999", b"-", b".", b"\xff", b"%2F"],
)
def image_options(data: bytes) -> object:
    text = data.decode("latin-1")
    try:
        options, preset = parse(text, PRESETS)
    except NovaError as error:
        return {"bad_options": "refused"}[error.code]
    assert parse(canonical(options)) == (options, "")
    return canonical(options)[:3], preset


@target("tus-headers", seeds=[b"filename YS5wbmc=,kind aW1hZ2U=", b"sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=", b"12345", b"sha256 AAAA"],
        words=[b",", b" ", b"=", b"filename ", b"kind ", b"sha256 ", b"sha1 ", b"aW1hZ2U=", b"\x00", b"9" * 20])  # fmt: skip
def tus_headers(data: bytes) -> object:
    text, said = data.decode("latin-1"), []
    for read in (tus.parse_metadata, tus.parse_checksum, lambda value: tus.number({"Upload-Length": value}, "Upload-Length")):
        try:
            found = read(text)  # type: ignore[operator]
        except NovaError as error:
            said.append({"bad_request": "refused"}[error.code])
        else:
            if isinstance(found, tus.Metadata):
                assert tus.parse_metadata(tus.write_metadata(found)) == found
            said.append(type(found).__name__)
    return tuple(said)


PICTURES = [
    b"\xff\xd8\xff\xc0\0\x11\x08\0\x10\0\x10\x03" + bytes(9) + b"\xff\xda\0\x02",
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x05\0\0\0\x05\x08\x02\0\0\0",
    b"GIF89a\x05\0\x05\0\0\0\0,\0\0\0\0\x05\0\x05\0\0\x02\x01\0\0;",
    b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\x05\0\0\x05\0\0ANMF\0\0\0\0",
    b"\0\0\0\x1cftypavif\0\0\0\0avifmif1\0\0\0\x38meta\0\0\0\0\0\0\0\x2ciprp\0\0\0\x24ipco\0\0\0\x14ispe\0\0\0\0\0\0\0\x05\0\0\0\x05",
    b"II*\0\x08\0\0\0\x02\0\0\x01\x03\0\x01\0\0\0\x05\0\0\0\x01\x01\x03\0\x01\0\0\0\x05\0\0\0",
    b"RIFF\x20\0\0\0WEBPVP8L\x0a\0\0\0\x2f\x05\0\0\0\0",
]


@target(
    "image-headers",
    seeds=PICTURES,
    words=[b"\xff\xd8", b"\xff\xda", b"\xff\xc2", b"IHDR", b"ANMF", b"ispe", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x01", b",", b"!"],
)
def image_headers(data: bytes) -> object:
    limits = Limits(frames=10, total_pixels=10_000, pixels=5_000)
    try:
        found = sniff.look(memoryview(data), limits)
    except NovaError as error:
        return {"unsupported_image": 1, "image_too_large": 2, "bad_image": 3}[error.code]
    assert found.width * found.height <= limits.pixels
    assert found.frames <= limits.frames
    try:
        kinds.kind(data, "")
    except NovaError as error:
        return found.format, error.code
    return found.format, found.frames


@target(
    "image-accept",
    seeds=[b"image/avif,image/webp;q=0.5,*/*;q=0.1", b"image/webp;q=x", b""],
    words=[b"image/avif", b";q=", b",", b"0.5", b"*/*", b"\xff"],
)
def image_accept(data: bytes) -> object:
    chosen = negotiate.choose(data.decode("latin-1"), ("avif", "webp"), alpha=bool(len(data) % 2), animated=bool(len(data) % 3))
    assert chosen in ("avif", "webp", "jpg", "png", "gif")
    return chosen, negotiate.hint(data.decode("latin-1")) is None
