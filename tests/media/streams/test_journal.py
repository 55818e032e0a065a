"""The journal knows what runs, and what of it is not stored yet."""

from dataclasses import replace

from nova.media.streams.journal import SAVE_EVERY_MS, Journal, SetStatus, UseKey
from nova.media.streams.model import Broadcast, KeyId, Status, Stream, StreamId, UnixMs, UserId, Visibility

S, K = StreamId("s"), KeyId("k")
STORED = Stream(S, UserId("u"), "t", "", (), Visibility.PUBLIC, False, UnixMs(0))


def at(ms: int) -> UnixMs:
    return UnixMs(ms)


def test_a_first_publisher_begins_a_broadcast() -> None:
    journal = Journal()
    assert journal.started(S, K, "b1", at(5))
    assert journal.current(STORED) == replace(STORED, status=Status.LIVE, started_at=5)
    assert [write for _, write in journal.take()] == [UseKey(K, at(5)), Broadcast("b1", S, at(5)), SetStatus(S, Status.LIVE, at(5), None)]


def test_a_publisher_that_comes_back_goes_on_with_the_broadcast() -> None:
    journal = Journal()
    journal.started(S, K, "b1", at(5))
    assert journal.lost(S)
    assert journal.status(S) is Status.RECONNECTING
    assert not journal.lost(S)
    assert not journal.started(S, K, "b2", at(9))
    assert journal.status(S) is Status.LIVE
    found = journal.broadcast(S)
    assert found is not None
    assert (found.id, found.started_at) == ("b1", 5)


def test_a_takeover_changes_nothing_but_the_key() -> None:
    journal = Journal()
    journal.started(S, K, "b1", at(5))
    for key, write in journal.take():
        journal.written(key, write)
    assert not journal.started(S, KeyId("k2"), "b2", at(6))
    assert [write for _, write in journal.take()] == [UseKey(KeyId("k2"), at(6))]


def test_an_ended_stream_shows_so_before_the_store_knows() -> None:
    journal = Journal()
    journal.started(S, K, "b1", at(5))
    ended = journal.ended(S, "unpublished", at(8))
    assert ended == Broadcast("b1", S, at(5), at(8), "unpublished")
    assert journal.ended(S, "unpublished", at(9)) is None
    wanted = replace(STORED, status=Status.ENDED, started_at=5, ended_at=8)
    assert journal.current(STORED) == wanted
    for key, write in journal.take():
        journal.written(key, write)
    assert not journal.dirty
    assert journal.current(wanted) == wanted


def test_a_change_that_came_while_an_older_one_was_written_stays_pending() -> None:
    journal = Journal()
    journal.started(S, None, "b1", at(5))
    taken = list(journal.take())
    journal.lost(S)
    for key, write in taken:
        journal.written(key, write)
    assert [write for _, write in journal.take()] == [SetStatus(S, Status.RECONNECTING, at(5), None)]


def test_pending_changes_do_not_grow_with_their_number() -> None:
    journal = Journal()
    journal.started(S, K, "b1", at(0))
    for _ in range(100):
        journal.lost(S)
        journal.started(S, K, "other", at(1))
    assert len(list(journal.take())) == 3


def test_viewers_are_integrated_over_time_and_saved_now_and_then() -> None:
    journal = Journal()
    journal.started(S, None, "b1", at(0))
    for key, write in journal.take():
        journal.written(key, write)
    journal.sample(S, 2, at(1000))
    journal.sample(S, 5, at(1500))
    journal.sample(S, 0, at(2500))
    found = journal.broadcast(S)
    assert found is not None
    assert (found.viewer_ms, found.peak_viewers) == (4500, 5)
    assert not journal.dirty
    journal.sample(S, 1, at(2500 + SAVE_EVERY_MS))
    assert [write for _, write in journal.take()] == [journal.broadcast(S)]
    journal.sample(StreamId("other"), 1, at(1))


def test_a_deleted_stream_writes_nothing_more() -> None:
    journal = Journal()
    journal.started(S, None, "b1", at(0))
    journal.forget(S)
    assert not journal.dirty
    assert journal.running() == []
