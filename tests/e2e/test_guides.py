"""The scripts of the guides do what the guides say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser.chromium import Browser
from tests.e2e.test_pages import base
from tests.serving import Served

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


def script(guide: str, language: str, having: str, nova: Served) -> str:
    """The piece of code of that language in which `having` is, for the server that runs here."""
    text = (GUIDES / guide).read_text(encoding="utf-8")
    (found,) = [each for each in re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) if having in each]
    host, port = nova.address("http")
    return str(found).replace("127.0.0.1:8080", f"{host}:{port}")


def test_the_program_of_the_guide_to_rooms_reads_what_it_wrote(nova: Served) -> None:
    program = script("chat.md", "python", "connect(", nova)
    with subprocess.Popen([sys.executable, "-u", "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "{'text': 'hello'}\n":
                break
        else:
            raise AssertionError("it ended")
        process.kill()


def test_the_shell_of_the_guide_to_rooms_reads_what_it_wrote(nova: Served) -> None:
    follow, write = script("chat.md", "sh", "curl", nova).splitlines()
    with subprocess.Popen(["bash", "-c", f"exec {follow} -s"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == ": ready\n":
                subprocess.run(["bash", "-c", f"{write} -s --fail"], check=True, timeout=60, capture_output=True)
            if line.startswith("data: ") and '"data":{"name":"curl","text":"hello"}' in line:
                break
        else:
            raise AssertionError("it ended")
        process.kill()


@pytest.mark.browser
async def test_the_page_of_the_guide_to_rooms_reads_what_it_wrote(browser: Browser, nova: Served) -> None:
    first, *rest = re.sub(r"</?script.*?>", "", script("chat.md", "html", "Realtime", nova)).strip().splitlines()
    assert first.strip().startswith("import { Realtime } from")
    page = await browser.page()
    await page.open(f"{base(nova)}/healthz")  # a document that opens nothing by itself
    await page.evaluate(
        "globalThis.seen = []; import('/static/js/lib/realtime.js').then(async ({ Realtime }) => {"
        "const console = { log: (...words) => seen.push(words) };\n" + "\n".join(rest) + "\n return 0; })"
    )
    await page.until("seen.some(([data]) => data.text === 'hello')")
