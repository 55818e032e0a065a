"""Generates `surface/grpc/generated/` from `proto/`: messages with their types, no stubs (servers and clients go by tables).

`python tools/protos.py` writes; `--check` only compares, and exits 1 when a file is out of date.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "proto"
TARGET = ROOT / "surface" / "grpc" / "generated"
WELL_KNOWN = Path(grpc_tools.__file__).parent / "_proto"


def generate() -> dict[str, bytes]:
    """File name → content. Raises RuntimeError: protoc refuses a file (it says why on stderr)."""
    sources = sorted(SOURCE.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        arguments = ["protoc", f"-I{SOURCE}", f"-I{WELL_KNOWN}", f"--python_out={scratch}", f"--pyi_out={scratch}"]
        if protoc.main([*arguments, *(str(path) for path in sources)]) != 0:
            raise RuntimeError("protoc failed")
        # `nova/streaming/v1/streaming_pb2.py` becomes `streaming_v1_pb2.py`: its own path would be a second package `nova`.
        # No file of ours imports another, so that nothing in it needs rewriting.
        found = {}
        for path in sorted(Path(scratch).rglob("*_pb2.py*")):
            domain, version = path.parts[-3], path.parts[-2]
            if path.name.split("_pb2")[0] != domain:
                raise RuntimeError(f"{path.name} is not called after its package nova.{domain}.{version}")
            found[f"{domain}_{version}_pb2{path.suffix}"] = path.read_bytes()
        return found


def main() -> int:
    wanted = generate()
    present = {path.name: path.read_bytes() for path in TARGET.glob("*_pb2.py*")}
    if "--check" in sys.argv:
        stale = sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))
        for name in stale:
            print(f"surface/grpc/generated/{name} is out of date: run `python tools/protos.py`")
        return 1 if stale else 0
    for name in present.keys() - wanted.keys():
        (TARGET / name).unlink()
    for name, content in wanted.items():
        (TARGET / name).write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
