"""One table says why connections end: it holds every code that anything sends, and clients can tell from the number alone."""

import pytest

from nova.core import errors
from nova.ext import ws
from nova.realtime.close_codes import RANGES, TABLE, Advice, advice


def test_codes_rise_and_names_are_used_once() -> None:
    assert list(TABLE) == sorted(TABLE)
    assert len({row.name for row in TABLE.values()}) == len(TABLE)
    assert all(row.code == code for code, row in TABLE.items())


def test_every_code_may_be_sent() -> None:
    for code in TABLE:
        assert ws.close_frame(code)[2:] == code.to_bytes(2, "big")


def test_every_code_that_the_framing_sends_is_in_it() -> None:
    assert set(ws.errors().values()) <= set(TABLE)


@pytest.mark.parametrize("row", errors.TABLE.values(), ids=lambda row: row.code)
def test_every_error_that_ends_a_connection_is_in_it(row: errors.Row) -> None:
    assert row.close in TABLE
    named = {other.code for other in errors.TABLE.values() if other.close == row.close}
    assert TABLE[row.close].name in named


@pytest.mark.parametrize(
    ("code", "wanted"),
    [(1000, Advice.STAY_AWAY), (1006, Advice.BACK_OFF), (1009, Advice.STAY_AWAY), (1011, Advice.BACK_OFF), (1012, Advice.BACK_OFF),
     (3000, Advice.STAY_AWAY), (4000, Advice.BACK_OFF), (4199, Advice.BACK_OFF), (4200, Advice.NEW_TOKEN), (4299, Advice.NEW_TOKEN),
     (4300, Advice.STAY_AWAY), (4499, Advice.STAY_AWAY), (4500, Advice.STAY_AWAY)],
)  # fmt: skip
def test_the_number_says_what_to_do(code: int, wanted: Advice) -> None:
    assert advice(code) is wanted


def test_ranges_are_those_of_the_contract() -> None:
    assert [(codes.start, codes.stop - 1) for codes in RANGES.values()] == [(4000, 4199), (4200, 4299), (4300, 4499)]
