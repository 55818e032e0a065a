"""`/v1/uploads`: resumable uploads by tus 1.0.0, and their state as JSON; `/v1/direct-uploads`: the same by signed addresses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, Final

from nova.core.errors import MethodNotAllowed, UnsupportedType
from nova.core.ids import parse_id
from nova.media.images import presets
from nova.media.streams.model import UserId
from nova.media.uploads import tus
from nova.media.uploads.direct import LONGEST
from nova.media.uploads.model import Status, Upload, UploadId
from nova.media.uploads.service import Uploads, missing
from nova.surface.http.call import Call
from nova.surface.http.route import NO_CONTENT, Headers, Query, Reply, Route, created, short_text
from nova.surface.http.schema import ID, URL, Array, Choice, Integer, Object, OrNull, Text, optional, required
from nova.surface.media import shown

Json = Any

PATH: Final = "/v1/uploads"
DIRECT: Final = "/v1/direct-uploads"
HOUR: Final = 3600
RESULT: Final = Object({"kind": required(Choice((*tus.KINDS,))), "id": required(ID)}, "UploadResult")
ERROR: Final = Object({"code": required(Text(40)), "detail": required(Text(400))}, "UploadError")
_UPLOAD: Final = {
    "id": required(ID),
    "offset": required(Integer(0, 2**53, "Bytes that have arrived and are safe.")),
    "size": required(Integer(1, 2**53)),
    "status": required(Choice([*Status])),
    "result": required(OrNull(RESULT)),
    "error": optional(OrNull(ERROR)),
}
UPLOAD: Final = Object(_UPLOAD, "Upload", open=True)
CREATE: Final = Object(
    {
        "size": required(Integer(1, 2**53, "Bytes of the file.")),
        "filename": optional(Text(200), ""),
        "filetype": optional(Text(200), ""),
        "kind": optional(OrNull(Choice(tus.KINDS, "What it must be; null: by its bytes."))),
        "preset": optional(Text(40, doc="Whose result is made at once."), ""),
        "sha256": optional(OrNull(Text(64, 64, "[0-9a-fA-F]{64}", doc="Of the whole file; else nothing is compared."))),
        "title": optional(Text(200, doc="Of a video."), ""),
        "expires_in": optional(Integer(60, LONGEST, "Seconds that the addresses are good for."), HOUR),
    },
    "DirectUploadCreate",
)
PART: Final = Object(
    {
        "number": required(Integer(1, 10_000)),
        "first": required(Integer(0, 2**53, "The first byte of the file that belongs to it.")),
        "size": required(Integer(1, 2**53)),
        "url": required(URL),
    },
    "DirectUploadPart",
)
CREATED: Final = Object(
    _UPLOAD | {"parts": required(Array(PART, 10_000, doc="Put each piece of the file to its URL.")), "complete_url": required(URL)},
    "DirectUpload",
    open=True,
)


@dataclass(frozen=True, slots=True)
class UploadRoutes:
    """Handlers: tus on one side, the domain on the other."""

    uploads: Uploads

    def table(self) -> list[Route]:
        one = f"{PATH}/{{id}}"
        more: dict[str, Any] = {"tag": "media", "scope": "media:write"}
        return [
            Route("POST", PATH, "create_upload", self.create, "Begin a resumable upload (tus 1.0.0)", kind="stream", answers={201: None},
                  idempotent=True, asks=("Upload-Length", "Upload-Metadata", "Upload-Checksum"),
                  errors=("precondition_failed", "too_large", "quota_exceeded", "checksum_mismatch"), **more,
                  description="Headers: Tus-Resumable, Upload-Length, Upload-Metadata (filename, filetype, kind, preset, sha256, title). A "
                  "body of application/offset+octet-stream is the upload's beginning."),
            Route("GET", one, "get_upload", self.get, "Read how far an upload is, and what became of it", answers={200: UPLOAD},
                  errors=("not_found",), **more, description="HEAD gives tus's headers."),
            Route("PATCH", one, "append_upload", self.append, "Go on with an upload (tus 1.0.0)", kind="stream", answers={204: None},
                  errors=("precondition_failed", "not_found", "upload_offset", "too_large", "checksum_mismatch", "unsupported_type"),
                  **more),
            Route("POST", one, "override_upload", self.override, "The same, for clients that cannot send PATCH", kind="stream",
                  answers={204: None}, errors=("not_found", "upload_offset"), shown=False, **more),
            Route("POST", DIRECT, "create_direct_upload", self.create_direct, "Begin an upload by signed addresses", body=CREATE,
                  kind="json", answers={201: CREATED}, errors=("too_large", "quota_exceeded", "bad_options"), idempotent=True, **more,
                  description="PUT each piece to its URL, in any order and as often as needed, then POST to complete_url."),
            Route("POST", f"{DIRECT}/{{id}}/complete", "complete_direct_upload", self.complete, "Say that every piece has been put",
                  answers={200: UPLOAD}, errors=("not_found", "unprocessable", "unsupported_type"), **more),
            Route("PUT", f"{one}/content", "put_upload", self.put, "Put a whole file to its signed address", "media", access="secret",
                  kind="stream", answers={204: None}, query={"expires": Query(_seconds, {"type": "integer"}, 0, "As signed."),
                  "signature": Query(short_text(100), {"type": "string"}, "", "As signed.")},
                  errors=("not_found", "bad_signature", "url_expired", "conflict", "too_large", "unprocessable")),
            Route("DELETE", one, "delete_upload", self.delete, "End an upload; what was made of it stays", answers={204: None},
                  errors=("not_found",), **more),
        ]  # fmt: skip

    async def create(self, call: Call) -> Reply:
        tus.require_version(call.headers)
        size = tus.number(call.headers, "Upload-Length")
        metadata = tus.parse_metadata(call.headers.get("Upload-Metadata", ""))
        presets.chosen(metadata.preset)
        upload = await self.uploads.create(UserId(call.require_user().user), size, metadata)
        headers: Headers = ()
        if _brings_bytes(call):
            upload = await self.uploads.append(upload.id, call.caller, 0, _body(call), checksum=_checksum(call.headers))
            headers = (("Upload-Offset", str(upload.offset)),)
        return Reply(201, None, (("Location", f"{call.base}{PATH}/{upload.id}"), *headers, *_common(upload)))

    async def create_direct(self, call: Call) -> Reply:
        body = call.body
        said = {name: body[name] or "" for name in ("filename", "filetype", "kind", "preset", "sha256", "title")}
        # Through the form that tus gives them: one place says what is allowed.
        metadata = tus.parse_metadata(tus.write_metadata(tus.Metadata(**said)))
        presets.chosen(metadata.preset)
        owner = UserId(call.require_user().user)
        upload, parts = await self.uploads.create_direct(owner, body["size"], metadata, body["expires_in"])
        urls = [call.base + part.url if part.url.startswith("/") else part.url for part in parts]
        pieces = [
            {"number": part.number, "first": part.first, "size": part.size, "url": url} for part, url in zip(parts, urls, strict=True)
        ]
        found = shown(upload) | {"parts": pieces, "complete_url": f"{call.base}{DIRECT}/{upload.id}/complete"}
        return created(f"{PATH}/{upload.id}", found)

    async def complete(self, call: Call) -> Reply:
        return Reply(body=shown(await self.uploads.complete(_id(call), call.caller)))

    async def put(self, call: Call) -> Reply:
        await self.uploads.put(_id(call), aiter(call.body), expires=call.query["expires"], signature=call.query["signature"])
        return NO_CONTENT

    async def get(self, call: Call) -> Reply:
        upload = await self.uploads.get(_id(call), call.caller)
        headers = (
            ("Upload-Offset", str(upload.offset)), ("Upload-Length", str(upload.size)),
            ("Upload-Metadata", tus.write_metadata(upload.metadata)), *_common(upload),
        )  # fmt: skip
        return Reply(body=shown(upload), headers=tuple(pair for pair in headers if pair[1]))

    async def append(self, call: Call) -> Reply:
        tus.require_version(call.headers)
        _require_type(call.headers)
        offset = tus.number(call.headers, "Upload-Offset")
        upload = await self.uploads.append(_id(call), call.caller, offset, _body(call), checksum=_checksum(call.headers))
        return Reply(204, None, (("Upload-Offset", str(upload.offset)), *_common(upload)))

    async def override(self, call: Call) -> Reply:
        match call.headers.get("X-HTTP-Method-Override", "").upper():
            case "PATCH":
                return await self.append(call)
            case "DELETE":
                return await self.delete(call)
            case _:
                raise MethodNotAllowed(detail="POST to an upload needs X-HTTP-Method-Override.")

    async def delete(self, call: Call) -> Reply:
        await self.uploads.delete(_id(call), call.caller)
        return NO_CONTENT


def _common(upload: Upload) -> Headers:
    return (("Upload-Expires", formatdate(upload.expires_at / 1000, usegmt=True)),) if upload.status is Status.UPLOADING else ()


def _brings_bytes(call: Call) -> bool:
    return bool(call.body.length) or (call.body.length is None and _typed(call.headers))


def _typed(headers: Mapping[str, str]) -> bool:
    return headers.get("Content-Type", "").partition(";")[0].strip().lower() == tus.CONTENT_TYPE


def _require_type(headers: Mapping[str, str]) -> None:
    if not _typed(headers):
        raise UnsupportedType(detail=f"The body is {tus.CONTENT_TYPE}.")


def _body(call: Call) -> AsyncIterator[bytes]:
    _require_type(call.headers)
    return aiter(call.body)


def _checksum(headers: Mapping[str, str]) -> tus.Checksum | None:
    return tus.parse_checksum(headers.get("Upload-Checksum", ""))


def _seconds(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > tus.MAX_DIGITS:
        raise ValueError("must be Unix seconds")
    return int(text)


def _id(call: Call) -> UploadId:
    """Raises NotFound for what can not be an id."""
    found = parse_id(call.params["id"])
    if found is None:
        raise missing(call.params["id"])
    return UploadId(found)
