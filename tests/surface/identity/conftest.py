"""An identity on a real data directory and a real SQLite, with a clock that stands still."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nova.core.bus import Bus, MemoryBus
from nova.core.clock import FakeClock, rfc3339
from nova.core.ids import Ids
from nova.core.offload import Offload
from nova.core.settings import load
from nova.core.sql import open_sqlite
from nova.surface.identity import keyring, service
from nova.surface.identity.client import Answer
from nova.surface.identity.store_sql import SCHEMA, SqlStore

NOW = 1_790_000_000.0


class World:
    """What a server's process is made of, as far as identity sees it."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.clock = FakeClock(wall=NOW)
        self.ids = Ids(self.clock)
        self.bus: Bus = MemoryBus(self.clock)

    @asynccontextmanager
    async def identity(self, *overrides: str, fetch: Callable[[str], Awaitable[Answer]] = keyring.fetch_jwks) -> AsyncIterator[Any]:
        """A server's identity; entered again it is the server after a restart."""
        settings = load(environ={}, overrides=overrides).settings
        async with open_sqlite(self.data / "nova.db", [SCHEMA], Offload(), now=rfc3339(NOW)) as sql:
            made = service.build(settings, self.data, SqlStore(sql), self.bus, self.clock, self.ids, machine="Studio", fetch=fetch)
            await made.open()
            yield made


@pytest.fixture
def world(tmp_path: Path) -> World:
    tmp_path.chmod(0o700)
    return World(tmp_path)
