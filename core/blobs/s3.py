"""Blobs in S3, and in what speaks like it. boto3 blocks, so every call is one of the lane `network`.

A blob above PART bytes goes up in parts, one in memory at a time; it exists when the last call says so, and an error or a cancellation
before that leaves nothing but an abort. boto3 takes a third of a second to load and is loaded with the first call.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from hashlib import sha256 as new_sha256
from threading import Lock
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from nova.core import errors
from nova.core.blobs.port import CHUNK, Download, Key, Part, Stat, Stored, blob_key, blob_prefix
from nova.core.lifecycle import cleanup
from nova.core.log import Log
from nova.core.offload import NETWORK, Offload

T = TypeVar("T")

PART: Final = 8 << 20  # bytes; S3 takes none below 5 MiB but the last, and at most 10,000 of them
PAGE: Final = 1000  # keys of one answer, the most that S3 gives
CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 30.0
RETRY_AFTER: Final = 5.0  # seconds
SINGLE: Final = 64 << 20  # bytes that a sender puts in one piece
DIRECT_PART: Final = 16 << 20  # bytes of a piece at least, when there are several
DIRECT_PARTS: Final = 100  # pieces, as long as none is above LARGEST_PART
LARGEST_PART: Final = 5 << 30  # bytes; S3's limit
_ONE: Final = "one"  # the ticket of a blob that comes in one piece; those of several are S3's
_GONE: Final = frozenset({"404", "NoSuchKey", "NoSuchUpload", "NotFound"})

_log = Log("nova.blobs")


class S3Blobs:
    """`DirectBlobs` in a bucket, below a prefix (empty, or with a slash at its end).

    endpoint: of a service that is not Amazon's. Credentials are where boto3 looks for them: environment, profile, role.
    """

    def __init__(self, bucket: str, prefix: str, offload: Offload, *, endpoint: str | None = None, region: str = "us-east-1") -> None:
        self._bucket, self._prefix, self._offload, self._endpoint, self._region = bucket, prefix, offload, endpoint, region
        self._made: Any = None
        self._lock = Lock()

    @property
    def _client(self) -> Any:
        """Thread-safe once it is made. In a thread only."""
        with self._lock:
            if self._made is None:
                import boto3
                from botocore.config import Config

                config = Config(
                    connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries={"mode": "standard", "max_attempts": 3},
                    max_pool_connections=NETWORK.threads, signature_version="s3v4", request_checksum_calculation="when_required",
                    s3={"addressing_style": "path" if self._endpoint else "auto"},
                )  # fmt: skip
                self._made = boto3.session.Session().client("s3", endpoint_url=self._endpoint, region_name=self._region, config=config)
            return self._made

    async def _run(self, call: Callable[[Any], T]) -> T:
        def work() -> T:
            with _translated():
                return call(self._client)

        return await self._offload.run(NETWORK, work)

    def _name(self, key: Key) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + blob_key(key)}

    async def put(self, key: Key, body: AsyncIterable[bytes], *, max_bytes: int, sha256: str | None = None) -> Stored:
        name, digest, size, gathered = self._name(key), new_sha256(), 0, bytearray()
        upload: str | None = None
        parts: list[dict[str, object]] = []

        async def part(data: bytes) -> None:
            nonlocal upload
            if upload is None:
                upload = (await self._run(lambda s3: s3.create_multipart_upload(**name)))["UploadId"]
            number = len(parts) + 1
            sent = partial(_send_part, name, upload, number, data)
            parts.append({"PartNumber": number, "ETag": (await self._run(sent))["ETag"]})

        try:
            async for chunk in body:
                size += len(chunk)
                if size > max_bytes:
                    raise errors.TooLarge("too_large", f"more than {max_bytes} bytes")
                digest.update(chunk)
                gathered += chunk
                while len(gathered) >= PART:
                    data = bytes(gathered[:PART])
                    del gathered[:PART]
                    await part(data)
            found = digest.hexdigest()
            if sha256 is not None and found != sha256:
                raise errors.Unprocessable("digest_mismatch", f"the content has the SHA-256 {found}")
            if upload is None:
                await self._run(lambda s3: s3.put_object(**name, Body=bytes(gathered)))
            else:
                if gathered:
                    await part(bytes(gathered))
                whole = {"Parts": parts}
                await self._run(lambda s3: s3.complete_multipart_upload(**name, UploadId=upload, MultipartUpload=whole))
                upload = None
        finally:
            if upload is not None:
                with cleanup():
                    await self._abort(name, upload)
        return Stored(await self.stat(key), found)

    async def _abort(self, name: dict[str, str], upload: str) -> None:
        try:
            with suppress(errors.NotFound):
                await self._run(lambda s3: s3.abort_multipart_upload(**name, UploadId=upload))
        except errors.NovaError as error:  # a rule of the bucket's life cycle takes it away
            _log.warning("multipart_upload_left", code=error.code)

    @asynccontextmanager
    async def get(self, key: Key, *, first: int = 0, size: int | None = None) -> AsyncIterator[Download]:
        stat = await self.stat(key)
        last = stat.size_bytes if size is None else min(first + size, stat.size_bytes)
        if first >= last:
            yield Download(stat, _nothing())
            return
        wanted = {"Range": f"bytes={first}-{last - 1}", "IfMatch": stat.etag}
        try:
            answer = await self._run(lambda s3: s3.get_object(**self._name(key), **wanted))
        except errors.PreconditionFailed:  # replaced between the two calls: the newer one then
            stat = await self.stat(key)
            last = stat.size_bytes if size is None else min(first + size, stat.size_bytes)
            wanted = {"Range": f"bytes={first}-{max(first, last - 1)}"}
            answer = await self._run(lambda s3: s3.get_object(**self._name(key), **wanted))
        stream = answer["Body"]

        async def chunks() -> AsyncIterator[bytes]:
            while data := await self._run(lambda s3: stream.read(CHUNK)):
                yield data

        try:
            yield Download(stat, chunks())
        finally:
            stream.close()

    async def stat(self, key: Key) -> Stat:
        found = await self._run(lambda s3: s3.head_object(**self._name(key)))
        return Stat(key, found["ContentLength"], found["LastModified"], found["ETag"])

    async def delete(self, key: Key) -> None:
        await self._run(lambda s3: s3.delete_object(**self._name(key)))

    async def signed_put(self, key: Key, *, seconds: int) -> str:
        """A URL that takes the blob by PUT until then, from whoever has it."""
        return await self._run(lambda s3: str(s3.generate_presigned_url("put_object", self._name(key), seconds)))

    async def open_direct(self, key: Key, size: int) -> str:
        if size <= SINGLE:
            return _ONE
        return str((await self._run(lambda s3: s3.create_multipart_upload(**self._name(key))))["UploadId"])

    async def direct_parts(self, key: Key, ticket: str, size: int, *, seconds: int) -> list[Part]:
        def sign(s3: Any) -> list[Part]:
            parts = []
            for number, first, length in _pieces(size):
                # The length is signed, too: what is announced is what may come.
                wanted: dict[str, object] = {**self._name(key), "ContentLength": length}
                call = "put_object"
                if ticket != _ONE:
                    call, wanted = "upload_part", {**wanted, "UploadId": ticket, "PartNumber": number}
                parts.append(Part(number, first, length, str(s3.generate_presigned_url(call, wanted, seconds))))
            return parts

        return await self._run(sign)

    async def close_direct(self, key: Key, ticket: str, size: int) -> None:
        try:
            if ticket != _ONE:
                with suppress(errors.NotFound):  # made whole before: then it is there
                    await self._join(key, ticket, size)
            found = (await self.stat(key)).size_bytes
        except errors.NotFound:
            raise errors.Unprocessable(detail="No byte of it has come.") from None
        if found != size:
            raise errors.Unprocessable(detail=f"{found} bytes have come, {size} were announced.")

    async def _join(self, key: Key, ticket: str, size: int) -> None:
        name = {**self._name(key), "UploadId": ticket}
        come: dict[int, tuple[int, str]] = {}
        marker = 0
        while True:
            page = await self._run(partial(_come, name, marker))
            come |= {each["PartNumber"]: (each["Size"], each["ETag"]) for each in page.get("Parts", ())}
            if not page.get("IsTruncated"):
                break
            marker = page["NextPartNumberMarker"]
        parts = []
        for number, _, length in _pieces(size):
            got, etag = come.get(number, (0, ""))
            if got != length:
                raise errors.Unprocessable(detail=f"Of part {number}, {got} bytes have come, {length} belong to it.")
            parts.append({"PartNumber": number, "ETag": etag})
        await self._run(lambda s3: s3.complete_multipart_upload(**name, MultipartUpload={"Parts": parts}))

    def outlives(self, ticket: str) -> bool:
        return ticket == _ONE  # the pieces of a multipart upload that is no more are refused

    async def drop_direct(self, key: Key, ticket: str) -> None:
        if ticket != _ONE:
            await self._abort(self._name(key), ticket)
        await self.delete(key)

    async def signed_get(self, key: Key, *, seconds: int) -> str:
        """A URL that gives the blob until then, to whoever has it."""
        return await self._run(lambda s3: str(s3.generate_presigned_url("get_object", self._name(key), seconds)))

    async def list(self, prefix: str = "", *, after: str = "", limit: int = 1000) -> list[Stat]:
        blob_prefix(prefix)
        found: list[Stat] = []
        while len(found) < limit:
            asked = {"Prefix": self._prefix + prefix, "MaxKeys": min(PAGE, limit - len(found))}
            if after:
                asked["StartAfter"] = self._prefix + after
            page = await self._run(partial(_page, self._bucket, asked))
            for each in page.get("Contents", ()):
                name = Key(each["Key"][len(self._prefix) :])
                found.append(Stat(name, each["Size"], each["LastModified"], each["ETag"]))
            if not page.get("IsTruncated") or not page.get("Contents"):
                break
            after = found[-1].key
        return found


def _pieces(size: int) -> Iterator[tuple[int, int, int]]:
    """(number, first byte, bytes) of what a sender puts; one when it is small."""
    step = size if size <= SINGLE else min(LARGEST_PART, max(DIRECT_PART, -(-size // DIRECT_PARTS)))
    for at, first in enumerate(range(0, size, step), 1):
        yield at, first, min(step, size - first)


def _come(name: dict[str, str], marker: int, s3: Any) -> Any:
    return s3.list_parts(**name, PartNumberMarker=marker)


def _send_part(name: dict[str, str], upload: str, number: int, data: bytes, s3: Any) -> Any:
    return s3.upload_part(**name, UploadId=upload, PartNumber=number, Body=data)


def _page(bucket: str, asked: dict[str, object], s3: Any) -> Any:
    return s3.list_objects_v2(Bucket=bucket, **asked)


async def _nothing() -> AsyncIterator[bytes]:
    pieces: tuple[bytes, ...] = ()
    for piece in pieces:
        yield piece


@contextmanager
def _translated() -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if code in _GONE:
            raise errors.NotFound("not_found", "no such blob") from None
        if status == 412:
            raise errors.PreconditionFailed(detail="the blob is another one by now") from None
        raise errors.Unavailable("storage_failed", f"blobs: S3 answered {code or status}", retry_after=RETRY_AFTER) from None
    except (BotoCoreError, HTTPClientError, OSError) as error:
        raise errors.Unavailable("storage_failed", f"blobs: {type(error).__name__}", retry_after=RETRY_AFTER) from None


def parse_url(url: str) -> tuple[str, str]:
    """Bucket and prefix of `s3://bucket/prefix`. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
        raise ValueError("s3://bucket/prefix is wanted")
    prefix = parts.path.strip("/")
    return parts.netloc, f"{prefix}/" if prefix else ""
