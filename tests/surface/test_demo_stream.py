"""The demo's stream over services on disk: one a data directory."""

from pathlib import Path

import pytest

from nova.core import settings as settings_
from nova.core.clock import FakeClock
from nova.media.streams.access import OPERATOR
from nova.media.streams.model import StreamId
from nova.surface import demo_stream
from nova.surface.datadir import open_data_dir
from nova.surface.services import NothingRuns, open_services


async def start(data: Path) -> tuple[str, str, int]:
    """What one start of the server with `--demo` gets: stream, key, and how many keys the stream has now."""
    settings = settings_.load(environ={}, overrides=[]).settings
    async with open_services(settings, open_data_dir(data, create=True), FakeClock(), NothingRuns()) as services:
        made = await demo_stream.obtain(services.operator, services.streams, data)
        owned = services.streams.authorize(made["key"])
        assert owned is not None
        assert owned.stream == made["id"]
        return made["id"], made["key"], len(await services.streams.list_keys(StreamId(made["id"]), OPERATOR))


async def test_every_start_uses_the_same_stream_with_a_key_of_its_own(tmp_path: Path) -> None:
    starts = [await start(tmp_path) for _ in range(3)]
    assert len({stream for stream, _, _ in starts}) == 1
    assert len({key for _, key, _ in starts}) == 3
    assert [keys for _, _, keys in starts] == [1, 1, 1]
    for file in tmp_path.glob("**/*"):  # the key of a server that has ended is nowhere
        assert file.is_dir() or starts[-1][1].encode() not in file.read_bytes()


@pytest.mark.parametrize("kept", [b"", b"[]", b"{", b'{"stream": "x", "key": "y"}'])
async def test_a_file_that_says_nothing_useful_gives_a_new_stream(tmp_path: Path, kept: bytes) -> None:
    (tmp_path / demo_stream.FILE).write_bytes(kept)
    (tmp_path / demo_stream.FILE).chmod(0o600)
    stream, _, _ = await start(tmp_path)
    assert (await start(tmp_path))[0] == stream


async def test_a_demo_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    first, _, _ = await start(tmp_path)
    settings = settings_.load(environ={}, overrides=[]).settings
    async with open_services(settings, open_data_dir(tmp_path, create=False), FakeClock(), NothingRuns()) as services:
        await services.streams.delete(StreamId(first), OPERATOR)
    assert (await start(tmp_path))[0] != first
