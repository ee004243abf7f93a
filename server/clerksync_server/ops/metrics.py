"""Every metric, declared once. Labels are closed sets: no ids, no values of requests."""

import contextlib
from collections.abc import Callable

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

from clerksync_server.clerk.events import EVENT_TYPES

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

DELIVERIES = Counter(
    "clerksync_deliveries_total",
    "Webhook deliveries that SyncService has committed, by the event's type and the outcome.",
    ["event_type", "outcome"],
)
QUARANTINED = Gauge(
    "clerksync_quarantined_deliveries",
    "Deliveries in quarantine, as the ledger tells. Anything above 0 needs a look.",
    registry=None,
)
ENSURED = Counter(
    "clerksync_ensured_total", "Successful Ensure calls, by what was asked for and the outcome.", ["kind", "outcome"]
)
CALLS = Histogram(
    "clerksync_grpc_call_seconds",
    "gRPC calls that end by themselves, by method and code.",
    ["method", "code"],
    buckets=_SECONDS,
)
CALLS_IN_PROGRESS = Gauge("clerksync_grpc_calls_in_progress", "gRPC calls being answered now.")
REMOVAL_WATCHERS = Gauge("clerksync_removal_watchers", "Open WatchRemovals streams.")
REMOVALS = Counter("clerksync_removals_total", "Removals that were read from their log and told to whoever watches.")
WEBHOOK_REQUESTS = Histogram(
    "clerksync_webhook_request_seconds",
    "Requests to the webhook front, by HTTP status and result (an outcome, or what was wrong).",
    ["status", "result"],
    buckets=_SECONDS,
)
DATABASE_UP = Gauge("clerksync_database_up", "Whether Postgres answers and its schema fits: 1 or 0.", registry=None)

REMOVAL_FEED_UP = Gauge(
    "clerksync_removal_feed_up",
    "Whether removals are followed, so that watchers are told of them: 1 or 0.",
    registry=None,
)

CERTIFICATE_EXPIRY = Gauge(
    "clerksync_grpc_certificate_expiry_seconds",
    "When the certificate that SyncService shows ends, in Unix seconds.",
    registry=None,
)


def export_certificate_expiry(expires_at_s: Callable[[], float]) -> None:
    """Shows the expiry, asked for anew each time: without TLS there would be a wrong 0."""
    CERTIFICATE_EXPIRY.set_function(expires_at_s)
    with contextlib.suppress(ValueError):  # As below.
        REGISTRY.register(CERTIFICATE_EXPIRY)


def export_database_gauges() -> None:
    """Shows what only a process with a database can tell: elsewhere these would be a wrong 0."""
    for gauge in (QUARANTINED, DATABASE_UP, REMOVAL_FEED_UP):
        with contextlib.suppress(ValueError):  # A second application in one process, as in the tests.
            REGISTRY.register(gauge)


def known_event_type(event_type: str | None) -> str:
    """The type as a label: one of the nine, `other`, or `unreadable`."""
    if event_type is None:
        return "unreadable"
    return event_type if event_type in EVENT_TYPES else "other"
