"""A crowd comes back: what an upgrade with a token costs, and what each idle connection holds."""

import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from bench.load import run as generate
from bench.method.cpu import Reading
from bench.method.results import Question, Sample
from bench.method.versus import Versus
from bench.servers.rooms import OurRoom

COUNT = 5000


def keys(folder: Path, alg: str) -> tuple[Any, Path]:
    """The signing key, and the file with which its tokens are checked."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{alg}.key"
    if alg == "HS256":
        path.write_bytes(b"0123456789abcdef0123456789abcdef")
        return path.read_bytes(), path
    private = rsa.generate_private_key(65537, 2048) if alg == "RS256" else ed25519.Ed25519PrivateKey.generate()
    path.write_bytes(private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, path


def tokens(folder: Path, alg: str, private: Any) -> Path:
    now = int(time.time())
    said = ({"iss": "bench", "aud": "nova", "sub": f"user-{i}", "scope": "chat", "iat": now, "exp": now + 3600, "jti": f"{i:032x}"}
            for i in range(COUNT + 1))  # fmt: skip
    path = folder / "tokens"
    path.write_text("".join(jwt.encode(claims, private, algorithm=alg, headers={"kid": alg}) + "\n" for claims in said))
    return path


def arrive(room: OurRoom, core: int, *options: object) -> Sample:
    """figure: microseconds of the server's CPU for each connection, with what it holds."""
    before, held = room.cpu(), room.memory()
    after: list[tuple[Reading, int]] = []
    given: list[object] = ["-p", room.port, "-n", COUNT, "-i", 1, *options]
    said = generate("ws_load", core, *given, at_go=lambda: after.append((room.cpu(), room.memory())))
    cpu_s = before.until(after[0][0])
    count = said["connections"]
    also = {"kib_per_connection": (after[0][1] - held) / count / 1024, "per_second": count / said["connecting"]}
    return Sample(count, cpu_s, said["connecting"], cpu_s / count * 1e6, also)


@pytest.mark.parametrize(("alg", "goal"), [("HS256", 50.0), ("RS256", 50.0), ("EdDSA", 100.0)])
def bench_upgrade(versus: Versus, ram: Path, generator_core: int, alg: str, goal: float) -> None:
    private, path = keys(ram / "keys", alg)
    given = tokens(ram / "keys", alg, private)

    def run() -> Sample:
        with OurRoom(ram / "ours", "--secret", str(path), "--cache", "0") as room:
            return arrive(room, generator_core, "-t", given)

    asks = f"upgrades with {COUNT} distinct {alg} tokens"
    question = Question(f"upgrade-{alg.lower()}", asks, "µs of server CPU each", "lower", limits={"figure": goal})
    versus(question, ours=run)


def bench_idle(versus: Versus, ram: Path, generator_core: int) -> None:
    private, path = keys(ram / "keys", "HS256")
    given = tokens(ram / "keys", "HS256", private)

    def run() -> Sample:
        with OurRoom(ram / "ours", "--secret", str(path), "--cache", "0", "--ring", "524288") as room:
            # Rings and the cache of tokens are the server's, not the connections': small ones here, gone through before.
            generate("ws_load", generator_core, *room.load, "-t", given, "-n", 50, "-w", 32, "-d", 2)
            return arrive(room, generator_core, "-t", given, "-C", "public:bench")

    asks = f"{COUNT} authenticated connections in one channel"
    figure = "µs of server CPU each, subscription included"
    versus(Question("idle", asks, figure, "lower", limits={"kib_per_connection": 1.0}), ours=run)
