"""Mutual TLS: who has no certificate of our authority gets nothing, and files can be replaced while it serves."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grpc_health.v1 import health_pb2, health_pb2_grpc

from nova.core import errors
from nova.core.log import Log
from nova.core.offload import Offload
from nova.core.values import Address
from nova.surface.grpc.library import grpc
from nova.surface.grpc.server import Config, GrpcServer
from nova.surface.grpc.tls import Certificates, Tls


class Authority:
    """Signs certificates for a test."""

    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.pem = self._sign(self.name, self.key.public_key(), ca=True)

    def _sign(self, subject: x509.Name, public: ec.EllipticCurvePublicKey, *, ca: bool) -> bytes:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        )
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def pair(self, name: str) -> tuple[bytes, bytes]:
        """Key and certificate, PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return private, self._sign(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]), key.public_key(), ca=False)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("ours")


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> Tls:
    tls = Tls(tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem")
    write(tls, authority)
    return tls


def write(tls: Tls, authority: Authority) -> None:
    key, cert = authority.pair("server")
    tls.key.write_bytes(key)
    tls.cert.write_bytes(cert)
    tls.client_ca.write_bytes(authority.pem)


async def healthy(address: Address, credentials: grpc.ChannelCredentials) -> bool:
    """Whether a client with these credentials gets an answer on a new connection."""
    options = (("grpc.use_local_subchannel_pool", 1),)
    with grpc.secure_channel(str(address), credentials, options) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            await trio.to_thread.run_sync(lambda: stub.Check(health_pb2.HealthCheckRequest(), timeout=5))
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False
        return True


def config(tls: Tls) -> Config:
    return Config(Address("127.0.0.1", 0), tls, insecure=False, max_message=65536, threads=2)


async def nobody(authorization: str) -> None:
    return None


async def test_only_clients_of_our_authority_are_served(files: Tls, authority: Authority) -> None:
    server = GrpcServer(config(files), {}, nobody, Offload())
    async with trio.open_nursery() as nursery:
        address = await nursery.start(server.run)
        key, cert = authority.pair("client")
        assert await healthy(address, grpc.ssl_channel_credentials(authority.pem, key, cert))
        assert not await healthy(address, grpc.ssl_channel_credentials(authority.pem))
        key, cert = Authority("theirs").pair("client")
        assert not await healthy(address, grpc.ssl_channel_credentials(authority.pem, key, cert))
        nursery.cancel_scope.cancel()


async def test_replaced_files_are_used_for_new_connections(files: Tls, authority: Authority) -> None:
    server = GrpcServer(config(files), {}, nobody, Offload())
    renewed = Authority("renewed")
    key, cert = authority.pair("client")
    old = grpc.ssl_channel_credentials(authority.pem, key, cert)
    key, cert = renewed.pair("client")
    new = grpc.ssl_channel_credentials(renewed.pem, key, cert)
    async with trio.open_nursery() as nursery:
        address = await nursery.start(server.run)
        assert await healthy(address, old) and not await healthy(address, new)
        files.key.write_bytes(b"half a file")
        assert await healthy(address, old)
        write(files, renewed)
        assert await healthy(address, new) and not await healthy(address, old)
        nursery.cancel_scope.cancel()


def test_files_that_do_not_fit_are_refused_at_the_start(files: Tls, authority: Authority, tmp_path: Path) -> None:
    log = Log("test")
    Certificates(files, log).credentials()
    with pytest.raises(errors.Unavailable, match="No such file"):
        Certificates(replace(files, cert=tmp_path / "none.pem"), log).credentials()
    files.key.write_bytes(authority.pair("another")[0])
    with pytest.raises(errors.Unavailable, match=r"grpc\.tls"):
        Certificates(files, log).credentials()
