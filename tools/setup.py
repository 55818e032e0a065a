#!/usr/bin/env python3
"""Makes this checkout ready: system packages, the virtual environment, the compiled core. Installs only what is missing.

Usage: python3 tools/setup.py [serve|test|bench|lint|dev]

Speaks on stderr, so that a program started after it keeps stdout to itself. Runs again in well under a second when
nothing changed. Needs only the standard library. Exit 1 with what is missing, and the remedy, when it cannot go on.
"""

import glob
import hashlib
import importlib.util
import os
import re
import shutil
import struct
import subprocess
import sys
import sysconfig
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, os.environ.get("VENV", ".venv"))
PYTHON = os.path.join(VENV, "bin", "python")
LOG = os.path.join(ROOT, "build", "setup.log")
MINIMUM = (3, 11)

# Which extras of pyproject.toml, and which programs of Debian, each purpose wants.
EXTRAS = {"serve": [], "test": ["test"], "bench": ["test", "bench"], "lint": ["test", "lint"], "dev": ["dev"]}
PROGRAMS = {
    "ffmpeg": ("ffmpeg", "the tests that publish and play with ffmpeg"),
    "chromium": ("chromium", "the tests in a browser"),
    "chromedriver": ("chromium-driver", "the tests in a browser"),
    "cjpeg": ("libjpeg-turbo-progs", "the tests that read and write JPEG against libjpeg-turbo"),
    "certutil": ("libnss3-tools", "the tests of HTTP/3 in a browser"),
    "nginx": ("nginx", "the comparison with nginx"),
    "redis-server": ("redis-server", "the tests of several nodes on one Redis"),
    "varnishd": ("varnish", "the comparison with Varnish"),
    "nginx-rtmp": ("libnginx-mod-rtmp", "the comparison with nginx-rtmp"),
}
WANTS = {
    "serve": [],
    "test": ["ffmpeg", "chromium", "chromedriver", "redis-server", "certutil", "cjpeg"],
    "bench": ["ffmpeg", "chromium", "chromedriver", "certutil", "cjpeg", "nginx", "nginx-rtmp", "varnishd"],
    "lint": [],
    "dev": ["ffmpeg", "chromium", "chromedriver", "redis-server", "certutil", "cjpeg", "nginx", "nginx-rtmp", "varnishd"],
}
# A C library that a kernel may name in its first lines: the header that proves it is there, and Debian's package.
LIBRARIES = {
    "ssl": ("openssl/ssl.h", "libssl-dev"),
    "crypto": ("openssl/evp.h", "libssl-dev"),
    "sodium": ("sodium.h", "libsodium-dev"),
    "z": ("zlib.h", "zlib1g-dev"),
    "uring": ("liburing.h", "liburing-dev"),
}

# Pillow with SIMD has the formats whose headers are there when it is built, and builds without complaint when they are not: a file
# that proves each of them, and Debian's package.
PICTURES = {
    "jpeglib.h": "libjpeg62-turbo-dev",
    "zlib.h": "zlib1g-dev",
    "webp/decode.h": "libwebp-dev",
    "lcms2.h": "liblcms2-dev",
    "tiffio.h": "libtiff-dev",
    "openjpeg-*/openjpeg.h": "libopenjp2-7-dev",
    "freetype2/ft2build.h": "libfreetype-dev",
}
INCLUDES = ("/usr/include", "/usr/include/*-linux-gnu", "/usr/local/include")
PICTURES_PIN = os.path.join(ROOT, "tools", "pillow-simd.txt")
# Need `pillow`, which would write over pillow-simd's files: installed without what they ask for, the extra names the rest.
ALONE = ("matplotlib",)

STARTED = time.monotonic()


def say(text):
    print("set-up %4.0fs  %s" % (time.monotonic() - STARTED, text), file=sys.stderr, flush=True)


def fail(*lines):
    for line in lines:
        print("set-up: " + line, file=sys.stderr)
    sys.exit(1)


def newer_python():
    """Hand over to a newer interpreter of this machine when `python3` is older than we need."""
    if sys.version_info >= MINIMUM:
        return
    for minor in range(MINIMUM[1] + 4, MINIMUM[1] - 1, -1):
        found = shutil.which("python3.%d" % minor)
        if found:
            os.execv(found, [found, *sys.argv])
    fail(
        "Python %d.%d or newer is needed; this is %s." % (*MINIMUM, sys.version.split()[0]),
        "Install it (Debian 12 and later: apt-get install python3), or name one: make PYTHON=/path/to/python3.12",
    )


def run(command, what, watch=None, env=None):
    """Run `command` with its output in the log; on failure say the last lines and stop.

    watch: called with every line of output as it comes.
    """
    os.makedirs(os.path.dirname(LOG), exist_ok=True)
    tail = []
    with open(LOG, "a", encoding="utf-8") as log:
        log.write("\n$ %s\n" % " ".join(command))
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
        )  # fmt: skip
        for line in process.stdout:
            log.write(line)
            tail = [*tail[-14:], line.rstrip()]
            if watch:
                watch(line)
        code = process.wait()
    if code:
        print("\n".join("    " + line for line in tail if line), file=sys.stderr)
        fail("%s failed (exit %d). The whole output is in %s." % (what, code, os.path.relpath(LOG, ROOT)))


# --- the system -----------------------------------------------------------------------------------------------------


def compiles(source, compiler):
    """Whether `compiler` gets through these lines of C."""
    include = sysconfig.get_path("include")
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "probe.c")
        with open(path, "w", encoding="ascii") as file:
            file.write(source)
        command = [compiler, "-I", include, "-c", path, "-o", os.path.join(scratch, "probe.o")]
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def declared_libraries():
    """The C libraries that the kernels name (`# nova: libraries=ssl,crypto` in their first lines)."""
    names = set()
    for folder, _, files in os.walk(os.path.join(ROOT, "ext")):
        for name in files:
            if name.endswith(".pyx"):
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    for found in re.findall(r"^# nova: .*?libraries=(\S+)", "".join(file.readlines()[:5]), re.M):
                        names.update(found.split(","))
    return sorted(names)


def missing_for_build():
    """Debian packages that the build needs and this machine lacks, each with the reason."""
    wanted = {}
    debian_python = os.path.realpath(sys.executable).startswith("/usr/bin/")
    version = "%d.%d" % sys.version_info[:2]
    compiler = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    if compiler is None or not compiles("#include <stdio.h>\nint main(void) { return 0; }\n", compiler):
        wanted["gcc"] = "a C compiler"
        wanted["libc6-dev"] = "the headers of the C library"
    if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
        if not debian_python:
            fail(
                "Python.h is missing for %s, which is not Debian's Python, so apt cannot bring it." % sys.executable,
                "Install that Python's headers, or use Debian's: make PYTHON=/usr/bin/python3",
            )
        wanted["python%s-dev" % version] = "Python.h"
    for library in declared_libraries():
        header, package = LIBRARIES.get(library, (None, None))
        if header and (compiler is None or not compiles("#include <%s>\n" % header, compiler)):
            wanted[package] = header
    for header, package in PICTURES.items():
        if found_header(header) is None:
            wanted[package] = header.replace("-*", "") + " for pictures"
    if not os.path.exists(PYTHON):
        try:
            import ensurepip
            import venv  # noqa: F401

            if not ensurepip.version():
                raise ImportError
        except (ImportError, OSError, LookupError, ValueError):
            if not debian_python:
                fail(
                    "%s cannot make virtual environments (no ensurepip), and apt cannot bring that to it." % sys.executable,
                    "Use another Python: make PYTHON=/usr/bin/python3",
                )
            wanted["python%s-venv" % version] = "virtual environments"
    return wanted


def found_header(name):
    """The file of a header of PICTURES; None: it is not there."""
    for folder in INCLUDES:
        for path in sorted(glob.glob(os.path.join(folder, name))):
            return path
    return None


def missing_programs(purpose):
    """Debian packages of programs that only tests and benches run."""
    wanted = {}
    for name in WANTS[purpose]:
        package, reason = PROGRAMS[name]
        if name == "nginx-rtmp":
            present = os.path.exists("/usr/lib/nginx/modules/ngx_rtmp_module.so")
        else:
            # nginx lives in sbin, which is not on every user's path.
            present = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin") is not None
        if not present:
            wanted[package] = reason
    return wanted


def install(wanted, required):
    """Install Debian packages. `required`: stop when it cannot be done, else only say so."""
    if not wanted:
        return
    names = sorted(wanted)
    reasons = "; ".join("%s (%s)" % (name, wanted[name]) for name in names)
    remedy = "apt-get install " + " ".join(names)
    problem = None
    root = []
    if shutil.which("apt-get") is None:
        problem = "this system has no apt-get; install what Debian calls: " + " ".join(names)
    elif os.geteuid() != 0:
        if shutil.which("sudo") is None:
            problem = "this needs root, and there is no sudo; run as root: " + remedy
        else:
            root = ["sudo"]
            if subprocess.run(["sudo", "-n", "true"], stderr=subprocess.DEVNULL).returncode != 0:
                say("sudo asks for your password to install: " + " ".join(names))
                if not sys.stdin.isatty() or subprocess.run(["sudo", "-v"]).returncode != 0:
                    problem = "this needs root, and sudo does not let us; run as root: " + remedy
    if problem is None:
        say("installing with apt: " + reasons)
        quiet = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=120"]
        steps = [[*quiet, "update"], [*quiet, "install", "-y", "--no-install-recommends", *names]]
        if required:
            for step in steps:
                run(step, "apt-get " + step[-1 if step[-1] == "update" else step.index("install")])
            return
        if all(attempt(step) for step in steps):
            return
        problem = "apt-get failed (its output is in build/setup.log); try: " + remedy
    if required:
        fail("missing: " + reasons + ".", problem)
    say("not installed: " + reasons + ". What needs it is skipped. " + problem)


def attempt(command):
    os.makedirs(os.path.dirname(LOG), exist_ok=True)
    with open(LOG, "a", encoding="utf-8") as log:
        log.write("\n$ %s\n" % " ".join(command))
        log.flush()
        return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log).returncode == 0


# --- the virtual environment ----------------------------------------------------------------------------------------


def works(python):
    """Whether the environment's interpreter starts, is new enough and has pip."""
    check = "import sys, pip; sys.exit(sys.version_info < %r)" % (MINIMUM,)
    try:
        return subprocess.run([python, "-c", check], stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def requirements(extras):
    """What pip must bring: the build's own tools, the dependencies, and those of the extras."""
    import tomllib

    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        project = tomllib.load(file)
    found = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    optional = project["project"]["optional-dependencies"]
    todo = list(extras)
    while todo:
        for item in optional[todo.pop()]:
            inner = re.fullmatch(r"nova-core\[([\w,]+)\]", item)
            if inner:
                todo.extend(inner[1].split(","))
            else:
                found.append(item)
    # Pillow with SIMD has a way of its own (`pictures`).
    return sorted({item for item in found if not item.startswith("pillow-simd")})


def stamp(name):
    return os.path.join(VENV, ".nova-" + name)


def stamped(name, value):
    try:
        with open(stamp(name), encoding="ascii") as file:
            return file.read() == value
    except FileNotFoundError:
        return False


def write_stamp(name, value):
    with open(stamp(name), "w", encoding="ascii") as file:
        file.write(value)


def digest(*parts):
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def packages_stamp(purpose):
    return digest(*requirements(EXTRAS[purpose]))


def project_stamp():
    with open(os.path.join(ROOT, "pyproject.toml"), encoding="utf-8") as file:
        return digest(file.read(), ROOT)


def environment(purpose):
    """The environment with everything that `purpose` wants, and the project in it (editable)."""
    if not (os.path.exists(PYTHON) and works(PYTHON)):
        say("making the virtual environment %s with Python %s" % (os.path.relpath(VENV, ROOT), sys.version.split()[0]))
        run([sys.executable, "-m", "venv", "--clear", VENV], "making the virtual environment")
    pip = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    if not stamped("packages-" + purpose, packages_stamp(purpose)):
        needs = requirements(EXTRAS[purpose])
        alone = [item for item in needs if item.startswith(ALONE)]
        needs = [item for item in needs if item not in alone]
        say("fetching %d Python packages and what they need (the first time this takes a minute or two)" % len(needs))

        def watch(line):
            if line.startswith("Installing collected packages"):
                say("installing them")

        run([*pip, *needs], "pip install", watch)
        if alone:
            run([*pip, "--no-deps", *alone], "pip install")
        write_stamp("packages-" + purpose, packages_stamp(purpose))
    if not pictures_stand():
        pictures()
    if not stamped("project", project_stamp()):
        say("installing the project itself (editable)")
        # The core is compiled by `build`, which shows its progress and keeps what is up to date.
        run([*pip, "--no-deps", "--no-build-isolation", "-e", "."], "installing the project", env={"NOVA_EXT": "none"})
        write_stamp("project", project_stamp())


# --- pictures -------------------------------------------------------------------------------------------------------


def pictures_compiler():
    """CC for pillow-simd: it always builds for SSE4, and for AVX2 only when the compiler is told to."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            return "cc -mavx2" if re.search(r"^flags\s*:.*\bavx2\b", file.read(), re.M) else "cc"
    except OSError:
        return "cc"


def pictures_stamp():
    """Changes with everything that decides what the build can do: its version, the interpreter, the compiler, the headers."""
    parts = [sys.version, pictures_compiler()]
    for path in (PICTURES_PIN, *(found_header(name) for name in PICTURES)):
        if path is None:
            parts.append("-")
        else:
            with open(path, encoding="utf-8", errors="replace") as file:
                parts.append(file.read())
    return digest(*parts)


def intruder():
    """Where `pillow` is installed beside pillow-simd, whose files it writes over; None: it is not."""
    found = glob.glob(os.path.join(VENV, "lib", "python*", "site-packages", "[Pp]illow-[0-9]*.dist-info"))
    return found[0] if found else None


def pictures_stand():
    return stamped("pictures", pictures_stamp()) and intruder() is None


def wheel_store():
    """Where built wheels of pillow-simd stay, by what they were built from. pip's own cache knows neither compiler nor headers."""
    cache = os.environ.get("NOVA_WHEELS") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache"), "nova", "wheels"
    )
    return os.path.join(cache, pictures_stamp()[:32])


def pictures():
    """pillow-simd with every format and the processor's own instructions, and nothing that calls itself `pillow`."""
    pip = [PYTHON, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    if intruder():
        say("removing pillow: it takes the place of pillow-simd")
        run([*pip, "uninstall", "-y", "pillow"], "removing pillow")
    store = wheel_store()
    wheels = glob.glob(os.path.join(store, "*.whl"))
    if not wheels:
        say("building pillow-simd with %s (about a minute and a half)" % pictures_compiler())
        os.makedirs(store, mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=store) as scratch:
            # --no-cache-dir: a wheel that was built without these headers must not be taken for this one.
            command = [*pip, "wheel", "--no-cache-dir", "--no-deps", "--no-binary", "pillow-simd", "--require-hashes"]
            environment = {"CC": pictures_compiler(), "MAX_CONCURRENCY": str(os.cpu_count() or 1)}
            run([*command, "-w", scratch, "-r", PICTURES_PIN], "building pillow-simd", env=environment)
            for path in glob.glob(os.path.join(scratch, "*.whl")):
                os.replace(path, os.path.join(store, os.path.basename(path)))
        wheels = glob.glob(os.path.join(store, "*.whl"))
    run([*pip, "install", "--no-deps", "--force-reinstall", *wheels], "installing pillow-simd")
    write_stamp("pictures", pictures_stamp())


# --- the compiled core ----------------------------------------------------------------------------------------------


def sources():
    """Every file that the compiled core is made from, and the modules it consists of."""
    files, modules = [os.path.join(ROOT, "setup.py")], []
    for folder, _, names in os.walk(os.path.join(ROOT, "ext")):
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith((".pyx", ".pxd", ".h")) or (name.endswith(".c") and os.path.basename(folder) == "csrc"):
                files.append(path)
            if name.endswith(".pyx"):
                modules.append(path)
    return sorted(files), sorted(modules)


def core_stamp(files):
    parts = [sys.version]
    for path in files:
        with open(path, encoding="utf-8") as file:
            parts += [os.path.relpath(path, ROOT), file.read()]
    return digest(*parts)


def built():
    """Whether the compiled core is that of these sources."""
    files, modules = sources()
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    return stamped("core", core_stamp(files)) and all(os.path.exists(path[:-4] + suffix) for path in modules)


def build():
    """Compile what changed since the last time."""
    files, modules = sources()
    made = core_stamp(files)
    say("compiling the core: %d modules" % len(modules))
    done = []

    def watch(line):
        found = re.match(r"(?:\[\s*\d+/\d+\] )?Cythonizing nova/ext/(\S+)\.pyx|building 'nova\.ext\.(\S+)' extension", line)
        if found and found[2]:
            done.append(found[2])
            say("  compiling %s (%d of %d)" % (found[2], len(done), len(modules)))
        elif found:
            say("  translating %s" % found[1].replace("/", "."))

    jobs = str(os.cpu_count() or 1)
    try:
        run([PYTHON, "setup.py", "build_ext", "--inplace", "-j", jobs], "compiling the core", watch, {"NOVA_EXT": ""})
    except SystemExit:
        # A translation that was cut short must not be taken for a good one the next time.
        shutil.rmtree(os.path.join(ROOT, "build", "cython"), ignore_errors=True)
        raise
    write_stamp("core", made)


# --- bytecode -------------------------------------------------------------------------------------------------------

PACKAGES = ("core", "ext", "media", "realtime", "cdn", "surface")


def stale_bytecode():
    """The packages with a source whose bytecode is missing or of an older text.

    Python would compile them at the first start, and at every start where it may not write (a read-only checkout,
    PYTHONDONTWRITEBYTECODE): a third of a warm start.
    """
    stale = set()
    for package in PACKAGES:
        for folder, _, names in os.walk(os.path.join(ROOT, package)):
            for name in names:
                if name.endswith(".py"):
                    path = os.path.join(folder, name)
                    try:
                        with open(importlib.util.cache_from_source(path), "rb") as file:
                            header = file.read(16)
                    except OSError:
                        header = b""
                    status = os.stat(path)
                    # PEP 552: magic number, flags, then the time and the size of the source.
                    made_of = int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF
                    if header != struct.pack("<4sIII", importlib.util.MAGIC_NUMBER, 0, *made_of):
                        stale.add(package)
    return sorted(stale)


def compile_bytecode(packages):
    # Through the links of nova/, for those are the paths that a traceback shows.
    folders = [os.path.join("nova", package) for package in packages]
    run([PYTHON, "-m", "compileall", "-q", *folders], "compiling bytecode")


def complete(purpose):
    """Whether everything is there already: a look at stamps and files, no program is started."""
    return (
        os.path.exists(os.path.join(VENV, "bin", "nova"))
        and os.path.exists(PYTHON)
        and stamped("packages-" + purpose, packages_stamp(purpose))
        and stamped("project", project_stamp())
        and pictures_stand()
        and built()
        and not stale_bytecode()
        and not missing_programs(purpose)
    )


def main():
    purpose = sys.argv[1] if len(sys.argv) > 1 else "serve"
    if purpose not in EXTRAS:
        fail("unknown purpose %r; one of: %s" % (purpose, ", ".join(EXTRAS)))
    newer_python()
    # What the environment was made with is what the core is compiled for.
    if os.path.exists(PYTHON) and os.path.realpath(PYTHON) != os.path.realpath(sys.executable) and works(PYTHON):
        os.execv(PYTHON, [PYTHON, *sys.argv])
    if complete(purpose):
        return
    if not built() or not pictures_stand():
        install(missing_for_build(), required=True)
    install(missing_programs(purpose), required=False)
    environment(purpose)
    if not built():
        build()
    stale = stale_bytecode()
    if stale:
        compile_bytecode(stale)
    if time.monotonic() - STARTED > 2:
        say("ready")


if __name__ == "__main__":
    main()
