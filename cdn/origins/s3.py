"""Requests to S3 and what speaks like it, signed by botocore (SigV4).

Looking up credentials may ask a metadata service, and signing loads 100 ms of library: both run in the lane `network`. Nothing of a
request's body is signed (`UNSIGNED-PAYLOAD`): it goes over TLS, or over a network that the operator trusts.
"""

from __future__ import annotations

from typing import Any

from nova.cdn.errors import OriginError
from nova.cdn.origins.ask import Where
from nova.core.errors import NovaError
from nova.core.offload import NETWORK, Offload
from nova.core.secret import Secret


class S3Signer:
    """region: of the bucket. key_id, secret: None: as boto3 finds them (environment, profile, role)."""

    def __init__(self, region: str, key_id: Secret | None, secret: Secret | None, offload: Offload) -> None:
        self._region, self._key_id, self._secret, self._offload = region, key_id, secret, offload
        self._credentials: Any = None

    async def __call__(self, method: str, where: Where, target: bytes) -> tuple[tuple[bytes, bytes], ...]:
        try:
            return await self._offload.run(NETWORK, lambda: self._sign(method, where, target))
        except NovaError as error:
            raise OriginError("origin_busy", error.detail) from error

    def _sign(self, method: str, where: Where, target: bytes) -> tuple[tuple[bytes, bytes], ...]:
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError

        try:
            scheme = "https" if where.secure else "http"
            url = f"{scheme}://{where.authority.decode()}{target.decode('latin-1')}"
            request = AWSRequest(method, url)
            signer = S3SigV4Auth(self._found(), "s3", self._region)
            signer.payload = lambda request: "UNSIGNED-PAYLOAD"
            signer.add_auth(request)
        except BotoCoreError as error:
            raise OriginError("origin_unreachable", f"no credentials for {where.host}: {type(error).__name__}") from None
        return tuple((name.lower().encode(), str(value).encode()) for name, value in request.headers.items() if name.lower() != "host")

    def _found(self) -> Any:
        if self._credentials is None:
            from botocore.credentials import Credentials
            from botocore.exceptions import NoCredentialsError

            if self._key_id is not None and self._secret is not None:
                self._credentials = Credentials(self._key_id.reveal().decode(), self._secret.reveal().decode())
            else:
                import boto3

                self._credentials = boto3.Session(region_name=self._region).get_credentials()  # renews itself
            if self._credentials is None:
                raise NoCredentialsError
        return self._credentials
