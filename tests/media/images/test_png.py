"""PNGs by rows: the answers, refusals and orientations of the slow way, from less of the picture at once."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import Any

import numpy
import pytest
from PIL import Image

from nova.core.errors import NovaError, TooLarge, Unprocessable
from nova.media.images import png, sniff
from nova.media.images.job import Done, Job, Output
from nova.media.images.options import parse
from nova.media.images.render import render
from nova.media.images.sniff import Limits
from tests.ext.png_files import SIGNATURE, chunk, ihdr
from tests.media.images import material

MODES = ("L", "LA", "RGB", "RGBA", "P", "PA")
JOB = Job([Output(parse("rs:inside:48:48")[0], "webp"), Output(parse("rs:inside:40:40")[0], "jpg")], facts=True)


def picture(mode: str, width: int = 640, height: int = 400) -> Image.Image:
    """With a disc of soft edges where the mode has alpha."""
    image = material.photo(width, height)
    image.paste((255, 60, 60), (420, 100, 500, 190))
    y, x = numpy.mgrid[0:height, 0:width]
    far = numpy.hypot(x - width / 2, y - height / 2) / (min(width, height) / 2)
    alpha = Image.fromarray(numpy.clip((1 - far) * 900 + 128, 0, 255).astype("uint8"))
    match mode:
        case "PA":  # a palette whose entries are clear in part
            few = image.quantize(200)
            few.info["transparency"] = bytes(range(55, 255))
            return few
        case "P":
            return image.quantize(200)
        case "LA" | "RGBA":
            image = image.convert("L" if mode == "LA" else "RGB")
            image.putalpha(alpha)
            return image
        case _:
            return image.convert(mode)


def file_of(image: Image.Image, **more: Any) -> bytes:
    if "transparency" in image.info:
        more["transparency"] = image.info["transparency"]
    return material.saved(image, "png", **more)


def source(data: bytes) -> png.Source | None:
    return png.look(data, sniff.look(memoryview(data), Limits()), Limits())


def slowly(data: bytes, job: Job, monkeypatch: pytest.MonkeyPatch) -> Done:
    with monkeypatch.context() as patch:
        patch.setattr(png, "present", lambda: False)
        return render(data, job)


def verdict(data: bytes, job: Job = JOB) -> str:
    try:
        render(data, job)
    except NovaError as error:
        return error.code
    return "ok"


def seen(data: bytes) -> Any:
    """On white and on black: what is not seen does not count."""
    image = Image.open(io.BytesIO(data)).convert("RGBA")
    grounds = [Image.new("RGBA", image.size, colour) for colour in ("#fff", "#000")]
    return numpy.stack([numpy.asarray(Image.alpha_composite(ground, image).convert("RGB"), float) for ground in grounds])


TEXTS = (
    "rs:inside:200:0", "rs:cover:128:128", "rs:contain:90:90/bg:336699", "rs:contain:90:90", "rs:cover:100:100/g:attention",
    "c:31:17:301:203/rs:fill:64:48", "rs:inside:120:0/rot:90/fl:h", "rs:inside:100:0/bl:1.5", "rs:inside:150:0/icc:keep", "rs:fill:300:17",
    "rs:cover:900:400/el:1",
)  # fmt: skip


@pytest.mark.parametrize("orientation", [1, 6, pytest.param(7, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", MODES)
def test_both_ways_show_the_same(mode: str, orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = file_of(picture(mode), exif=exif.tobytes())
    assert source(data) is not None
    job = Job([Output(parse(text)[0], "png") for text in TEXTS], facts=True)
    ours, theirs = render(data, job), slowly(data, job, monkeypatch)
    assert ours.facts is not None and theirs.facts is not None
    assert (ours.facts.width, ours.facts.height, ours.facts.alpha) == (theirs.facts.width, theirs.facts.height, theirs.facts.alpha)
    assert ours.facts.alpha is (mode in ("LA", "RGBA", "PA"))
    for text, mine, other in zip(TEXTS, ours.made, theirs.made, strict=True):
        a, b = seen(mine.data), seen(other.data)
        assert a.shape == b.shape
        assert Image.open(io.BytesIO(mine.data)).mode == Image.open(io.BytesIO(other.data)).mode
        material.no_place_in(mine.data)
        error = float(((a - b) ** 2).mean())
        assert error == 0 or 10 * numpy.log10(255**2 / error) > (18 if "attention" in text else 45), text  # there to the next pixel


def test_several_formats_of_one_size_are_one_resize(monkeypatch: pytest.MonkeyPatch) -> None:
    targets, machine = list[Any](), png._png.Shrinker

    def count(*shape: Any, **more: Any) -> Any:
        targets.extend(shape[3])
        return machine(*shape, **more)

    outputs = [Output(parse(text)[0], format) for text in ("rs:inside:99:99", "rs:inside:50:50/q:60") for format in ("webp", "jpg", "png")]
    data = file_of(picture("RGBA"))
    alone = [render(data, Job([each])).made[0].data for each in outputs]
    monkeypatch.setattr(png._png, "Shrinker", count)
    assert [made.data for made in render(data, Job(outputs, facts=True)).made] == alone
    assert [target[:2] for target in targets] == [(99, 62), (50, 31), (128, 80)]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("target", [320, 128])
def test_it_is_as_near_to_floating_point_as_the_slow_way(mode: str, target: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(mode, 900, 600)
    job = Job([Output(parse(f"rs:inside:{target}:{target}")[0], "png")])
    samples = numpy.asarray(image.convert("RGBA"), float)
    samples[..., :3] *= samples[..., 3:] / 255
    wanted = samples
    for axis, size in ((0, round(600 * target / 900)), (1, target)):
        wanted = _lanczos(wanted, size, axis)
    found = []
    for data in (render(file_of(image), job).made[0].data, slowly(file_of(image), job, monkeypatch).made[0].data):
        made = numpy.asarray(Image.open(io.BytesIO(data)).convert("RGBA"), float)
        made[..., :3] *= made[..., 3:] / 255
        found.append(10 * numpy.log10(255**2 / float(((made - numpy.clip(wanted, 0, 255)) ** 2).mean())))
    assert found[0] > found[1] - 0.1


def _lanczos(pixels: Any, size: int, axis: int) -> Any:
    scale = pixels.shape[axis] / size
    x = (numpy.arange(pixels.shape[axis])[None, :] + 0.5 - (numpy.arange(size)[:, None] + 0.5) * scale) / max(scale, 1.0)
    weights = numpy.where(numpy.abs(x) < 3, numpy.sinc(x) * numpy.sinc(x / 3), 0)
    return numpy.moveaxis(numpy.tensordot(weights / weights.sum(1, keepdims=True), pixels, (1, axis)), 0, axis)


def parts(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Before the first IDAT, the IDATs, behind them."""
    first, last = data.index(b"IDAT") - 4, data.index(b"IEND") - 4
    return data[:first], data[first:last], data[last:]


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
TOLD = {
    "eXIf": chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"),
    "XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
    "packed XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\x01\0\0\0" + zlib.compress(XMP)),
}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("where", sorted(TOLD))
def test_the_orientation_is_found_wherever_it_stands(where: str, late: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    head, pixels, end = parts(file_of(picture("RGB")))
    data = head + pixels + TOLD[where] + end if late else head + TOLD[where] + pixels + end
    assert source(data) is not None
    for done in (render(data, JOB), slowly(data, JOB, monkeypatch)):
        assert done.facts is not None
        assert (done.facts.orientation, done.facts.width, done.facts.height) == (6, 400, 640)
        assert [(made.width, made.height) for made in done.made] == [(30, 48), (25, 40)]


def test_profiles_are_heeded() -> None:
    data = file_of(Image.new("RGB", (300, 200), (250, 10, 10)), icc_profile=material.p3_profile())
    found = source(data)
    assert found is not None and found.opened.profile == material.p3_profile()
    pixel = seen(render(data, JOB).made[0].data)[0, 9, 9]
    assert pixel[1] > 200 and pixel[0] < 60, "the profile exchanges red and green"


def test_what_is_no_profile_is_not_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    red = Image.new("RGB", (300, 200), (250, 10, 10))
    head, pixels, end = parts(file_of(red))
    late = parts(file_of(red, icc_profile=material.p3_profile()))[0].removeprefix(head)
    job = Job([Output(parse(f"rs:inside:100:0/icc:{word}")[0], kind) for word in ("keep", "srgb") for kind in ("png", "webp", "jpg")])
    for data in (head + pixels + late + end, head + chunk(b"tEXt", b"icc_profile\0text") + pixels + end):
        for done in (render(data, job), slowly(data, job, monkeypatch)):
            for made in done.made:
                image = Image.open(io.BytesIO(made.data))
                assert "icc_profile" not in image.info
                assert image.convert("RGB").getpixel((9, 9))[0] > 200  # type: ignore[index]


def test_entries_that_a_palette_has_not_are_what_the_slow_way_makes_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = b"".join(b"\0" + bytes(range(256)) for _ in range(200))
    data = SIGNATURE + ihdr(256, 200, 3) + chunk(b"PLTE", bytes(range(30))) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND")
    job = Job([Output(parse("rs:fill:128:10")[0], "png")])
    ours, theirs = render(data, job).made[0], slowly(data, job, monkeypatch).made[0]
    assert source(data) is not None
    assert numpy.abs(seen(ours.data) - seen(theirs.data)).max() <= 2


def unlike() -> dict[str, bytes]:
    head, pixels, end = parts(file_of(picture("RGB")))
    wrong = bytearray(head + pixels + end)
    wrong[30] ^= 1  # of the CRC of IHDR
    palette = parts(file_of(picture("P")))
    rows = zlib.compress(bytes(641 * 400))
    return {
        "sixteen bits": file_of(Image.fromarray(numpy.full((400, 640), 40_000, "uint16"))),
        "one bit": file_of(picture("L").convert("1")),
        "interlaced": SIGNATURE + ihdr(640, 400, 0, interlace=1) + chunk(b"IDAT", rows) + end,
        "a clear colour": head + chunk(b"tRNS", bytes(6)) + pixels + end,
        "animated": head + chunk(b"acTL", struct.pack(">II", 1, 0)) + pixels + end,
        "a wrong sum": bytes(wrong),
        "two headers": head + ihdr(640, 400, 2) + pixels + end,
        "no palette": SIGNATURE + ihdr(640, 400, 3) + chunk(b"IDAT", rows) + end,
        "a late palette": SIGNATURE + ihdr(640, 400, 3) + palette[1] + chunk(b"PLTE", bytes(30)) + end,
        "half a colour": SIGNATURE + ihdr(640, 400, 3) + chunk(b"PLTE", bytes(31)) + palette[1] + end,
        "cut behind": head + pixels + b"\0\0\0\x09tEXtab",
        "no colour type": SIGNATURE + ihdr(640, 400, 5) + pixels + end,
    }


@pytest.mark.parametrize("name", sorted(unlike()))
def test_all_else_goes_the_slow_way(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = unlike()[name]
    assert source(data) is None
    with monkeypatch.context() as patch:
        patch.setattr(png, "present", lambda: False)
        other = verdict(data)
    assert verdict(data) == other


@pytest.mark.parametrize("text", ["q:90", "rs:inside:100:0/li:1", "c:0:0:99:99/rs:cover:40:40/g:attention", "rs:inside:640:400"])
def test_so_do_options_that_are_not_for_rows(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "shrink", None)
    data = file_of(picture("RGBA"))
    assert render(data, Job([Output(parse(text)[0], "png")])).made


@pytest.mark.parametrize("text", ["q:90", "rs:inside:640:400", "c:10:20:300:200"])
@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_what_keeps_its_size_keeps_its_samples(mode: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, job = file_of(picture(mode)), Job([Output(parse(text)[0], "png")])
    ours, theirs = render(data, job).made[0], slowly(data, job, monkeypatch).made[0]
    assert (seen(ours.data) == seen(theirs.data)).all()


TOLD_OTHERWISE = {
    "gamma": (b"gAMA", struct.pack(">I", 45_455)), "primaries": (b"cHRM", bytes(32)), "half primaries": (b"cHRM", bytes(31)),
    "an intent": (b"sRGB", b"\0"), "no intent": (b"sRGB", b""), "code points": (b"cICP", bytes(4)), "density": (b"pHYs", bytes(9)),
    "text": (b"tEXt", b"bbox\0x"), "a text bomb": (b"zTXt", b"a\0\0" + zlib.compress(bytes(2 << 20))),
    "half a density": (b"pHYs", bytes(3)), "a damaged text": (b"zTXt", b"a\0\0zz"),
    "an odd text": (b"zTXt", b"a\0\1zz"), "an empty text": (b"tEXt", b""),
    "an international bomb": (b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(2 << 20))), "an empty eXIf": (b"eXIf", b""),
    "a damaged eXIf": (b"eXIf", b"MM\0*\0\0\0\x08\xff\xff"), "junk for a profile": (b"iCCP", b"x\0\0" + zlib.compress(b"junk")),
    "an odd profile": (b"iCCP", b"x\0\1"), "an empty profile": (b"iCCP", b""), "a palette": (b"PLTE", bytes(30)),
    "no palette": (b"PLTE", b""), "a large palette": (b"PLTE", bytes(900)), "no transparency": (b"tRNS", b""),
    "transparency": (b"tRNS", b"\xff\xff\0\xff"), "more than entries": (b"tRNS", bytes(300)), "an empty IDAT": (b"IDAT", b""),
    "another IDAT": (b"IDAT", b"x"), "an end": (b"IEND", b""), "a background": (b"bKGD", bytes(2)), "a frame": (b"fcTL", bytes(26)),
    "frames": (b"acTL", struct.pack(">II", 2, 0)), "a piece of a frame": (b"fdAT", bytes(9)), "DDAT": (b"DDAT", b"x"),
    "what nobody knows": (b"abCD", b"x"), "what one must know": (b"ABCD", b"x"), "another header": (b"IHDR", bytes(13)),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(TOLD_OTHERWISE))
def test_chunks_change_what_they_change_the_slow_way(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job([Output(parse("rs:fill:33:21")[0], "png")], facts=True)
    for mode in ("L", "RGBA", "P", "PA"):
        head, pixels, end = parts(file_of(picture(mode, 170, 140)))
        other = chunk(*TOLD_OTHERWISE[name])
        for data in (head + other + pixels + end, head + pixels + other + end, head[:33] + other + head[33:] + pixels + end):
            mine = verdict(data, job)
            with monkeypatch.context() as patch:
                patch.setattr(png, "present", lambda: False)
                assert mine == verdict(data, job)
            if mine == "ok":
                ours, theirs = render(data, job), slowly(data, job, monkeypatch)
                assert ours.facts is not None and theirs.facts is not None
                assert (ours.facts.alpha, ours.facts.orientation) == (theirs.facts.alpha, theirs.facts.orientation)
                assert numpy.abs(seen(ours.made[0].data) - seen(theirs.made[0].data)).max() <= 8, mode


def test_an_animation_of_many_pieces_is_its_first_frame() -> None:
    head, pixels, end = parts(file_of(picture("RGB", 170, 140)))
    control = struct.pack(">IIIIHHBB", 170, 140, 0, 0, 1, 10, 0, 0)
    frames, count = [chunk(b"fcTL", struct.pack(">I", 0) + control), pixels], 1
    for _ in range(300):
        frames.append(chunk(b"fcTL", struct.pack(">I", count) + control))
        frames += [chunk(b"fdAT", struct.pack(">I", count + 1 + at) + bytes(9)) for at in range(4)]
        count += 5
    data = head + chunk(b"acTL", struct.pack(">II", 301, 0)) + b"".join(frames) + end
    assert source(data) is None
    done = render(data, JOB)
    assert done.facts is not None and (done.facts.width, done.facts.frames) == (170, 1)


def test_results_that_are_large_together_or_grow_much_go_the_slow_way() -> None:
    found = source(file_of(picture("RGB", 300, 2)))
    assert found is not None
    whole = (0.0, 0.0, 300.0, 2.0)
    for wanted in ([((16_384, 16_384), whole)], [((2000, 9), whole)], [((16_384, 8), whole)] * 129, [((16_385, 1), whole)]):
        assert png.shrink(found, wanted, float("inf")) is None
    assert png.shrink(found, [((2000, 8), whole)], float("inf")) is not None
    # Where the attention lies is known at the end: until then the result is as large as `cover` slides over.
    data = file_of(picture("RGB", 300, 200))
    assert render(data, Job([Output(parse("rs:cover:6000:1/g:attention/el:1")[0], "png")])).made[0].width == 6000


def test_what_takes_much_memory_goes_the_slow_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "MEMORY", 10_000)
    assert verdict(file_of(picture("RGBA"))) == "ok"


@pytest.mark.parametrize("mode", MODES)
def test_damage_is_judged_as_by_the_slow_way(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = file_of(picture(mode, 300, 200))
    rng = random.Random(mode)
    cases = [data[: len(data) * part // 100] for part in range(2, 100, 7)]
    for _ in range(25):
        flipped = bytearray(data)
        for _ in range(rng.choice([1, 3, 20])):
            flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        cases.append(bytes(flipped))
    ours = [verdict(case) for case in cases]
    monkeypatch.setattr(png, "present", lambda: False)
    theirs = [verdict(case) for case in cases]
    # Pillow does not come to the sum of a stream that ends in another piece than its pixels.
    assert all(mine == other or (mine, other) == ("bad_image", "ok") for mine, other in zip(ours, theirs, strict=True))
    assert "bad_image" in theirs


def grey(rows: bytes, *, width: int = 300, height: int = 200, check: bool = True) -> bytes:
    packed = zlib.compress(rows)
    if not check:
        packed = packed[:-1] + bytes([packed[-1] ^ 1])
    return SIGNATURE + ihdr(width, height, 0) + chunk(b"IDAT", packed) + chunk(b"IEND")


def test_streams_of_a_wrong_size_or_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = bytes(301 * 200)
    cases = {
        "right": (grey(rows), "ok"),
        "short": (grey(rows[:-1]), "bad_image"),
        "a filter that there is not": (grey(rows[:-301] + b"\x05" + bytes(300)), "bad_image"),
        "more than the picture": (grey(rows + bytes(10_000)), "ok"),
        "a bomb behind the picture": (grey(rows + bytes(300 << 20)), "ok"),
        "a wrong sum": (grey(rows, check=False), "bad_image"),
        "no stream": (SIGNATURE + ihdr(300, 200, 0) + chunk(b"IDAT", b"no stream") + chunk(b"IEND"), "bad_image"),
        "without its sum": (SIGNATURE + ihdr(300, 200, 0) + chunk(b"IDAT", zlib.compress(rows)[:-4]) + chunk(b"IEND"), "ok"),
        "empty": (SIGNATURE + ihdr(300, 200, 0) + chunk(b"IDAT") + chunk(b"IEND"), "bad_image"),
    }
    assert {name: verdict(data) for name, (data, _) in cases.items()} == {name: code for name, (_, code) in cases.items()}
    monkeypatch.setattr(png, "present", lambda: False)
    assert {name: verdict(data) for name, (data, _) in cases.items()} == {name: code for name, (_, code) in cases.items()}


@pytest.mark.parametrize("block", [1, 7, 1000])
@pytest.mark.parametrize("piece", [1, 10, 1000])
def test_a_stream_may_be_inflated_in_pieces_of_any_size(piece: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a block is full just when there is nothing more in it."""
    data = file_of(picture("RGB", 150, 40))
    job = Job([Output(parse("rs:inside:50:50")[0], "png")])
    whole = render(data, job).made[0].data
    monkeypatch.setattr(png, "PIECE", piece)
    monkeypatch.setattr(png, "BLOCK", block)
    assert render(data, job).made[0].data == whole
    assert verdict(data[: len(data) // 2], job) == "bad_image"


def test_a_picture_that_takes_too_long_is_one_answer() -> None:
    with pytest.raises(Unprocessable) as refused:
        render(file_of(picture("RGB")), JOB, deadline=0)
    assert refused.value.code == "image_too_costly"


def test_a_file_of_nothing_but_chunks_is_refused() -> None:
    head, pixels, end = parts(file_of(picture("L")))
    with pytest.raises(TooLarge) as refused:
        render(head + chunk(b"teXt") * 100_000 + pixels + end, JOB)
    assert refused.value.code == "image_too_large"
    single = pixels[8:-4]
    many = b"".join(chunk(b"IDAT", single[at : at + 50]) for at in range(0, len(single), 50)) if pixels.count(b"IDAT") == 1 else pixels
    assert verdict(head + many + end) == "ok"


def test_no_more_than_a_band_of_the_picture_is_held() -> None:
    """48 MP of RGBA are 192 MB; this path takes a few rows of them."""
    rows = png._png.Shrinker(8000, 6000, 4, [(320, 240, 0, 0, 8000, 6000)], memory=8 << 20)
    assert not rows.done
