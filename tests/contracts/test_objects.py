"""The object table's writer side: the compiled table and its plain twin behave alike. Readers of the compiled one come through
sockets; tests/conformance/rfc8216bis holds both to the same rules there."""

from __future__ import annotations

import pytest

from nova.ext.buffer import Buffer
from nova.ext.objects import ObjectTable
from nova.media.live.objects_memory import MemoryObjects
from nova.media.live.ports import Objects

PATH = b"/live/s/video.m3u8"


@pytest.fixture(params=[MemoryObjects, ObjectTable], ids=["memory", "compiled"])
def objects(request: pytest.FixtureRequest) -> Objects:
    made: Objects = request.param()
    return made


def put(objects: Objects, path: bytes = PATH, *, version: int = 0) -> None:
    objects.put(path, b"Content-Type: text/plain\r\n", [Buffer(b"a"), Buffer(b"b")], etag=b'"1"', version=version, tag=1)


def test_what_was_put_is_there_until_it_is_removed(objects: Objects) -> None:
    assert PATH not in objects  # type: ignore[operator]
    put(objects)
    put(objects)
    assert PATH in objects  # type: ignore[operator]
    assert objects.remove(PATH)
    assert PATH not in objects  # type: ignore[operator]
    assert not objects.remove(PATH)


def test_what_is_expected_is_not_there_yet(objects: Objects) -> None:
    objects.expect(PATH)
    assert PATH not in objects  # type: ignore[operator]
    put(objects)
    objects.expect(PATH)
    assert PATH in objects  # type: ignore[operator]
    assert objects.remove(PATH)


def test_a_newer_version_takes_the_old_body_away_and_is_not_due_without_readers(objects: Objects) -> None:
    assert not objects.advance(PATH, 3 << 16)
    put(objects, version=3 << 16)
    assert not objects.advance(PATH, 3 << 16 | 1)
    assert PATH not in objects  # type: ignore[operator]
    put(objects, version=1 << 62)
    assert PATH in objects  # type: ignore[operator]


def test_names_are_apart(objects: Objects) -> None:
    for number in range(3000):
        put(objects, b"/live/s/part-%d.m4s" % number)
    for number in range(0, 3000, 2):
        assert objects.remove(b"/live/s/part-%d.m4s" % number)
    found = [number for number in range(3000) if b"/live/s/part-%d.m4s" % number in objects]  # type: ignore[operator]
    assert found == list(range(1, 3000, 2))
