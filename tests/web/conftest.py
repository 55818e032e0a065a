from collections.abc import Iterator

import pytest

from tests.browser.plugin import browser, chromium_process  # noqa: F401
from tests.web.site import Site


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()
