"""One door per library: who may import what. A library that is not named here has no door and is not used."""

import sys

from source import PACKAGES, imports

# Library: the files (or folders) that may import it. The reason a library has a door is that it can be changed there.
DOORS: dict[str, tuple[str, ...]] = {
    "aioquic": ("surface/h3/",),
    "av": ("media/libav.py", "media/libav_encode.py"),
    "brotli": ("cdn/shield/compress.py",),
    "boto3": ("core/blobs/s3.py", "cdn/origins/s3.py"),
    "botocore": ("core/blobs/s3.py", "cdn/origins/s3.py"),
    "cryptography": ("cdn/signing/public_key.py", "core/idempotency.py", "core/tls/", "surface/identity/"),
    "google": ("surface/grpc/",),
    "grpc": ("surface/grpc/",),
    "grpc_health": ("surface/grpc/",),
    "grpc_reflection": ("surface/grpc/",),
    "h11": ("surface/identity/client.py",),
    "h2": ("surface/h2.py",),
    "hypercorn": ("surface/h2.py", "surface/h2_websocket.py", "core/reactor/"),
    "isal": ("media/images/png.py",),
    "nacl": ("realtime/messaging/crypto.py",),
    "outcome": ("core/",),
    "PIL": ("media/images/codec.py",),
    "prometheus_client": ("core/metrics.py",),
    "pylsqpack": ("surface/h3/",),
    "quart": ("surface/http/",),
    "quart_trio": ("surface/http/",),
    "redis": ("core/bus/redis.py",),
    "sqlite3": ("core/sql/",),
    "ssl": ("core/tls/", "realtime/client/", "media/rtmp/", "surface/grpc/tls.py", "surface/identity/client.py", "surface/tls.py"),
    "structlog": ("core/log.py",),
    "trio": ("core/", "media/", "realtime/", "cdn/", "surface/"),
    "werkzeug": ("surface/http/",),
    "wsproto": ("surface/h2_websocket.py",),
    "zstandard": ("cdn/shield/compress.py",),
}
LOW = {"cpython", "libc", "posix", "cython"}  # what Cython itself brings
STUBS = {"typing_extensions"}  # for type checkers alone: `.pyi` files are never run


def test_libraries_are_imported_through_their_door() -> None:
    wrong = []
    for item in imports():
        library = item.module.split(".")[0]
        if library in DOORS and not item.file.startswith(DOORS[library]):
            wrong.append(f"{item}; its door is {' or '.join(DOORS[library])}")
    assert not wrong


def test_every_library_has_a_door() -> None:
    known = {"nova", *DOORS, *PACKAGES, *LOW, *sys.stdlib_module_names}
    found = [item for item in imports() if item.module.split(".")[0] not in known]
    assert not [str(item) for item in found if not (item.file.endswith(".pyi") and item.module.split(".")[0] in STUBS)]
