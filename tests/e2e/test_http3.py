"""HTTP/3 as a person has it: trust the certificate, start Chromium, and the page comes over it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser import chromium
from tests.serving import serve

NEXT_HOP = "performance.getEntriesByType('navigation')[0].nextHopProtocol"


@pytest.mark.browser
@pytest.mark.skipif(chromium.find() is None or shutil.which("certutil") is None, reason="needs Chromium and certutil")
async def test_page_and_its_calls_come_over_h3(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with serve(tmp_path / "data") as served:
        _, port = served.address("h3")
        command = [sys.executable, "-m", "nova", "certs", "--trust", "--json", "--data", str(served.data)]
        told = json.loads(subprocess.run(command, env={**os.environ, "HOME": str(home)}, capture_output=True, check=True).stdout)
        assert told["trusted_in"] == [str(home / ".pki" / "nssdb")]
        flags = [flag for flag in chromium.FLAGS if flag != "--disable-quic"]
        flags += [f"--origin-to-force-quic-on=localhost:{port}", "--host-resolver-rules=MAP localhost 127.0.0.1"]
        program = chromium.find()
        assert program is not None
        process = chromium.Process(program, home / "profile", flags=flags, home=home)
        try:
            async with process.browser() as browser:
                page = await browser.page()
                await page.open(f"https://localhost:{port}/")
                assert await page.evaluate(NEXT_HOP) == "h3"
                assert set(await page.evaluate("performance.getEntriesByType('resource').map(each => each.nextHopProtocol)")) == {"h3"}
                assert await page.evaluate("fetch('/v1/streams').then(answer => answer.json())") == {"items": [], "cursor": None}
                assert page.problems == []
        finally:
            process.close()
