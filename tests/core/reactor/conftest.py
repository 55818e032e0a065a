"""What the reactor's tests need of their surroundings."""

import os
from collections.abc import Iterator

import pytest

from nova.ext.uring import available
from tests.core.reactor import talking

# In a sanitized build the library is preloaded into this process alone: the programs that tests start (curl, openssl) hang under it.
# Only an interpreter that loads our modules needs it, too: that is its environment then.
SANITIZED = os.environ.copy()
if os.environ.get("NOVA_VARIANT") in ("address", "thread"):
    os.environ.pop("LD_PRELOAD", None)

WEBSOCKETS = ("test_websocket.py", "test_fanout.py", "test_channel.py")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test of WebSockets runs on both ways out of a sweep."""
    if metafunc.definition.path.name in WEBSOCKETS:
        metafunc.fixturenames.append("way")
        metafunc.parametrize("way", ["send", "uring"], indirect=True)


@pytest.fixture
def interpreter() -> dict[str, str]:
    """The environment of an interpreter that a test starts."""
    return SANITIZED


@pytest.fixture
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """How the houses of this test send."""
    if request.param == "uring" and not available():
        pytest.skip("this kernel, or its sandbox, gives no io_uring")
    before = talking.URING[0]
    talking.URING[0] = request.param == "uring"
    yield request.param
    talking.URING[0] = before
