"""SyncService with TLS, on certificates made for the test."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import trustme
from stack import Stack
from tls.mounted import CA, CERT, KEY, Mounted, issued
from transports import VARIABLE

StartTls: TypeAlias = Callable[..., Awaitable[Stack]]
MountFiles: TypeAlias = Callable[[dict[str, bytes]], Mounted]


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    """Who issues the certificates that are right."""
    return trustme.CA()


@pytest.fixture(scope="session")
def other_ca() -> trustme.CA:
    """Somebody else, whom nobody here trusts."""
    return trustme.CA()


@pytest.fixture
def mount(tmp_path: Path) -> MountFiles:
    """Makes folders of files."""
    made: list[Mounted] = []

    def make(files: dict[str, bytes]) -> Mounted:
        made.append(Mounted(tmp_path / f"mounted{len(made)}", files))
        return made[-1]

    return make


@pytest.fixture
def server(ca: trustme.CA, mount: MountFiles) -> Mounted:
    """What the server of the test shows, and the CA whose clients it takes."""
    return mount(issued(ca))


@pytest.fixture
def start_tls(start_stack: Callable[..., Any], server: Mounted) -> StartTls:
    """Starts SyncService and the front with TLS; `asks_clients` for mutual TLS."""

    async def start(*, asks_clients: bool = False, **variables: str) -> Stack:
        files = {"CLERKSYNC_GRPC_TLS_CERT": server / CERT, "CLERKSYNC_GRPC_TLS_KEY": server / KEY}
        if asks_clients:
            files["CLERKSYNC_GRPC_TLS_CLIENT_CA"] = server / CA
        started: Stack = await start_stack(**{VARIABLE: "grpcio"}, **files, **variables)
        return started

    return start


def target_of(stack: Stack) -> str:
    """By a name, which certificates are for."""
    return f"localhost:{stack.target.rpartition(':')[2]}"
