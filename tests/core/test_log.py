"""Log lines: form, level, redaction, correlation, sampling, floods, and the lines from before the renderer is there."""

import io
import json
import logging
import subprocess
import sys

import pytest

from nova.core.clock import FakeClock
from nova.core.log import PEER_LINES, Log, Sink, configure, correlation_id
from nova.core.secret import Secret


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def log(stream: io.StringIO, clock: FakeClock) -> Log:
    return Log("test", Sink(stream, format="json", sample=10, clock=clock))


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_line_is_one_json_object(log: Log, stream: io.StringIO) -> None:
    log.bind(stream="0190").info("stream_started", bitrate=5_000_000, note="ä\nb")
    assert lines(stream) == [{
        "timestamp": "2026-01-01T00:00:00.000Z", "level": "info", "logger": "test", "event": "stream_started",
        "stream": "0190", "bitrate": 5_000_000, "note": "ä\\x0ab",
    }]  # fmt: skip


def test_lines_below_the_level_cost_nothing(log: Log, stream: io.StringIO) -> None:
    log.debug("not_written")
    assert not stream.getvalue()


def test_secrets_do_not_reach_a_line(log: Log, stream: io.StringIO) -> None:
    log.info("request", token="abc", target="/v1/ws?access_token=abc", key=Secret("abc"), body=b"abc")
    log.warning("odd header Bearer abc")
    try:
        local = "abc"
        raise ValueError(f"no such key sk_{local}")
    except ValueError as error:
        log.error("failed", exc_info=error)
    assert "abc" not in stream.getvalue().replace('"logger"', "")
    assert "ValueError: no such key sk_***" in str(lines(stream)[-1]["exception"])


def test_correlation_id_is_on_every_line_of_its_task(log: Log, stream: io.StringIO) -> None:
    token = correlation_id.set("c-17")
    log.info("one")
    correlation_id.reset(token)
    log.info("two")
    first, second = lines(stream)
    assert first["correlation_id"] == "c-17"
    assert "correlation_id" not in second


def test_sampling_writes_one_in_so_many_for_each_event(log: Log, stream: io.StringIO) -> None:
    for _ in range(25):
        log.sample("request", route="/v1/streams")
        log.bind(other=1).sample("message")
    events = [line["event"] for line in lines(stream)]
    assert (events.count("request"), events.count("message")) == (3, 3)
    assert lines(stream)[0]["sampled"] == 10


def test_flood_of_peers_is_bounded_and_counted(log: Log, stream: io.StringIO, clock: FakeClock) -> None:
    for _ in range(1000):
        log.peer("bad_handshake", peer="127.0.0.1")
    clock.advance(1)
    log.peer("bad_handshake", peer="127.0.0.1")
    found = lines(stream)
    assert len(found) == PEER_LINES + 1
    assert found[-1]["suppressed"] == 1000 - PEER_LINES


def test_early_lines_wait_for_the_renderer_and_keep_their_time(stream: io.StringIO, clock: FakeClock) -> None:
    sink = Sink(stream, format="json", clock=clock, early=True)
    log = Log("test", sink)
    log.info("first")
    clock.advance(5)
    assert not stream.getvalue()
    log.warning("second")
    assert [(line["event"], line["timestamp"]) for line in lines(stream)] == [
        ("first", "2026-01-01T00:00:00.000Z"),
        ("second", "2026-01-01T00:00:05.000Z"),
    ]


def test_early_lines_are_written_when_the_process_ends() -> None:
    code = "from nova.core.log import *; configure(level='info', format='json', sample=1); Log('t').info('early'); raise SystemExit(3)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 3
    assert json.loads(done.stderr)["event"] == "early"
    assert not done.stdout


def test_console_form_is_for_people(stream: io.StringIO, clock: FakeClock) -> None:
    log = Log("test", Sink(stream, format="console", clock=clock))
    log.info("stream_started", stream="0190")
    try:
        raise ValueError("boom")
    except ValueError:
        log.error("failed", exc_info=True)
    text = stream.getvalue()
    assert "stream_started" in text
    assert "stream=0190" in text
    assert "ValueError: boom" in text


def test_closed_stderr_does_not_end_the_server(clock: FakeClock) -> None:
    stream = io.StringIO()
    log = Log("test", Sink(stream, format="json", clock=clock))
    stream.close()
    log.error("unheard")


def test_libraries_speak_through_the_same_lines(stream: io.StringIO) -> None:
    from nova.core import log as module

    root = logging.getLogger()
    before, level, current = root.handlers[:], root.level, module._current
    try:
        configure(level="info", format="json", sample=1, early=False, stream=stream)
        logging.getLogger("hypercorn.error").warning("bad request %s", "/x?token=abc")
        logging.getLogger("odd").error("%d", "no number")
        logging.getLogger("asyncio").info("chatter")
    finally:
        root.handlers[:], module._current = before, current
        root.setLevel(level)
    assert [(line["logger"], line["level"], line["event"]) for line in lines(stream)] == [
        ("hypercorn.error", "warning", "bad request /x?***"),
        ("odd", "error", "%d"),
    ]


def test_start_does_not_pay_for_the_renderer() -> None:
    code = "import sys; from nova.core.log import *; configure(level='info', format='json', sample=1); Log('t').info('x')\n"
    code += "print('structlog' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "False"
