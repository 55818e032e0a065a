"""Sites that change while the server runs, and what waits for its next start."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from nova.core.settings_schema import make
from nova.core.settings_table import Cdn
from nova.surface import cdn

SITE = {"name": "shop", "prefix": "/cdn/s/shop/", "origins": [{"url": "http://127.0.0.1:1"}]}


class Running:
    """Sites as they began."""

    def __init__(self) -> None:
        self.config = make(Cdn)
        self.applied: list[Any] = []

    async def apply(self, sites: Any) -> None:
        self.applied.append(sites)


async def test_what_counts_from_the_next_start_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said: list[tuple[str, dict[str, Any]]] = []
    done = trio.Event()

    def info(event: str, **fields: Any) -> None:
        said.append((event, fields))
        if len(said) == 2:
            done.set()

    monkeypatch.setattr(cdn, "_log", SimpleNamespace(info=info))
    files = [make(Cdn, sites=[SITE]), make(Cdn, sites=[SITE], memory="1GiB", disk="2GiB")]
    running: Any = Running()
    ask, asked = trio.open_memory_channel[None](2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cdn.follow_settings, running, tmp_path / "nova.toml", lambda: SimpleNamespace(cdn=files.pop(0)), asked)
        for _ in range(2):
            await ask.send(None)
        await done.wait()
        nursery.cancel_scope.cancel()
    assert said[0] == ("settings_applied", {"sites": 1})
    assert said[1][1]["sites"] == 1
    assert sorted(said[1][1]["needs_restart"]) == ["disk", "memory"]
    assert [len(sites) for sites in running.applied] == [1, 1]
