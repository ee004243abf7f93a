"""What a member of a group can do to it with `drop owned by`, and what puts it back."""

from typing import Any

import asyncpg
import bodies
from database.logins import Login, Logins, run_script
from running import run
from stack import Stack, now_ms

POLICIES = (
    "select polrelid::regclass::text, polname, polcmd::text, polpermissive, pg_get_expr(polqual, polrelid), "
    "pg_get_expr(polwithcheck, polrelid), array(select unnest(polroles)::regrole::text order by 1) "
    "from pg_policy order by 1, 2"
)


async def _run_as(login: Login, statement: str) -> None:
    connection = await asyncpg.connect(login.dsn)
    await connection.execute(statement)
    await connection.close()


async def test_a_reader_sees_no_other_organization_after_it_dropped_what_its_group_owns(
    logins: Logins, admin: Any
) -> None:
    """Whatever other policies allow everybody, and while others see what these allow them."""
    other = f"other_{logins.reader.name}"
    await admin.execute(
        "insert into public.organization (clerk_org_id, name) values ('org_1', 'A'), ('org_2', 'B');"
        "create policy everybody on public.organization using (true);"
        f"create role {other}; grant select on public.organization to {other}"
    )
    await _run_as(logins.reader, "drop owned by clerksync_reader")

    connection = await asyncpg.connect(logins.reader.dsn)
    without_claims = await connection.fetch("select clerk_org_id from public.organization")
    await connection.execute('set request.jwt.claims = \'{"org_id": "org_1"}\'')
    with_claims = await connection.fetch("select clerk_org_id from public.organization")
    await connection.close()
    await admin.execute(f"set role {other}")
    of_another = await admin.fetchval("select count(*) from public.organization")
    await admin.execute(f"reset role; drop owned by {other}; drop role {other}")

    assert [] == without_claims
    assert ["org_1"] == [row["clerk_org_id"] for row in with_claims]
    assert 2 == of_another


async def test_the_script_puts_back_what_readers_and_the_service_dropped(
    logins: Logins, admin: Any, empty_database: str, restricted_stack: Stack
) -> None:
    """The same policies as before, and row-level security; then deliveries are taken, and doctor is content."""
    names = {part: getattr(logins, part).name for part in ("owner", "service", "reader")}
    before = await admin.fetch(POLICIES)
    await _run_as(logins.reader, "drop owned by clerksync_reader")
    await _run_as(logins.service, "drop owned by clerksync_service")
    await admin.execute("alter table public.organization disable row level security")

    done = run_script(empty_database, **names)

    assert 0 == done.returncode, done.stderr
    assert before == await admin.fetch(POLICIES)
    assert "applied" == (await restricted_stack.post(bodies.organization("created", "org_1", at=now_ms()))).outcome
    assert 0 == run("doctor", environment={"DATABASE_URL": logins.service.dsn}).returncode


async def test_the_owner_puts_policies_back_without_an_administrator(logins: Logins, admin: Any) -> None:
    """With policies.sql alone, which changes nothing where nothing is missing."""
    before = await admin.fetch(POLICIES)
    await _run_as(logins.reader, "drop owned by clerksync_reader")

    done = [run_script(logins.owner.dsn, script="policies.sql") for _ in range(2)]

    assert [0, 0] == [each.returncode for each in done], done[0].stderr
    assert before == await admin.fetch(POLICIES)


async def test_doctor_tells_of_dropped_policies_and_what_puts_them_back(logins: Logins, admin: Any) -> None:
    """And fails: of a reader's, of row-level security that is off, and of the service's."""
    environment = {"DATABASE_URL": logins.service.dsn, "COLUMNS": "2000"}
    await _run_as(logins.reader, "drop owned by clerksync_reader")
    await admin.execute("alter table public.user_profile disable row level security")
    of_readers = run("doctor", environment=environment)
    await _run_as(logins.service, "drop owned by clerksync_service")
    of_the_service = run("doctor", environment=environment)

    assert (1, 1) == (of_readers.returncode, of_the_service.returncode)
    for check in ("reader policies missing", "tables without row security"):
        (line,) = [line for line in of_readers.stdout.splitlines() if check in line]
        assert "BROKEN: " in line
        assert "let the owner of the tables run policies.sql" in line
    assert "a policy for all rows of public.organization" in of_the_service.stderr
    assert "then roles.sql as an administrator" in of_the_service.stderr


async def test_doctor_tells_of_rights_that_everybody_has(logins: Logins, admin: Any) -> None:
    """And fails, also where the service needs the same right itself."""
    await admin.execute("grant select on clerksync.webhook_delivery to public")

    result = run("doctor", environment={"DATABASE_URL": logins.service.dsn, "COLUMNS": "2000"})

    assert 1 == result.returncode
    (line,) = [line for line in result.stdout.splitlines() if "rights of everybody" in line]
    assert "1     BROKEN" in line


async def test_a_sequence_that_the_service_lost_is_told_and_put_back(
    logins: Logins, admin: Any, empty_database: str
) -> None:
    """An adopted table may number its rows: without its sequence nothing can be inserted."""
    await admin.execute(
        "create sequence public.numbers; alter table public.organization add number bigint default nextval('numbers')"
    )
    environment = {"DATABASE_URL": logins.service.dsn}

    lacking = run("doctor", environment=environment)
    names = {part: getattr(logins, part).name for part in ("owner", "service", "reader")}
    done = run_script(empty_database, **names)

    assert 1 == lacking.returncode
    assert "usage on the sequence numbers" in lacking.stderr
    assert 0 == done.returncode, done.stderr
    assert 0 == run("doctor", environment=environment).returncode


async def test_the_script_closes_the_schema_again(logins: Logins, admin: Any, empty_database: str) -> None:
    """To everybody and to each login; what a third role granted it tells of, and changes nothing."""
    service, reader, owner = logins.service.name, logins.reader.name, logins.owner.name
    rights = "select nspacl::text from pg_namespace where nspname = 'clerksync'"
    before = await admin.fetchval(rights)
    await admin.execute(f"grant create, usage on schema clerksync to public, {reader}, {service}, clerksync_service")

    done = run_script(empty_database, owner=owner, service=service, reader=reader)

    assert 0 == done.returncode, done.stderr
    assert before == await admin.fetchval(rights)
    third = f"third_{owner}"
    await admin.execute(
        f"create role {third}; grant usage on schema clerksync to {third} with grant option;"
        f"set role {third}; grant usage on schema clerksync to {reader}; reset role"
    )
    refusal = run_script(empty_database, owner=owner, service=service, reader=reader)
    await admin.execute(f"revoke all on schema clerksync from {third} cascade; drop role {third}")

    assert 0 != refusal.returncode
    assert f"revoke usage on schema clerksync from {reader}, as {third}" in refusal.stderr
