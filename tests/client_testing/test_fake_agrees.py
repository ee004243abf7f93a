"""The fake and the real service: the same steps get the same answers and leave the same rows, after each of them."""

import random
from typing import Any

import pytest
from client_testing.both import Both
from client_testing.callers import profile_request
from stack import Stack, now_ms

from clerksync.testing import FakeSyncService
from clerksync.v1 import sync_service_pb2

SEEDS = range(12)
STEPS = 50
USERS, ORGS = ("user_a", "user_B", "user_c"), ("org_1", "org_2", "org_3")
DAY_MS = 24 * 60 * 60 * 1000


class Steps:
    """Random steps over few ids and few moments, so that everything meets."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        now = now_ms()
        # A call without a time counts as 65 s old; the clocks of both may differ by as long as the test runs.
        ages = [*range(75_000, 150_000, 5_003), *range(4_000, 53_000, 2_003)]
        self.moments: list[int] = [now - age for age in ages]
        self.tokens = [now - 91 * DAY_MS, now - 89 * DAY_MS, now + 3_600_000, now + 2 * DAY_MS, 10**15]

    def at(self) -> int:
        return self.random.choice(self.moments)

    def token(self) -> int | None:
        return self.random.choice([None, self.at(), self.at() - 1, self.at() + 1, self.random.choice(self.tokens)])

    def profile(self) -> sync_service_pb2.EnsureUserProfileRequest:
        user, org = self.random.choice(USERS), self.random.choice(ORGS)
        if self.random.random() < 0.05:
            user, org = self.random.choice([("", org), (user, "with space"), ("é", ""), ("x" * 256, org)])
        return profile_request(user, org, self.token())

    def organization(self) -> sync_service_pb2.EnsureOrganizationRequest:
        request = sync_service_pb2.EnsureOrganizationRequest(clerk_org_id=self.random.choice([*ORGS, *ORGS, ""]))
        if (token := self.token()) is not None:
            request.token_issued_at.CopyFrom(profile_request("", "", token).token_issued_at)
        return request

    async def take(self, both: Both) -> None:
        pick = self.random.choice
        kind = self.random.choices(
            ["ensure", "batch", "organization", "join", "remove", "rename", "delete_user", "delete_organization"],
            [10, 4, 2, 8, 8, 2, 0.4, 0.4],
        )[0]
        match kind:
            case "ensure":
                await both.ensure(self.profile())
            case "batch":
                await both.batch([self.profile() for _ in range(self.random.randrange(1, 12))])
            case "organization":
                await both.ensure_organization(self.organization())
            case "join":
                await both.join(pick(USERS), pick(ORGS), pick(["org:admin", "org:member", None]), self.at())
            case "remove":
                await both.remove(pick(USERS), pick(ORGS), self.at())
            case "rename":
                await both.rename_organization(pick(ORGS), pick(["Acme", "Ácme"]), pick(["acme", None]), self.at())
            case "delete_user":
                await both.delete_user(pick(USERS), self.at())
            case _:
                await both.delete_organization(pick(ORGS), self.at())


@pytest.mark.parametrize("seed", SEEDS)
async def test_same_steps_same_answers(stack: Stack, fake: FakeSyncService, connection: Any, seed: int) -> None:
    """Any sequence of events and calls gets the same answers, rows and removals from the fake as from the real one."""
    steps = Steps(seed)

    async with Both(stack, fake, connection) as both:
        for _ in range(STEPS):
            await steps.take(both)
            await both.compare_rows(USERS, ORGS)
        await both.compare_removals(now_ms())


@pytest.mark.parametrize("position", ["?", "1.", "é", "0/0/0", "x" * 70_000])
async def test_same_words_for_unknown_positions(
    stack: Stack, fake: FakeSyncService, connection: Any, position: str
) -> None:
    """Whoever resumes by what is no position is told to drop all."""
    async with Both(stack, fake, connection) as both:
        assert [True, True] == await both.resets(position)


@pytest.mark.parametrize("size", [0, 1_000, 1_001])
async def test_same_limits(stack: Stack, fake: FakeSyncService, connection: Any, size: int) -> None:
    """Batches of none and of too many are refused alike, and one of 1,000 is not."""
    async with Both(stack, fake, connection) as both:
        await both.batch([profile_request(f"user_{number}", "org_1") for number in range(size)])
