"""The model of Clerk and Svix is honest: it does what they do, and nothing that they cannot."""

import json
import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from clerk_model.history import Call, History, tell
from clerk_model.svix import RETRIES_AFTER_MS, Attempt, Weather, attempts

NOW_MS = 1_800_000_000_123
PAYLOADS = Path(__file__).parents[1] / "payloads"
SEEDS = range(60)
TYPES = ["organization.created", "organizationMembership.created", "organizationMembership.deleted", "user.created"]


@pytest.fixture(scope="module")
def histories() -> list[History]:
    return [tell(seed, NOW_MS, long_lived_tokens=seed % 2 == 0) for seed in SEEDS]


def bodies(histories: list[History], event_type: str) -> Iterator[dict[str, object]]:
    return (json.loads(e.body) for history in histories for e in history.clerk.events if e.type == event_type)


@pytest.mark.parametrize("event_type", TYPES)
def test_bodies_have_no_keys_that_real_ones_lack(histories: list[History], event_type: str) -> None:
    """Every key of a body stands in a real or published body of a change of that kind of thing."""
    kind = event_type.partition(".")[0]
    real = [json.loads(path.read_text()) for path in PAYLOADS.glob(f"{kind}.*.json")]
    later_additions = {"last_active_at", "role_set_key", "locale"}

    for body in bodies(histories, event_type):
        assert body.keys() <= {key for known in real for key in known}
        assert body["data"].keys() <= {key for known in real for key in known["data"]} | later_additions  # type: ignore[attr-defined]


def test_a_deletion_leaves_the_update_time_alone(histories: list[History]) -> None:
    """The body of a removed membership is that of its last change; only the envelope tells when it was removed."""
    removals = [e for history in histories for e in history.clerk.events if e.membership and e.deletion]

    assert removals
    for event in removals:
        data = json.loads(event.body)["data"]
        assert event.membership is not None
        assert (event.membership.id, event.membership.updated_at_ms) == (data["id"], data["updated_at"])
        assert event.membership.updated_at_ms <= event.at_ms


def test_tokens_are_issued_to_members_only(histories: list[History]) -> None:
    """A token's second is that of a moment at which its user was a member, and it is used for a minute at most."""
    for history in histories:
        lives: dict[object, list[list[float]]] = {}
        for event in history.clerk.events:
            if event.type == "organizationMembership.created" and event.membership is not None:
                lives.setdefault(event.membership.pair, []).append([event.at_ms, float("inf")])
        for call in (step for step in history.steps if isinstance(step, Call)):
            issued_ms = call.token.issued_at_s * 1000
            assert any(begin - 1000 < issued_ms <= end for begin, end in lives[call.token.pair])
            assert issued_ms <= call.at_ms <= issued_ms + 60_000


def test_only_lasting_members_call_without_the_time(histories: list[History]) -> None:
    """Where a call without `iat` counts as one of a minute ago, its user is still the same member at the end."""
    for history in histories:
        for call in (step for step in history.steps if isinstance(step, Call) and not step.tells_iat):
            assert history.long_lived_tokens or call.token.pair in history.clerk.memberships


def test_everything_arrives_by_the_real_schedule() -> None:
    """Each message arrives; its attempts keep the schedule's distances, give or take a fifth and the latency."""
    chance = random.Random(7)
    events = tell(1, NOW_MS).clerk.events
    slack_ms = 10_000

    arrived = attempts(chance, events, Weather(fails=0.7, unheard=1.0, lost=0, resent=0))

    assert {id(event) for event in events} == {id(attempt.event) for attempt in arrived}
    for event in events:
        times = [attempt.at_ms for attempt in arrived if attempt.event is event]
        for wait_ms, (earlier, later) in zip(RETRIES_AFTER_MS, pairwise(times), strict=False):
            assert 0.8 * wait_ms <= later - earlier <= 1.2 * wait_ms + slack_ms or later > times[0] + 99_000_000


def test_a_seed_tells_one_history() -> None:
    """Told at another time, the history of a seed is the same but for the time: steps, ids and distances."""

    def shape(history: History) -> list[tuple[object, ...]]:
        begin_ms = history.steps[0].at_ms
        return [
            (step.at_ms - begin_ms, step.svix_id if isinstance(step, Attempt) else step.token.pair)
            for step in history.steps
        ]

    assert shape(tell(5, NOW_MS)) == shape(tell(5, NOW_MS + 86_399_999))


def test_histories_lie_in_the_recent_past(histories: list[History]) -> None:
    """None is older than what the service must remember, and each has ended before the tokens of the wall clock."""
    for history in histories:
        assert NOW_MS - 30 * 86_400_000 < history.clerk.events[0].at_ms
        assert history.steps[-1].at_ms <= NOW_MS - 600_000
