"""Metrics: cells that cost an addition each, with closed label sets, exposed by prometheus_client.

The library is loaded with the first exposition, not at start. A label's values are a closed set (route templates,
reasons, listener names), never a path, an id or an address: a value outside it is a bug and raises.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import product
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

Labels = Mapping[str, Collection[str]]
Kind = Literal["counter", "gauge"]
Read = Callable[[], Iterable[tuple[Sequence[str], float]]]
MAX_SERIES: Final = 2000  # of one metric; the product of its label sets. Prometheus servers suffer above some 10,000
LATENCY_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Cell:
    """One number of one series. Adding is safe from every thread."""

    __slots__ = ("_lock", "value")

    def __init__(self) -> None:
        self.value = 0.0
        self._lock = Lock()

    def inc(self, by: float = 1) -> None:
        with self._lock:
            self.value += by

    def set(self, value: float) -> None:
        self.value = float(value)


class Buckets:
    """One series of a histogram."""

    __slots__ = ("_bounds", "_lock", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self._lock = Lock()

    def observe(self, value: float) -> None:
        with self._lock:
            self.counts[bisect_left(self._bounds, value)] += 1
            self.total += value


Series = TypeVar("Series")


class Family(Generic[Series]):
    """A metric: a name, a kind, and one series for every combination of its labels' values."""

    def __init__(self, name: str, doc: str, kind: str, labels: Labels, make: Callable[[], Series]) -> None:
        self.name, self.doc, self.kind = name, doc, kind
        self.labels = tuple(labels)
        combinations = list(product(*(tuple(values) for values in labels.values())))
        if len(combinations) > MAX_SERIES:
            raise ValueError(f"metric {name} has {len(combinations)} series; a label set is too large")
        self._series: dict[tuple[str, ...], Series] = {combination: make() for combination in combinations}

    def of(self, *values: str) -> Series:
        """The series of these label values, in the order of declaration: keep it when it is used often.

        Raises ValueError: a value outside its closed set.
        """
        try:
            return self._series[values]
        except KeyError:
            raise ValueError(f"metric {self.name} has no series {values!r}: labels {self.labels} take closed sets of values") from None

    def items(self) -> Iterator[tuple[tuple[str, ...], Series]]:
        return iter(self._series.items())


F = TypeVar("F", Family[Cell], Family[Buckets])


class Metrics:
    """All metrics of the program. One object, made by the composition root and passed down."""

    def __init__(self) -> None:
        self._families: dict[str, Family[Cell] | Family[Buckets]] = {}
        self._bounds: dict[str, Sequence[float]] = {}
        self._reads: dict[str, tuple[str, str, tuple[str, ...], Read]] = {}
        self._registry: CollectorRegistry | None = None
        self._lock = Lock()

    def counter(self, name: str, doc: str, labels: Labels | None = None) -> Family[Cell]:
        """A number that only grows; exposed as `name_total` (write the name without the suffix)."""
        return self._declare(Family(name, doc, "counter", labels or {}, Cell))

    def gauge(self, name: str, doc: str, labels: Labels | None = None) -> Family[Cell]:
        """A number that goes up and down."""
        return self._declare(Family(name, doc, "gauge", labels or {}, Cell))

    def histogram(self, name: str, doc: str, labels: Labels | None = None, bounds: Sequence[float] = LATENCY_S) -> Family[Buckets]:
        """A distribution; `bounds` are upper limits in the unit that the name ends with."""
        self._bounds[name] = bounds
        return self._declare(Family(name, doc, "histogram", labels or {}, lambda: Buckets(bounds)))

    def read(self, name: str, doc: str, kind: Kind, read: Read, labels: Sequence[str] = ()) -> None:
        """A metric whose numbers are kept elsewhere (the reactor's threads, a store) and read at exposition.

        read: returns pairs of label values and number; must not block. Its label values come from closed sets too.
        """
        self._check(name)
        self._reads[name] = (doc, kind, tuple(labels), read)

    def expose(self, accept: str = "") -> tuple[str, bytes]:
        """Content type and body for a scrape; `accept` is the request's Accept header (OpenMetrics or text)."""
        from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
        from prometheus_client.exposition import choose_encoder

        with self._lock:
            if self._registry is None:
                registry = CollectorRegistry(auto_describe=False)
                ProcessCollector(registry=registry)
                PlatformCollector(registry=registry)
                GCCollector(registry=registry)
                registry.register(_Bridge(self))
                self._registry = registry
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self._registry)

    def names(self) -> list[str]:
        """Every metric that is declared, for docs and dashboards."""
        return sorted([*self._families, *self._reads])

    def _declare(self, family: F) -> F:
        self._check(family.name)
        self._families[family.name] = family
        return family

    def _check(self, name: str) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name.endswith("_total"):
            raise ValueError(f"{name!r} is no metric name: lower case and `_`, without the suffix _total")
        if name in self._families or name in self._reads:
            raise ValueError(f"metric {name} is declared twice")


class _Bridge:
    """Shows our cells to prometheus_client as one of its collectors."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        families: dict[str, Any] = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}
        for family in self._metrics._families.values():
            if family.kind == "histogram":
                histogram = HistogramMetricFamily(family.name, family.doc, labels=family.labels)
                bounds = self._metrics._bounds[family.name]
                for values, series in family.items():
                    assert isinstance(series, Buckets)
                    histogram.add_metric(values, _cumulative(bounds, series), series.total)
                yield histogram
            else:
                shown = families[family.kind](family.name, family.doc, labels=family.labels)
                for values, series in family.items():
                    assert isinstance(series, Cell)
                    shown.add_metric(values, series.value)
                yield shown
        for name, (doc, kind, labels, read) in self._metrics._reads.items():
            shown = families[kind](name, doc, labels=labels)
            for found, number in read():
                shown.add_metric(found, number)
            yield shown


def _cumulative(bounds: Sequence[float], series: Buckets) -> list[tuple[str, float]]:
    """Prometheus counts every observation in all buckets above it."""
    total, shown = 0, []
    for bound, count in zip([*(str(float(bound)) for bound in bounds), "+Inf"], series.counts, strict=True):
        total += count
        shown.append((bound, float(total)))
    return shown
