"""What there is to show of a client: each measure declared once, for all exporters."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from clerksync.errors import KINDS, REFUSAL_REASONS
from clerksync.stats import ClientStats


class Observed(Protocol):
    """Either client."""

    stats: ClientStats

    @property
    def kept(self) -> int: ...
    @property
    def silent_for_s(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Count:
    """A number that only grows."""

    name: str
    help: str
    value: Callable[[ClientStats], int]


@dataclass(frozen=True, slots=True)
class CountBy:
    """Numbers that only grow, by a label whose values are a closed set."""

    name: str
    help: str
    label: str
    values: Sequence[str]
    counts: Callable[[ClientStats], Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Level:
    """A number that goes up and down."""

    name: str
    help: str
    unit: str
    value: Callable[[Observed], float]


_FAILURES = tuple(kind for kind in KINDS if kind != "refused")
_UNANSWERED = (*KINDS, "defect")

COUNTS: Final = (
    Count("hits", "Questions answered from the cache.", lambda stats: stats.hits),
    Count("misses", "Questions for which SyncService had to be asked.", lambda stats: stats.misses),
    Count("coalesced", "Misses that joined a call for the same pair.", lambda stats: stats.coalesced),
    Count("calls", "RPCs sent; with batches fewer than misses.", lambda stats: stats.calls),
    Count(
        "denied", "Requests that a middleware answered 403, because the user was removed.", lambda stats: stats.denied
    ),
    Count("removals", "Removals that the stream has told.", lambda stats: stats.removals),
    Count("resets", "Times that the whole cache was dropped.", lambda stats: stats.resets),
    Count("stream_breaks", "Times that the stream of removals ended or fell silent.", lambda stats: stats.breaks),
)
COUNTS_BY: Final = (
    CountBy("failures", "Misses that got no answer.", "kind", _FAILURES, lambda stats: stats.failures),
    CountBy("refusals", "Misses that were refused.", "reason", REFUSAL_REASONS, lambda stats: stats.refusals),
    CountBy(
        "unanswered",
        "Requests that a middleware let go on without an answer.",
        "kind",
        _UNANSWERED,
        lambda stats: stats.unanswered,
    ),
)
LEVELS: Final = (
    Level("kept", "Answers kept now.", "", lambda client: client.kept),
    Level(
        "stream_silence",
        "Time since the stream of removals has said something; above 5 s answers are kept for 5 s only.",
        "seconds",
        lambda client: client.silent_for_s,
    ),
)
LATENCY: Final = ("miss", "How long misses took, whatever their outcome.")
