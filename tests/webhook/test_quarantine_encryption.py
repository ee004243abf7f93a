"""With CLERKSYNC_QUARANTINE_KEY bodies in quarantine are encrypted at rest, and a rotation of keys loses none."""

import asyncio
import json
from typing import Any

import bodies
import grpc
import pytest
from cryptography.fernet import Fernet
from running import run
from stack import Stack, error_info, now_ms

from clerksync.v1 import delivery_service_pb2, resources_pb2

OLD, NEW, OTHER = (Fernet.generate_key().decode() for _ in range(3))
MARK = b"marked@example.com"
BODY = b"not understood " + MARK
REENCRYPT = ("deliveries", "reencrypt")


async def kept(stack: Stack, svix_id: str = "msg_1") -> dict[str, Any]:
    (row,) = await stack.rows(
        "select outcome, body, body_key from clerksync.webhook_delivery where svix_id = $1", svix_id
    )
    return row


async def shown(stack: Stack, svix_id: str = "msg_1") -> bytes:
    request = delivery_service_pb2.GetDeliveryRequest(svix_id=svix_id, include_body=True)
    body: bytes = (await stack.deliveries.GetDelivery(request)).delivery.body
    return body


async def redriven(stack: Stack, svix_id: str = "msg_1") -> int:
    request = delivery_service_pb2.RedriveDeliveryRequest(svix_id=svix_id)
    outcome: int = (await stack.deliveries.RedriveDelivery(request)).delivery.outcome
    return outcome


async def quarantine_what_is_understood_by_now(stack: Stack, connection: Any) -> None:
    """A good delivery that a trigger of the application's refused, which is gone now."""
    await connection.execute(
        """
        create function public.refuse() returns trigger language plpgsql as $$ begin raise 'no'; end $$;
        create trigger refuse before insert on public.organization for each row execute function public.refuse();
        """
    )
    body = bodies.organization("created", "org_1", at=now_ms(), name=MARK.decode())
    assert "quarantined" == (await stack.post(body, svix_id="msg_1")).outcome
    await connection.execute("drop trigger refuse on public.organization")


async def command(stack: Stack, *arguments: str, keys: str = "") -> Any:
    environment = {
        "DATABASE_URL": stack.database_url,
        "CLERKSYNC_SERVICE_TARGET": stack.target,
        "CLERKSYNC_QUARANTINE_KEY": keys,
    }
    return await asyncio.to_thread(lambda: run(*arguments, environment=environment))


async def test_a_body_is_encrypted_at_rest_and_shown_as_it_was_sent(start_stack: Any) -> None:
    """The row holds a Fernet token that the key opens; operators get the body."""
    stack = await start_stack(CLERKSYNC_QUARANTINE_KEY=OLD)

    assert "quarantined" == (await stack.post(BODY, svix_id="msg_1")).outcome

    row = await kept(stack)
    assert MARK not in row["body"]
    assert BODY == Fernet(OLD).decrypt(row["body"])
    assert BODY == await shown(stack)
    assert BODY.decode() in (await command(stack, "deliveries", "show", "msg_1", "--body")).stdout


async def test_what_the_database_refuses_is_encrypted_as_well_and_a_redrive_applies_it(
    start_stack: Any, connection: Any
) -> None:
    """Afterwards neither body nor key is left in the row."""
    stack = await start_stack(CLERKSYNC_QUARANTINE_KEY=OLD)
    await quarantine_what_is_understood_by_now(stack, connection)
    row = await kept(stack)
    assert MARK not in row["body"]
    assert json.loads(Fernet(OLD).decrypt(row["body"]))["data"]["name"] == MARK.decode()

    assert resources_pb2.DELIVERY_OUTCOME_APPLIED == await redriven(stack)

    assert {"outcome": "applied", "body": None, "body_key": None} == await kept(stack)
    assert [{"name": MARK.decode()}] == await stack.rows("select name from public.organization")


async def test_a_body_from_before_there_was_a_key_is_still_read(start_stack: Any) -> None:
    """It stays as it is until it is redriven, which encrypts what stays in quarantine."""
    await (await start_stack()).post(BODY, svix_id="msg_1")
    stack = await start_stack(CLERKSYNC_QUARANTINE_KEY=NEW)

    assert BODY == (await kept(stack))["body"] == await shown(stack)
    assert resources_pb2.DELIVERY_OUTCOME_QUARANTINED == await redriven(stack)
    assert BODY == Fernet(NEW).decrypt((await kept(stack))["body"])


@pytest.mark.parametrize("variables", [{}, {"CLERKSYNC_QUARANTINE_KEY": OTHER}], ids=["none", "another"])
async def test_without_the_key_a_body_is_refused_in_words_and_kept(
    start_stack: Any, connection: Any, variables: dict[str, str]
) -> None:
    """No redrive touches it; with the key back it is applied."""
    first = await start_stack(CLERKSYNC_QUARANTINE_KEY=OLD)
    await quarantine_what_is_understood_by_now(first, connection)
    before = await kept(first)
    stack = await start_stack(**variables)

    for call in (shown, redriven):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(stack)
        assert grpc.StatusCode.FAILED_PRECONDITION == caught.value.code()
        assert "BODY_UNREADABLE" == error_info(caught.value).reason
        assert f"the key {before['body_key']}, which is not in CLERKSYNC_QUARANTINE_KEY" in str(caught.value.details())

    assert before == await kept(stack)
    assert resources_pb2.DELIVERY_OUTCOME_APPLIED == await redriven(first)


async def test_a_redrive_of_everything_goes_on_past_a_body_without_its_key(start_stack: Any, connection: Any) -> None:
    """The others are applied, and the command says which one was not and why."""
    await (await start_stack(CLERKSYNC_QUARANTINE_KEY=OTHER)).post(BODY, svix_id="msg_2")
    stack = await start_stack(CLERKSYNC_QUARANTINE_KEY=OLD)
    await quarantine_what_is_understood_by_now(stack, connection)

    result = await command(stack, "deliveries", "redrive", "--all")

    assert 1 == result.returncode
    assert "msg_1: applied" in result.stdout
    assert "msg_2: quarantined (FAILED_PRECONDITION: the body is encrypted with the key " in result.stdout


async def test_a_body_that_was_changed_in_the_database_is_refused(start_stack: Any) -> None:
    """A redrive applies nothing of it, and says why."""
    stack = await start_stack(CLERKSYNC_QUARANTINE_KEY=OLD)
    await stack.post(BODY, svix_id="msg_1")
    await stack.rows("update clerksync.webhook_delivery set body = overlay(body placing 'AA' from 40) returning true")

    with pytest.raises(grpc.aio.AioRpcError, match="it was changed in the database") as caught:
        await redriven(stack)
    assert "BODY_UNREADABLE" == error_info(caught.value).reason


@pytest.mark.parametrize(
    ("keys", "change"),
    [
        (OLD, "body = (select body from clerksync.webhook_delivery where svix_id = 'msg_other')"),
        (OLD, "body_key = null, body = '{}'"),
        ("", "body = '{}'"),
    ],
    ids=["another delivery's", "a plain one", "a plain one without keys"],
)
async def test_a_body_that_did_not_come_with_its_delivery_is_refused(
    start_stack: Any, connection: Any, keys: str, change: str
) -> None:
    """Neither shown, nor applied by a redrive, nor encrypted anew as if it were the right one."""
    stack = await start_stack(CLERKSYNC_QUARANTINE_KEY=keys) if keys else await start_stack()
    await quarantine_what_is_understood_by_now(stack, connection)
    await connection.execute("update clerksync.webhook_delivery set svix_id = 'msg_other'")
    await stack.post(BODY, svix_id="msg_1")
    await connection.execute(f"update clerksync.webhook_delivery set {change} where svix_id = 'msg_1'")
    before = await kept(stack)

    for call in (shown, redriven):
        with pytest.raises(grpc.aio.AioRpcError, match="not the one that came with this delivery") as caught:
            await call(stack)
        assert "BODY_UNREADABLE" == error_info(caught.value).reason
    result = await command(stack, *REENCRYPT, keys=f"{NEW},{OLD}")

    assert 1 == result.returncode
    assert "encrypted 1 bodies" in result.stdout
    assert "msg_1: the body is not the one that came with this delivery" in result.stdout
    assert before == await kept(stack)
    assert [] == await stack.rows("select from public.organization")


async def test_a_key_is_rotated_and_no_body_is_lost(start_stack: Any) -> None:
    """New key first, re-encrypt, old key away: plain bodies and those of the old key are all under the new one."""
    await (await start_stack()).post(BODY, svix_id="msg_plain")
    before = await start_stack(CLERKSYNC_QUARANTINE_KEY=OLD)
    for number in range(45):
        await before.post(BODY + b" %d" % number, svix_id=f"msg_{number}")

    both = await start_stack(CLERKSYNC_QUARANTINE_KEY=f"{NEW}, {OLD}")
    assert BODY + b" 0" == await shown(both, "msg_0")
    await both.post(BODY, svix_id="msg_new")
    done = await command(both, *REENCRYPT, keys=f"{NEW},{OLD}")
    again = await command(both, *REENCRYPT, keys=f"{NEW},{OLD}")

    after = await start_stack(CLERKSYNC_QUARANTINE_KEY=NEW)
    assert [BODY + b" %d" % number for number in range(45)] == [
        await shown(after, f"msg_{number}") for number in range(45)
    ]
    assert BODY == await shown(after, "msg_plain") == await shown(after, "msg_new")
    keys = await after.rows("select distinct body_key from clerksync.webhook_delivery")
    assert (0, [f"encrypted 46 bodies with the key {keys[0]['body_key']}"]) == (
        done.returncode,
        done.stdout.splitlines(),
    )
    assert 1 == len(keys)
    assert "encrypted 0 bodies" in again.stdout


async def test_a_rotation_tells_which_bodies_no_key_opens(start_stack: Any) -> None:
    """They stay as they are, and the command fails so that nobody throws their key away."""
    stack = await start_stack(CLERKSYNC_QUARANTINE_KEY=OLD)
    await stack.post(BODY, svix_id="msg_1")
    before = await kept(stack)

    result = await command(stack, *REENCRYPT, keys=NEW)

    assert 1 == result.returncode
    assert f"the key {before['body_key']}, which is not in CLERKSYNC_QUARANTINE_KEY" in result.stdout
    assert before == await kept(stack)


async def test_a_rotation_needs_a_key(start_stack: Any) -> None:
    """Without one it changes nothing and names the variable."""
    stack = await start_stack()

    result = await command(stack, *REENCRYPT)

    assert 2 == result.returncode
    assert "CLERKSYNC_QUARANTINE_KEY: is not set, and this command needs it" in result.stderr


async def test_a_version_that_knows_no_keys_leaves_an_encrypted_body_as_it_is(start_stack: Any) -> None:
    """What the version before this one writes when it redrives such a row does not lose the body."""
    stack = await start_stack(CLERKSYNC_QUARANTINE_KEY=OLD)
    await stack.post(BODY, svix_id="msg_1")
    await stack.rows(
        """
        update clerksync.webhook_delivery
        set outcome = 'quarantined', event_type = null, body = body, quarantine_reason = 'the body is not JSON in UTF-8'
        returning true
        """
    )

    assert BODY == await shown(stack)
