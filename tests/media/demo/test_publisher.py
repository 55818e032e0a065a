"""The publishing process under the server's care."""

import sys
from pathlib import Path

import pytest
import trio

from nova.media.demo import publisher

URL = "rtmp://127.0.0.1:1/live/sk_secret"
# Writes a line per start, then what it read; ends when its input does.
PATIENT = """
import sys
with open(sys.argv[1], "a") as log:
    print("start", file=log, flush=True)
    for line in iter(sys.stdin.readline, ""):
        print(line, end="", file=log, flush=True)
    print("end", file=log)
"""
SHORT = "import sys; open(sys.argv[1], 'a').write('x'); sys.exit('no luck with ' + input())"


async def until(path: Path, text: str) -> None:
    """Wait until the file holds `text`."""
    with trio.fail_after(20):
        while not (path.exists() and text in path.read_text()):
            await trio.lowlevel.checkpoint()


async def test_process_gets_the_address_by_its_input_and_ends_with_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: publisher.run(URL, command=(sys.executable, "-c", PATIENT, str(log))))
        await until(log, URL)
        nursery.cancel_scope.cancel()
    assert log.read_text().splitlines() == ["start", URL, "end"]


async def test_process_that_ends_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(publisher, "AGAIN_FIRST_S", 0.0)
    log = tmp_path / "log"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: publisher.run(URL, command=(sys.executable, "-c", SHORT, str(log))))
        await until(log, "xx")
        nursery.cancel_scope.cancel()
    assert "sk_secret" not in capsys.readouterr().err


async def test_real_process_says_why_it_cannot_publish() -> None:
    with trio.fail_after(30):
        code, said = await publisher._once(URL, publisher.COMMAND)
    assert code == 1
    assert "cannot connect to 127.0.0.1:1" in said
    assert "sk_secret" not in said
