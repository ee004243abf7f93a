"""Shows a client's numbers to OpenTelemetry, and lets its calls carry the trace of the request being served.

    client = clerksync.SyncClient(target, metadata=clerksync.observability.opentelemetry.trace_context)
    clerksync.observability.opentelemetry.instrument(client)

Needs `opentelemetry-api`; what becomes of the numbers is up to the SDK that the service has set up.
"""

from collections.abc import Callable, Iterable

from opentelemetry import propagate
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter

from clerksync.observability.measures import COUNTS, COUNTS_BY, LATENCY, LEVELS, Count, CountBy, Level, Observed

_PREFIX = "clerksync.client."
_Callback = Callable[[CallbackOptions], Iterable[Observation]]


def instrument(client: Observed, *, meter_provider: MeterProvider | None = None) -> None:
    """Makes instruments `clerksync.client.…` that read the client's numbers when they are exported."""
    meter = get_meter("clerksync", meter_provider=meter_provider)
    for count in COUNTS:
        meter.create_observable_counter(_PREFIX + count.name, [_count(client, count)], description=count.help)
    for group in COUNTS_BY:
        meter.create_observable_counter(_PREFIX + group.name, [_counts(client, group)], description=group.help)
    for level in LEVELS:
        meter.create_observable_gauge(
            _PREFIX + level.name, [_level(client, level)], unit="s" if level.unit else "", description=level.help
        )
    name, text = LATENCY
    latency = meter.create_histogram(f"{_PREFIX}{name}.duration", unit="s", description=text)
    client.stats.latency.listeners.append(latency.record)


def trace_context() -> list[tuple[str, str]]:
    """The current span's context as gRPC metadata, in the formats that the service propagates. For `metadata=`."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return list(carrier.items())


def _count(client: Observed, count: Count) -> _Callback:
    return lambda _: [Observation(count.value(client.stats))]


def _counts(client: Observed, group: CountBy) -> _Callback:
    def observe(_: CallbackOptions) -> list[Observation]:
        counts = group.counts(client.stats)
        return [Observation(counts.get(value, 0), {group.label: value}) for value in group.values]

    return observe


def _level(client: Observed, level: Level) -> _Callback:
    return lambda _: [Observation(level.value(client))]
