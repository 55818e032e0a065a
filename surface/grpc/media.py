"""MediaService and VideoService: uploads and the library. Fields and rules are those of `/v1/uploads`, `/v1/videos`, `/v1/reels`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nova.core.errors import BadRequest, FieldError
from nova.core.ids import parse_id
from nova.media.images import presets
from nova.media.library.model import Kind, Video, VideoId
from nova.media.library.service import Draft
from nova.media.library.service import missing as missing_video
from nova.media.streams.access import Caller
from nova.media.streams.model import UserId, Visibility
from nova.media.uploads import tus
from nova.media.uploads.model import Upload, UploadId
from nova.media.uploads.service import missing as missing_upload
from nova.surface.grpc.call import Call, Handlers
from nova.surface.http import cursors
from nova.surface.http.route import LIMIT_DEFAULT, LIMIT_MAX
from nova.surface.http.routes_uploads import PATH
from nova.surface.http.routes_videos import CREATE, LIST
from nova.surface.http.schema import read
from nova.surface.identity.scopes import ADMIN
from nova.surface.media import Media
from nova.surface.urls import Urls

# The messages are loaded by the first call, which has parsed its request before it comes here.
if TYPE_CHECKING:
    from nova.surface.grpc.generated import media_v1_pb2 as pb
    from nova.surface.grpc.generated import video_v1_pb2 as video_pb

MEDIA: Final = "/nova.media.v1.MediaService"
VIDEO: Final = "/nova.video.v1.VideoService"
WRITE: Final = "media:write"


class MediaService:
    """Handlers over the domains. Every one raises NovaError as they do."""

    def __init__(self, media: Media, urls: Urls) -> None:
        self._uploads, self._library, self._poster, self._urls = media.uploads, media.library, media.poster, urls

    def handlers(self) -> Handlers:
        """By full method; transcoding comes with its domain."""
        return {
            f"{MEDIA}/GetVideo": self.get_video,
            f"{MEDIA}/GetUserVideos": self.get_user_videos,
            f"{MEDIA}/CreateVideo": self.create_video,
            f"{MEDIA}/ListReels": self.list_reels,
            f"{MEDIA}/GetReel": self.get_reel,
            f"{MEDIA}/CreateReel": self.create_reel,
            f"{MEDIA}/GetUpload": self.get_upload,
            f"{MEDIA}/UpdateUploadProgress": self.update_upload_progress,
            f"{MEDIA}/StartUpload": self.start_upload,
            f"{MEDIA}/CompleteUpload": self.complete_upload,
            f"{VIDEO}/UploadVideo": self.upload_video,
            f"{VIDEO}/GetVideoMetadata": self.get_video_metadata,
            f"{VIDEO}/ListVideos": self.list_videos,
            f"{VIDEO}/DeleteVideo": self.delete_video,
        }

    # Videos and reels.

    async def get_video(self, request: pb.GetVideoRequest, call: Call) -> pb.GetVideoResponse:
        from nova.surface.grpc.generated import media_v1_pb2 as pb

        found = await self._library.get(_video_id(request.video_id), _caller(call))
        return pb.GetVideoResponse(video=self._shown(pb.Video, found))

    async def get_user_videos(self, request: pb.GetUserVideosRequest, call: Call) -> pb.GetUserVideosResponse:
        from nova.surface.grpc.generated import media_v1_pb2 as pb

        owner = UserId(request.user_id or call.require().user)
        items, cursor = await self._page(request, call, Kind.VIDEO, owner)
        return pb.GetUserVideosResponse(items=[self._shown(pb.Video, each) for each in items], cursor=cursor)

    async def create_video(self, request: pb.CreateVideoRequest, call: Call) -> pb.CreateVideoResponse:
        from nova.surface.grpc.generated import media_v1_pb2 as pb

        return pb.CreateVideoResponse(video=self._shown(pb.Video, await self._create(request, call, Kind.VIDEO)))

    async def list_reels(self, request: pb.ListReelsRequest, call: Call) -> pb.ListReelsResponse:
        from nova.surface.grpc.generated import media_v1_pb2 as pb

        items, cursor = await self._page(request, call, Kind.REEL, UserId(request.owner) if request.owner else None)
        return pb.ListReelsResponse(items=[self._shown(pb.Video, each) for each in items], cursor=cursor)

    async def get_reel(self, request: pb.GetReelRequest, call: Call) -> pb.GetReelResponse:
        from nova.surface.grpc.generated import media_v1_pb2 as pb

        found = await self._library.get(_video_id(request.reel_id), _caller(call), Kind.REEL)
        return pb.GetReelResponse(reel=self._shown(pb.Video, found))

    async def create_reel(self, request: pb.CreateReelRequest, call: Call) -> pb.CreateReelResponse:
        from nova.surface.grpc.generated import media_v1_pb2 as pb

        return pb.CreateReelResponse(reel=self._shown(pb.Video, await self._create(request, call, Kind.REEL)))

    async def get_video_metadata(self, request: video_pb.GetVideoMetadataRequest, call: Call) -> video_pb.GetVideoMetadataResponse:
        from nova.surface.grpc.generated import video_v1_pb2 as pb

        found = await self._library.get(_video_id(request.video_id), _caller(call))
        return pb.GetVideoMetadataResponse(video=self._shown(pb.Video, found))

    async def list_videos(self, request: video_pb.ListVideosRequest, call: Call) -> video_pb.ListVideosResponse:
        from nova.surface.grpc.generated import video_v1_pb2 as pb

        items, cursor = await self._page(request, call, Kind.VIDEO, UserId(request.owner) if request.owner else None)
        return pb.ListVideosResponse(items=[self._shown(pb.Video, each) for each in items], cursor=cursor)

    async def delete_video(self, request: video_pb.DeleteVideoRequest, call: Call) -> video_pb.DeleteVideoResponse:
        from nova.surface.grpc.generated import video_v1_pb2 as pb

        call.require(WRITE)
        await self._library.delete(_video_id(request.video_id), _caller(call))
        return pb.DeleteVideoResponse()

    async def _create(self, request: Any, call: Call, kind: Kind) -> Video:
        owner = UserId(call.require(WRITE).user)
        call.acts_for(request.user_id)
        wanted = {
            "title": request.title,
            "description": request.description,
            "visibility": request.visibility or "public",
            "poster": request.poster or None,
        }
        body = read(CREATE, wanted)
        draft = Draft(body["title"], kind, body["description"], Visibility(body["visibility"]), body["poster"] or "")
        return await self._library.create(owner, draft)

    async def _page(self, request: Any, call: Call, kind: Kind, owner: UserId | None) -> tuple[list[Video], str]:
        if request.limit < 0:
            wrong = FieldError("/limit", "invalid_field", "must be from 1")
            raise BadRequest(detail="The limit is not allowed.", fields=(wrong,))
        after = VideoId(cursors.decode(LIST, request.cursor)) if request.cursor else None
        limit = min(request.limit or LIMIT_DEFAULT, LIMIT_MAX)
        items, last = await self._library.find(_caller(call), limit=limit, after=after, kind=kind, owner=owner)
        return items, "" if last is None else cursors.encode(LIST, last)

    # Uploads.

    async def get_upload(self, request: pb.GetUploadRequest, call: Call) -> pb.GetUploadResponse:
        from nova.surface.grpc.generated import media_v1_pb2 as pb

        call.require(WRITE)
        return pb.GetUploadResponse(upload=_upload(await self._uploads.get(_upload_id(request.upload_id), _caller(call))))

    async def update_upload_progress(self, request: pb.UpdateUploadProgressRequest, call: Call) -> pb.UpdateUploadProgressResponse:
        """What has arrived is what the server counted: a caller that sent more than that learns where to go on."""
        from nova.surface.grpc.generated import media_v1_pb2 as pb

        call.require(WRITE)
        return pb.UpdateUploadProgressResponse(upload=_upload(await self._uploads.get(_upload_id(request.upload_id), _caller(call))))

    async def start_upload(self, request: pb.StartUploadRequest, call: Call) -> pb.StartUploadResponse:
        from nova.surface.grpc.generated import media_v1_pb2 as pb

        said = {name: getattr(request, name) for name in ("filename", "filetype", "kind", "preset", "sha256", "title")}
        upload = await self._start(request, call, said)
        return pb.StartUploadResponse(upload=_upload(upload), url=self._url(upload))

    async def complete_upload(self, request: pb.CompleteUploadRequest, call: Call) -> pb.CompleteUploadResponse:
        from nova.surface.grpc.generated import media_v1_pb2 as pb

        call.require(WRITE)
        return pb.CompleteUploadResponse(upload=_upload(await self._uploads.finished(_upload_id(request.upload_id), _caller(call))))

    async def upload_video(self, request: video_pb.UploadVideoRequest, call: Call) -> video_pb.UploadVideoResponse:
        from nova.surface.grpc.generated import video_v1_pb2 as pb

        said = {name: getattr(request, name) for name in ("filename", "filetype", "sha256", "title")} | {"kind": "video"}
        upload = await self._start(request, call, said)
        return pb.UploadVideoResponse(upload_id=upload.id, url=self._url(upload))

    async def _start(self, request: Any, call: Call, said: dict[str, str]) -> Upload:
        owner = UserId(call.require(WRITE).user)
        call.acts_for(request.user_id)
        # Through the form that tus gives them: one place says what is allowed.
        metadata = tus.parse_metadata(tus.write_metadata(tus.Metadata(**said)))
        presets.chosen(metadata.preset)
        return await self._uploads.create(owner, request.size, metadata)

    def _url(self, upload: Upload) -> str:
        # A gRPC caller names no host for HTTP: the public URL, else the listener.
        return f"{self._urls.base('http', '')}{PATH}/{upload.id}"

    def _shown(self, make: Any, video: Video) -> Any:
        shown = make(
            id=video.id, owner=video.owner, kind=video.kind, title=video.title, description=video.description, visibility=video.visibility,
            status=video.state, format=video.format, size_bytes=video.size_bytes, digest=video.digest,
            poster_url=self._urls.base("http", "") + self._poster(video.poster) if video.poster else "",
        )  # fmt: skip
        shown.created_at.FromMilliseconds(video.created_at)
        return shown


def _upload(upload: Upload) -> pb.Upload:
    from nova.surface.grpc.generated import media_v1_pb2 as pb

    shown = pb.Upload(
        id=upload.id, offset=upload.offset, size=upload.size, status=upload.status, result_kind=upload.result_kind,
        result_id=upload.result_id, error_code=upload.error_code, error_detail=upload.error_detail,
    )  # fmt: skip
    shown.expires_at.FromMilliseconds(upload.expires_at)
    return shown


def _video_id(text: str) -> VideoId:
    """Raises NotFound for what can not be an id."""
    found = parse_id(text)
    if found is None:
        raise missing_video(text)
    return VideoId(found)


def _upload_id(text: str) -> UploadId:
    """Raises NotFound for what can not be an id."""
    found = parse_id(text)
    if found is None:
        raise missing_upload(text)
    return UploadId(found)


def _caller(call: Call) -> Caller:
    if call.principal is None:
        return Caller()
    return Caller(UserId(call.principal.user), operator=call.principal.holds(ADMIN))
