"""SyncService, the front and the operators' commands as processes that speak TLS with each other."""

import asyncio
import json
import shlex
import subprocess
from pathlib import Path

import bodies
import pytest
import trustme
from docs.pages import page
from processes.test_foreign_clients import tool
from running import Running, run, until
from stack import WEBHOOK_SECRET, new_svix_id, now_ms
from tls.conftest import MountFiles, StartTls, target_of
from tls.mounted import CA, CERT, KEY, issued

from clerksync_server.access.tokens import line_of
from clerksync_server.dev.sender import post_event

TRANSPORT = {"CLERKSYNC_GRPC_TRANSPORT": "grpcio"}
HEALTH = """
syntax = "proto3";
package grpc.health.v1;
message HealthCheckRequest { string service = 1; }
message HealthCheckResponse {
  enum ServingStatus { UNKNOWN = 0; SERVING = 1; NOT_SERVING = 2; }
  ServingStatus status = 1;
}
service Health { rpc Check(HealthCheckRequest) returns (HealthCheckResponse); }
"""
"""What grpcurl needs of the file that the page names."""
POLICY = """
[[callers]]
identity = "dns:front.example"
roles = ["front"]

[[callers]]
identity = "token:operator"
roles = ["operator"]

[[callers]]
identity = "dns:clerksync"
roles = ["operator"]
"""


async def test_mutual_tls_from_end_to_end(
    database_url: str, mount: MountFiles, ca: trustme.CA, other_ca: trustme.CA, tmp_path: Path
) -> None:
    """A certificate or a token lets its owner do what the policy says; one of another authority lets in nobody."""
    server, front, stranger = (
        mount(issued(authority, name, trusts=ca))
        for authority, name in ((ca, "clerksync"), (ca, "front.example"), (other_ca, "front.example"))
    )
    token, tokens, policy = tmp_path / "token", tmp_path / "tokens", tmp_path / "policy.toml"
    token.write_text("of-the-operator")
    tokens.write_text(line_of("operator", "of-the-operator"))
    policy.write_text(POLICY)
    environment = TRANSPORT | {
        "DATABASE_URL": database_url,
        "CLERKSYNC_GRPC_PLAINTEXT": "",
        "CLERKSYNC_GRPC_TLS_CERT": server / CERT,
        "CLERKSYNC_GRPC_TLS_KEY": server / KEY,
        "CLERKSYNC_GRPC_TLS_CLIENT_CA": server / CA,
        "CLERKSYNC_POLICY_FILE": str(policy),
        "CLERKSYNC_TOKENS_FILE": str(tokens),
    }
    async with Running("service", environment=environment) as service:
        target = (await service.listening())["grpc"]
        client = {
            "CLERKSYNC_SERVICE_TARGET": target,
            "CLERKSYNC_SERVICE_TLS_CA": front / CA,
            "CLERKSYNC_SERVICE_TLS_CERT": front / CERT,
            "CLERKSYNC_SERVICE_TLS_KEY": front / KEY,
            "CLERKSYNC_SERVICE_TLS_NAME": "clerksync",
        }
        async with Running("front", environment=client | {"CLERK_WEBHOOK_SECRET": WEBHOOK_SECRET}) as running:
            url = f"http://{(await running.listening())['http']}/webhooks/clerk"
            body = json.dumps(bodies.organization("created", "org_1", at=now_ms())).encode()
            answer = await post_event(url, WEBHOOK_SECRET, new_svix_id(), body)
            assert running.log("gRPC is plaintext") == []
        told = run("explain", "user_1", "org_1", environment=client | {"CLERKSYNC_SERVICE_TOKEN_FILE": str(token)})
        denied = run("explain", "user_1", "org_1", environment=client)
        strange = {
            "CLERKSYNC_SERVICE_TLS_CERT": stranger / CERT,
            "CLERKSYNC_SERVICE_TLS_KEY": stranger / KEY,
        }
        refused = run("explain", "user_1", "org_1", environment=client | strange)
        followed = run("explain", "user_1", "org_1", environment=environment | {"CLERKSYNC_GRPC_LISTEN": target})

        assert service.log("gRPC is plaintext") == []
    assert answer == (200, '{"outcome": "applied"}')
    assert (told.returncode, told.stderr) == (0, "")
    assert (denied.returncode, denied.stderr.split(":")[1]) == (1, " PERMISSION_DENIED")
    assert (refused.returncode, refused.stderr.split(":")[1]) == (1, " UNAVAILABLE")
    assert followed.returncode == 0, followed.stderr


async def test_health_as_the_page_asks(start_tls: StartTls, mount: MountFiles, ca: trustme.CA, tmp_path: Path) -> None:
    """The page's command for health works for whoever has a certificate, though reflection is for operators."""
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    target = target_of(await start_tls(asks_clients=True, CLERKSYNC_POLICY_FILE=str(policy)))
    folder = Path(mount(issued(ca, "front.example")) / CERT).parent
    (folder / "health.proto").write_text(HEALTH)
    [line] = [line for line in page("docs/security/tls.md").code_lines() if line.startswith("grpcurl ")]

    _, *arguments = shlex.split(line.replace("clerksync:50051", target))
    command = [tool("grpcurl"), *arguments]
    answer = await asyncio.to_thread(
        subprocess.run, command, cwd=folder, capture_output=True, text=True, timeout=30, check=False
    )

    assert answer.stderr == ""
    assert json.loads(answer.stdout) == {"status": "SERVING"}


@pytest.mark.parametrize("command", ["service", "dev"])
async def test_plaintext_is_told(command: str, database_url: str) -> None:
    """Plaintext is warned of when a process starts."""
    arguments = ("dev", "--no-story") if command == "dev" else ("service",)
    asked = {"CLERKSYNC_GRPC_PLAINTEXT": "" if command == "dev" else "1"}
    async with Running(*arguments, environment={"DATABASE_URL": database_url} | asked) as process:
        (warning,) = await process.logged("gRPC is plaintext")

    assert warning["level"] == "warning"


async def test_dev_with_a_certificate(database_url: str, mount: MountFiles, ca: trustme.CA) -> None:
    """`clerksync dev` plays its story over TLS if it has a certificate."""
    files = mount(issued(ca))
    environment = TRANSPORT | {
        "DATABASE_URL": database_url,
        "CLERKSYNC_GRPC_PLAINTEXT": "",
        "CLERKSYNC_GRPC_TLS_CERT": files / CERT,
        "CLERKSYNC_GRPC_TLS_KEY": files / KEY,
        "CLERKSYNC_GRPC_TLS_CLIENT_CA": files / CA,
    }
    async with Running("dev", environment=environment) as process:
        await until(lambda: "Serving until Ctrl-C" in process.out, 20)

        assert "FAILED_PRECONDITION: the user was removed" in process.out
        assert "UNAVAILABLE" not in process.out
        assert "-plaintext" not in process.out
        pasted = next(line for line in process.out.splitlines() if line.endswith("deliveries list"))
        *given, _, _, _ = shlex.split(pasted)
        listed = run("deliveries", "list", environment=dict(each.split("=", 1) for each in given))

    assert (listed.returncode, listed.stderr) == (0, "")
