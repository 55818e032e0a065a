"""What every test shares: how hard the property tests try, and which tests run beside which.

`make test` runs each property on a fixed set of examples, so that a red run is red again; `make test-all` looks
for new ones.
"""

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("fixed", deadline=None, max_examples=50, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("searching", deadline=None, max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

# Browsers and players that follow a stream as it comes: never two of them at once, or each would take the other's time.
REAL_TIME = ("tests/web/", "tests/browser/", "tests/e2e/", "tests/media/demo/")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Under pytest-xdist a file belongs to one worker, and all that plays in real time is like one file."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "real time" if nodeid.startswith(REAL_TIME) else super()._split_scope(nodeid)

    return ByFile(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest of these groups begins first, so that it is not what everybody waits for at the end."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not item.nodeid.startswith(REAL_TIME))
