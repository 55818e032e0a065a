"""Origins over TLS, and S3 origins, whose signature botocore makes again from what arrived."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from nova.cdn.errors import OriginBroken, OriginError
from tests.cdn.origins.running import fetching, get, processes, site, whole


@asynccontextmanager
async def tls_origin(folder: Path, reply: bytes) -> AsyncIterator[tuple[int, Path]]:
    """An origin with a certificate for `localhost` of its own authority: its port and that authority."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "origin")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    ca, secret = folder / "ca.pem", folder / "key.pem"
    ca.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )  # fmt: skip
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(ca, secret)

    async def handle(stream: trio.SocketStream) -> None:
        secured = trio.SSLStream(stream, context, server_side=True)
        try:
            while await secured.receive_some(65536):
                await secured.send_all(reply)
                if b"length" not in reply:
                    await trio.aclose_forcefully(secured)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        yield listener.socket.getsockname()[1], ca
        nursery.cancel_scope.cancel()


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def test_certificates_are_checked(tmp_path: Path) -> None:
    async with tls_origin(tmp_path, OK) as (port, ca):
        url = f"https://localhost:{port}"
        async with fetching(site([{"url": url, "tls_ca": str(ca)}])) as origins:
            for _ in range(2):
                assert (await whole(origins, get("/")))[2] == b"ok"
            assert origins.origins[0]._pool.opened == 1
        for table in ({"url": url}, {"url": url, "tls_ca": str(ca), "tls_name": "other.example"}):
            async with fetching(site([table])) as origins:
                with pytest.raises(OriginError, match="TLS with localhost failed"):
                    await whole(origins, get("/"))


async def test_a_body_without_its_end_under_tls_is_broken(tmp_path: Path) -> None:
    async with tls_origin(tmp_path, b"HTTP/1.1 200 OK\r\n\r\nsome") as (port, ca):
        config = site([{"url": f"https://localhost:{port}", "tls_ca": str(ca)}])
        async with fetching(config) as origins, origins.fetch(get("/")) as answer:
            assert await answer.read() == b"some"
            with pytest.raises(OriginBroken):
                await answer.read()


async def test_what_stalls_under_tls_is_given_up(tmp_path: Path) -> None:
    for reply, code in ((OK.replace(b": 2", b": 3"), "origin_broken"), (b"HTTP/1.1 200 OK\r\ncontent-length: ", "origin_timeout")):
        async with tls_origin(tmp_path, reply) as (port, ca):
            row = {"url": f"https://localhost:{port}", "tls_ca": str(ca), "first_byte_timeout": 0.3, "idle_timeout": 0.1}
            async with fetching(site([row], retry_burst=0)) as origins:
                with pytest.raises(OriginError) as caught:
                    await whole(origins, get("/"))
                assert caught.value.code == code
                assert origins.origins[0].busy == 0


async def test_requests_to_s3_are_signed_as_botocore_signs_them() -> None:
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    with processes("s3") as (origin,):
        table = {"url": f"{origin.url}/echo/bucket", "s3_region": "eu-west-1", "s3_key_id": "AKIAEXAMPLE", "s3_secret": "secret-of-example"}
        async with fetching(site([table])) as origins:
            _, _, body = await whole(origins, get("/a%20b/c?versionId=1", (b"range", b"bytes=0-")))
        lines = body.decode().split("\r\n")
        fields = {name: value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        assert lines[0] == "GET /echo/bucket/a%20b/c?versionId=1 HTTP/1.1"
        assert fields["host"] == f"127.0.0.1:{origin.port}"
        assert fields["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
        # The same request with the time that it says gets the same signature.
        request = AWSRequest("GET", f"{origin.url}/echo/bucket/a%20b/c?versionId=1")
        signer = S3SigV4Auth(Credentials("AKIAEXAMPLE", "secret-of-example"), "s3", "eu-west-1")
        request.context["timestamp"] = fields["x-amz-date"]
        request.headers["X-Amz-Date"], request.headers["X-Amz-Content-SHA256"] = fields["x-amz-date"], "UNSIGNED-PAYLOAD"
        signer.payload = lambda request: "UNSIGNED-PAYLOAD"  # type: ignore[method-assign]
        signature = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
        assert fields["authorization"].endswith(f"Signature={signature}")
