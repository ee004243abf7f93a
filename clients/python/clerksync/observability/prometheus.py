"""Shows a client's numbers to Prometheus, through `prometheus_client`.

clerksync.observability.prometheus.expose(client)
"""

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from clerksync.observability.measures import COUNTS, COUNTS_BY, LATENCY, LEVELS, Observed
from clerksync.stats import BUCKETS_S

_PREFIX = "clerksync_client_"


def expose(client: Observed, *, registry: CollectorRegistry = REGISTRY) -> "ClientCollector":
    """Registers the client's numbers, as `clerksync_client_…`. One client a registry; `unregister` takes it back."""
    collector = ClientCollector(client)
    registry.register(collector)
    return collector


class ClientCollector(Collector):
    """Reads the numbers when Prometheus asks."""

    def __init__(self, client: Observed) -> None:
        self._client = client

    def collect(self) -> Iterator[Metric]:
        stats = self._client.stats
        for count in COUNTS:
            yield CounterMetricFamily(_PREFIX + count.name, count.help, value=count.value(stats))
        for group in COUNTS_BY:
            counter = CounterMetricFamily(_PREFIX + group.name, group.help, labels=[group.label])
            counts = group.counts(stats)
            for value in group.values:
                counter.add_metric([value], counts.get(value, 0))
            yield counter
        for level in LEVELS:
            name = f"{_PREFIX}{level.name}_{level.unit}".rstrip("_")
            yield GaugeMetricFamily(name, level.help, value=level.value(self._client))
        yield self._latency()

    def _latency(self) -> Metric:
        name, text = LATENCY
        latency = self._client.stats.latency
        bounds = [*map(str, BUCKETS_S), "+Inf"]
        buckets = list(zip(bounds, map(float, accumulate(latency.counts)), strict=True))
        return HistogramMetricFamily(f"{_PREFIX}{name}_seconds", text, buckets=buckets, sum_value=latency.sum_s)
