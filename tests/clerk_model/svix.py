"""Svix: each event is sent to each endpoint until it is acknowledged, by its real schedule, on a fake clock."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from clerk_model.records import Event

_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
RETRIES_AFTER_MS = (
    5_000,
    5 * _MINUTE_MS,
    30 * _MINUTE_MS,
    2 * _HOUR_MS,
    5 * _HOUR_MS,
    10 * _HOUR_MS,
    10 * _HOUR_MS,
)
"""How long after an attempt the next one follows, give or take a fifth; after the last one the message has failed."""


@dataclass(frozen=True)
class Weather:
    """What befalls deliveries."""

    endpoints: int = 1
    """With two, every event comes twice, as while a secret is rotated."""
    same_ids: bool = True
    """Whether both endpoints use one svix-id for an event, as Svix's model has it, or each its own (pessimistic)."""
    fails: float = 0.2
    """The share of attempts that fail."""
    unheard: float = 0.4
    """The share of failed attempts that arrived all the same: it was the answer that was lost."""
    lost: float = 0.05
    """The share of messages that fail to the last, and are replayed at the end."""
    resent: float = 0.1
    """The share of messages that somebody sends once more, at some time."""
    outage: bool = False
    """Nothing arrives while the history lasts, and everything is replayed at the end, in any order."""


@dataclass(frozen=True)
class Attempt:
    """A delivery attempt that arrives."""

    at_ms: int
    svix_id: str
    endpoint: int
    event: Event


def attempts(chance: random.Random, events: Sequence[Event], weather: Weather) -> list[Attempt]:
    """All attempts that arrive, in the order of time; each message arrives at least once."""
    arriving: list[Attempt] = []
    missing: list[Attempt] = []
    end_ms = events[-1].envelope_ms
    for event in events:
        message = _id(chance)
        for endpoint in range(weather.endpoints):
            svix_id = message if weather.same_ids else _id(chance)
            first = Attempt(event.envelope_ms + _latency_ms(chance), svix_id, endpoint, event)
            if weather.outage or chance.random() < weather.lost:
                missing.append(first)
                continue
            arrived, acknowledged = _scheduled(chance, first, weather)
            arriving += arrived
            if not acknowledged:
                missing.append(first)
            if arrived and chance.random() < weather.resent:
                arriving.append(_at(arrived[0], chance.randint(arrived[0].at_ms, arrived[0].at_ms + 24 * _HOUR_MS)))
    end_ms = max([end_ms, *(attempt.at_ms for attempt in arriving)])
    chance.shuffle(missing)
    arriving += [_at(lost, end_ms + 100 * number) for number, lost in enumerate(missing, start=1)]
    return sorted(arriving, key=lambda attempt: attempt.at_ms)


def _scheduled(chance: random.Random, first: Attempt, weather: Weather) -> tuple[list[Attempt], bool]:
    """The attempts that arrive, and whether one of them was acknowledged."""
    arrived: list[Attempt] = []
    at_ms = first.at_ms
    for wait_ms in (*RETRIES_AFTER_MS, 0):
        failed = chance.random() < weather.fails
        if not failed or chance.random() < weather.unheard:
            arrived.append(_at(first, at_ms))
        if not failed:
            return arrived, True
        at_ms += round(wait_ms * chance.uniform(0.8, 1.2)) + _latency_ms(chance)
    return arrived, False


def _at(attempt: Attempt, at_ms: int) -> Attempt:
    return Attempt(at_ms, attempt.svix_id, attempt.endpoint, attempt.event)


def _latency_ms(chance: random.Random) -> int:
    return chance.choice([chance.randint(20, 200), chance.randint(20, 5_000)])


def _id(chance: random.Random) -> str:
    return f"msg_{chance.getrandbits(96):024x}"
