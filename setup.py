"""Builds the compiled core: every `ext/**/*.pyx` is one module, plus the C files that it names in its first lines.

`# nova: sources=ext/csrc/x.c,… libraries=ssl,crypto` in the first five lines of a `.pyx` declares what it links.
Environment: `NOVA_EXT=a,b` builds only these modules (`none`: no module); `BUILD_DEBUG=1` turns bounds checks on;
`NOVA_SANITIZE=address` builds with that sanitizer (the fuzz targets).
"""

import os
import re
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.sdist import sdist

ROOT = Path(__file__).parent
DEBUG = os.environ.get("BUILD_DEBUG") == "1"
SANITIZE = os.environ.get("NOVA_SANITIZE", "")
ONLY = {name for name in os.environ.get("NOVA_EXT", "").split(",") if name}

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": DEBUG,
    "initializedcheck": DEBUG,
    "cdivision": True,
    "embedsignature": True,
    "binding": True,
}
FLAGS = ["-O3", "-g1", "-fno-strict-aliasing", "-Wno-unused-function", "-Wno-unreachable-code"]
if SANITIZE:
    FLAGS = ["-O1", "-g", "-fno-omit-frame-pointer", f"-fsanitize={SANITIZE}"]
HEADERS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "ext" / "csrc").glob("*.h"))


def declared(source: Path) -> dict[str, list[str]]:
    head = "\n".join(source.read_text(encoding="utf-8").splitlines()[:5])
    found = re.search(r"^# nova: (.+)$", head, re.MULTILINE)
    pairs = dict(item.split("=", 1) for item in found.group(1).split()) if found else {}
    return {key: value.split(",") for key, value in pairs.items()}


def extensions() -> list[Extension]:
    built = []
    for source in sorted((ROOT / "ext").rglob("*.pyx")):
        inner = source.relative_to(ROOT / "ext").with_suffix("")
        name = ".".join(inner.parts)
        if ONLY and name not in ONLY:
            continue
        wants = declared(source)
        built.append(
            Extension(
                f"nova.ext.{name}",
                [f"nova/ext/{inner}.pyx", *wants.get("sources", [])],
                libraries=wants.get("libraries", []),
                include_dirs=["ext/csrc"],
                depends=HEADERS,
                extra_compile_args=FLAGS,
                extra_link_args=[f"-fsanitize={SANITIZE}"] if SANITIZE else [],
            )
        )
    return built


class Checkout(sdist):
    """A source distribution is the checkout: `nova/` holds links in it too, not second copies of every package."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        links = {path.name: os.readlink(path) for path in (ROOT / "nova").iterdir() if path.is_symlink()}
        prefixes = tuple(f"nova/{name}/" for name in links)
        # The list names some files twice, as `nova/x` and `./nova/x`.
        names = sorted({os.path.normpath(name) for name in files})
        super().make_release_tree(base_dir, [name for name in names if not name.startswith(prefixes)])
        for name, target in links.items():
            (Path(base_dir) / "nova" / name).symlink_to(target)


setup(
    cmdclass={"sdist": Checkout},
    ext_modules=cythonize(
        extensions(),
        build_dir="build/cython",
        compiler_directives=DIRECTIVES,
        include_path=["."],
        nthreads=0 if ONLY else 2,
    ),
)
