"""Metrics: closed label sets, and an exposition that prometheus_client's own parser reads back."""

import subprocess
import sys
import threading

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from nova.core.errors import TABLE
from nova.core.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = parse(metrics.expose()[1].decode())
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in families for sample in family.samples}


def test_exposition_reads_back(metrics: Metrics) -> None:
    errors = metrics.counter("nova_errors", "Errors by code.", {"code": TABLE})
    live = metrics.gauge("nova_streams_live", "Streams that are live.")
    parts = metrics.histogram("nova_part_seconds", "Time until a part is served.", {"writer": ("compiled", "pyav")}, bounds=(0.005, 0.05))
    metrics.read("active_connections", "Open connections.", "gauge", lambda: [(("http",), 3), (("rtmp",), 1)], ["listener"])
    errors.of("not_found").inc()
    errors.of("not_found").inc(2)
    live.of().set(4)
    for seconds in (0.001, 0.005, 0.01, 1.0):
        parts.of("pyav").observe(seconds)
    found = samples(metrics)
    assert found["nova_errors_total", (("code", "not_found"),)] == 3
    assert found["nova_errors_total", (("code", "internal"),)] == 0, "a series is there before its first event"
    assert found["nova_streams_live", ()] == 4
    assert found["active_connections", (("listener", "http"),)] == 3
    buckets = [found["nova_part_seconds_bucket", (("le", le), ("writer", "pyav"))] for le in ("0.005", "0.05", "+Inf")]
    assert buckets == [2, 3, 4]
    assert found["nova_part_seconds_count", (("writer", "pyav"),)] == 4
    assert found["nova_part_seconds_sum", (("writer", "pyav"),)] == pytest.approx(1.016)
    assert any(name == "process_resident_memory_bytes" for name, _ in found)


def test_openmetrics_is_spoken_when_asked_for(metrics: Metrics) -> None:
    metrics.counter("nova_things", "Things.").of().inc()
    metrics.histogram("nova_wait_seconds", "Wait.").of().observe(0.2)
    content_type, body = metrics.expose("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert {family.name for family in parse_openmetrics(body.decode())} >= {"nova_things", "nova_wait_seconds"}


def test_label_outside_its_set_is_a_bug(metrics: Metrics) -> None:
    requests = metrics.counter("nova_requests", "Requests.", {"route": ("/v1/streams",)})
    for values in (("/v1/streams/0190",), (), ("/v1/streams", "x")):
        with pytest.raises(ValueError, match="closed sets"):
            requests.of(*values)


@pytest.mark.parametrize("name", ["Nova", "nova-x", "nova_x_total", "", "1x"])
def test_names_follow_the_rules(metrics: Metrics, name: str) -> None:
    with pytest.raises(ValueError, match="metric name"):
        metrics.counter(name, "")


def test_names_are_unique(metrics: Metrics) -> None:
    metrics.gauge("nova_x", "")
    with pytest.raises(ValueError, match="twice"):
        metrics.read("nova_x", "", "gauge", list)


def test_label_sets_have_a_bound(metrics: Metrics) -> None:
    many = [str(number) for number in range(100)]
    with pytest.raises(ValueError, match="too large"):
        metrics.counter("nova_many", "", {"a": many, "b": many})


def test_counting_from_threads_loses_nothing(metrics: Metrics) -> None:
    cell = metrics.counter("nova_counted", "").of()
    threads = [threading.Thread(target=lambda: [cell.inc() for _ in range(5000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cell.value == 20_000


def test_start_does_not_pay_for_the_library() -> None:
    code = "import sys; from nova.core.metrics import Metrics; Metrics().counter('a', '').of().inc()\n"
    code += "print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "False"
