"""Fakes of what the streams domain needs from others."""

from collections.abc import Mapping

from nova.media.streams.model import KeyId, StreamId


class FakeRunning:
    """Writes down what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []
        self.left: list[bytes] = []
        self.watching: dict[str, int] = {}

    def stop(self, stream: StreamId, reason: str) -> bool:
        self.told.append(("stop", stream, reason))
        return True

    def drop_key(self, stream: StreamId, key: KeyId) -> bool:
        self.told.append(("drop_key", stream, key))
        return True

    def hide(self, stream: StreamId, private: bool) -> None:
        self.told.append(("hide", stream, str(private)))

    def viewers(self, stream: StreamId) -> int:
        return self.watching.get(stream, 0)

    def gone(self, stream: StreamId, viewer: bytes) -> None:
        self.left.append(viewer)

    def numbers(self, stream: StreamId) -> Mapping[str, object]:
        return {"bitrate": 1000} if stream in self.watching else {}


class FakeSessions:
    """Sessions that anybody could forge."""

    def __init__(self) -> None:
        self.revoked: list[bytes] = []

    def mint(self, scope: bytes, viewer: bytes, expires: int) -> bytes:
        return f"{scope.decode()}.{viewer.hex()}.{expires}".encode()

    def viewer(self, text: bytes, scope: bytes) -> bytes | None:
        parts = text.decode().split(".")
        if len(parts) != 3 or parts[0].encode() != scope:
            return None
        viewer = bytes.fromhex(parts[1])
        return None if viewer in self.revoked else viewer

    def revoke(self, viewer: bytes) -> None:
        self.revoked.append(viewer)
