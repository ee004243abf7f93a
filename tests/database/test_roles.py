"""The logins that roles.sql makes: the service does all its work, and neither it nor a reader can do more."""

from datetime import timedelta
from typing import Any

import asyncpg
import bodies
import grpc
import pytest
from cryptography.fernet import Fernet
from database.logins import (
    RIGHTS_OF_A_READER,
    RIGHTS_OF_THE_SERVICE,
    SCHEMA_CHANGES,
    TABLES,
    WAYS_OUT,
    Logins,
    names_of,
    refused,
    rights_of,
)
from running import until
from stack import Stack, error_info, now_ms, timestamp_of
from watching import Watch

from clerksync.v1 import delivery_service_pb2, resources_pb2, sync_service_pb2
from clerksync_server.database.connection import Database
from clerksync_server.sync.body_keys import BodyKeys
from clerksync_server.sync.reencryption import reencrypt
from clerksync_server.sync.retention import Retention

OF_THE_SERVICE = ["set row_security = off; select from public.user_profile", "set role clerksync_reader"]
OF_A_READER = [
    *(f"select from {table}" for table in TABLES if table.startswith("clerksync.")),
    *(f"delete from {table}" for table in TABLES),
    "insert into public.organization (clerk_org_id, name) values ('org_a', 'A')",
    "insert into public.user_profile (clerk_user_id, clerk_org_id) values ('user_1', 'org_a')",
    "update public.user_profile set role = 'org:admin'",
    "update public.organization set settings = '{{}}'",
    "begin; lock table public.user_profile in access exclusive mode",
    "select from public.user_profile for update",
    "set row_security = off; select from public.user_profile",
    "set role clerksync_service",
]


async def test_the_service_has_the_rights_it_needs_and_no_others(logins: Logins, admin: Any) -> None:
    """A table of a later migration has to be added here, with what the service is to do to it."""
    assert RIGHTS_OF_THE_SERVICE == await rights_of(admin, logins.service)
    assert RIGHTS_OF_A_READER == await rights_of(admin, logins.reader)


async def test_what_the_service_may_not_do_is_refused(logins: Logins, admin: Any) -> None:
    """Changes of schema and policies, what is final, and every way to become somebody else."""
    names = await names_of(admin, logins, logins.service)

    tried = {
        text: await refused(logins.service, text.format(**names))
        for text in [*SCHEMA_CHANGES, *WAYS_OUT, *OF_THE_SERVICE]
    }

    assert dict.fromkeys(tried, "42501") == tried


async def test_what_a_reader_may_not_do_is_refused(logins: Logins, admin: Any) -> None:
    """All of that, writing, and reading what is the service's own."""
    names = await names_of(admin, logins, logins.reader)

    tried = {
        text: await refused(logins.reader, text.format(**names)) for text in [*SCHEMA_CHANGES, *WAYS_OUT, *OF_A_READER]
    }

    assert dict.fromkeys(tried, "42501") == tried


async def test_neither_can_pass_its_rights_on(logins: Logins, admin: Any) -> None:
    """Postgres only warns about it, and grants nothing."""
    for login in (logins.service, logins.reader):
        connection = await asyncpg.connect(login.dsn)
        await connection.execute("grant select on public.user_profile to public")
        await connection.close()

    assert not await admin.fetchval(
        "select exists (select from pg_class, aclexplode(relacl) where oid = 'public.user_profile'::regclass "
        "and grantee = 0)"
    )


async def test_a_reader_sees_the_organization_in_its_claims_and_no_other(logins: Logins, admin: Any) -> None:
    """As in the tests of row-level security, by the login that the script makes."""
    await admin.execute("insert into public.organization (clerk_org_id, name) values ('org_a', 'A'), ('org_b', 'B')")
    reader = await asyncpg.connect(logins.reader.dsn)
    try:
        assert [] == await reader.fetch("select clerk_org_id from public.organization")
        await reader.execute("""set request.jwt.claims = '{"org_id": "org_b"}'""")
        seen = await reader.fetch("select clerk_org_id from public.organization")
        assert ["org_b"] == [row["clerk_org_id"] for row in seen]
    finally:
        await reader.close()


async def test_the_service_does_all_its_work_with_these_rights(
    restricted_stack: Stack, logins: Logins, admin: Any
) -> None:
    """All nine events, Ensure alone and in batches, a stream of removals, explanations, quarantine, and forgetting."""
    stack, t = restricted_stack, now_ms()
    await until(lambda: stack.application._lifecycle.ready, 5)
    async with Watch(stack) as watch:
        await watch.begun()
        told = [
            bodies.organization("created", "org_1", at=t),
            bodies.organization("updated", "org_1", at=t + 1, name="New"),
            bodies.membership("created", "user_1", "org_1", at=t + 2, joined_at=t + 2),
            bodies.membership("updated", "user_1", "org_1", at=t + 3, joined_at=t + 2, role="org:admin"),
            bodies.user("created", "user_2", at=t + 4),
            bodies.user("updated", "user_2", at=t + 5),
            bodies.membership("created", "user_2", "org_1", at=t + 6, joined_at=t + 6),
            bodies.membership("deleted", "user_1", "org_1", at=t + 7, joined_at=t + 2),
            bodies.user("deleted", "user_2", at=t + 8),
        ]
        assert ["applied"] * 9 == [(await stack.post(body)).outcome for body in told]
        await watch.told(("user_1", "org_1"), ("user_2", ""))
        await ensure_everything(stack, t)
        assert "applied" == (await stack.post(bodies.organization("deleted", "org_1", at=t + 60))).outcome
        await watch.told(("user_1", "org_1"), ("user_2", ""), ("", "org_1"))
    await quarantine_and_redrive(stack, logins, admin, t)
    await explain_and_forget(stack, logins, admin)


async def ensure_everything(stack: Stack, t: int) -> None:
    """Alone, again, refused, in a batch, and an organization by itself."""
    assert (await stack.ensure_profile("user_3", "org_1", t + 50)).user_profile.clerk_user_id == "user_3"
    assert (await stack.ensure_profile("user_3", "org_1", t + 50)).user_profile.clerk_org_id == "org_1"
    assert (await stack.ensure_organization("org_2", t + 50)).organization.clerk_org_id == "org_2"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stack.ensure_profile("user_2", "org_1", t + 50)
    assert "USER_DELETED" == error_info(caught.value).reason
    asked = [
        sync_service_pb2.EnsureUserProfileRequest(
            clerk_user_id=f"user_b{number}", clerk_org_id="org_3", token_issued_at=timestamp_of(t)
        )
        for number in range(70)
    ]
    made = await stack.sync.BatchEnsureUserProfiles(
        sync_service_pb2.BatchEnsureUserProfilesRequest(requests=asked), timeout=10
    )
    assert 70 == len([each for each in made.results if each.response.user_profile.id])


async def quarantine_and_redrive(stack: Stack, logins: Logins, admin: Any, t: int) -> None:
    """What is not understood, what the application refuses until it is mended, and a new key for what stays."""
    await admin.execute(
        "create table public.invoice (clerk_org_id text references public.organization (clerk_org_id));"
        "insert into public.invoice values ('org_3')"
    )
    assert "quarantined" == (await stack.post(b"not understood", svix_id="msg_bad")).outcome
    gone = bodies.organization("deleted", "org_3", at=t + 70)
    assert "quarantined" == (await stack.post(gone, svix_id="msg_refused")).outcome
    await admin.execute("drop table public.invoice")
    request = delivery_service_pb2.RedriveDeliveryRequest(svix_id="msg_refused")
    assert resources_pb2.DELIVERY_OUTCOME_APPLIED == (await stack.deliveries.RedriveDelivery(request)).delivery.outcome
    listed = await stack.deliveries.ListDeliveries(delivery_service_pb2.ListDeliveriesRequest(page_size=100))
    assert {"msg_bad", "msg_refused"} < {delivery.svix_id for delivery in listed.deliveries}
    database = Database(logins.service.dsn, pool_size=1)
    await database.open()
    try:
        another = await reencrypt(database, BodyKeys([Fernet.generate_key().decode()]))
        assert (0, {"msg_bad"}) == (another.done, set(another.unreadable))
    finally:
        await database.close()


async def explain_and_forget(stack: Stack, logins: Logins, admin: Any) -> None:
    """Everything that is old enough by then."""
    pair = sync_service_pb2.ExplainUserProfileRequest(clerk_user_id="user_1", clerk_org_id="org_1")
    assert (await stack.sync.ExplainUserProfile(pair, timeout=10)).SerializeToString()
    await admin.execute("update clerksync.webhook_delivery set received_at = now() - interval '9 days'")
    await admin.execute("delete from clerksync.webhook_delivery where outcome = 'quarantined'")
    await admin.execute("update clerksync.membership_tombstone set removed_at = now() - interval '9 days'")
    await admin.execute("update clerksync.removal set logged_at = now() - interval '9 days'")
    database = Database(logins.service.dsn, pool_size=1)
    await database.open()
    try:
        kept = timedelta(days=2)
        pruned = await Retention(database, deliveries_kept=kept, tombstones_kept=kept).prune()
    finally:
        await database.close()
    assert pruned.deliveries >= 11
    assert 1 == pruned.tombstones
    assert pruned.removals >= 4
