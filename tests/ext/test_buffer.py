"""Arenas: appended once, read by many, and used again only when nobody can still be reading."""

from nova.ext.buffer import Arena, Buffer, resident_bytes
from nova.ext.objects import ObjectTable


def test_an_arena_is_used_again_when_nobody_holds_its_bytes() -> None:
    before = resident_bytes()
    arena = Arena(1 << 20)
    view = arena.append(b"a" * 9000)
    assert not arena.recycle()
    assert bytes(view) == b"a" * 9000
    del view
    assert arena.recycle()
    assert len(arena) == 0
    assert resident_bytes() == before
    assert bytes(arena.append(b"b" * 20_000)) == b"b" * 20_000


def test_bytes_that_a_table_serves_are_held() -> None:
    arena, table = Arena(1 << 20), ObjectTable()
    table.put(b"/x", b"", [arena.append(b"a" * 100)], etag=b'"1"')
    assert not arena.recycle()
    table.remove(b"/x")
    assert arena.recycle()


def test_a_sealed_arena_is_not_used_again() -> None:
    arena = Arena(1 << 20)
    arena.append(b"a")
    arena.seal()
    assert not arena.recycle()


def test_what_is_left_of_a_longer_use_reads_as_zeros_no_more() -> None:
    arena = Arena(1 << 20)
    arena.append(b"a" * 100_000)
    assert arena.recycle()
    arena.append(b"b" * 10)
    assert arena.recycle()  # gives the pages beyond the first back
    whole: Buffer = arena.append(bytes(100_000))
    assert bytes(whole) == bytes(100_000)
