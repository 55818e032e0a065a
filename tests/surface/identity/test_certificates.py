"""The self-made certificate: good for what it says, made once, renewed in time, and warm starts do not load X.509."""

import ssl
import subprocess
import sys
import time

import pytest
import trio
import trio.testing
from cryptography import x509

from nova.surface.identity import certificates
from tests.surface.identity.conftest import World


def test_it_is_made_once_and_renewed_before_it_ends(world: World) -> None:
    first = certificates.ensure(world.data, world.clock)
    assert first.fresh
    assert {path.stat().st_mode & 0o777 for path in (world.data / "tls").iterdir()} == {0o600}
    assert not certificates.ensure(world.data, world.clock).fresh
    world.clock.advance(certificates.LIFE - certificates.RENEW - 1)
    assert not certificates.ensure(world.data, world.clock).fresh
    world.clock.advance(1)
    assert certificates.ensure(world.data, world.clock).fresh


def test_other_names_or_missing_files_make_a_new_one(world: World) -> None:
    certificates.ensure(world.data, world.clock, ("localhost",))
    assert certificates.ensure(world.data, world.clock, ("localhost", "studio")).fresh
    for name in ("cert.pem", "key.pem", "names.json"):
        (world.data / "tls" / name).unlink()
        assert certificates.ensure(world.data, world.clock, ("localhost", "studio")).fresh
    (world.data / "tls" / "names.json").write_bytes(b"{")
    assert certificates.ensure(world.data, world.clock, ("localhost", "studio")).fresh


def test_it_names_localhost_the_machine_and_loopback(world: World) -> None:
    made = certificates.ensure(world.data, world.clock, ("localhost", "studio"))
    found = x509.load_pem_x509_certificate(made.cert.read_bytes())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "studio"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    assert found.not_valid_after_utc.timestamp() == int(made.ends_at)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_tls_client_that_is_given_it_believes_it(world: World, host: str) -> None:
    world.clock.set_wall(time.time())
    made = certificates.ensure(world.data, world.clock, ("localhost",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.cert, made.key)
    ours, theirs = trio.testing.memory_stream_pair()
    server = trio.SSLStream(ours, context, server_side=True)
    client = trio.SSLStream(theirs, ssl.create_default_context(cafile=made.cert), server_hostname=host)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.do_handshake)
            await client.do_handshake()
        await client.send_all(b"x")
        assert await server.receive_some(1) == b"x"


@pytest.mark.parametrize(
    ("machine", "names"),
    [("Studio", ("localhost", "studio")), ("localhost", ("localhost",)), ("n\u00e4m\u00e9", ("localhost",)), ("", ("localhost",)),
     ("a..b", ("localhost",)), ("x" * 65, ("localhost",)), ("tv.example.org.", ("localhost", "tv.example.org"))],
)  # fmt: skip
def test_a_machine_without_a_usable_name_is_localhost(monkeypatch: pytest.MonkeyPatch, machine: str, names: tuple[str, ...]) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: machine)
    assert certificates.names_of_machine() == names


def test_a_warm_start_loads_no_library_for_certificates_tokens_or_calls(world: World) -> None:
    certificates.ensure(world.data, world.clock, ("localhost",))
    code = (
        "import sys; from pathlib import Path; from nova.core.clock import FakeClock;"
        "from nova.surface.identity import certificates, service;"
        f"assert not certificates.ensure(Path({str(world.data)!r}), FakeClock({world.clock.wall()}), ('localhost',)).fresh;"
        "print([name for name in ('cryptography', 'jwt', 'h11', 'quart', 'urllib.request') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]", done.stdout
