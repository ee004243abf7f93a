"""The rules twice: steps taken in Postgres and in the world in memory, and what both answer and hold compared."""

import asyncio
import hashlib
import itertools
import json
import random
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self

import asyncpg
import bodies
import grpc.aio
from google.rpc import error_details_pb2
from stack import error_info, now_ms

from clerksync.v1 import sync_service_pb2
from clerksync_server.access.authorizer import everyone
from clerksync_server.clerk.events import decode_event
from clerksync_server.clock import milliseconds_of, timestamp_of
from clerksync_server.database.connection import Database
from clerksync_server.database.deliveries import Entry, Judgement, Outcome
from clerksync_server.grpc_api.delivery_servicer import DeliveryServicer
from clerksync_server.grpc_api.server import GrpcServer
from clerksync_server.grpc_api.sync_servicer import SyncServicer
from clerksync_server.rules.evidence import EvidencePolicy, Verdict
from clerksync_server.rules.world import World
from clerksync_server.settings import load_settings
from clerksync_server.settings.types import Address
from clerksync_server.sync.deliveries import Deliveries, Delivery
from clerksync_server.sync.delivery_batches import DeliveryBatches, Received
from clerksync_server.sync.ensure import Ensure
from clerksync_server.sync.explain import Explain
from clerksync_server.sync.removals import RemovalFeed
from clerksync_server.webhook_front.client import connect, sync_service

POLICY = EvidencePolicy(max_token_age_ms=3, retention_ms=1_000_000_000)


class Both:
    """Takes each step in Postgres and in the world in memory, and compares what they answer and hold."""

    def __init__(self, database: Database, connection: "asyncpg.Connection[asyncpg.Record]", begin_ms: int) -> None:
        self.world = World()
        self.connection = connection
        self.now_ms = begin_ms + 50
        self._deliveries = Deliveries(database)
        self._batches = DeliveryBatches(database)
        self._ids = itertools.count()
        ensure = Ensure(database, POLICY, now=lambda: timestamp_of(self.now_ms))
        servicer = SyncServicer(self._deliveries, ensure, Explain(database, POLICY), RemovalFeed(database, ""))
        transport = load_settings().grpc_transport
        deliveries = DeliveryServicer(self._deliveries)
        self._server = GrpcServer(servicer, deliveries, access=everyone(), transport=transport)

    async def __aenter__(self) -> Self:
        address = await self._server.start(Address("127.0.0.1", 0))
        self._channel = connect(str(address))
        self._sync = sync_service(self._channel)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close(None)
        await self._server.stop(0)

    async def deliver_together(self, told: Sequence[bodies.Body]) -> None:
        """One batch, some of it sent twice: each delivery as if they came one after the other in this order."""
        received = [self._received(body) for body in told]
        expected = [[self.world.apply(fact) for fact in delivery.facts][-1] for delivery in received]
        repeats = received[::3]

        answers = await self._batches.apply_together([*received, *repeats])

        judgements = [answer for answer in answers if answer is not None]
        assert [(rule.effect.name.lower(), rule) for rule in expected] == [
            (judgement.outcome, judgement.rule) for judgement in judgements[: len(received)]
        ], told
        assert [Outcome.DUPLICATE] * len(repeats) == [judgement.outcome for judgement in judgements[len(received) :]]

    async def deliver_at_once(self, told: Sequence[bodies.Body]) -> None:
        """Many callers, some of them with the same delivery. The ledger tells in which order they were committed."""
        sent = [(f"msg_{next(self._ids)}", json.dumps(body).encode()) for body in told]
        attempted_at = timestamp_of(now_ms())

        answers = await asyncio.gather(
            *(self._deliveries.apply(Delivery(svix_id, attempted_at, body)) for svix_id, body in [*sent, *sent[::3]])
        )

        assert len(sent[::3]) == sum(answer.outcome is Outcome.DUPLICATE for answer in answers)
        ledger = await self.connection.fetch(
            "select svix_id, outcome, rule from clerksync.webhook_delivery where svix_id = any($1) "
            "order by committed_at",
            [svix_id for svix_id, _ in sent],
        )
        assert len(sent) == len(ledger)
        for row in ledger:
            event = decode_event(dict(sent)[row["svix_id"]], attempted_at_ms=milliseconds_of(attempted_at))
            expected = [self.world.apply(fact) for fact in event.facts][-1]
            assert (expected.effect.name.lower(), expected) == (row["outcome"], row["rule"]), told

    def _received(self, body: bodies.Body) -> Received:
        raw = json.dumps(body).encode()
        event = decode_event(raw, attempted_at_ms=now_ms())
        judgement = Judgement(Outcome.APPLIED, event_type=event.type)
        times = timestamp_of(now_ms()), timestamp_of(now_ms())
        claim = Entry(f"msg_{next(self._ids)}", *times, hashlib.sha256(raw).digest(), judgement)
        return Received(claim, event)

    async def deliver(self, body: bodies.Body) -> None:
        raw = json.dumps(body).encode()
        event = decode_event(raw, attempted_at_ms=now_ms())
        expected = [self.world.apply(fact) for fact in event.facts][-1]
        svix_id = f"msg_{next(self._ids)}"

        request = sync_service_pb2.ApplyClerkEventRequest(svix_id=svix_id, body=raw)
        request.attempted_at.FromMilliseconds(now_ms())
        await self._sync.ApplyClerkEvent(request)

        delivery = (await self._deliveries.get(svix_id)).judgement
        assert (expected.effect.name.lower(), expected) == (delivery.outcome, delivery.rule), body

    async def ensure_profile(self, user: str, org: str, issued_at_ms: int | None) -> None:
        expected = self.world.ensure_user_profile((user, org), **self._evidence(issued_at_ms))
        request = sync_service_pb2.EnsureUserProfileRequest(clerk_user_id=user, clerk_org_id=org)
        if issued_at_ms is not None:
            request.token_issued_at.FromMilliseconds(issued_at_ms)
        assert expected == await self._verdict(self._sync.EnsureUserProfile(request))

    async def ensure_profiles(self, asked: list[tuple[str, str, int | None]]) -> None:
        """A batch: of several for a pair the one with the latest evidence counts first."""
        evidence = [self._evidence(issued_at_ms) for _, _, issued_at_ms in asked]
        by_evidence = sorted(range(len(asked)), key=lambda index: -evidence[index]["evidence_ms"])
        expected = {index: self.world.ensure_user_profile(asked[index][:2], **evidence[index]) for index in by_evidence}
        request = sync_service_pb2.BatchEnsureUserProfilesRequest()
        for user, org, issued_at_ms in asked:
            item = request.requests.add(clerk_user_id=user, clerk_org_id=org)
            if issued_at_ms is not None:
                item.token_issued_at.FromMilliseconds(issued_at_ms)
        answer = await self._sync.BatchEnsureUserProfiles(request)
        assert [expected[index] for index in range(len(asked))] == list(map(batch_verdict, answer.results)), asked

    async def ensure_organization(self, org: str, issued_at_ms: int | None) -> None:
        expected = self.world.ensure_organization(org, **self._evidence(issued_at_ms))
        request = sync_service_pb2.EnsureOrganizationRequest(clerk_org_id=org)
        if issued_at_ms is not None:
            request.token_issued_at.FromMilliseconds(issued_at_ms)
        assert expected == await self._verdict(self._sync.EnsureOrganization(request))

    def _evidence(self, issued_at_ms: int | None) -> dict[str, int]:
        evidence_ms = POLICY.evidence_ms(now_ms=self.now_ms, token_issued_at_ms=issued_at_ms)
        return {"evidence_ms": evidence_ms, "oldest_ms": POLICY.oldest_ms(now_ms=self.now_ms)}

    async def _verdict(self, call: Any) -> Verdict:
        try:
            created = (await call).outcome == sync_service_pb2.ENSURE_OUTCOME_CREATED
        except grpc.aio.AioRpcError as refused:
            return Verdict[error_info(refused).reason]
        return Verdict.CREATE if created else Verdict.EXISTED

    async def compare(self) -> None:
        assert self.expected_organizations() == await self.actual(
            "select clerk_org_id, name, slug, image_url, is_placeholder, clerk_created_at, clerk_updated_at, "
            "clerk_event_at from public.organization order by 1"
        )
        assert self.expected_profiles() == await self.actual(
            "select clerk_user_id, clerk_org_id, clerk_membership_id, membership_created_at, membership_updated_at, "
            "membership_event_at, role, evidence_at from public.user_profile order by 1, 2"
        )
        assert self.expected_tombstones() == await self.actual(
            "select clerk_user_id, clerk_org_id, through_created_at, through_membership_id, removed_at "
            "from clerksync.membership_tombstone order by 1, 2"
        )
        assert self.expected_deleted() == await self.actual(
            "select kind, clerk_id, deleted_at from clerksync.deleted_entity order by 1, 2"
        )

    async def actual(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(record) for record in await self.connection.fetch(query)]

    def expected_organizations(self) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for org, register in sorted(self.world.organizations.items()):
            if not register.exists:
                continue
            if (told := register.snapshot) is None:
                rows.append((org, org, None, None, True, None, None, None))
            else:
                times = (told.created_at_ms, told.version.updated_at_ms, told.version.event_at_ms)
                rows.append((org, told.name, told.slug, told.image_url, False, *map(moment, times)))
        return rows

    def expected_profiles(self) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for user, org in sorted(self.world.pairs.keys() | self.world.evidence.keys()):
            if (profile := self.world.profile((user, org))) is None:
                continue
            if (told := profile.membership) is None:
                rows.append((user, org, None, None, None, None, None, moment(profile.evidence_ms)))
            else:
                version = told.version
                times = (told.generation.created_at_ms, version.updated_at_ms, version.event_at_ms)
                rows.append((user, org, told.generation.membership_id, *map(moment, times), told.role, None))
        return rows

    def expected_tombstones(self) -> list[tuple[Any, ...]]:
        return [
            (user, org, moment(told.through.created_at_ms), told.through.membership_id, moment(told.removed_at_ms))
            for (user, org), register in sorted(self.world.pairs.items())
            if (told := register.tombstone) is not None
        ]

    def expected_deleted(self) -> list[tuple[Any, ...]]:
        registers = {("organization", key): register for key, register in self.world.organizations.items()} | {
            ("user", key): register for key, register in self.world.users.items()
        }
        return [
            (*key, moment(register.deleted_at_ms))
            for key, register in sorted(registers.items())
            if register.deleted_at_ms is not None
        ]


def batch_verdict(result: sync_service_pb2.EnsureUserProfileResult) -> Verdict:
    if result.HasField("response"):
        created = result.response.outcome == sync_service_pb2.ENSURE_OUTCOME_CREATED
        return Verdict.CREATE if created else Verdict.EXISTED
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in result.error.details)
    return Verdict[info.reason]


def moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else timestamp_of(milliseconds)


class Steps:
    """Random steps over few ids and few moments, so that everything meets, and often in the same millisecond."""

    def __init__(self, seed: int, begin_ms: int) -> None:
        self.random = random.Random(seed)
        self.begin_ms = begin_ms

    def moment(self) -> int:
        return self.begin_ms + self.random.randrange(12)

    async def take(self, both: Both) -> None:
        pick = self.random.choice
        user, org = pick(["user_a", "user_B"]), pick(["org_1", "org_2"])
        kind = self.random.choices(["delivery", "ensure", "batch", "ensure_organization"], [19.3, 3, 3, 1])[0]
        if kind == "delivery":
            await both.deliver(self.body())
        elif kind == "ensure":
            await both.ensure_profile(user, org, self.issued_at(both.now_ms))
        elif kind == "batch":
            users, orgs = ["user_a", "user_B", "user_c"], ["org_1", "org_2"]
            size = self.random.randint(1, 8)
            await both.ensure_profiles([(pick(users), pick(orgs), self.issued_at(both.now_ms)) for _ in range(size)])
        else:
            await both.ensure_organization(org, pick([None, self.moment()]))

    def several(self, *, may_end_organizations: bool = True) -> list[bodies.Body]:
        """Some deliveries that come at the same time."""
        told = [bodies.user("created", "user_a", at=self.moment())]
        told += [self.body() for _ in range(self.random.randint(1, 12))]
        return [body for body in told if may_end_organizations or body["type"] != "organization.deleted"]

    def body(self) -> bodies.Body:
        pick = self.random.choice
        user, org = pick(["user_a", "user_B"]), pick(["org_1", "org_2"])
        kind = self.random.choices(["membership", "removal", "organization", "user", "end"], [10, 5, 3, 1, 0.3])[0]
        at = self.moment()
        if kind in ("membership", "removal"):
            return bodies.membership(
                "deleted" if kind == "removal" else pick(["created", "updated"]),
                user,
                org,
                at=at,
                joined_at=self.moment() // 4 * 4,
                role=pick(["org:admin", "org:Member", "org:é", None]),
                membership_id=pick(["orgmem_a", "orgmem_B"]),
                updated_at=self.moment(),
                nested=pick([None, self.organization(org, self.moment())]),
            )
        if kind == "organization":
            snapshot = self.organization(org, self.moment())
            return bodies.envelope(pick(["organization.created", "organization.updated"]), snapshot, at)
        if kind == "user":
            return bodies.user(pick(["created", "updated"]), user, at=at)
        return pick([bodies.user("deleted", user, at=at), bodies.organization("deleted", org, at=at)])

    def issued_at(self, now_ms: int) -> int | None:
        return self.random.choice([None, self.moment(), now_ms - 10**9 - 1, now_ms - 10**9])

    def organization(self, org: str, updated_at: int) -> bodies.Body:
        name, slug = self.random.choice(["Acme", "acme", "Ácme", None]), self.random.choice(["acme", None])
        return bodies.snapshot(org, updated_at=updated_at, slug=slug) | {"name": name}
