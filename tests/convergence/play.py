"""Plays a history against a deployment, checking the tables after each acknowledged step and at the end."""

import asyncio
import math
import random
from collections import Counter
from dataclasses import dataclass, field

from clerk_model.history import Call, History, Step
from clerk_model.svix import Attempt
from convergence.deployment import Deployment
from convergence.told import Account, Profile, Tables, wrongs

from clerksync_server.settings import load_settings

_OURS = ("user.", "organization.", "organizationMembership.")


class WrongEnd(AssertionError):
    """The tables hold, or an answer was, what must not be. The text tells the seed and how to play it again."""


@dataclass
class Figures:
    """What was played."""

    histories: int = 0
    deliveries: int = 0
    repeats: int = 0
    calls: int = 0
    refused_calls: int = 0
    checks: int = 0

    def __add__(self, other: "Figures") -> "Figures":
        return Figures(**{name: value + getattr(other, name) for name, value in vars(self).items()})


@dataclass
class _Play:
    history: History
    deployment: Deployment
    sent: Account = field(default_factory=Account)
    acknowledged: Account = field(default_factory=Account)
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    figures: Figures = field(default_factory=Figures)

    async def play(self) -> Figures:
        chance = random.Random(self.history.seed)
        left = list(self.history.steps)
        while left:
            size = chance.randint(1, self.history.largest_wave)
            wave, left = left[:size], left[size:]
            async with asyncio.TaskGroup() as tasks:
                for step in wave:
                    tasks.create_task(self._take(step, chance.getrandbits(2)))
        await self._compare_at_the_end()
        self.figures.histories = 1
        return self.figures

    async def _take(self, step: Step, number: int) -> None:
        if isinstance(step, Attempt):
            await self._deliver(step, number)
        else:
            await self._call(step, number)
        acknowledged = self.acknowledged.copy()
        tables = await self._read()
        self.figures.checks += 1
        for wrong in wrongs(tables, acknowledged=acknowledged, sent=self.sent):
            raise self._wrong(wrong, step)

    async def _deliver(self, attempt: Attempt, number: int) -> None:
        event = attempt.event
        ours = event.type.startswith(_OURS)
        if ours:
            self.sent.tell(event)
        status, outcome = await self.deployment.post(number, attempt.svix_id, event.body, endpoint=attempt.endpoint)
        expected = {"applied", "stale", "duplicate"} if ours else {"ignored", "duplicate"}
        if status != 200 or outcome not in expected:
            raise self._wrong(f"the answer was {status} {outcome}", attempt)
        self.figures.deliveries += 1
        self.figures.repeats += outcome == "duplicate"
        self.outcomes.setdefault(attempt.svix_id, Counter())[outcome] += 1
        if ours:
            self.acknowledged.tell(event)

    async def _call(self, call: Call, number: int) -> None:
        user, organization = pair = call.token.pair
        issued_at_s = call.token.issued_at_s if call.tells_iat else None
        evidence_ms = self.deployment.evidence_without_iat_ms if issued_at_s is None else issued_at_s * 1000
        told, settled = (len(account.told_lives.get(pair, ())) for account in (self.sent, self.acknowledged))
        told_before = told if told == settled else 0
        final = self.acknowledged.reasons_to_refuse(pair, math.inf)
        if call.only_organization:
            answer = await self.deployment.ensure_organization(number, organization, issued_at_s)
            final, possible = final & {"ORGANIZATION_DELETED"}, {"ORGANIZATION_DELETED"}
        else:
            self.sent.present_token(pair, evidence_ms)
            answer = await self.deployment.ensure(number, user, organization, issued_at_s)
            possible = {"USER_DELETED", "ORGANIZATION_DELETED", "MEMBERSHIP_REMOVED"}
        self.figures.calls += 1
        if answer in ("CREATED", "EXISTED"):
            if final:
                raise self._wrong(f"allowed in spite of {final}", call)
            self.acknowledged.ensured.add(organization)
            if answer == "CREATED" and not call.only_organization:
                self.acknowledged.create(pair, evidence_ms, told_before)
            return
        self.figures.refused_calls += 1
        if answer not in possible & self.sent.reasons_to_refuse(pair, evidence_ms):
            raise self._wrong(f"refused without a reason: {answer}", call)

    async def _compare_at_the_end(self) -> None:
        clerk = self.history.clerk
        expected = Tables(
            organizations={key: organization.content for key, organization in clerk.organizations.items()},
            profiles={pair: Profile(member.id, member.role) for pair, member in clerk.memberships.items()},
        )
        actual = await self._read()
        if actual != expected:
            raise self._wrong(f"at the end the tables hold\n{actual}\nand Clerk\n{expected}")
        ledger = await self.deployment.ledger(self.outcomes)
        for svix_id, outcomes in self.outcomes.items():
            first = [outcome for outcome in outcomes.elements() if outcome != "duplicate"]
            if [ledger.get(svix_id)] != first:
                raise self._wrong(f"{svix_id} was answered {dict(outcomes)}; the ledger holds {ledger.get(svix_id)}")

    async def _read(self) -> Tables:
        clerk = self.history.clerk
        return await self.deployment.read(clerk.every_organization, clerk.everyone)

    def _wrong(self, what: str, step: Step | None = None) -> WrongEnd:
        steps = self.history.steps
        place = "" if step is None else f"\nafter step {steps.index(step)} of {len(steps)}: {step}"
        return WrongEnd(f"{what}{place}\n{_replay_of(self.history)}")


def _replay_of(history: History) -> str:
    long = " --long-lived-tokens" if history.long_lived_tokens else ""
    return f"play it again: scripts/soak --seed {history.seed}{long} --transport {load_settings().grpc_transport}"


async def play(history: History, deployment: Deployment) -> Figures:
    """Raises WrongEnd. The deployment must treat tokens as the history does."""
    assert history.long_lived_tokens == deployment.long_lived_tokens
    try:
        return await _Play(history, deployment).play()
    except ExceptionGroup as group:
        # What went wrong first is the cause of the rest.
        first: Exception = group
        while isinstance(first, ExceptionGroup):
            first = first.exceptions[0]
        if not isinstance(first, WrongEnd):
            first.add_note(_replay_of(history))
        raise first from None
