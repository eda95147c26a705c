"""The metrics, made of `measures`, and their text. Imported after `multiprocess.prepare`, where that is called."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib import metadata

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, values
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

import ibutsu_server
from ibutsu_core.settings import Application
from ibutsu_server.ops import multiprocess
from ibutsu_server.ops.health import Answer
from ibutsu_server.ops.measures import MEASURES

disable_created_metrics()

# It was chosen when prometheus-client was imported: early, where `celery` has found Flower's command.
values.ValueClass = values.get_value_class()

_BY_NAME = {measure.name: measure for measure in MEASURES}
_COUNTED = CollectorRegistry()


def counter(name: str) -> Counter:
    """Make the counter of that name."""
    measure = _BY_NAME[name]
    return Counter(name, measure.meaning, measure.labels, registry=_COUNTED)


def histogram(name: str) -> Histogram:
    """Make the histogram of that name."""
    measure = _BY_NAME[name]
    return Histogram(name, measure.meaning, measure.labels, buckets=measure.buckets, registry=_COUNTED)


def gauge(name: str, value: float | None = None) -> GaugeMetricFamily:
    """Make the gauge of that name as it is now; without a `value`, it has labels."""
    measure = _BY_NAME[name]
    return GaugeMetricFamily(name, measure.meaning, value=value, labels=measure.labels or None)


class Build(Collector):
    """What runs."""

    def __init__(self, application: Application) -> None:
        versions = (ibutsu_server.__version__, metadata.version("celery"), platform.python_version())
        self._labels = (str(application), *versions)

    def collect(self) -> Iterable[Metric]:
        """Return it."""
        found = gauge("ibutsu_build_info")
        found.add_metric(self._labels, 1.0)
        return [found]


def text(application: Application, *collectors: Collector) -> Answer:
    """Return what this process and its relatives counted, and what the collectors read, in Prometheus's format."""
    registry = CollectorRegistry()
    for collector in (Build(application), *collectors):
        registry.register(collector)
    directory = multiprocess.directory()
    if directory is None:
        registry.register(_COUNTED)
        body = generate_latest(registry)
    else:
        MultiProcessCollector(registry, str(directory))
        with multiprocess.collecting(directory):
            body = generate_latest(registry)
    return Answer(200, body, CONTENT_TYPE_PLAIN_0_0_4)
