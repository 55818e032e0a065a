"""How many I/O threads a server has: on any machine no more than the reactor can have."""

import pytest

from nova.core import settings
from nova.core.settings import SettingsError
from nova.ext.engine import MOST_THREADS
from nova.surface.app import io_threads


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (8, 7), (17, 16), (18, 16), (256, 16)])
def test_one_for_each_core_less_one_up_to_the_most(cores: int, threads: int) -> None:
    assert io_threads(0, cores) == threads <= MOST_THREADS


def test_more_than_there_can_be_are_refused_by_name() -> None:
    assert settings.load(environ={}, overrides=[f"reactor.threads={MOST_THREADS}"]).settings.reactor.threads == MOST_THREADS
    with pytest.raises(SettingsError, match=r"reactor\.threads"):
        settings.load(environ={}, overrides=[f"reactor.threads={MOST_THREADS + 1}"])
