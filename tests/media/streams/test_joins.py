"""Who joined is known as long as it matters, and no longer."""

from nova.media.streams.joins import Join, Joins
from nova.media.streams.model import StreamId, UnixMs, UserId

S, T = StreamId("s"), StreamId("t")


def join(number: int, stream: StreamId = S, user: str | None = None, expires: int = 1000) -> Join:
    return Join(number.to_bytes(16), stream, None if user is None else UserId(user), UnixMs(expires))


def test_taking_leaves_those_who_may_stay() -> None:
    joins = Joins()
    for each in (join(1, user="alice"), join(2, user="bob"), join(3), join(4, T, "bob")):
        joins.add(each, UnixMs(0))
    assert sorted(joins.take(S, unless=lambda user: user == "alice")) == [join(2).viewer, join(3).viewer]
    assert len(joins) == 2
    assert joins.take(S, unless=lambda user: user == "alice") == []
    assert joins.take(StreamId("never"), unless=lambda user: False) == []


def test_expired_sessions_are_forgotten() -> None:
    joins = Joins()
    joins.add(join(1, expires=10), UnixMs(0))
    joins.add(join(2, expires=20), UnixMs(10))
    assert len(joins) == 1


def test_the_table_is_bounded() -> None:
    joins = Joins(most=3)
    for number in range(10):
        joins.add(join(number), UnixMs(0))
    assert len(joins) == 3
    assert not joins.remove(join(0).viewer)
    assert joins.remove(join(9).viewer)
