"""What is registered about an asset, laid over its origin's answers: tags, how long it is fresh, and that it is what it should be.

The cache sees it as fields of the origin's answer, whoever asked: a client, a prewarm job, a revalidation.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from types import TracebackType

import trio

from nova.cdn.assets.model import Asset
from nova.cdn.assets.service import Assets
from nova.cdn.origins.checked import Checked, Digests
from nova.cdn.origins.fetcher import Answer, Origins
from nova.cdn.ports import FetchRequest, Fields, Informational

_TTL = b"cdn-cache-control"  # RFC 9213: counts before the origin's own Cache-Control


class Overlay:
    """`Fetcher`: a site's origins with its assets laid over. assets: None until the assets are there."""

    def __init__(self, site: str, origins: Origins, assets: Assets) -> None:
        self.origins, self._site, self._assets = origins, site, assets

    def fetch(self, request: FetchRequest, *, informational: Informational | None = None) -> AssetFetch:
        return AssetFetch(self._site, self._assets, request, self.origins.fetch(request, informational=informational))

    def down(self) -> bool:
        return self.origins.down()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await self.origins.run(task_status=task_status)


class AssetFetch:
    """One fetch, with what is registered of its object."""

    def __init__(self, site: str, assets: Assets, request: FetchRequest, fetch: AbstractAsyncContextManager[Answer]) -> None:
        self._site, self._assets, self._request, self._fetch = site, assets, request, fetch

    async def __aenter__(self) -> Answer | AssetAnswer:
        request = self._request
        asset = await self._assets.of_origin(self._site, request.target) if request.method in ("GET", "HEAD") else None
        answer = await self._fetch.__aenter__()
        return answer if asset is None else AssetAnswer(answer, asset, request.method)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool | None:
        return await self._fetch.__aexit__(kind, error, trace)


class AssetAnswer:
    """An origin's answer that is an asset's; its body is checked."""

    def __init__(self, answer: Answer, asset: Asset, method: str) -> None:
        self._answer = answer
        fine = answer.status in (200, 203, 206, 304)
        self.fields: Fields = laid_over(answer.fields, asset) if fine else answer.fields
        encoded = any(name == b"content-encoding" for name, _ in answer.fields)
        self.read = answer.read
        # A part, or another encoding of it, has another digest.
        if asset.digest is not None and method == "GET" and answer.status == 200 and not encoded:
            digests = Digests([(b"sha-256", bytes.fromhex(asset.digest.partition(":")[2]))])
            self.read = Checked(answer.read, digests, answer.length).read

    @property
    def status(self) -> int:
        return self._answer.status

    @property
    def reason(self) -> bytes:
        return self._answer.reason

    @property
    def length(self) -> int | None:
        return self._answer.length

    @property
    def origin(self) -> str:
        return self._answer.origin

    @property
    def stream(self) -> trio.abc.Stream | None:
        return self._answer.stream


def laid_over(fields: Fields, asset: Asset) -> Fields:
    tags = " ".join((asset.tag, *asset.tags)).encode()
    kept = [field for field in fields if asset.ttl is None or field[0] != _TTL]
    more = [] if asset.ttl is None else [(_TTL, b"max-age=%d" % asset.ttl)]
    return (*kept, (b"surrogate-key", tags), *more)
