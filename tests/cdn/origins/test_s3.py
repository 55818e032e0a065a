"""A bucket as an origin: objects that boto3 put there (moto's), asked for over HTTP; who asks must have signed as botocore does."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from unittest.mock import patch
from urllib.parse import quote, unquote

import pytest

from tests.cdn.origins.running import fetching, get, site, whole

KEYS = ("film.mp4", "a b/ü+&.txt", "deep/er/x%20y")
SECRETS = {"AKIASETTINGS": "secret-of-settings", "AKIAENVIRONMENT": "secret-of-environment"}
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIAENVIRONMENT",
    "AWS_SECRET_ACCESS_KEY": SECRETS["AKIAENVIRONMENT"],
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Handler(BaseHTTPRequestHandler):
    """S3's GetObject with SigV4, which moto itself does not check."""

    protocol_version = "HTTP/1.1"
    client: Any

    def signed(self) -> bool:
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        found = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=(\w+)/\d{8}/us-east-1/s3/aws4_request, SignedHeaders=([\w;-]+), Signature=([0-9a-f]{64})",
            self.headers.get("authorization", ""),
        )
        if found is None or found[1] not in SECRETS:
            return False
        request = AWSRequest("GET", f"http://{self.headers['host']}{self.path}")
        for name in found[2].split(";"):
            request.headers[name] = self.headers[name]
        request.context["timestamp"] = self.headers["x-amz-date"]
        signer = S3SigV4Auth(Credentials(found[1], SECRETS[found[1]]), "s3", "us-east-1")
        signer.payload = lambda request: "UNSIGNED-PAYLOAD"  # type: ignore[method-assign]
        return bool(signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request) == found[3])

    def do_GET(self) -> None:
        from botocore.exceptions import ClientError

        assert "?" not in self.path  # what S3 would be asked for then is no object
        bucket, _, key = unquote(self.path[1:]).partition("/")
        asked = {"Range": self.headers.get("range"), "IfNoneMatch": self.headers.get("if-none-match")}
        fields: dict[str, str] = {}
        status, body = 403, b""
        if self.signed():
            try:
                found = self.client.get_object(Bucket=bucket, Key=key, **{name: value for name, value in asked.items() if value})
                said = found["ResponseMetadata"]
                body, status = found["Body"].read(), said["HTTPStatusCode"]
                fields = {name: value for name, value in said["HTTPHeaders"].items() if name in ("etag", "cache-control", "content-range")}
            except ClientError as error:
                status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *what: Any) -> None:
        pass


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The URL of a bucket with KEYS in it, each with its own name as its body."""
    import boto3
    from moto import mock_aws

    with mock_aws(), patch.dict(os.environ, ENVIRONMENT):  # moto sets keys of its own
        Handler.client = boto3.client("s3", region_name="us-east-1")
        Handler.client.create_bucket(Bucket="films")
        for key in KEYS:
            Handler.client.put_object(Bucket="films", Key=key, Body=key.encode(), CacheControl="max-age=60")
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/films"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


@pytest.mark.parametrize("keys", [{"s3_key_id": "AKIASETTINGS", "s3_secret": SECRETS["AKIASETTINGS"]}, {}])
async def test_objects_of_a_bucket_come_by_the_keys_of_the_settings_or_the_environment(bucket: str, keys: dict[str, str]) -> None:
    async with fetching(site([{"url": bucket, "s3_region": "us-east-1", **keys}])) as origins:
        for key in KEYS:
            status, fields, body = await whole(origins, get("/" + quote(key)))
            assert (status, body, dict(fields)[b"cache-control"]) == (200, key.encode(), b"max-age=60")
            status, found, body = await whole(origins, get("/" + quote(key), (b"range", b"bytes=2-4")))
            assert (status, body) == (206, key.encode()[2:5])
            assert dict(found)[b"content-range"] == b"bytes 2-4/%d" % len(key.encode())
            status, _, _ = await whole(origins, get("/" + quote(key), (b"if-none-match", dict(fields)[b"etag"])))
            assert status == 304
        assert (await whole(origins, get("/nothing")))[0] == 404
        # What a client says of itself is not what is signed.
        forged = ((b"authorization", b"AWS4-HMAC-SHA256 forged"), (b"x-amz-date", b"never"))
        assert (await whole(origins, get("/film.mp4", *forged)))[2] == b"film.mp4"


async def test_parameters_of_a_bucket_are_not_asked_for_in_our_name(bucket: str) -> None:
    async with fetching(site([{"url": bucket, "s3_region": "us-east-1"}])) as origins:
        for query in ("?acl", "?list-type=2", "?response-content-type=text/html&uploads"):
            assert (await whole(origins, get("/film.mp4" + query)))[2] == b"film.mp4"


async def test_wrong_keys_are_the_buckets_refusal(bucket: str) -> None:
    wrong = {"url": bucket, "s3_region": "us-east-1", "s3_key_id": "AKIASETTINGS", "s3_secret": "another"}
    async with fetching(site([wrong])) as origins:
        assert (await whole(origins, get("/film.mp4")))[0] == 403
