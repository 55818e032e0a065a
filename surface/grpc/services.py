"""Every service and call of the contract: the one table. A test compares it with `proto/`.

A call without a handler answers UNIMPLEMENTED with reason `not_yet`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module
from math import isfinite
from types import ModuleType
from typing import Any, Final

from nova.core.errors import BadRequest, FieldError


@dataclass(frozen=True)
class Service:
    """domain: package `nova.{domain}.v1`. module: the generated messages, loaded when first asked for."""

    domain: str
    name: str
    calls: tuple[str, ...]

    @property
    def full_name(self) -> str:
        return f"nova.{self.domain}.v1.{self.name}"

    @cached_property
    def module(self) -> ModuleType:
        return import_module(f"nova.surface.grpc.generated.{self.domain}_v1_pb2")

    def request(self, call: str, data: bytes) -> Any:
        """Parse a request. Raises BadRequest."""
        from google.protobuf.message import DecodeError

        try:
            found = getattr(self.module, f"{call}Request").FromString(data)
        except DecodeError:
            raise BadRequest("bad_request", f"this is no {call}Request") from None
        if _holds_unchecked(found.DESCRIPTOR):
            _check(found, "")
        return found


_SECONDS: Final = range(-62_135_596_800, 253_402_300_800)  # years 1 to 9999 (google/protobuf/timestamp.proto)
_NANOS: Final = range(1_000_000_000)
_UNCHECKED: Final = frozenset({"google.protobuf.Timestamp", "google.protobuf.Value"})  # parsed whatever is in them


@cache
def _holds_unchecked(descriptor: Any) -> bool:
    seen, waiting = set(), [descriptor]
    while waiting:
        each = waiting.pop()
        if each.full_name in _UNCHECKED:
            return True
        if each.full_name not in seen:
            seen.add(each.full_name)
            waiting += [field.message_type for field in each.fields if field.message_type is not None]
    return False


def _check(message: Any, pointer: str) -> None:
    """Values that the wire can carry and their type cannot mean. Raises BadRequest `invalid_field`."""
    kind = message.DESCRIPTOR.full_name
    if kind == "google.protobuf.Timestamp" and (message.seconds not in _SECONDS or message.nanos not in _NANOS):
        raise _wrong(pointer, "a time is from year 1 to 9999, with 0 to 999999999 nanoseconds")
    if kind == "google.protobuf.Value" and not isfinite(message.number_value):
        raise _wrong(pointer, "a number is finite: JSON has neither NaN nor Infinity")
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for name, each in value.items():
                    _check(each, f"{pointer}/{field.name}/{name[:40]}")
        elif hasattr(value, "DESCRIPTOR"):
            _check(value, f"{pointer}/{field.name}")
        else:
            for at, each in enumerate(value):
                _check(each, f"{pointer}/{field.name}/{at}")


def _wrong(pointer: str, detail: str) -> BadRequest:
    return BadRequest("invalid_field", f"{pointer}: {detail}", fields=[FieldError(pointer, "invalid_field", detail)])


def _service(domain: str, name: str, calls: str) -> Service:
    return Service(domain, name, tuple(calls.split()))


SERVICES: Final = (
    _service("auth", "AuthService", "GetUser GetUserBatch CheckUserExists ValidateToken"),
    _service(
        "cdn",
        "CdnService",
        "GenerateCdnUrl GetCdnAsset RegisterCdnAsset UpdateCdnAsset InvalidateCache InvalidateCachePattern GetCacheInvalidationStatus"
        " GetCdnUsageStats GetEdgeLocations PrewarmCache GetDeploymentStatus GetCdnMetrics",
    ),
    _service(
        "media",
        "MediaService",
        "GetVideo GetUserVideos CreateVideo ListReels GetReel CreateReel GetUpload UpdateUploadProgress StartUpload CompleteUpload",
    ),
    _service(
        "messaging",
        "MessagingService",
        "CreateConversation GetConversation ListConversations AddMembers RemoveMember SendMessage GetMessages AckMessages PublishKeys"
        " ClaimKeys",
    ),
    _service("notification", "NotificationService", "RegisterDevice Notify ListNotifications MarkRead GetPreferences UpdatePreferences"),
    _service("realtime", "RealtimeService", "Publish Broadcast Disconnect Presence History Channels Info"),
    _service(
        "streaming",
        "StreamingService",
        "StartStream StopStream GetStreamStatus GetStreamingManifest UpdateStreamingProfile GetStreamAnalytics BroadcastChatMessage",
    ),
    _service("video", "VideoService", "UploadVideo GetVideoMetadata TranscodeVideo GetTranscodingProgress ListVideos DeleteVideo"),
)

METHODS: Final[Mapping[str, tuple[Service, str]]] = {
    f"/{service.full_name}/{call}": (service, call) for service in SERVICES for call in service.calls
}
