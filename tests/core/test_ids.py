"""UUIDv7 against the RFC's own layout, and its order under bursts, threads and clocks that go back."""

import threading
import uuid

from hypothesis import given
from hypothesis import strategies as st

from nova.core.clock import FakeClock, SystemClock
from nova.core.ids import Ids, made_at, parse_id


def test_id_has_the_layout_of_rfc_9562() -> None:
    # Appendix A.6: the example's timestamp; our counter takes the place of rand_a.
    clock = FakeClock(wall=0x017F22E279B0 / 1000)
    id = uuid.UUID(Ids(clock).new())
    assert id.version == 7
    assert id.variant == uuid.RFC_4122
    assert id.int >> 80 == 0x017F22E279B0


def test_ids_of_one_millisecond_ascend() -> None:
    ids = Ids(FakeClock())
    made = [ids.new() for _ in range(10_000)]
    assert made == sorted(set(made))


@given(st.lists(st.floats(min_value=0, max_value=4e9), min_size=1, max_size=50))
def test_ids_ascend_whatever_the_clock_does(walls: list[float]) -> None:
    clock = FakeClock()
    ids = Ids(clock)
    made = []
    for wall in walls:
        clock.set_wall(wall)
        made.append(ids.new())
    assert made == sorted(set(made))


def test_same_time_and_randomness_give_the_same_ids() -> None:
    def make() -> list[str]:
        ids = Ids(FakeClock(), entropy=lambda size: bytes(range(size)))
        return [ids.new() for _ in range(5)]

    assert make() == make()


def test_threads_never_make_the_same_id() -> None:
    ids = Ids(SystemClock())
    made: list[str] = []

    def work() -> None:
        own = [ids.new() for _ in range(2000)]
        assert own == sorted(own)
        made.extend(own)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 8000


def test_made_at_reads_the_time_back() -> None:
    clock = FakeClock(wall=1_767_225_600.125)
    assert made_at(Ids(clock).new()) == 1_767_225_600.125


def test_only_our_own_form_is_an_id() -> None:
    id = Ids(SystemClock()).new()
    assert parse_id(id) == id
    assert parse_id(id.upper()) is None or id.upper() == id
    assert parse_id(str(uuid.uuid4())) is None
    assert parse_id(id + "\n") is None
    assert parse_id("../" + id) is None
