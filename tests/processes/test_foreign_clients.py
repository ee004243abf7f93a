"""Foreign gRPC clients, as an operator has them at hand: grpcurl and buf curl, by reflection alone."""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bodies
import pytest
from running import run
from stack import WEBHOOK_SECRET, Stack, now_ms
from transports import TRANSPORTS

BIN = Path(sys.executable).parent
ENSURE = "clerksync.v1.SyncService/EnsureUserProfile"


def tool(name: str) -> str:
    found = shutil.which(name, path=str(BIN)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not to be had for this platform")
    return found


def call(*command: str) -> Callable[[], subprocess.CompletedProcess[str]]:
    return lambda: subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)


async def in_thread(function: Any) -> Any:
    """The servers of the test run in this loop, so nothing may block it."""
    return await asyncio.to_thread(function)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_grpcurl(stack: Stack) -> None:
    """Grpcurl lists and describes the services, makes a profile, and shows a refusal with its reason."""
    grpcurl = tool("grpcurl")
    t = now_ms()
    await stack.post(bodies.membership("deleted", "user_removed", "org_1", at=t, joined_at=t - 1000))
    plain = (grpcurl, "-plaintext")

    listed = await in_thread(call(*plain, stack.target, "list"))
    described = await in_thread(call(*plain, stack.target, "describe", "clerksync.v1.SyncService"))
    request = json.dumps(
        {"clerk_user_id": "user_1", "clerk_org_id": "org_1", "token_issued_at": "2026-01-01T00:00:00Z"}
    )
    late = json.dumps({"clerk_user_id": "user_1", "clerk_org_id": "org_1"})
    too_old = await in_thread(call(*plain, "-d", request, stack.target, ENSURE))
    made = await in_thread(call(*plain, "-d", late, stack.target, ENSURE))
    removed = json.dumps({"clerk_user_id": "user_removed", "clerk_org_id": "org_1"})
    refused = await in_thread(call(*plain, "-d", removed, stack.target, ENSURE))
    invalid = await in_thread(call(*plain, "-d", "{}", stack.target, ENSURE))
    healthy = await in_thread(call(*plain, stack.target, "grpc.health.v1.Health/Check"))

    assert {"clerksync.v1.SyncService", "clerksync.v1.DeliveryService", "grpc.health.v1.Health"} < set(
        listed.stdout.split()
    )
    assert "rpc EnsureUserProfile" in described.stdout
    assert "EVIDENCE_TOO_OLD" in too_old.stderr
    assert json.loads(made.stdout)["outcome"] == "ENSURE_OUTCOME_CREATED"
    assert refused.returncode == 64 + 9
    assert "MEMBERSHIP_REMOVED" in refused.stderr
    assert invalid.returncode == 64 + 3
    assert "clerk_user_id" in invalid.stderr
    assert "clerk_org_id" in invalid.stderr
    assert json.loads(healthy.stdout)["status"] == "SERVING"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_grpcurl_batches_and_streams(stack: Stack) -> None:
    """Grpcurl shows each outcome of a batch with the details of its error, and a stream of removals."""
    plain = (tool("grpcurl"), "-plaintext")
    asked = json.dumps(
        {"requests": [{"clerk_user_id": "user_1", "clerk_org_id": "org_1"}, {"clerk_user_id": "user_2"}]}
    )
    service = "clerksync.v1.SyncService"

    batch = await in_thread(call(*plain, "-d", asked, stack.target, f"{service}/BatchEnsureUserProfiles"))
    watch = await in_thread(call(*plain, "-max-time", "3", "-d", "{}", stack.target, f"{service}/WatchRemovals"))

    made, failed = json.loads(batch.stdout)["results"]
    assert made["response"]["outcome"] == "ENSURE_OUTCOME_CREATED"
    assert ["INVALID_FIELD"] == [detail["reason"] for detail in failed["error"]["details"] if "reason" in detail]
    assert watch.stdout.count('"position"') >= 2
    assert '"reset": true' in watch.stdout


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_buf_curl(stack: Stack) -> None:
    """Buf curl makes a profile and is told the error of an ill-formed request."""
    buf = (tool("buf"), "curl", "--protocol", "grpc", "--http2-prior-knowledge")
    url = f"http://{stack.target}/{ENSURE}"
    good, bad = ({"clerk_user_id": user, "clerk_org_id": "org_1"} for user in ("user_1", "user 1"))

    made = await in_thread(call(*buf, "-d", json.dumps(good), url))
    found = await in_thread(call(*buf, "-d", json.dumps(good), url))
    invalid = await in_thread(call(*buf, "-d", json.dumps(bad), url))

    assert [json.loads(answer.stdout)["outcome"] for answer in (made, found)] == [
        "ENSURE_OUTCOME_CREATED",
        "ENSURE_OUTCOME_EXISTED",
    ]
    assert invalid.returncode == 8 * 3
    assert "invalid_argument" in invalid.stderr


async def test_a_front_that_cannot_be_reached() -> None:
    """`clerksync send-event` tells which front did not answer, without the password in its URL."""
    url = "http://user:marked@127.0.0.1:1/webhooks/clerk"
    command = ("send-event", "--sample", "organization.created", "--url", url)
    ended = await in_thread(lambda: run(*command, environment={"CLERK_WEBHOOK_SECRET": WEBHOOK_SECRET}))

    assert ended.returncode == 1
    assert "http://127.0.0.1:1/webhooks/clerk could not be reached: " in ended.stderr
    assert "marked" not in ended.stdout + ended.stderr


async def test_what_a_terminal_would_obey(stack: Stack) -> None:
    """`clerksync explain` and `deliveries` show escape sequences in what Clerk says, and do not send them."""
    evil = "Acme\x1b]0;owned\x07\x1b[2J\u202e"
    at = now_ms()
    await stack.post(bodies.organization("created", "org_1", at=at, name=evil))
    await stack.post(bodies.membership("created", "user_1", "org_1", at=at, joined_at=at))
    environment = {"CLERKSYNC_SERVICE_TARGET": stack.target}

    explained = await in_thread(lambda: run("explain", "user_1", "org_1", environment=environment))

    assert r"Acme\x1b]0;owned\x07\x1b[2J\u202e" in explained.stdout
    assert not any(each in explained.stdout for each in "\x1b\x07\u202e")


async def test_commands_of_operators(stack: Stack) -> None:
    """`clerksync send-event`, `deliveries` and `doctor` work against a running stack."""
    environment = {
        "CLERK_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "CLERKSYNC_SERVICE_TARGET": stack.target,
        "DATABASE_URL": stack.database_url,
    }

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run(*arguments, environment=environment)

    to_front = ("--url", stack.webhook_url)
    sample = ("send-event", "--sample", "organizationMembership.created", "--id", "msg_1", *to_front)
    sent = await in_thread(lambda: command(*sample))
    repeated = await in_thread(lambda: command(*sample))
    await stack.post(b"not understood", svix_id="msg_bad")
    listed = await in_thread(lambda: command("deliveries", "list", "--outcome", "quarantined"))
    shown = await in_thread(lambda: command("deliveries", "show", "msg_bad", "--body"))
    stuck = await in_thread(lambda: command("deliveries", "redrive", "--all"))
    unknown = await in_thread(lambda: command("deliveries", "show", "msg_unknown"))
    ada = "user_2sampleAda0000000000000000"
    explained = await in_thread(lambda: command("explain", ada, "org_2sampleAcme000000000000000"))
    healthy = await in_thread(lambda: command("doctor"))
    await stack.rows("insert into clerksync.deleted_entity values ('user', 'user_2sampleAda0000000000000000', now())")
    broken = await in_thread(lambda: command("doctor"))

    assert sent.stdout == 'msg_1: 200 {"outcome": "applied"}\n'
    assert repeated.stdout == 'msg_1: 200 {"outcome": "duplicate"}\n'
    assert "msg_bad" in listed.stdout
    assert "msg_1" not in listed.stdout
    assert "not understood" in shown.stdout
    assert (stuck.returncode, stuck.stdout) == (1, "msg_bad: quarantined (the body is not JSON in UTF-8)\n")
    assert unknown.returncode == 1
    assert unknown.stderr == "clerksync: NOT_FOUND: the ledger holds no delivery with this svix_id\n"
    assert "The delivery msg_1 wrote it last." in explained.stdout
    assert "it was newer than what was known" in explained.stdout
    assert healthy.returncode == 0, healthy.stdout
    assert "look: see `clerksync deliveries" in healthy.stdout
    assert broken.returncode == 1
    assert "BROKEN" in broken.stdout
