"""From a URL to the bytes of a result: signature, options, format, and who has it already.

A result has one name, made of its source's digest, its canonical options and its format. It is looked for in the blob store, else made
once, however many ask, and kept there; from then on memory answers for its address without Python, by the fields that it varies with.
"""

from __future__ import annotations

import os
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Final
from urllib.parse import unquote, urlsplit

from nova.core.blobs import Blobs, Key, blob_key
from nova.core.clock import Clock
from nova.core.errors import BadRequest, Forbidden, NotFound, NovaError
from nova.core.ids import parse_id
from nova.core.log import Log
from nova.core.offload import DISK, Offload
from nova.media.images import negotiate
from nova.media.images.flights import Flights
from nova.media.images.job import MAX_MARKS, Facts, Job, Made, Output
from nova.media.images.model import FOLDER, Image, ImageId, result_key, source_key
from nova.media.images.options import FORMATS, Options, canonical, hinted, parse
from nova.media.images.pool import Pool, memfd
from nova.media.images.ports import Fetch, Hot, ImageStore
from nova.media.images.presets import OPEN, PRESETS
from nova.media.images.signing import UNSIGNED, Keys
from nova.media.images.sniff import Limits

ENCODER: Final = "1"  # part of every name: change it when the same options give other bytes
MAX_PATH: Final = 4096  # characters after the signature
FOREVER: Final = 31_536_000  # seconds; a picture's id never means another picture
REMOTE_SECONDS: Final = 86_400  # that what lies elsewhere is kept
MAX_RESULT: Final = 64 << 20  # bytes
_SOURCE: Final = re.compile(r"(?P<id>[0-9a-f-]{36}|~[A-Za-z0-9_-]{1,2700})(?:\.(?P<ext>[a-z]{3,4}))?")
_EXTENSIONS: Final = {"jpeg": "jpg", **{each: each for each in FORMATS}}

_log = Log("nova.images")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for a result.

    signature, rest: of the path, as sent; rest begins with its slash. accept, ratio (Sec-CH-DPR, DPR), width (Sec-CH-Width, Width): of the
    headers, empty without.
    """

    signature: str
    rest: str
    accept: str = ""
    ratio: Sequence[str] = ()
    width: Sequence[str] = ()
    if_none_match: str = ""

    @property
    def path(self) -> bytes:
        """The whole of it."""
        return f"/img/{self.signature}{self.rest}".encode("latin-1", "replace")

    @property
    def sent(self) -> list[tuple[bytes, bytes]]:
        """The fields that a result may vary with, as far as they came."""
        names = (negotiate.VARY.lower().encode(), *negotiate.HINT_FIELDS)
        pairs = zip(names, (self.accept, *self.ratio, *self.width), strict=False)
        return [(name, value.encode("latin-1", "replace")) for name, value in pairs if value]


@dataclass(frozen=True, slots=True)
class Served:
    """The answer: headers are complete but for the length. data None: the client has it already (304)."""

    data: bytes | None
    media_type: str
    etag: str
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a result's pixels come from. image None: it lies elsewhere, at `url`."""

    key: str  # what names it in the blob store, under FOLDER
    digest: str
    image: Image | None
    url: str = ""


@dataclass(slots=True)
class Rules:
    """Bounds of delivery. sources: prefixes of addresses elsewhere that may be fetched. offered: formats, the best first."""

    limits: Limits = field(default_factory=Limits)
    offered: Sequence[str] = ("avif", "webp")
    sources: Sequence[str] = ()


class Delivery:
    """Serves results; `run` owns what is being made."""

    def __init__(
        self,
        store: ImageStore,
        blobs: Blobs,
        pool: Pool,
        keys: Keys,
        fetch: Fetch | None,
        clock: Clock,
        offload: Offload,
        rules: Rules | None = None,
    ) -> None:
        self._store, self._blobs, self._pool, self.keys, self._fetch = store, blobs, pool, keys, fetch
        self._hot: Hot | None = None
        self._clock, self._offload = clock, offload
        self.rules = rules or Rules()
        self._flights: Flights[bytes] = Flights()
        self._forgotten = 0  # pictures that were deleted
        self.run = self._flights.run

    # What is asked for.

    async def serve(self, asked: Asked) -> Served:
        """Raises NovaError with a code for every way in which the address, the source or its bytes are wrong."""
        wish, ext, source_text = self._read(asked)
        forgotten = self._forgotten
        source = await self._source(source_text)
        options = hinted(wish, negotiate.hint(*asked.width), negotiate.hint(*asked.ratio))
        image = source.image
        moves = image is not None and image.frames > 1 and not options.still
        chosen = ext or negotiate.choose(
            asked.accept, self.rules.offered, alpha=image is not None and (image.alpha or leaves_room(options)), animated=moves
        )
        name = name_of(source.digest, options, chosen)
        etag = f'"{name}"'
        headers = self._headers(wish, negotiated=not ext, remote=image is None)
        kind = negotiate.media_type(chosen)
        if asked.if_none_match and matches(asked.if_none_match, etag):
            return Served(None, kind, etag, headers)
        path = asked.path
        data = self._hot.find(path, asked.sent) if self._hot is not None else None
        if data is None:
            data = await self._flights.get(f"{source.key}/{name}", lambda: self._obtain(source, options, chosen, name))
            # Not what was deleted while it was made, which would stay for ever. One picture has one hot address: other spellings of it are
            # answered, and not kept.
            if image is not None and forgotten == self._forgotten and self._hot is not None and not (b"%" in path or b"=" in path):
                lines = (("Content-Type", kind), ("ETag", etag), *headers, *PUBLIC)
                self._hot.put(
                    path, lines, data, vary=_varies(wish, negotiated=not ext), sent=asked.sent, image=image.id,
                    until=wish.expires or self._clock.wall() + FOREVER,
                )  # fmt: skip
        return Served(data, kind, etag, headers)

    def _read(self, asked: Asked) -> tuple[Options, str, str]:
        """Options, format of the extension (empty: none) and source of an address that may be served.

        Raises Forbidden `bad_signature`, `url_expired`; BadRequest `bad_options`; NotFound: no such form of a source.
        """
        if len(asked.rest) > MAX_PATH:
            raise BadRequest("bad_options", f"an address has at most {MAX_PATH} characters")
        if asked.signature != UNSIGNED:
            self.keys.verify(asked.signature, asked.rest)
        text, _, last = asked.rest[1:].rpartition("/")
        options, preset = parse(unquote(text), PRESETS)
        if asked.signature == UNSIGNED and not (preset in OPEN and unquote(text) == f"preset:{preset}"):
            served = ", ".join(sorted(f"preset:{name}" for name in OPEN))
            raise Forbidden("bad_signature", f"without a signature only these are served: {served}")
        if options.expires and options.expires <= self._clock.wall():
            raise Forbidden("url_expired", "the address was good until the time in it")
        found = _SOURCE.fullmatch(last)
        if found is None:
            raise NotFound(detail="There is no such picture.")
        ext = found["ext"] or ""
        if ext and ext not in _EXTENSIONS:
            raise BadRequest("bad_options", f"the extension is one of {', '.join(_EXTENSIONS)}")
        if found["id"].startswith("~") and asked.signature == UNSIGNED:
            raise Forbidden("bad_signature", "pictures from elsewhere need a signature")
        return options, _EXTENSIONS.get(ext, ""), found["id"]

    async def _source(self, text: str) -> _Source:
        if not text.startswith("~"):
            found = parse_id(text)
            image = None if found is None else await self._store.get(ImageId(found))
            if image is None:
                raise NotFound(detail="There is no such picture.")
            return _Source(image.id, image.digest, image)
        try:
            url = urlsafe_b64decode(text[1:] + "=" * (-len(text[1:]) % 4)).decode("ascii")
        except (ValueError, UnicodeError):
            raise NotFound(detail="There is no such picture.") from None
        if self._fetch is None or not allowed(url, self.rules.sources):
            raise Forbidden("source_forbidden", "pictures are not fetched from there")
        digest = sha256(url.encode()).hexdigest()
        return _Source(f"remote/{digest[:40]}", f"{digest}:{int(self._clock.wall()) // REMOTE_SECONDS}", None, url)

    def _headers(self, options: Options, *, negotiated: bool, remote: bool) -> tuple[tuple[str, str], ...]:
        age = REMOTE_SECONDS if remote else FOREVER
        if options.expires:
            age = min(age, max(0, options.expires - int(self._clock.wall())))
        found = [("Cache-Control", f"public, max-age={age}" + (", immutable" if age == FOREVER else ""))]
        vary = [negotiate.VARY] if negotiated else []
        if options.hinted:
            vary += negotiate.HINTS.split(", ")
            found.append(("Accept-CH", "Sec-CH-DPR, Sec-CH-Width"))
        if vary:
            found.append(("Vary", ", ".join(vary)))
        return (*found, ("X-Content-Type-Options", "nosniff"), ("Content-Security-Policy", "default-src 'none'; sandbox"))

    # Who has it.

    async def _obtain(self, source: _Source, options: Options, format: str, name: str) -> bytes:
        key = _key(source, name, format)
        with suppress(NotFound):
            return await read(self._blobs, key, MAX_RESULT)
        if source.image is None:
            return await self._fetched(source, options, format, key)
        made = (await self.render(source.image.id, [Output(options, format)]))[0]
        await self._keep(source.image.id, key, made.data)
        return made.data

    async def _fetched(self, source: _Source, options: Options, format: str, key: Key) -> bytes:
        assert self._fetch is not None
        data = await self._fetch(source.url, limit=self.rules.limits.file_bytes)

        async def load() -> list[int]:
            return [*await self._load_marks(_marks(options)), memfd([data])][::-1]

        done = await self._pool.do(Job([Output(options, format)], marks=_marks(options), limits=self.rules.limits), load)
        for old in await self._blobs.list(f"{FOLDER}/{source.key}/", limit=200):  # of the days before
            if old.modified.timestamp() < self._clock.wall() - 2 * REMOTE_SECONDS:
                await self._blobs.delete(old.key)
        await self._blobs.put(key, _whole(done.made[0].data), max_bytes=MAX_RESULT)
        return done.made[0].data

    async def render(self, image: str, outputs: Sequence[Output]) -> Sequence[Made]:
        """Results of one of our pictures, from one decode. Raises as Pool.do, and NotFound."""
        return (await self._render(image, outputs, facts=False))[1]

    async def inspect(self, image: str, outputs: Sequence[Output]) -> tuple[Facts, Sequence[Made]]:
        """What the picture is, and results of it. Raises as `render`."""
        facts, made = await self._render(image, outputs, facts=True)
        assert facts is not None
        return facts, made

    async def _render(self, image: str, outputs: Sequence[Output], *, facts: bool) -> tuple[Facts | None, Sequence[Made]]:
        marks = list(dict.fromkeys(name for output in outputs for name in _marks(output.options)))[:MAX_MARKS]

        async def load() -> list[int]:
            files = [await self._open(source_key(image))]
            try:
                files += await self._load_marks(marks)
            except BaseException:
                os.close(files[0])
                raise
            return files

        done = await self._pool.do(Job(outputs, facts=facts, marks=marks, limits=self.rules.limits), load)
        return done.facts, done.made

    async def _load_marks(self, marks: Sequence[str]) -> list[int]:
        files: list[int] = []
        try:
            for each in marks:
                files.append(await self._open(source_key(each)))  # noqa: PERF401 - what is open must be closed again
        except BaseException as error:
            for fd in files:
                os.close(fd)
            if isinstance(error, NotFound):
                raise BadRequest("bad_options", "option 'wm': there is no such picture") from None
            raise
        return files

    async def _open(self, key: Key) -> int:
        """A blob as a file in memory that a worker may read."""
        parts, size = list[bytes](), 0
        async with self._blobs.get(key) as download:
            async for chunk in download.chunks:
                size += len(chunk)
                parts.append(chunk)
        return await self._offload.run(DISK, lambda: memfd(parts)) if size > 1 << 20 else memfd(parts)

    async def keep(self, image: Image, output: Output, made: Made) -> None:
        """A result that was made before anybody asked."""
        name = name_of(image.digest, output.options, output.format)
        await self._keep(image.id, result_key(image.id, name, output.format), made.data)

    async def _keep(self, image: ImageId, key: Key, data: bytes) -> None:
        try:
            await self._blobs.put(key, _whole(data), max_bytes=MAX_RESULT)
        except NovaError as error:
            # The answer is there; only the next one costs as much again.
            _log.warning("image_result_not_kept", code=error.code)
            return
        if await self._store.get(image) is None:  # deleted meanwhile
            await self._blobs.delete(key)

    # What is hot.

    def attach(self, hot: Hot) -> None:
        """From now on results may be hot."""
        self._hot = hot

    async def forget(self, image: str) -> None:
        """Every byte of a picture: its source, its results, what is hot."""
        self._forgotten += 1
        if self._hot is not None:
            self._hot.forget(image)
        while found := await self._blobs.list(f"{FOLDER}/{image}/", limit=200):
            for stat in found:
                await self._blobs.delete(stat.key)

    # What is given out.

    def path(self, image: str, options: str, ext: str = "") -> str:
        """A signed path. options: text as in a URL."""
        rest = f"/{options}/{image}" + (f".{ext}" if ext else "")
        return f"/img/{self.keys.sign(rest)}{rest}"


# Any page may show a picture, and read it into a canvas.
PUBLIC: Final = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Expose-Headers", "Content-Length, Content-Range, Date, ETag, Cache-Status"),
)


def name_of(digest: str, options: Options, format: str) -> str:
    """The name of a result: the same wish for the same source, and nothing else, has it."""
    text = f"{digest}\n{canonical(replace(options, expires=0))}\n{format}\n{ENCODER}"
    return urlsafe_b64encode(sha256(text.encode()).digest()[:18]).decode().replace("-", "_").rjust(24, "0")


def _varies(options: Options, *, negotiated: bool) -> list[bytes]:
    """The fields that decide about a result beside its address."""
    found = [negotiate.VARY.lower().encode()] if negotiated else []
    return [*found, *negotiate.HINT_FIELDS] if options.hinted else found


def leaves_room(options: Options) -> bool:
    """Whether something transparent comes to lie around the picture."""
    return options.fit == "contain" and not options.background


def matches(sent: str, etag: str) -> bool:
    """If-None-Match, weakly (RFC 9110, 13.1.2)."""
    return sent.strip() == "*" or etag in [each.strip().removeprefix("W/") for each in sent.split(",")]


def allowed(url: str, prefixes: Sequence[str]) -> bool:
    """Whether an address elsewhere lies below one of `prefixes` (scheme, host, and a path up to a slash)."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.username is not None or parts.password is not None or not parts.hostname:
        return False
    if "\\" in url or ".." in parts.path.split("/") or any(character <= " " or character == "\x7f" for character in url):
        return False
    for prefix in prefixes:
        known = urlsplit(prefix)
        base = known.path if known.path.endswith("/") else f"{known.path}/"
        if (parts.scheme, parts.netloc.lower()) == (known.scheme, known.netloc.lower()) and f"{parts.path or '/'}".startswith(base):
            return True
    return False


def _marks(options: Options) -> list[str]:
    return [] if options.watermark is None else [options.watermark.image]


def _key(source: _Source, name: str, format: str) -> Key:
    return result_key(source.image.id, name, format) if source.image is not None else blob_key(f"{FOLDER}/{source.key}/{name}.{format}")


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def read(blobs: Blobs, key: Key, most: int) -> bytes:
    """A whole blob. Raises NotFound."""
    async with blobs.get(key, size=most) as download:
        parts = [chunk async for chunk in download.chunks]
    return b"".join(parts)
