"""Profiles that several Ensure calls miss at the same time: one transaction, and none fails or holds up the others."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import Any

import bodies
import pytest
from running import until
from stack import Stack, now_ms
from watching import Connection

from clerksync.v1 import sync_service_pb2
from clerksync_server.clock import timestamp_of
from clerksync_server.database import profiles
from clerksync_server.database.connection import Database
from clerksync_server.database.facts import Lock, organization_lock, pair_lock, take_locks, user_lock
from clerksync_server.database.statements import Statements
from clerksync_server.errors import DatabaseRefused, DatabaseUnavailable, Refused
from clerksync_server.rules.evidence import EvidencePolicy
from clerksync_server.sync import ensure_batches
from clerksync_server.sync.ensure import Ensure, Sighting
from clerksync_server.sync.ensure_batches import EnsuredProfile

POLICY = EvidencePolicy(max_token_age_ms=60_000, retention_ms=90 * 24 * 3600 * 1000)
LANE = "application_name = 'clerksync misses' and datname = current_database()"
USERS = [f"user_{number}" for number in range(50)]
CREATED = sync_service_pb2.ENSURE_OUTCOME_CREATED
REFUSE_ONE = """
create function public.refuse() returns trigger language plpgsql as $$
begin
    if new.clerk_user_id = 'user_7' then raise 'no'; end if;
    return new;
end $$;
create trigger refuse before insert on public.user_profile for each row execute function public.refuse();
"""


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url, pool_size=4)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def ensure(database: Database) -> Ensure:
    return Ensure(database, POLICY)


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many profiles each statement was to insert."""
    noted: list[int] = []
    real = profiles.insert_provisional_profiles

    async def counted(connection: Any, evidence: Any, *, oldest: Any) -> Any:
        noted.append(len(evidence))
        return await real(connection, evidence, oldest=oldest)

    monkeypatch.setattr(ensure_batches, "insert_provisional_profiles", counted)
    return noted


def ask(
    ensure: Ensure, users: Iterable[str] = USERS, org: str = "org_1", issued_at_ms: int | None = None
) -> list["asyncio.Task[EnsuredProfile]"]:
    return [asyncio.create_task(ensure.user_profile(Sighting(user, org, issued_at_ms))) for user in users]


def made_by(answers: Iterable[EnsuredProfile | BaseException]) -> list[str]:
    """The users whose profiles were created."""
    return [answer.profile.clerk_user_id for answer in answers if isinstance(answer, EnsuredProfile) and answer.created]


async def transactions(connection: Connection) -> list[int]:
    """How many profiles each has inserted."""
    rows = await connection.fetch("select count(*) from public.user_profile group by xmin::text")
    return [row[0] for row in rows]


async def users_there(connection: Connection) -> set[str]:
    return {row[0] for row in await connection.fetch("select clerk_user_id from public.user_profile")}


async def test_one_transaction(ensure: Ensure, connection: Connection) -> None:
    """What is missed at the same time is made by one transaction, organizations included."""
    calls = [call for user in USERS for call in ask(ensure, [user], f"org_of_{user}")]
    answers = await asyncio.gather(*calls)

    assert made_by(answers) == USERS
    assert await transactions(connection) == [50]
    assert await connection.fetchval("select count(*) from public.organization where is_placeholder") == 50


async def test_alone(ensure: Ensure, sizes: list[int]) -> None:
    """Calls one after the other are made one by one, each by one statement."""
    for user in USERS[:5]:
        assert (await ensure.user_profile(Sighting(user, "org_1", None))).created

    assert sizes == [1] * 5


async def test_no_more_than_64(ensure: Ensure, connection: Connection) -> None:
    """However many are missed, no transaction makes more than 64, so that Postgres has room for their locks."""
    sightings = [Sighting(f"user_{number}", "org_1", None) for number in range(200)]
    single, batch = await asyncio.gather(
        asyncio.gather(*(ensure.user_profile(sighting) for sighting in sightings[:100])),
        ensure.user_profiles(sightings[100:]),
    )

    assert len(made_by([*single, *(answer for answer in batch if isinstance(answer, EnsuredProfile))])) == 200
    assert max(sizes := await transactions(connection)) <= 64
    assert len(sizes) <= 6


async def test_few_wait_for_few(ensure: Ensure, connection: Connection) -> None:
    """One miss of another organization is made before the rest of the many that were there first."""
    many = ask(ensure, [f"user_{number}" for number in range(640)])
    await asyncio.sleep(0)
    (other,) = ask(ensure, ["user_other"], "org_2")
    await other

    assert sum(call.done() for call in many) <= 128
    await asyncio.gather(*many)


@pytest.mark.parametrize(
    "lock",
    [organization_lock("org_2", exclusive=True), user_lock("user_x", exclusive=True), pair_lock("user_x", "org_2")],
    ids=["organization", "user", "pair"],
)
async def test_what_others_lock(ensure: Ensure, connection: Connection, lock: Lock) -> None:
    """Whoever is being deleted is waited for by that call alone; the others of the batch do not wait."""
    async with connection.transaction():
        await take_locks(connection, {lock})
        (waiting,) = ask(ensure, ["user_x"], "org_2")
        others = ask(ensure)
        async with asyncio.timeout(2):
            assert made_by(await asyncio.gather(*others)) == USERS
        assert not waiting.done()
        # They were not given up and made one by one, as they would be had the batch waited for the lock.
        assert await transactions(connection) == [50]

    assert (await waiting).created


async def test_an_organization_that_the_application_locks(ensure: Ensure, connection: Connection) -> None:
    """An application that holds the row of an organization for long holds up those of that organization alone."""
    await asyncio.gather(*ask(ensure, ["user_first"], "org_2"))
    async with connection.transaction():
        await connection.execute("select from public.organization where clerk_org_id = 'org_2' for update")
        waiting = ask(ensure, ["user_x", "user_y"], "org_2")
        others = ask(ensure)
        async with asyncio.timeout(4):
            assert made_by(await asyncio.gather(*others)) == USERS
        assert not any(call.done() for call in waiting)

    assert made_by(await asyncio.gather(*waiting)) == ["user_x", "user_y"]


async def test_one_that_is_refused(ensure: Ensure, connection: Connection) -> None:
    """A row that a trigger refuses fails its own call; the others are made, still in few transactions."""
    await connection.execute(REFUSE_ONE)

    answers = await asyncio.gather(*ask(ensure), return_exceptions=True)

    assert [DatabaseRefused if user == "user_7" else EnsuredProfile for user in USERS] == list(map(type, answers))
    assert made_by(answers) == [user for user in USERS if user != "user_7"]
    assert len(await transactions(connection)) <= 6


async def test_the_latest_evidence_speaks(ensure: Ensure, connection: Connection) -> None:
    """Of calls for one pair the one with the latest evidence makes the profile, and only it is told so."""
    t = now_ms()
    seen = [t - age_s * 1000 for age_s in (30, 10, 10, 20)]
    answers = await asyncio.gather(*(call for at in seen for call in ask(ensure, ["user_1"], "org_1", at)))

    assert [False, True, False, False] == [answer.created for answer in answers]
    assert {answers[0].profile} == {answer.profile for answer in answers}
    assert timestamp_of(t - 10_000) == await connection.fetchval("select evidence_at from public.user_profile")


async def test_each_is_refused_for_its_own_reason(stack: Stack, ensure: Ensure) -> None:
    """Calls for one pair that is not made are each judged by the evidence of their own."""
    t = now_ms()
    day = 24 * 3600 * 1000
    await stack.post(bodies.membership("deleted", "user_1", "org_1", at=t - 95 * day, joined_at=t - 96 * day))
    calls = [call for age in (94, 96, 91) for call in ask(ensure, ["user_1"], "org_1", t - age * day)]
    answers = await asyncio.gather(*calls, return_exceptions=True)

    assert ["EVIDENCE_TOO_OLD", "MEMBERSHIP_REMOVED", "EVIDENCE_TOO_OLD"] == [
        answer.verdict.name for answer in answers if isinstance(answer, Refused)
    ]


async def test_exactly_one_says_created(stack: Stack) -> None:
    """Of any number of concurrent calls, single and in batches, exactly one says CREATED for each pair."""
    pairs = [(f"user_{number}", f"org_{number % 7}") for number in range(70)]
    requests = [sync_service_pb2.EnsureUserProfileRequest(clerk_user_id=user, clerk_org_id=org) for user, org in pairs]

    async def batch(number: int) -> list[sync_service_pb2.EnsureUserProfileResponse]:
        mine = requests[number:] + requests[:number] + requests[:3]
        call = stack.sync.BatchEnsureUserProfiles(sync_service_pb2.BatchEnsureUserProfilesRequest(requests=mine))
        return [result.response for result in (await call).results]

    async def single(user: str, org: str) -> list[sync_service_pb2.EnsureUserProfileResponse]:
        return [await stack.ensure_profile(user, org)]

    calls = [batch(number) for number in range(0, 70, 5)] + [single(*pair) for pair in pairs for _ in range(3)]
    calls[::2], calls[1::2] = calls[: len(calls) // 2], calls[len(calls) // 2 :]
    answers = [answer for call in await asyncio.gather(*calls) for answer in call]

    assert len(answers) == 14 * 73 + 210
    created = [answer.user_profile.clerk_user_id for answer in answers if answer.outcome == CREATED]
    assert Counter(user for user, _ in pairs) == Counter(created)
    ids = {(answer.user_profile.clerk_user_id, answer.user_profile.id) for answer in answers}
    rows = await stack.rows("select clerk_user_id, id::text from public.user_profile")
    assert {tuple(row.values()) for row in rows} == ids


async def test_two_services_at_once(database_url: str, ensure: Ensure, connection: Connection) -> None:
    """Nor do two replicas that miss the same at the same time create anything twice, or fail."""
    other = Database(database_url, pool_size=4)
    await other.open()
    try:
        calls = ask(ensure) + ask(Ensure(other, POLICY), reversed(USERS))
        answers = await asyncio.gather(*calls)
    finally:
        await other.close()

    assert Counter(USERS) == Counter(made_by(answers))
    assert await users_there(connection) == set(USERS)


async def test_a_cut_connection_fails_nobody(ensure: Ensure, connection: Connection) -> None:
    """After Postgres has ended the connection that makes profiles, calls succeed by a new one."""
    await asyncio.gather(*ask(ensure, ["user_first"]))
    for part in range(3):
        assert await connection.fetch(f"select pg_terminate_backend(pid) from pg_stat_activity where {LANE}")
        users = USERS[part * 10 : part * 10 + 10]
        assert made_by(await asyncio.gather(*ask(ensure, users))) == users


async def test_callers_who_went_away(ensure: Ensure, connection: Connection) -> None:
    """A call that is cancelled while it waits for its turn makes nothing, and takes nothing from those who stay."""
    async with connection.transaction():
        # Inserting waits for this, looking up does not.
        await connection.execute("lock table public.user_profile in share mode")
        first = ask(ensure, ["user_first"])
        await until(lambda: is_waiting(connection), 2)
        waiting = ask(ensure)
        await asyncio.sleep(0.2)
        for call in waiting[::2]:
            call.cancel()
    answers = await asyncio.gather(*first, *waiting, return_exceptions=True)

    assert made_by(answers) == ["user_first", *USERS[1::2]]
    assert await users_there(connection) == {"user_first", *USERS[1::2]}


async def is_waiting(connection: Connection) -> bool:
    query = f"select count(*) from pg_stat_activity where wait_event_type = 'Lock' and {LANE}"
    await connection.execute("select pg_stat_clear_snapshot()")
    return bool(await connection.fetchval(query))


async def test_in_between_no_transaction_is_open(ensure: Ensure, connection: Connection) -> None:
    """Once all is made the connection holds no transaction and no lock: migrations can pass."""
    for org in ("org_1", "org_2"):
        await asyncio.gather(*ask(ensure, org=org))

    idle = await connection.fetch(f"select state, xact_start, pid from pg_stat_activity where {LANE}")
    locks = "select count(*) from pg_locks where pid = any($1::int [])"

    assert [("idle", None)] == [(row["state"], row["xact_start"]) for row in idle]
    assert 0 == await connection.fetchval(locks, [row["pid"] for row in idle])
    async with asyncio.timeout(2):
        await connection.execute("alter table public.user_profile add column of_the_application text")


async def test_no_database(database: Database, ensure: Ensure) -> None:
    """While there is no database every call that waits is told so."""
    await database.close()
    unreachable = Database("postgresql://nobody:x@127.0.0.1:1/nothing", pool_size=1)
    await unreachable.open()
    try:
        answers = await asyncio.gather(*ask(Ensure(unreachable, POLICY), USERS[:3]), return_exceptions=True)
    finally:
        await unreachable.close()

    assert [DatabaseUnavailable] * 3 == list(map(type, answers))


async def test_postgres_plans_once(database: Database) -> None:
    """Statements of such a transaction have one plan for every length of an array: planning costs as much as a row."""
    query = (
        "select count(*) from unnest($1::text []) as told (clerk_org_id) join public.organization using (clerk_org_id)"
    )

    async def work(connection: Statements) -> list[tuple[int, int]]:
        for number in range(10):
            await connection.fetch(query, ["org"] * number)
        plans = await connection.fetch("select statement, generic_plans, custom_plans from pg_prepared_statements")
        return [(plan["generic_plans"], plan["custom_plans"]) for plan in plans if plan["statement"] == query]

    assert await database.dedicated("misses").transaction(work, lock_timeout_s=1, statement_timeout_s=5) == [(10, 0)]


async def test_organizations_that_are_there(stack: Stack, connection: Connection) -> None:
    """Calls for organizations that come while a look-up is on its way are one statement, each with its own answer."""
    orgs = [f"org_{number}" for number in range(30)]
    made = [await stack.ensure_organization(org) for org in orgs]
    reader = "application_name = 'clerksync lookups of organizations' and datname = current_database()"
    async with connection.transaction():
        await connection.execute("lock table public.organization in access exclusive mode")
        calls = [asyncio.create_task(stack.ensure_organization(org)) for org in orgs]
        await asyncio.sleep(0.3)
        waiting = await connection.fetchval(
            f"select count(*) from pg_stat_activity where wait_event_type = 'Lock' and {reader}"
        )
        everybody = await connection.fetchval("select count(*) from pg_stat_activity where wait_event_type = 'Lock'")
    answers = await asyncio.gather(*calls)

    assert (waiting, everybody) == (1, 1)
    assert [answer.organization for answer in answers] == [answer.organization for answer in made]
    assert CREATED not in [answer.outcome for answer in answers]
