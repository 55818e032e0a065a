"""The load generators: small C programs, compiled when first needed."""

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BUILT = HERE.parents[1] / "build" / "bench"
LIBRARIES = {"http_load": ["-lssl", "-lcrypto"], "ed25519_verify": ["-lsodium"]}


def built(name: str) -> Path:
    """The program of that name, compiled with cc unless it is there already."""
    source = HERE / f"{name}.c"
    digest = hashlib.sha256(source.read_bytes() + (HERE / "common.h").read_bytes()).hexdigest()[:12]
    program = BUILT / f"{name}-{digest}"
    if not program.exists():
        BUILT.mkdir(parents=True, exist_ok=True)
        command = ["cc", "-O2", "-Wall", "-Wextra", "-o", str(program), str(source), *LIBRARIES.get(name, [])]
        subprocess.run(command, check=True)
    return program


def run(name: str, core: int, *arguments: object, at_go: Callable[[], None] | None = None, patience: float = 60) -> dict[str, Any]:
    """The generator's JSON line. at_go: called when its measured window opens. Raises RuntimeError when it reports a failure."""
    command = ["taskset", "-c", str(core), str(built(name)), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        last = ""
        for line in process.stdout:
            if line.strip() == "go":
                if at_go:
                    at_go()
            else:
                last = line
        if process.wait(patience):
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {last}")
    return dict(json.loads(last))
