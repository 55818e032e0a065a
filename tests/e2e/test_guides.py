"""The script at the end of a guide does what the guide says, on a server of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDES = Path(__file__).parents[2] / "docs/guides"


@pytest.mark.slow
def test_the_script_of_the_guide_to_images_runs(tmp_path: Path) -> None:
    text = (GUIDES / "images.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"^## The whole way, as a script\n\n```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    listeners = {f"NOVA_{name}_LISTEN": "127.0.0.1:0" for name in ("HTTP", "HTTPS", "RTMP", "GRPC")}
    environment = {**os.environ, **listeners, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
