"""BatchEnsureUserProfiles: many at once, each with its own outcome."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any

import asyncpg
import bodies
import grpc
import pytest
import structlog
from google.rpc import error_details_pb2
from running import until
from stack import Stack, error_details, error_info, now_ms, timestamp_of
from structlog.testing import capture_logs

from clerksync.v1 import sync_service_pb2
from clerksync_server.ops import metrics

CREATED = sync_service_pb2.ENSURE_OUTCOME_CREATED
EXISTED = sync_service_pb2.ENSURE_OUTCOME_EXISTED
IN_2096_MS = 4_000_000_000_000
TRIGGER = """
create function public.refuse() returns trigger language plpgsql as $$
begin {body} return new; end $$;
create trigger refuse before insert on public.{table} for each row execute function public.refuse();
"""
Asked = tuple[str, str] | tuple[str, str, int]


def item(user: str, org: str, issued_at_ms: int | None = None) -> sync_service_pb2.EnsureUserProfileRequest:
    return sync_service_pb2.EnsureUserProfileRequest(
        clerk_user_id=user,
        clerk_org_id=org,
        token_issued_at=None if issued_at_ms is None else timestamp_of(issued_at_ms),
    )


async def ensure(stack: Stack, asked: Iterable[Asked]) -> list[sync_service_pb2.EnsureUserProfileResult]:
    request = sync_service_pb2.BatchEnsureUserProfilesRequest(requests=[item(*each) for each in asked])
    return list((await stack.sync.BatchEnsureUserProfiles(request, timeout=30)).results)


def told(result: sync_service_pb2.EnsureUserProfileResult) -> str:
    """CREATED, EXISTED, or the reason of the error."""
    if result.HasField("response"):
        return sync_service_pb2.EnsureOutcome.Name(result.response.outcome).removeprefix("ENSURE_OUTCOME_")
    infos = [unpacked(result, error_details_pb2.ErrorInfo)]
    return str(infos[0].reason)


def unpacked(result: sync_service_pb2.EnsureUserProfileResult, kind: Any) -> Any:
    (packed,) = [detail for detail in result.error.details if detail.Is(kind.DESCRIPTOR)]
    detail = kind()
    packed.Unpack(detail)
    return detail


async def deadlocks(connection: "asyncpg.Connection[asyncpg.Record]") -> int:
    """How many Postgres has seen in this database. Its servers tell what they counted at the latest when they end."""
    others = "from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"

    async def are_gone() -> bool:
        return not await connection.fetchval(f"select count(pg_terminate_backend(pid)) {others}")

    await until(are_gone, 10)
    query = "select deadlocks from pg_stat_database where datname = current_database()"
    return int(await connection.fetchval(query))


async def test_in_their_order(stack: Stack) -> None:
    """Each request gets what the unary call would have answered, in the order of the requests."""
    t = now_ms()
    await stack.post(bodies.membership("created", "user_old", "org_1", at=t, joined_at=t, role="org:admin"))
    await stack.post(bodies.membership("deleted", "user_removed", "org_1", at=t, joined_at=t - 1000))
    await stack.post(bodies.user("deleted", "user_deleted", at=t))
    await stack.post(bodies.organization("deleted", "org_deleted", at=t))
    months_ago = t - 100 * 24 * 3600 * 1000

    results = await ensure(
        stack,
        [
            ("user_new", "org_2"),
            ("user_old", "org_1"),
            ("user_removed", "org_1"),
            ("user_deleted", "org_1"),
            ("user_new", "org_deleted"),
            ("user_new", "org_1", months_ago),
            ("user_other", "org_2"),
        ],
    )

    assert [
        "CREATED",
        "EXISTED",
        "MEMBERSHIP_REMOVED",
        "USER_DELETED",
        "ORGANIZATION_DELETED",
        "EVIDENCE_TOO_OLD",
        "CREATED",
    ] == list(map(told, results))
    assert results[1].response.user_profile.role == "org:admin"
    rows = await stack.rows("select id::text, clerk_user_id from user_profile where clerk_org_id = 'org_2'")
    made = {result.response.user_profile.clerk_user_id: result.response.user_profile.id for result in results[::6]}
    assert {row["clerk_user_id"]: row["id"] for row in rows} == made


@pytest.mark.parametrize("asked", [("", "org_1"), ("user 1", "org 1"), ("user_1", "org_1", IN_2096_MS)])
async def test_an_ill_formed_request_fails_alone(stack: Stack, asked: Asked) -> None:
    """What is ill-formed has the very status of the unary call, fields named as there; the rest goes through."""
    with pytest.raises(grpc.aio.AioRpcError) as unary:
        await stack.sync.EnsureUserProfile(item(*asked))

    first, bad, last = await ensure(stack, [("user_a", "org_1"), asked, ("user_b", "org_1")])

    assert (told(first), told(last)) == ("CREATED", "CREATED")
    assert (unary.value.code().value[0], unary.value.details()) == (bad.error.code, bad.error.message)
    expected = [detail for detail in error_details(unary.value) if isinstance(detail, error_details_pb2.BadRequest)]
    assert expected == [unpacked(bad, error_details_pb2.BadRequest)]
    assert unpacked(bad, error_details_pb2.ErrorInfo) == error_info(unary.value)


@pytest.mark.parametrize("number", [0, 1001])
async def test_too_many_or_none(stack: Stack, number: int) -> None:
    """None or more than 1,000 requests fail the call; the violation of `requests` names the limit and the number."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await ensure(stack, [("user_1", "org_1")] * number)

    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(failed.value).reason == "INVALID_FIELD"
    (bad,) = [detail for detail in error_details(failed.value) if isinstance(detail, error_details_pb2.BadRequest)]
    assert [("requests", f"holds {number}; expected 1 to 1000")] == [
        (violation.field, violation.description) for violation in bad.field_violations
    ]
    assert await stack.rows("select from user_profile") == []


async def test_a_thousand_misses(stack: Stack) -> None:
    """A thousand pairs, with ids as long as they get, are made by one call, and found by the next."""
    asked = [(f"{number:04}".ljust(255, "u"), f"{number % 40:02}".ljust(255, "o")) for number in range(1000)]

    first = await ensure(stack, asked)
    second = await ensure(stack, asked)

    assert Counter(map(told, first)) == {"CREATED": 1000}
    assert Counter(map(told, second)) == {"EXISTED": 1000}
    assert [result.response.user_profile.id for result in first] == [
        result.response.user_profile.id for result in second
    ]
    assert await stack.rows("select count(*) from organization") == [{"count": 40}]


async def test_a_pair_several_times(stack: Stack) -> None:
    """The one with the latest evidence makes the profile, and only it says CREATED; each refusal has its own reason."""
    t = now_ms() // 1000 * 1000
    days = 24 * 3600 * 1000
    await stack.post(bodies.membership("deleted", "user_back", "org_1", at=t - 30_000, joined_at=t - 60_000))
    await stack.post(bodies.membership("deleted", "user_gone", "org_1", at=t - 80 * days, joined_at=t - 81 * days))

    results = await ensure(
        stack,
        [
            ("user_back", "org_1", t - 40_000),
            ("user_back", "org_1", t - 20_000),
            ("user_back", "org_1", t - 10_000),
            ("user_back", "org_1", t - 10_000),
            ("user_gone", "org_1", t - 80 * days),
            ("user_gone", "org_1", t - 100 * days),
            ("user_late", "org_1", t - 95 * days),
            ("user_late", "org_1", t - 96 * days),
        ],
    )

    assert ["EXISTED", "EXISTED", "CREATED", "EXISTED"] == list(map(told, results[:4]))
    assert ["MEMBERSHIP_REMOVED", "MEMBERSHIP_REMOVED"] == list(map(told, results[4:6]))
    assert ["EVIDENCE_TOO_OLD", "EVIDENCE_TOO_OLD"] == list(map(told, results[6:]))
    assert len({result.response.user_profile.id for result in results[:4]}) == 1
    evidence = await stack.rows("select (extract(epoch from evidence_at) * 1000)::bigint as e from user_profile")
    assert [{"e": t - 10_000}] == evidence


async def test_a_hundred_racing_batches(stack: Stack, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Of overlapping batches in any order exactly one creates each pair, and Postgres sees no deadlock."""
    pairs = [(f"user_{number % 20}", f"org_{number}") for number in range(120)]

    def batch(number: int) -> list[Asked]:
        mine = [pairs[(number * 7 + step) % len(pairs)] for step in range(100)]
        return list(mine if number % 2 else reversed(mine))

    batches = [batch(number) for number in range(100)]
    answers = await asyncio.gather(*(ensure(stack, asked) for asked in batches))

    created: Counter[Asked] = Counter()
    for asked, results in zip(batches, answers, strict=True):
        assert {"CREATED", "EXISTED"} >= set(map(told, results))
        created.update(pair for pair, result in zip(asked, results, strict=True) if told(result) == "CREATED")
    assert Counter(pairs) == created
    assert await deadlocks(connection) == 0


async def test_batches_among_events_and_single_calls(
    stack: Stack, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Batches, single calls, removals and deletions of the same few pairs fail nothing and leave nobody behind."""
    t = now_ms() - 1000
    pairs = [(f"user_{number}", f"org_{org}") for number in range(10) for org in range(6)]
    batches = [ensure(stack, [(*pair, t - 1) for pair in (pairs, pairs[::-1])[number % 2]]) for number in range(10)]
    singles = [stack.ensure_profile(*pair, t - 1) for pair in pairs]
    events = [stack.post(bodies.membership("deleted", *pair, at=t, joined_at=t - 10)) for pair in pairs[::2]]
    events += [
        stack.post(bodies.organization("deleted", "org_1", at=t)),
        stack.post(bodies.user("deleted", "user_1", at=t)),
    ]

    answers = await asyncio.gather(*batches, *singles, *events, return_exceptions=True)

    failures = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert {"MEMBERSHIP_REMOVED", "ORGANIZATION_DELETED", "USER_DELETED"} >= {
        error_info(failure).reason for failure in failures
    }
    gone = set(pairs[::2]) | {pair for pair in pairs if pair[0] == "user_1" or pair[1] == "org_1"}
    left = {tuple(row.values()) for row in await stack.rows("select clerk_user_id, clerk_org_id from user_profile")}
    assert set(pairs) - gone == left
    assert await deadlocks(connection) == 0


@pytest.mark.parametrize("table", ["user_profile", "organization"])
async def test_a_row_that_a_trigger_refuses(
    stack: Stack, connection: "asyncpg.Connection[asyncpg.Record]", table: str
) -> None:
    """A row that a trigger of the application's refuses fails alone, with INTERNAL, and the log names the reason."""
    await connection.execute(
        TRIGGER.format(table=table, body="if new.clerk_org_id = 'org_bad' then raise 'no'; end if;")
    )
    asked = [(f"user_{number}", "org_bad" if number == 30 else "org_1") for number in range(60)]

    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        results = await ensure(stack, asked)

    assert {"INTERNAL": 1, "CREATED": 59} == Counter(map(told, results))
    assert told(results[30]) == "INTERNAL"
    assert "org_bad" not in results[30].error.message
    assert await stack.rows("select count(*) from user_profile") == [{"count": 59}]
    assert ["RaiseError, SQLSTATE P0001, raised by a function or trigger"] == [
        line["database_error"] for line in lines if line["event"] == "call"
    ]


async def test_a_row_that_a_trigger_swallows(stack: Stack, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """A row that a trigger leaves out without a word is no success: it fails alone, with INTERNAL."""
    await connection.execute(
        TRIGGER.format(table="user_profile", body="if new.clerk_user_id = 'user_bad' then return null; end if;")
    )

    results = await ensure(stack, [("user_1", "org_1"), ("user_bad", "org_1")])
    with pytest.raises(grpc.aio.AioRpcError) as unary:
        await stack.ensure_profile("user_bad", "org_1")

    assert ["CREATED", "INTERNAL"] == list(map(told, results))
    assert error_info(unary.value).reason == "INTERNAL"


async def test_postgres_away(start_stack: Any) -> None:
    """Without Postgres the whole call is UNAVAILABLE, told when to come again."""
    stack = await start_stack(DATABASE_URL="postgresql://nobody:x@127.0.0.1:1/nothing")

    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await ensure(stack, [("user_1", "org_1"), ("", "org_1")])

    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    assert error_info(failed.value).reason == "DATABASE_UNAVAILABLE"


async def test_what_is_counted(stack: Stack) -> None:
    """The metric counts each item, and the one log line tells the numbers and no ids."""

    def counted(outcome: str) -> float:
        return float(metrics.ENSURED.labels(kind="user_profile", outcome=outcome)._value.get())

    await stack.ensure_profile("user_0", "org_1")
    before = counted("created"), counted("existed")

    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        await ensure(
            stack, [("user_0", "org_1"), ("user_1", "org_1"), ("user_2", "org_1"), ("user_2", "org_1"), ("", "")]
        )

    assert (before[0] + 2, before[1] + 2) == (counted("created"), counted("existed"))
    (line,) = [line for line in lines if line["event"] == "call"]
    assert {"method": "BatchEnsureUserProfiles", "code": "OK", "items": 5, "created": 2, "failed": 1} == {
        key: line[key] for key in ("method", "code", "items", "created", "failed")
    }
    assert "user_" not in str(line)
