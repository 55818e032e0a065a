"""RTMP over TLS, on the reactor: our client and ffmpeg."""

import ssl
import subprocess
from pathlib import Path

import pytest
import trio

from nova.ext.tls import TlsContext
from nova.media.rtmp import flv
from nova.media.rtmp.client import PublishError, Target, publishing
from nova.media.rtmp.flv import Tag
from tests.media.rtmp.house import KEY, running


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("rtmps")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True, capture_output=True, timeout=20,
    )  # fmt: skip
    return cert, key


async def test_our_client_publishes_over_tls_and_ends_cleanly(pair: tuple[Path, Path]) -> None:
    context = ssl.create_default_context(cafile=str(pair[0]))
    async with running(reactor=True, tls=TlsContext(*pair)) as house:
        target = Target("127.0.0.1", house.port, True, "live", KEY)
        async with publishing(target, tls=context) as publisher:
            for stamp in range(0, 400, 40):
                await publisher.send(Tag(flv.VIDEO, stamp, flv.avc_picture(bytes(50_000), key=stamp == 0)))
        assert await house.end() == "unpublished"
        (ingest,) = house.ingests
        assert [stamp for _, stamp, _, _ in ingest.records] == list(range(0, 400, 40))
        with pytest.raises(PublishError, match="cannot connect"):  # an authority that nobody knows
            async with publishing(target):
                pass


@pytest.mark.ffmpeg
async def test_ffmpeg_publishes_over_tls(pair: tuple[Path, Path]) -> None:
    async with running(reactor=True, tls=TlsContext(*pair)) as house:
        done = await trio.run_process(
            ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-f", "lavfi", "-i", "testsrc2=s=160x90:r=25", "-t", "1",
             "-c:v", "libx264", "-preset", "ultrafast", "-f", "flv", f"rtmps://127.0.0.1:{house.port}/live/{KEY}"],
            capture_stderr=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, b"")
        assert await house.end() == "unpublished"
        assert len(house.ingests[0].records) == 27  # a configuration, 25 pictures, the end of the sequence


@pytest.mark.parametrize(
    "garbage", [b"", b"\x03" + bytes(3072), b"\x16\x03\x01\xff\xff" + bytes(500), b"\x16\x03\x01\x00\x05hello", b"GET / HTTP/1.1\r\n\r\n"]
)
async def test_garbage_before_the_handshake_harms_nobody(pair: tuple[Path, Path], garbage: bytes) -> None:
    context = ssl.create_default_context(cafile=str(pair[0]))
    async with running(reactor=True, tls=TlsContext(*pair)) as house:
        async with publishing(Target("127.0.0.1", house.port, True, "live", KEY), tls=context) as publisher:
            await publisher.send(Tag(flv.VIDEO, 0, flv.avc_picture(b"one", key=True)))
            for _ in range(20):
                async with await trio.open_tcp_stream("127.0.0.1", house.port) as stream:
                    if garbage:
                        await stream.send_all(garbage)
            await publisher.send(Tag(flv.VIDEO, 40, flv.avc_picture(b"two", key=True)))
            await (await house.ingest()).until(lambda ingest: len(ingest.records) == 2)
        assert await house.end() == "unpublished"
        assert house.server.connections == 0
