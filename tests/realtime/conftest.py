"""What two nodes share in tests: a bus in memory, or a real Redis."""

from collections.abc import AsyncIterator, Iterator

import pytest

from nova.core.bus import Bus, MemoryBus
from nova.core.bus.shared import RedisBus
from nova.core.clock import FakeClock
from nova.core.secret import SecretUrl
from tests.core.bus.redis_server import RedisServer, redis_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["memory", "redis"])
async def buses(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Bus, Bus]]:
    """What two nodes see of one bus."""
    if request.param == "memory":
        bus = MemoryBus(FakeClock())
        yield bus, bus
        return
    server: RedisServer = request.getfixturevalue("server")
    assert server.say("FLUSHALL") == b"+OK\r\n"
    one, two = RedisBus(SecretUrl(server.url)), RedisBus(SecretUrl(server.url))
    async with one.opened(), two.opened():
        yield one, two
