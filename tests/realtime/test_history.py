"""What a channel keeps, and what it says of what it does not keep."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.realtime.history import History, Place, Publication


def filled(count: int, *, items: int = 5, size_bytes: int = 10**6, ttl_ms: int = 10**6) -> History:
    history = History("e", items=items, size_bytes=size_bytes, ttl_ms=ttl_ms)
    for offset in range(1, count + 1):
        history.put(Publication(offset, b"%d" % offset, 1000 + offset))
    return history


def offsets(publications: list[Publication]) -> list[int]:
    return [each.offset for each in publications]


def test_recovery_gives_exactly_what_was_missed() -> None:
    history = filled(8)
    found = history.recover(Place(5, "e"), 2)
    assert found.recovered and offsets(found.publications) == [6, 7, 8]
    found = history.recover(Place(3, "e"), 2)
    assert found.recovered and offsets(found.publications) == [4, 5, 6, 7, 8]
    assert history.recover(Place(8, "e"), 2).publications == []


def test_recovery_is_honest_about_what_is_gone() -> None:
    history = filled(8)
    found = history.recover(Place(2, "e"), 2)
    assert not found.recovered and offsets(found.publications) == [4, 5, 6, 7, 8]
    for place in (Place(5, "other"), Place(9, "e"), None):
        found = history.recover(place, 2)
        assert not found.recovered and offsets(found.publications) == [7, 8]


def test_history_is_bounded_by_bytes_and_age() -> None:
    history = History("e", items=100, size_bytes=1500, ttl_ms=50)
    for offset in range(1, 11):
        history.put(Publication(offset, bytes(200), offset))
    assert history.size_bytes <= 1500 and offsets(history.last(100)) == [8, 9, 10]
    history.expire(59)
    assert offsets(history.last(100)) == [10]
    assert not history.recover(Place(8, "e"), 0).recovered and history.recover(Place(9, "e"), 0).recovered
    history.expire(60)
    assert len(history) == 0 and history.size_bytes == 0 and history.offset == 10
    assert history.recover(Place(10, "e"), 0).recovered and not history.recover(Place(9, "e"), 0).recovered


def test_a_new_state_supersedes_the_one_with_its_key() -> None:
    history = filled(2)
    history.put(Publication(3, b"10 viewers", 1003), "viewers")
    history.put(Publication(4, b"hi", 1004))
    history.put(Publication(5, b"11 viewers", 1005), "viewers")
    assert offsets(history.last(9)) == [1, 2, 4, 5]
    found = history.recover(Place(2, "e"), 0)
    assert found.recovered and offsets(found.publications) == [4, 5]


def test_ephemeral_publications_are_not_missed() -> None:
    history = filled(2)
    history.put(Publication(3, b"!", 1003), keep=False)
    assert history.offset == 3 and history.recover(Place(2, "e"), 0) == history.recover(Place(3, "e"), 0)


def test_channel_that_keeps_nothing_says_so() -> None:
    history = filled(3, items=0)
    assert history.recover(Place(3, "e"), 5).recovered and not history.recover(Place(2, "e"), 5).recovered


def test_deleted_publications_are_not_shown_again() -> None:
    history = filled(4)
    history.delete([2, 99])
    assert offsets(history.page(None, 10).publications) == [1, 3, 4]


def test_pages_ascend_behind_their_place() -> None:
    history = filled(5)
    page = history.page(None, 2)
    assert offsets(page.publications) == [1, 2] and page.more
    page = history.page(Place(2, "e"), 3)
    assert offsets(page.publications) == [3, 4, 5] and not page.more
    assert offsets(history.page(Place(4, "older"), 1).publications) == [1]
    assert history.page(Place(77, "e"), 3).publications == []


def test_offsets_ascend() -> None:
    with pytest.raises(ValueError):
        filled(3).put(Publication(3, b"", 1))


@given(
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["", "", "a", "b"]), st.integers(0, 300), st.booleans()), max_size=60),
    st.integers(0, 8),
    st.integers(0, 70),
)
def test_recovered_means_that_nothing_is_missing(steps: list[tuple[int, str, int, bool]], items: int, after: int) -> None:
    history = History("e", items=items, size_bytes=2400, ttl_ms=40)
    told: list[tuple[Publication, str, bool]] = []
    at = 0
    for step, key, size, keep in steps:
        at += step
        told.append((Publication(len(told) + 1, bytes(size), at), key, keep))
        history.put(told[-1][0], key, keep=keep)
    found = history.recover(Place(after, "e"), 3)
    assert sum(len(each.data) + 256 for each in history.last(99)) == history.size_bytes <= 2400 and len(history) <= items
    if found.recovered and after <= len(told):
        newest = {key: each.offset for each, key, keep in told if key and keep}
        wanted = [each.offset for each, key, keep in told[after:] if keep and (not key or newest[key] == each.offset)]
        assert offsets(found.publications) == wanted
