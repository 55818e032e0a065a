"""Runs tests against another build of the compiled core, beside the one in use.

Usage: python tools/variant.py debug|address|thread -- ARGUMENTS FOR PYTEST

debug: bounds checks in every kernel (BUILD_DEBUG=1). address: AddressSanitizer. thread: ThreadSanitizer, for
what I/O threads share with trio and one another; a report is exit code 66. The build lives in
`build/variant-NAME/`, a tree of links to this checkout's files, so that only the compiled modules differ.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("bench", "cdn", "core", "media", "realtime", "surface", "tests", "tools", "web", "docs", "proto")
FILES = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "Makefile")
BUILD = {"debug": {"BUILD_DEBUG": "1"}, "address": {"NOVA_SANITIZE": "address"}, "thread": {"NOVA_SANITIZE": "thread"}}


def lay_out(tree: Path) -> None:
    """The checkout again, by links; `ext` and `nova` are real folders, for the modules are compiled into them."""
    tree.mkdir(parents=True, exist_ok=True)
    for name in (*FOLDERS, *FILES):
        if (ROOT / name).exists() and not (tree / name).is_symlink():
            (tree / name).symlink_to(os.path.relpath(ROOT / name, tree))
    wanted = {Path("nova") / path.name: path for path in (ROOT / "nova").iterdir() if path.is_file()}
    for path in (ROOT / "ext").rglob("*"):
        if path.is_file() and path.suffix in {".py", ".pyi", ".pyx", ".pxd", ".h", ".c"}:
            wanted[path.relative_to(ROOT)] = path
    for relative, path in wanted.items():
        link = tree / relative
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(os.path.relpath(path, link.parent))
    for path in (ROOT / "nova").iterdir():
        if path.is_symlink() and not (tree / "nova" / path.name).is_symlink():
            (tree / "nova" / path.name).symlink_to(os.readlink(path))
    for link in [*(tree / "ext").rglob("*"), *(tree / "nova").iterdir()]:
        if link.is_symlink() and not link.exists():  # its source is gone
            link.unlink()


def sanitizer_environment(name: str, reports: Path) -> dict[str, str]:
    """What a process needs whose extension modules are sanitized while the interpreter is not. Reports become files in `reports`: what a
    process writes while pytest captures it is seen by nobody when the test passes, or the process ends."""
    runtime = {"address": "libasan.so", "thread": "libtsan.so"}[name]
    library = subprocess.run(["gcc", f"-print-file-name={runtime}"], capture_output=True, text=True, check=True).stdout.strip()
    return {
        "LD_PRELOAD": library,
        # The interpreter keeps what it allocates at start until the end: that is no leak of ours.
        "ASAN_OPTIONS": f"detect_leaks=0:abort_on_error=1:allocator_may_return_null=1:log_path={reports}/address",
        "TSAN_OPTIONS": f"suppressions={ROOT}/tests/core/reactor/thread.supp:exitcode=66:log_path={reports}/thread",
        "PYTHONMALLOC": "malloc",
    }


def main() -> int:
    name, separator, *arguments = sys.argv[1:]
    if name not in BUILD or separator != "--":
        print(__doc__, file=sys.stderr)
        return 2
    tree = ROOT / "build" / f"variant-{name}"
    lay_out(tree)
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", "-j", str(os.cpu_count() or 1)]
    built = subprocess.run(command, cwd=tree, env={**os.environ, **BUILD[name]})
    if built.returncode:
        return built.returncode
    environment = {**os.environ, "PYTHONPATH": str(tree), "NOVA_VARIANT": name}
    # ThreadSanitizer's shadow has its place, where a random layout may put something else.
    prefix = ["setarch", "-R"] if name == "thread" else []
    reports = tree / "reports"
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir()
    if name in ("address", "thread"):
        environment |= sanitizer_environment(name, reports)
    check = "import nova, sys; sys.exit(not nova.__file__.startswith(sys.argv[1]))"
    if subprocess.run([*prefix, sys.executable, "-c", check, str(tree)], cwd=tree, env=environment).returncode:
        print(f"variant {name}: Python does not take its modules from {tree}", file=sys.stderr)
        return 1
    print(f"variant {name}:", flush=True)
    code = subprocess.run([*prefix, sys.executable, "-m", "pytest", *arguments], cwd=tree, env=environment).returncode
    for report in sorted(reports.iterdir()):
        print(report.read_text(errors="replace"), file=sys.stderr)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
