"""Fixtures that several folders of tests share: a real Postgres, databases on it, and the whole stack in process."""

import asyncio
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from stack import WEBHOOK_SECRET, Stack
from transports import HAS_NATIVE, NAMES, VARIABLE

from clerksync_server.app import Application
from clerksync_server.database.migrate import migrate
from clerksync_server.dev.embedded_postgres import EmbeddedPostgres
from clerksync_server.settings import load_settings

TEMPLATE = "clerksync_template"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--transport",
        choices=NAMES,
        help="what carries the calls of every SyncService (without it: grpcio, and some tests run with each)",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("transport") == "native" and not HAS_NATIVE:
        raise pytest.UsageError("--transport native: pygrpc-native is not installed; the extra `native` has it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Who chooses a transport wants no other."""
    if (chosen := config.getoption("transport")) is None:
        return
    others = [
        item
        for item in items
        if isinstance(item, pytest.Function)
        and hasattr(item, "callspec")
        and item.callspec.params.get("transport", chosen) != chosen
    ]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in set(others)]


@pytest.fixture(scope="session")
def chosen_transport(pytestconfig: pytest.Config) -> str:
    """What carries the calls where a test does not run with every transport."""
    return pytestconfig.getoption("transport") or "grpcio"


@pytest.fixture
def transport(chosen_transport: str) -> str:
    """What carries the calls of every SyncService that the test starts."""
    return chosen_transport


@pytest.fixture(autouse=True)
def clean_environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, chosen_transport: str) -> None:
    """No test sees the settings of the shell that runs it, but for the transport that was chosen."""
    for name in list(os.environ):
        if name.startswith(("CLERK", "PG")) or name == "DATABASE_URL":
            monkeypatch.delenv(name)
    # A test that never asks is not to run once for each.
    asks = "transport" in request.fixturenames
    monkeypatch.setenv(VARIABLE, request.getfixturevalue("transport") if asks else chosen_transport)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """A Postgres of the test session's own, durable as in production."""
    with tempfile.TemporaryDirectory(prefix="clerksync-tests-") as folder:
        Path(folder).chmod(0o755)  # Started by root, Postgres runs as another user, who has to get here.
        with EmbeddedPostgres(Path(folder) / "postgres", settings={"max_connections": "300"}) as postgres:
            yield postgres


@pytest.fixture(scope="session")
def postgres_server_dsn(postgres_server: EmbeddedPostgres) -> str:
    """How its superuser reaches it."""
    return postgres_server.dsn


def _dsn_of(server_dsn: str, database: str) -> str:
    return urlsplit(server_dsn)._replace(path=f"/{database}").geturl()


async def _administer(server_dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(server_dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
async def empty_database(postgres_server_dsn: str) -> AsyncIterator[str]:
    """The DSN of a new database without our schema."""
    name = f"test_{secrets.token_hex(6)}"
    await _administer(postgres_server_dsn, f"create database {name} template template0")
    yield _dsn_of(postgres_server_dsn, name)
    await _administer(postgres_server_dsn, f"drop database {name} with (force)")


@pytest.fixture(scope="session")
def _template(postgres_server_dsn: str) -> str:
    """Migrated once, and copied for each test."""

    async def make() -> None:
        await _administer(postgres_server_dsn, f"create database {TEMPLATE} template template0")
        await migrate(_dsn_of(postgres_server_dsn, TEMPLATE))

    asyncio.run(make())
    return TEMPLATE


@pytest.fixture
async def database_url(postgres_server_dsn: str, _template: str) -> AsyncIterator[str]:
    """The DSN of a new, migrated database."""
    name = f"test_{secrets.token_hex(6)}"
    await _administer(postgres_server_dsn, f"create database {name} template {_template}")
    yield _dsn_of(postgres_server_dsn, name)
    await _administer(postgres_server_dsn, f"drop database {name} with (force)")


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection to the test's database, as its owner."""
    opened = await asyncpg.connect(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def start_stack(database_url: str, transport: str) -> AsyncIterator[Callable[..., Any]]:
    """Starts SyncService and the front on free ports, with settings given by the name of their variable."""
    async with AsyncExitStack() as stop:

        async def start(**variables: str) -> Stack:
            defaults = {
                "DATABASE_URL": database_url,
                "CLERK_WEBHOOK_SECRET": WEBHOOK_SECRET,
                "CLERKSYNC_GRPC_LISTEN": "127.0.0.1:0",
                "CLERKSYNC_HTTP_LISTEN": "127.0.0.1:0",
                "CLERKSYNC_OPS_LISTEN": "127.0.0.1:0",
                "CLERKSYNC_SHUTDOWN_GRACE": "2",
                VARIABLE: transport,
            }
            settings = load_settings(**(defaults | variables))
            application = Application(settings, service=True, front=True, dev="CLERKSYNC_POLICY_FILE" not in variables)
            await application.start()
            stop.push_async_callback(application.stop)
            return await stop.enter_async_context(Stack(application, settings))

        yield start


@pytest.fixture
async def stack(start_stack: Callable[..., Any]) -> Stack:
    """SyncService and the front, on the test's database."""
    started: Stack = await start_stack()
    return started
