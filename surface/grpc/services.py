"""Every service and call of the contract: the one table. A test compares it with `proto/`.

A call without a handler answers UNIMPLEMENTED with reason `not_yet`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from nova.core.errors import BadRequest


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
            return getattr(self.module, f"{call}Request").FromString(data)
        except DecodeError:
            raise BadRequest("bad_request", f"this is no {call}Request") from None


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
    _service("realtime", "RealtimeService", "Publish Broadcast Disconnect Presence History Channels"),
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
