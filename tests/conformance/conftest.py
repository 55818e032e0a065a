"""A real server for the conformance suites: `nova serve` on free ports, or any server that NOVA_CONFORMANCE=host:port names."""

import os
from collections.abc import Iterator

import pytest

from tests.serving import Served, serve


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("serve") / "data") as running:
        yield running


@pytest.fixture(scope="session")
def server_address(request: pytest.FixtureRequest) -> tuple[str, int]:
    if other := os.environ.get("NOVA_CONFORMANCE"):
        host, _, port = other.rpartition(":")
        return host, int(port)
    served: Served = request.getfixturevalue("served")
    return served.address("http")
