from collections.abc import Iterator

import pytest

from tests.browser.plugin import browser, chromium_process  # noqa: F401
from tests.serving import Served, serve


@pytest.fixture(scope="package")
def nova(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server with its demo for all tests here, as a new user starts it."""
    with serve(tmp_path_factory.mktemp("nova") / "data", "--demo") as served:
        yield served
