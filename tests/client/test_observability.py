"""What a client shows of itself."""

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import clerksync
from clerksync import Identity, SyncClient
from clerksync.observability import measures, opentelemetry, prometheus
from clerksync.policy import Guard
from clerksync.testing import FakeSyncService
from client.waiting import until


async def some_traffic(client: SyncClient, fake: FakeSyncService) -> None:
    """A miss, a hit, a removal, a refusal, and a request that goes on without an answer."""
    await client.ensure_user_profile("user_1", "org_1")
    await client.ensure_user_profile("user_1", "org_1")
    fake.delete_user("user_1")
    await until(lambda: client.stats.removals == 1)
    with pytest.raises(clerksync.UserDeleted):
        await client.ensure_user_profile("user_1", "org_1")
    with fake.broken():
        await Guard(client).check(Identity("user_2", "org_1"))


EXPECTED = {
    "hits": 1,
    "misses": 3,
    "coalesced": 0,
    "calls": 3,
    "denied": 0,
    "removals": 1,
    "resets": 1,
    "failures/call_failed": 1,
    "failures/unavailable": 0,
    "refusals/USER_DELETED": 1,
    "refusals/OTHER": 0,
    "unanswered/call_failed": 1,
    "unanswered/circuit_open": 0,
}


async def test_prometheus_sees_what_was_counted(client: SyncClient, fake: FakeSyncService) -> None:
    """Every number of a client is scraped under its name, zeros included, and the latency as a histogram."""
    registry = CollectorRegistry()
    prometheus.expose(client, registry=registry)
    await some_traffic(client, fake)
    text = generate_latest(registry).decode()
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    found = {}
    for name in EXPECTED:
        measure, _, label = name.partition("/")
        found[name] = samples[f"clerksync_client_{measure}_total", *([label] if label else [])]

    assert found == EXPECTED
    assert samples["clerksync_client_kept",] == client.kept
    assert samples["clerksync_client_stream_silence_seconds",] < 5
    assert samples["clerksync_client_miss_seconds_count",] == 3
    assert samples["clerksync_client_miss_seconds_bucket", "+Inf"] == 3
    assert "user_1" not in text


async def test_opentelemetry_sees_what_was_counted(client: SyncClient, fake: FakeSyncService) -> None:
    """Every number of a client is exported under its name, and the latency as a histogram."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    opentelemetry.instrument(client, meter_provider=provider)
    await some_traffic(client, fake)
    exported = reader.get_metrics_data()
    assert exported is not None
    metrics: dict[str, Any] = {
        metric.name: metric.data.data_points
        for resource in exported.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    found = {}
    for name in EXPECTED:
        measure, _, label = name.partition("/")
        for point in metrics[f"clerksync.client.{measure}"]:
            if not label or label in (point.attributes or {}).values():
                found[name] = point.value
    provider.shutdown()

    assert found == EXPECTED
    assert metrics["clerksync.client.miss.duration"][0].count == 3
    assert {"clerksync.client.kept", "clerksync.client.stream_silence"} <= metrics.keys()


def test_every_number_is_shown() -> None:
    """No counter of a client is left out of what is exported."""
    shown = {count.name for count in measures.COUNTS} | {group.name for group in measures.COUNTS_BY}
    counted = set(clerksync.ClientStats.__dataclass_fields__) - {"latency", "breaks"} | {"stream_breaks"}

    assert counted == shown
