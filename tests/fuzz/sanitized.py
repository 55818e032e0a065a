"""`python -m tests.fuzz.sanitized [--seconds N] [--only NAME]`: the fuzz targets on kernels built with the address sanitizer.

Builds in a copy of the checkout (`build/sanitized/`), so that the normal kernels stay as they are; a second run compiles
only what changed. Needs gcc's libasan. Each target runs in a process of its own: the sanitizer ends it at the first bad access.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPY = ROOT / "build" / "sanitized"
FOUND = ROOT / "build" / "fuzz"


def copy_checkout() -> None:
    """Every file of the working tree that git would keep; newer ones only, links as links."""
    listed = subprocess.run(["git", "ls-files", "-zco", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        source, copy = ROOT / name, COPY / name
        if not source.is_symlink() and not source.is_file():
            continue  # deleted in the working tree
        if source.is_symlink():
            if not copy.is_symlink():
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.symlink_to(os.readlink(source))
        elif not copy.exists() or copy.stat().st_mtime_ns != source.stat().st_mtime_ns:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy)


def sanitizer() -> str:
    compiler = shlex.split(os.environ.get("CC", "gcc"))  # may have `ccache` in front
    path = subprocess.run([*compiler, "-print-file-name=libasan.so"], check=True, capture_output=True, text=True).stdout.strip()
    if not Path(path).is_absolute():
        raise SystemExit(f"{compiler[-1]} has no address sanitizer library: install the one of its version (Debian: libasan8)")
    return path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.sanitized")
    parser.add_argument("--seconds", default="20", help="for each target (20)")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--only", action="append", help="this target; may be repeated")
    options = parser.parse_args()
    library = sanitizer()
    copy_checkout()
    environment = os.environ | {"NOVA_SANITIZE": "address", "PYTHONPATH": str(COPY)}
    built = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=COPY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if built.returncode:
        sys.stderr.buffer.write(built.stdout)
        return built.returncode
    environment |= {
        "LD_PRELOAD": library,
        "PYTHONMALLOC": "malloc",  # Python's own pools would hide the end of a buffer
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:abort_on_error=0",
    }
    run = [sys.executable, "-m", "tests.fuzz"]
    names = (
        options.only
        or subprocess.run([*run, "--list"], cwd=COPY, env=environment, check=True, capture_output=True, text=True).stdout.split()
    )
    failed = 0
    FOUND.mkdir(parents=True, exist_ok=True)
    for name in names:
        last = FOUND / f"last-{name}"
        arguments = ["--only", name, "--seconds", options.seconds, "--seed", options.seed, "--last", str(last)]
        ended = subprocess.run([*run, *arguments], cwd=COPY, env=environment)
        if ended.returncode:
            failed += 1
            held = last.read_bytes() if last.exists() else bytes(4)
            crash = FOUND / f"{name}-sanitized"
            crash.write_bytes(held[4 : 4 + int.from_bytes(held[:4], "little")])
            print(f"{name}: ended with {ended.returncode}; its input is {crash}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
