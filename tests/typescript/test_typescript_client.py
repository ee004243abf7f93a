"""The client for Node: its own checks and tests, and the same client against the real SyncService."""

import asyncio
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import bodies
import pytest
import trustme
from stack import Stack, now_ms
from tls.mounted import CA, CERT, KEY, Mounted, issued
from tokens import Signer
from transports import VARIABLE

CLIENT = Path(__file__).parents[2] / "clients" / "typescript"
ORG = "org_acme"
NO_REGISTRY = re.compile(r"ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EAI_AGAIN|network (request|timeout)")


class Node:
    """Node, and the client compiled with its tests."""

    def __init__(self, npm: str, node: str) -> None:
        self._npm = npm
        self._node = node

    def npm(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs npm in the client's folder."""
        return subprocess.run(
            (self._npm, *arguments), cwd=CLIENT, check=False, capture_output=True, text=True, timeout=110
        )

    def script(self, name: str) -> tuple[str, str]:
        """The command that runs a script of the client's tests."""
        return self._node, str(CLIENT / "dist" / "check" / "test" / name)

    def prepare(self) -> None:
        """Installs and compiles, each only if it is not done: other workers may be running what is there."""
        place = hashlib.sha256(str(CLIENT).encode()).hexdigest()[:16]
        with (Path(tempfile.gettempdir()) / f"clerksync-typescript-{place}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._install(CLIENT / "node_modules" / ".clerksync-installed")
            self._compile(CLIENT / "dist" / "check" / ".clerksync-compiled")

    def _install(self, stamp: Path) -> None:
        wanted = digest([CLIENT / "package-lock.json"])
        if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
            return
        installed = self.npm("ci", "--no-audit", "--no-fund")
        if installed.returncode != 0 and NO_REGISTRY.search(installed.stderr):
            pytest.skip("the client for Node needs packages, and npm does not reach its registry")
        assert installed.returncode == 0, installed.stderr
        stamp.write_text(wanted, encoding="utf-8")

    def _compile(self, stamp: Path) -> None:
        folders = [CLIENT / "src", CLIENT / "test", CLIENT / "examples"]
        sources = sorted(source for folder in folders for source in folder.rglob("*.ts"))
        wanted = digest([*sources, CLIENT / "tsconfig.json", CLIENT / "package-lock.json"])
        if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
            return
        shutil.rmtree(stamp.parent, ignore_errors=True)
        compiled = self.npm("run", "compile")
        assert compiled.returncode == 0, compiled.stdout
        stamp.write_text(wanted, encoding="utf-8")


def digest(paths: Iterable[Path]) -> str:
    """What the files hold, and how they are named."""
    sha256 = hashlib.sha256()
    for path in paths:
        sha256.update(f"{path} {path.stat().st_size} ".encode() + path.read_bytes())
    return sha256.hexdigest()


@pytest.fixture(scope="session")
def node() -> Node:
    """Skips where there is no Node, or one that is too old."""
    npm, found = shutil.which("npm"), shutil.which("node")
    if npm is None or found is None:
        pytest.skip("the client for Node needs Node 20 or newer with npm, and there is none")
    version = subprocess.run(
        (found, "--version"), check=True, capture_output=True, text=True, timeout=30
    ).stdout.strip()
    if int(version.removeprefix("v").split(".")[0]) < 20:
        pytest.skip(f"the client for Node needs Node 20 or newer; this is {version}")
    ready = Node(npm, found)
    ready.prepare()
    return ready


def test_its_own_tests_pass(node: Node) -> None:
    """The client's tests against a SyncService of its own in Node pass: cache, batches, removals, policy, example."""
    tested = node.npm("run", "test:compiled")

    assert tested.returncode == 0, tested.stdout
    assert re.search(r"^# pass [1-9]\d+$", tested.stdout, re.MULTILINE)


def test_its_generated_code_is_fresh(node: Node) -> None:
    """The committed TypeScript is what the generator makes of protos/."""
    checked = node.npm("run", "check:generated")

    assert checked.returncode == 0, checked.stderr


def test_its_style_is_right(node: Node) -> None:
    """The format is what the formatter makes of it."""
    linted = node.npm("run", "lint")

    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_its_lock_file_names_no_registry() -> None:
    """package-lock.json pins each package by its hash, and says nowhere where it was fetched from."""
    packages = json.loads((CLIENT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    installed = {name: package for name, package in packages.items() if name}

    assert installed
    assert {name for name, package in installed.items() if "resolved" in package} == set()
    assert {name for name, package in installed.items() if not package["integrity"].startswith("sha512-")} == set()


class Script:
    """The script that uses the client, a step for each line it is sent."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def step(self, name: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{name}\n".encode())
        line = await asyncio.wait_for(self._process.stdout.readline(), 20)
        return json.loads(line)


@asynccontextmanager
async def script(node: Node, stack: Stack, *files: str) -> AsyncIterator[Script]:
    pipe = asyncio.subprocess.PIPE
    command = (*node.script("against_sync_service.js"), f"dns:///{stack.target}", ORG, *files)
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, env=dict(os.environ))
    try:
        yield Script(process)
        assert process.stdin is not None
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_ensures_profiles_and_organizations(node: Node, stack: Stack) -> None:
    """One miss is one unary call, and those that wait meanwhile are one batch; the rows are in the tables."""
    async with script(node, stack) as client:
        assert await client.step("single") == {"user": "user_ada", "created": True}
        assert await client.step("organization") == {"id": ORG, "created": False}
        assert await client.step("batch") == {"created": 20, "calls": 2}

    assert await stack.rows("select count(*) from user_profile") == [{"count": 21}]


async def test_session_tokens_do_not_make_a_call_too_large(node: Node, start_stack: Callable[..., Any]) -> None:
    """SyncService has room for as many of the longest tokens and ids as travel in one call: it looks at each."""
    stack = await start_stack(CLERK_JWT_KEY=Signer().pem)

    async with script(node, stack) as client:
        assert await client.step("long_tokens") == ["SESSION_TOKEN_INVALID"]


async def test_a_removal_is_a_typed_error(node: Node, stack: Stack) -> None:
    """Who was removed is MembershipRemoved, alone and in a batch."""
    t = now_ms() + 5_000
    await stack.post(bodies.membership("deleted", "user_ada", ORG, at=t, joined_at=t - 60_000))

    async with script(node, stack) as client:
        assert await client.step("removed") == ["MEMBERSHIP_REMOVED", "MEMBERSHIP_REMOVED"]


async def test_a_removal_drops_what_is_cached(node: Node, stack: Stack) -> None:
    """A webhook that removes a member ends the cached profile, by the stream of removals and not by its age."""
    async with script(node, stack) as client:
        assert await client.step("in_sync") == {"kept": True}

        t = now_ms() + 5_000
        await stack.post(bodies.membership("deleted", "user_ada", ORG, at=t, joined_at=t - 60_000))

        assert await client.step("dropped") == {"removals": 1}
        assert (await client.step("removed"))[0] == "MEMBERSHIP_REMOVED"


async def test_mutual_tls(node: Node, start_stack: Callable[..., Any], tmp_path: Path) -> None:
    """The client asks and listens over mutual TLS, with credentials of grpc-js."""
    ca = trustme.CA()
    server = Mounted(tmp_path / "server", issued(ca, "127.0.0.1"))
    own = Mounted(tmp_path / "own", issued(ca, "sibling.example"))
    stack = await start_stack(
        **{VARIABLE: "grpcio"},
        CLERKSYNC_GRPC_TLS_CERT=server / CERT,
        CLERKSYNC_GRPC_TLS_KEY=server / KEY,
        CLERKSYNC_GRPC_TLS_CLIENT_CA=server / CA,
    )

    async with script(node, stack, own / CA, own / KEY, own / CERT) as client:
        assert await client.step("single") == {"user": "user_ada", "created": True}
        assert await client.step("in_sync") == {"kept": True}
