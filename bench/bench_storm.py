"""Everybody at once: upgrades with a token of their own, memory of those who only listen, the return after a restart, stalled readers."""

import hashlib
import hmac
import http.client
import json
import shutil
import subprocess
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.bench_rtmp import FORGET
from bench.load import built
from bench.load import run as generate
from bench.method.cpu import Reading
from bench.method.results import Question, Sample
from bench.method.versus import Versus
from bench.servers.nova import Nova
from bench.servers.process import Server, free_port
from bench.servers.rooms import Other, OurRoom

CLIENTS = 10_000
SECRET = b"0123456789abcdef0123456789abcdef"
LIFE_S = 3000  # of a token: tokens of the bench outlive it
MISSED = 20  # publications that each one missed
UPGRADE_US = {"HS256": 50.0, "RS256": 50.0, "EdDSA": 100.0}  # 20 k and 10 k a CPU-second
CACHED_US = 1e6 / 30_000


def encoded(value: Any) -> bytes:
    data = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return urlsafe_b64encode(data).rstrip(b"=")


class Signer:
    """A new key, the file that a server knows it by, and tokens signed with it."""

    def __init__(self, folder: Path, algorithm: str) -> None:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
        from cryptography.hazmat.primitives.hashes import SHA256

        self.algorithm = algorithm
        self.file = folder / f"{algorithm}.key"
        self.sign: Callable[[bytes], bytes]
        if algorithm == "HS256":
            self.file.write_bytes(SECRET)
            self.sign = lambda text: hmac.digest(SECRET, text, hashlib.sha256)
            return
        key: Any = ed25519.Ed25519PrivateKey.generate() if algorithm == "EdDSA" else rsa.generate_private_key(65537, 2048)
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        self.file.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
        self.sign = key.sign if algorithm == "EdDSA" else lambda text: bytes(key.sign(text, padding.PKCS1v15(), SHA256()))

    def tokens(self, path: Path, count: int, issuer: str) -> Path:
        """A file with so many, each of another user."""
        now = int(time.time())
        head = encoded({"alg": self.algorithm, "typ": "JWT", "kid": self.algorithm})
        with path.open("wb") as file:
            for number in range(count):
                claims = {"iss": issuer, "aud": "nova", "sub": f"user-{number:06}", "iat": now, "exp": now + LIFE_S, "scope": "chat"}
                text = head + b"." + encoded(claims | {"jti": f"{number:08x}"})
                file.write(text + b"." + encoded(self.sign(text)) + b"\n")
        return path


@contextmanager
def held(
    port: int, tokens: Path, clients: int, core: int, *options: object, at_go: Callable[[], None] | None = None
) -> Iterator[dict[str, Any]]:
    """What ws_storm said when all were there; they stay for as long as the block lasts. at_go: called when the first one may come."""
    command = ["taskset", "-c", core, built("ws_storm"), "-p", port, "-n", clients, "-t", tokens, *options, "-i"]
    with subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        if process.stdout.readline().strip() == "go" and at_go:
            at_go()
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"ws_storm ended with {process.wait()}")
        yield json.loads(line)
        process.stdin.close()


def came(server: Server, port: int, tokens: Path, clients: int, core: int, *options: object) -> tuple[dict[str, Any], float]:
    """What ws_storm said, and the server's CPU seconds until all were there: what their end costs is not the upgrade's."""
    start: list[Reading] = []
    with held(port, tokens, clients, core, *options, at_go=lambda: start.append(server.cpu())) as said:
        return said, start[0].until(server.cpu())


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "EdDSA", "cached"])
def bench_upgrades(versus: Versus, ram: Path, smoke: bool, generator_core: int, algorithm: str) -> None:
    clients = 500 if smoke else CLIENTS
    signer = Signer(ram, "EdDSA" if algorithm == "cached" else algorithm)
    tokens = signer.tokens(ram / "tokens", clients, "bench")

    def sample(server: Server, port: int, *options: object, known: bool = False, **also: float) -> Sample:
        if known:
            came(server, port, tokens, clients, generator_core, *options)
            time.sleep(2)  # those connections end
        said, cpu_s = came(server, port, tokens, clients, generator_core, *options)
        us = cpu_s / clients * 1e6
        return Sample(clients, cpu_s, said["seconds"], us, {"per_second": clients / said["seconds"], **also})

    def ours() -> Sample:
        also = {"libsodium_us": float(generate("ed25519_verify", generator_core)["us"])} if algorithm == "EdDSA" else {}
        # A new server each time: it has seen none of these tokens.
        with OurRoom(ram / "ours", "--secret", str(signer.file), "--cache", "65536") as room:
            return sample(room, room.port, known=algorithm == "cached", **also)

    def anchor() -> Sample:
        with Other(ram / "anchor", "socketify") as room:
            return sample(room, room.port, "-q", "/sub")

    bound = CACHED_US if algorithm == "cached" else UPGRADE_US[algorithm]
    which = "tokens that were verified before" if algorithm == "cached" else f"distinct tokens, {algorithm}"
    asks = f"{clients} upgrades with {which}"
    versus(
        Question(f"upgrade-{algorithm.lower()}", asks, "server CPU us per upgrade", "lower", limits={"figure": bound}),
        ours=ours, anchor=anchor, anchor_name=f"{Other(ram / 'anchor', 'socketify').name}, no token",
    )  # fmt: skip


class Authenticated(Nova):
    """`nova serve` with an issuer of ours, on a port that outlives it. redis: port of the bus."""

    def __init__(self, folder: Path, signer: Signer, redis: int = 0) -> None:
        jwk = {"kty": "oct", "kid": signer.algorithm, "alg": signer.algorithm, "k": encoded(SECRET).decode()}
        keys = folder / "keys.json"
        folder.mkdir(parents=True, exist_ok=True)
        keys.write_text(json.dumps(jwk))
        self.port = free_port()
        bus = [f"bus.url=redis://127.0.0.1:{redis}/0"] if redis else []
        super().__init__(folder, *FORGET, f"http.listen=127.0.0.1:{self.port}", f'auth.keys=["{keys}"]', "auth.issuer=bench", *bus)


@pytest.mark.parametrize(("channels", "bound"), [(1, 1.0), (4, 2.0)])
def bench_idle_memory(versus: Versus, ram: Path, smoke: bool, generator_core: int, channels: int, bound: float) -> None:
    clients = 500 if smoke else CLIENTS
    signer = Signer(ram, "HS256")
    tokens = signer.tokens(ram / "tokens", clients, "bench")
    names = ",".join(f"public:idle-{number}" for number in range(channels))

    def run() -> Sample:
        with Authenticated(ram / "nova", signer) as nova:
            for _ in range(2):  # what the first ones load, and the rings between the threads, are not what one costs
                generate("ws_storm", generator_core, "-p", nova.port, "-n", clients, "-t", tokens, "-C", names, "-x")
            time.sleep(1)
            empty = nova.memory()
            with held(nova.port, tokens, clients, generator_core, "-C", names) as said:
                time.sleep(1)
                grown = nova.memory() - empty
        also = {"grown_mib": grown / 2**20, "empty_mib": empty / 2**20}
        return Sample(clients, 0.0, said["seconds"], grown / 1024 / clients, also)

    what = "one channel" if channels == 1 else f"{channels} channels with presence"
    limits = {"figure": bound, "grown_mib": 40.0}
    asks = f"{clients} idle authenticated connections in {what}"
    versus(Question(f"idle-{channels}", asks, "KiB per connection", "lower", limits=limits), ours=run)


@contextmanager
def redis(folder: Path, core: int) -> Iterator[int]:
    """A Redis in memory; its port."""
    program, port = shutil.which("redis-server"), free_port()
    assert program, "redis-server is missing: make setup installs it"
    folder.mkdir(parents=True, exist_ok=True)
    command = ["taskset", "-c", str(core), program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield port
        finally:
            process.terminate()


def publish(port: int, channel: str, data: object) -> tuple[int, str]:
    """(offset, epoch) of a publication over HTTP."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    body = json.dumps({"data": data})
    connection.request("POST", f"/v1/channels/{channel}/publish", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    said = json.loads(answer.read())
    assert answer.status == 200, said
    connection.close()
    return said["offset"], said["epoch"]


def bench_return(versus: Versus, ram: Path, smoke: bool, generator_core: int) -> None:
    """The server is another one than the one that numbered the publications; all that it knows of them is in Redis."""
    clients = 500 if smoke else CLIENTS
    signer = Signer(ram, "HS256")
    tokens = signer.tokens(ram / "tokens", clients, "bench")

    def run() -> Sample:
        with redis(ram / "redis", generator_core) as bus:
            with Authenticated(ram / "nova", signer, bus) as before:
                offset, epoch = publish(before.port, "public:room", "seen by all")
                for number in range(MISSED):
                    publish(before.port, "public:room", {"text": "that was an amazing clip, please do it again", "number": number})
            with Authenticated(ram / "nova", signer, bus) as nova:
                time.sleep(1)
                said, cpu_s = came(
                    nova, nova.port, tokens, clients, generator_core, "-C", "public:room", "-R", f"{offset},{epoch}", "-m", MISSED
                )
        also = {name: said[name] for name in ("lost", "twice", "unasked", "not_recovered")} | {"cpu_us_per_client": cpu_s / clients * 1e6}
        return Sample(clients, cpu_s, said["seconds"], said["seconds"], also)

    limits = {"figure": 2.0, "lost": 0.0, "twice": 0.0, "unasked": 0.0, "not_recovered": 0.0}
    asks = f"{clients} clients back after a restart, {MISSED} messages missed by each"
    versus(Question("return", asks, "seconds until all have everything", "lower", limits=limits), ours=run)


def bench_stalled(versus: Versus, ram: Path, seconds: float, smoke: bool, generator_core: int) -> None:
    """1 % stop reading: what the others notice, and what the server holds for those."""
    readers = 200 if smoke else 1000

    def window(room: OurRoom, stalled: int) -> Sample:
        before = room.memory()
        start: list[Reading] = []
        options = ["-n", readers, "-s", 1024, "-r", 100, "-S", stalled, "-d", seconds]
        said = generate("ws_load", generator_core, *room.load, *options, at_go=lambda: start.append(room.cpu()))
        held = room.memory() - before
        cpu_s = start[0].until(room.cpu())
        also = {"p50_ms": said["p50_us"] / 1000, "per_receive": said["deliveries"] / said["receives"], "grown_mib": held / 2**20}
        return Sample(said["deliveries"], cpu_s, said["seconds"], said["p99_us"] / 1000, also)

    with OurRoom(ram / "with") as ours, OurRoom(ram / "without") as anchor:
        asks = f"{readers} readers of 100 KiB a second, 1 % stalled"
        versus(
            Question("stalled", asks, "p99 ms of the others", "lower", 1.1, {"grown_mib": 8.0}),
            ours=lambda: window(ours, readers // 100),
            anchor=lambda: window(anchor, 0),
            anchor_name=f"{anchor.name}, none stalled",
        )
