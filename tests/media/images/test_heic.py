"""HEIC, where an operator has installed the extra: read like every other format."""

import io

import pytest
from PIL import Image

from nova.core.errors import NovaError
from nova.media.images.job import Job, Output
from nova.media.images.options import parse
from nova.media.images.render import render
from tests.media.images import material
from tests.media.images.test_render import quarters, seen

heif = pytest.importorskip("pillow_heif", reason="an extra: docs/images.md")


@pytest.fixture(autouse=True)
def opener() -> None:
    heif.register_heif_opener(thumbnails=False)


def heic(orientation: int) -> bytes:
    """As a phone stores it, with a place in it. libheif writes the orientation as a turn of the container."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif.get_ifd(0x8825)[1] = "N"
    target = io.BytesIO()
    material.stored(material.corners(), orientation).save(target, "HEIF", quality=90, exif=exif.tobytes())
    return target.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_heic_comes_out_upright_and_tells_of_no_place(orientation: int) -> None:
    done = render(heic(orientation), Job([Output(parse(text)[0], "jpg") for text in ("q:90", "rs:inside:48:48/li:1")], facts=True))
    assert done.facts is not None
    assert (done.facts.format, done.facts.width, done.facts.height) == ("heic", 96, 64)
    for made in done.made:
        assert quarters(seen(made.data)) == [0, 1, 2, 3]
        material.no_place_in(made.data)


def test_a_heic_that_ends_early_is_refused() -> None:
    data = heic(1)
    for size in (40, 500, len(data) // 2, len(data) - 10):
        with pytest.raises(NovaError) as refused:
            render(data[:size], Job([Output(parse("q:90")[0], "jpg")]))
        assert refused.value.code == "bad_image"
