"""Viewers' sessions and their keys on disk."""

import json

import pytest

from nova.core.errors import Unavailable
from nova.ext.session import SessionKeys
from nova.surface.identity.path_sessions import PathSessions
from tests.surface.identity.conftest import World

VIEWER = b"v" * 16
TTL = 6 * 3600


def opened(world: World) -> PathSessions:
    made = PathSessions(world.data / "keys", SessionKeys(), world.clock, ttl=TTL)
    made.open()
    return made


def until(world: World, seconds: float) -> int:
    return int(world.clock.wall() + seconds)


def test_a_session_outlives_a_restart_and_three_rotations(world: World) -> None:
    text = opened(world).mint(b"s", VIEWER, until(world, 3600))
    again = opened(world)
    assert again.viewer(text, b"s") == VIEWER
    assert again.viewer(text, b"other") is None
    assert again.viewer(b"x", b"s") is None
    assert (world.data / "keys" / "sessions.json").stat().st_mode & 0o777 == 0o600
    last = text
    for _ in range(4):
        world.clock.advance(86400)
        kept = opened(world)
        assert kept.viewer(last, b"s") is None  # its time is over, whatever its key
        last = kept.mint(b"s", VIEWER, until(world, 3600))
        assert kept.viewer(last, b"s") == VIEWER
    assert len(json.loads((world.data / "keys" / "sessions.json").read_bytes())["keys"]) == 4


def test_a_session_lives_no_longer_than_the_setting(world: World) -> None:
    sessions = opened(world)
    text = sessions.mint(b"s", VIEWER, until(world, 10 * TTL))
    world.clock.advance(TTL + 2)
    assert sessions.viewer(text, b"s") is None


def test_a_revoked_viewer_gets_nothing(world: World) -> None:
    sessions = opened(world)
    text = sessions.mint(b"s", VIEWER, until(world, 3600))
    sessions.revoke(VIEWER)
    assert sessions.viewer(text, b"s") is None


def test_a_damaged_key_file_is_named(world: World) -> None:
    opened(world)
    path = world.data / "keys" / "sessions.json"
    for content in (b"", b"{}", b'{"keys":[{"id":1}]}', b'{"keys":[{"id":1,"made_at":1,"secret":"AA"}]}'):
        path.write_bytes(content)
        with pytest.raises(Unavailable, match=r"sessions\.json"):
            opened(world)
