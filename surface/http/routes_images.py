"""`/v1/images` and `/img/…`: pictures that are sent, and every size of them."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import Any, Final

from nova.core.clock import rfc3339
from nova.core.ids import parse_id
from nova.media.images.delivery import Asked
from nova.media.images.model import Image, ImageId
from nova.media.images.options import FORMATS, MAX_TEXT
from nova.media.images.presets import TABLE
from nova.media.images.service import LONGEST, Images, Variant, missing
from nova.media.streams.model import UserId
from nova.surface.http import cursors
from nova.surface.http.call import Call
from nova.surface.http.route import CURSOR, LIMIT, NO_CONTENT, Query, Reply, Route, created, page, short_text
from nova.surface.http.schema import (
    ID,
    TIME,
    URL,
    Anything,
    Array,
    Choice,
    Integer,
    Number,
    Object,
    OrNull,
    Text,
    optional,
    page_of,
    required,
)

Json = Any

LIST: Final = "images"
SIDE: Final = Integer(1, 65_535)
VARIANT: Final = Object(
    {
        "preset": required(Text(40)),
        "format": required(Choice(FORMATS)),
        "width": required(SIDE),
        "height": required(SIDE),
        "size_bytes": required(Integer(1, 2**53)),
        "ms": required(Number("Milliseconds of a processor.")),
    },
    "ImageVariant",
    open=True,
)
_IMAGE: Final = {
    "id": required(ID),
    "owner": required(Text(64, doc="User id.")),
    "width": required(Integer(1, 65_535, "Of the upright picture.")),
    "height": required(Integer(1, 65_535, "Of the upright picture.")),
    "format": required(Text(8, doc="Of the file that was sent: jpeg, png, gif, webp, avif, tiff or heic.")),
    "frames": required(Integer(1, 2**31, "1 for a still picture.")),
    "size_bytes": required(Integer(1, 2**53)),
    "digest": required(Text(64, doc="SHA-256 of the file that was sent, in hexadecimal digits.")),
    "thumbhash": required(Text(100, doc="A picture of some 25 bytes to show until it is there, in base64 (evanw/thumbhash).")),
    "color": required(Text(7, doc="The commonest colour, #rrggbb.")),
    "urls": required(Anything("A signed URL for each preset.")),
    "created_at": required(TIME),
}
IMAGE: Final = Object(_IMAGE, "Image", open=True)
CREATED: Final = Object(
    _IMAGE | {"variants": required(Array(VARIANT, 100, doc="What was made with the upload."))}, "ImageCreated", open=True
)
SIGN: Final = Object(
    {
        "options": optional(Text(MAX_TEXT, doc="As in the URL, such as rs:cover:320:320/q:80; empty for the picture as it is."), ""),
        "ext": optional(OrNull(Choice((*FORMATS, "jpeg"), "The format; without one, Accept decides."))),
        "expires_in": optional(OrNull(Integer(1, LONGEST, "Seconds that the URL is good for; null: for ever."))),
    },
    "ImageUrl",
)
SIGNED: Final = Object({"url": required(URL)}, "SignedUrl")


@dataclass(frozen=True, slots=True)
class ImageRoutes:
    """Handlers: from a checked call to the domain and back."""

    images: Images

    def table(self) -> list[Route]:
        one, tag = "/v1/images/{id}", "media"
        write: dict[str, Any] = {"tag": tag, "scope": "media:write"}
        wrong = ("bad_image", "image_too_costly", "image_too_large", "unsupported_image", "bad_options", "quota_exceeded", "overloaded")
        return [
            Route("POST", "/v1/images", "create_image", self.create, "Send a picture", kind="stream", form_field="file",
                  idempotent=True, answers={201: CREATED}, errors=wrong,
                  query={"preset": Query(short_text(40), {"type": "string", "enum": [*TABLE]}, "", "Whose result is made at once.")},
                  description="A form with the field `file`, or the picture as the body. Its type is read from its bytes.", **write),
            Route("GET", "/v1/images", "list_images", self.find, "List one's own pictures, newest first", tag, access="user",
                  query={"cursor": CURSOR, "limit": LIMIT}, answers={200: page_of(IMAGE, "ImagePage")}, errors=("bad_cursor",)),
            Route("GET", one, "get_image", self.get, "Read a picture's record", tag, answers={200: IMAGE}, errors=("not_found",)),
            Route("DELETE", one, "delete_image", self.delete, "Delete a picture and everything made of it", answers={204: None},
                  errors=("not_found",), idempotent=True, **write),
            Route("POST", f"{one}/url", "sign_image_url", self.sign, "Sign a URL", body=SIGN, kind="json", answers={200: SIGNED},
                  errors=("not_found", "bad_options"), **write),
            Route("GET", "/img/{rest:path}", "image", self.deliver, "A picture in the size and format that the URL asks for", tag,
                  answers={200: None}, errors=("bad_signature", "url_expired", "source_forbidden", "not_found", *wrong),
                  description="`/img/{signature}/{options}/{source}[.ext]`; docs/images.md lists the options.",
                  rated=False),  # a page shows a hundred at once; what is made is bounded by images.queue
        ]  # fmt: skip

    async def create(self, call: Call) -> Reply:
        owner = UserId(call.require_user().user)
        image, variants = await self.images.create(owner, aiter(call.body), preset=call.query["preset"])
        shown = self._shown(image, call) | {"variants": [_variant(each) for each in variants]}
        return created(f"/v1/images/{image.id}", shown)

    async def find(self, call: Call) -> Reply:
        after = None if call.query["cursor"] is None else ImageId(cursors.decode(LIST, call.query["cursor"]))
        found, last = await self.images.find(call.caller, limit=call.query["limit"], after=after)
        return page([self._shown(each, call) for each in found], None if last is None else cursors.encode(LIST, last))

    async def get(self, call: Call) -> Reply:
        return Reply(body=self._shown(await self.images.get(_id(call)), call))

    async def delete(self, call: Call) -> Reply:
        await self.images.delete(_id(call), call.caller)
        return NO_CONTENT

    async def sign(self, call: Call) -> Reply:
        body = call.body
        path = await self.images.signed(_id(call), call.caller, body["options"].strip("/"), body["ext"] or "", body["expires_in"])
        return Reply(body={"url": call.base + path})

    async def deliver(self, call: Call) -> Reply:
        signature, slash, rest = call.raw_path.removeprefix("/img/").partition("/")
        sent = call.headers
        asked = Asked(
            signature, slash + rest, sent.get("Accept", ""), (sent.get("Sec-CH-DPR", ""), sent.get("DPR", "")),
            (sent.get("Sec-CH-Width", ""), sent.get("Width", "")), sent.get("If-None-Match", ""),
        )  # fmt: skip
        served = await self.images.delivery.serve(asked)
        headers = (*served.headers, ("ETag", served.etag))
        if served.data is None:
            return Reply(304, None, headers)
        return Reply(200, served.data, headers, served.media_type)

    def _shown(self, image: Image, call: Call) -> dict[str, Json]:
        return {
            "id": image.id,
            "owner": image.owner,
            "width": image.width,
            "height": image.height,
            "format": image.format,
            "frames": image.frames,
            "size_bytes": image.size_bytes,
            "digest": image.digest,
            "thumbhash": b64encode(image.thumbhash).decode(),
            "color": image.color,
            "urls": {name: call.base + path for name, path in self.images.urls(image).items()},
            "created_at": rfc3339(image.created_at / 1000),
        }


def _variant(variant: Variant) -> dict[str, Json]:
    made = variant.made
    return {
        "preset": variant.preset,
        "format": made.format,
        "width": made.width,
        "height": made.height,
        "size_bytes": len(made.data),
        "ms": made.ms,
    }


def _id(call: Call) -> ImageId:
    """Raises NotFound for what can not be an id."""
    found = parse_id(call.params["id"])
    if found is None:
        raise missing(call.params["id"])
    return ImageId(found)
