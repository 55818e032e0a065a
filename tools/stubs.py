"""Compares the stubs (`ext/**/*.pyi`) with the compiled modules, by mypy's stubtest. Exit 1 where they differ."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    stubs = sorted((ROOT / "ext").rglob("*.pyi"))
    modules = ["nova.ext." + ".".join(stub.relative_to(ROOT / "ext").with_suffix("").parts) for stub in stubs]
    if not modules:
        return 0
    # Cython adds names of its own to every module: they are no part of what a stub promises.
    ignore = ROOT / "tools" / "stubtest-ignore.txt"
    options = ["--ignore-missing-stub", "--ignore-disjoint-bases", "--allowlist", str(ignore), "--ignore-unused-allowlist"]
    return subprocess.run([sys.executable, "-m", "mypy.stubtest", *options, *modules], cwd=ROOT).returncode


if __name__ == "__main__":
    raise SystemExit(main())
