"""What is told of a connection to Postgres that does not come about: what is at fault, and no value."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from clerksync_server.database.connecting import connecting
from clerksync_server.database.connection import Database
from clerksync_server.database.migrate import MigrationError, migrate
from clerksync_server.errors import DatabaseUnavailable

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def saying(answer: bytes) -> Answer:
    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(answer)
        writer.close()

    return answering


@asynccontextmanager
async def listening(answer: Answer) -> AsyncIterator[str]:
    """Something that is no Postgres; yields the URL without options."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"postgresql://u:MARK@127.0.0.1:{server.sockets[0].getsockname()[1]}/MARK"


async def told(url: str) -> str:
    """What the pool says, which is what `doctor` and SyncService say, and what `migrate` says: the same."""
    database = Database(url, pool_size=1)
    await database.open()
    with pytest.raises(DatabaseUnavailable) as unavailable:
        async with database.connection():
            pass
    await database.close()
    with pytest.raises(MigrationError, match=re.escape(unavailable.value.detail)) as not_migrated:
        await migrate(url)
    assert "MARK" not in str(not_migrated.value)
    return unavailable.value.detail


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("sslmode=verify-full", "DATABASE_URL: its sslrootcert is missing"),
        (
            "sslmode=verify-ca&sslrootcert={tmp}/MARK",
            "DATABASE_URL: its sslrootcert names a file that cannot be read: No",
        ),
        (
            "sslmode=require&sslrootcert={tmp}/text",
            "DATABASE_URL: its sslrootcert names a file that holds no certificate",
        ),
        ("sslcert={tmp}/text&sslkey={tmp}/MARK", "DATABASE_URL: its sslkey names a file that cannot be read: No such"),
        (
            "sslcert={tmp}/text&sslkey={tmp}/text",
            "DATABASE_URL: its sslcert and sslkey name no certificate and its key",
        ),
        ("ssl_min_protocol_version=MARK", "DATABASE_URL: its ssl_min_protocol_version is none of TLSv1, TLSv1.1, "),
        ("sslnegotiation=MARK", "DATABASE_URL: its sslnegotiation is none of direct, postgres"),
        ("target_session_attrs=MARK", "DATABASE_URL: its target_session_attrs is none of any, "),
        ("gsslib=MARK", "DATABASE_URL: its gsslib is none of gssapi, sspi"),
        ("host=a&port=MARK", "DATABASE_URL is not understood. It has the form"),
    ],
)
async def test_a_part_of_the_url_that_is_wrong(
    options: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named by its option, before anything is connected to."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "text").write_text("MARK")

    host = "" if "host=" in options else "127.0.0.1:1"
    assert (await told(f"postgresql://u:MARK@{host}/MARK?{options.format(tmp=tmp_path)}")).startswith(expected)


async def test_what_the_environment_adds_to_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is named beside it, where nothing else is known to be wrong."""
    monkeypatch.setenv("PGPORT", "MARK")

    assert (await told("postgresql:///MARK")).startswith("DATABASE_URL with PGPORT is not understood")


async def test_a_variable_of_the_driver_that_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named itself, where the URL has no such option."""
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGSSLROOTCERT", str(tmp_path / "MARK"))

    assert (await told("postgresql://u:MARK@127.0.0.1:1/MARK")).startswith("PGSSLROOTCERT names a file that cannot be")


@pytest.mark.parametrize(
    ("answer", "options", "expected"),
    [
        (b"N", "?sslmode=require", "sslmode asks for TLS, and Postgres offers none"),
        (b"N", "?sslmode=allow", "Postgres refuses the connection without TLS, and offers none"),
        (b"HTTP/1.1 400 Bad Request", "", "the question for TLS was not answered as Postgres does"),
        (b"EMARK", "", "the question for TLS was not answered as Postgres does"),
        (b"", "", "the connection was closed while it was made"),
        (b"", "?sslmode=require", "the connection was closed while it was made"),
        (b"", "?sslmode=disable", "the connection was closed while it was made"),
        (b"N", "", "the connection was closed while it was made"),
    ],
)
async def test_something_else_that_answers(answer: bytes, options: str, expected: str) -> None:
    """That Postgres offers no TLS is told only where the URL asks for it and the answer may be Postgres'."""
    async with listening(saying(answer)) as url:
        assert (await told(f"{url}{options}")).startswith(expected)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("datestyle=MARK", "its option datestyle"),
        ("DateStyle=MARK", "its option DateStyle"),
        ("nonsense=MARK", "its option nonsense"),
        ("options=-cMARK%3D1", "one of its options"),
    ],
)
async def test_an_option_that_postgres_does_not_take(database_url: str, options: str, expected: str) -> None:
    """Named without what it holds, which Postgres repeats."""
    assert f"DATABASE_URL: Postgres does not take {expected}" == await told(f"{database_url}?{options}")


async def test_what_is_not_about_the_url_passes() -> None:
    """Callers tell apart what Postgres says, and whether anybody is there."""
    url = "postgresql://u:MARK@127.0.0.1:1/MARK"
    for error in (asyncpg.InvalidPasswordError("MARK"), ConnectionRefusedError(111, "MARK"), TimeoutError("MARK")):
        with pytest.raises(type(error)), connecting(url):
            raise error
