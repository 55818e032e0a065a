"""Arenas: appended once, read by many, and used again only when nobody can still be reading."""

import threading

from nova.ext.buffer import Account, Arena, Buffer, resident_bytes
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


def test_an_account_holds_what_anybody_holds() -> None:
    account = Account()
    whole = Buffer(bytes(1000))
    account.charge(whole)
    account.charge(whole)  # once
    part = whole[10:20]
    account.charge(part)
    assert account.bytes == 1064
    del whole
    assert account.bytes == 1064  # a part keeps all of it
    other = Account()
    other.charge(part)  # it counts already
    assert (account.bytes, other.bytes) == (1064, 0)
    del part
    assert account.bytes == 0


def test_an_arena_counts_as_it_is_written_and_until_its_last_view_goes() -> None:
    account, arena = Account(), Arena(1 << 20)
    arena.append(bytes(100))
    account.charge(arena)
    view = arena.append(bytes(5000))
    assert account.bytes == 5164
    arena.seal()
    del arena
    assert account.bytes == 5164
    del view
    assert account.bytes == 0
    again = Arena(1 << 20)
    account.charge(again)
    again.append(bytes(70_000))
    assert again.recycle()
    assert account.bytes == 64


def test_buffers_may_outlive_their_account() -> None:
    buffers = []
    for _ in range(10):
        account = Account()
        buffers.append(Buffer(bytes(100)))
        account.charge(buffers[-1])
    del account
    threads = [threading.Thread(target=buffers.pop) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert buffers == []


def test_what_is_promised_is_no_part_of_what_is_held() -> None:
    account = Account()
    account.promise(500)
    account.promise(-200)
    assert (account.bytes, account.promised) == (0, 300)
