"""Fixtures: a Chromium for the run, a browser context for the test."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.browser import chromium


@pytest.fixture(scope="session")
def chromium_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Process]:
    program = chromium.find()
    if program is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    process = chromium.Process(program, tmp_path_factory.mktemp("chromium"))
    yield process
    process.close()


@pytest.fixture
async def browser(chromium_process: chromium.Process) -> AsyncIterator[chromium.Browser]:
    async with chromium_process.browser() as browser:
        yield browser
