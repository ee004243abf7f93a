"""TLS to Postgres: what the URL asks for is done by everything that connects, and nothing goes on without it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import asyncpg
import pytest
import trustme
from running import Running, run, until

from clerksync_server.database.connection import Database
from clerksync_server.dev.embedded_postgres import EmbeddedPostgres


def binaries_with_tls() -> Path:
    """A Postgres that was built with OpenSSL; the one of `clerksync[embedded]` was not."""
    found = shutil.which("postgres")
    system = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in [*([Path(found).resolve().parent] if found else []), *system]:
        told = subprocess.run([folder / "pg_config", "--configure"], check=False, capture_output=True, text=True)
        if "--with-openssl" in told.stdout or "--with-ssl=openssl" in told.stdout:
            return folder
    pytest.skip("no Postgres with OpenSSL is installed, only such a one speaks TLS")


class TlsPostgres:
    """A Postgres with a certificate for `localhost`, and those who vouch for it or do not."""

    def __init__(self, folder: Path, postgres: EmbeddedPostgres) -> None:
        self.postgres = postgres
        self.right_ca, self.wrong_ca = folder / "right.pem", folder / "wrong.pem"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.right_ca)
        trustme.CA().cert_pem.write_to_path(self.wrong_ca)
        certificate = authority.issue_cert("localhost")
        cluster = postgres.folder / "cluster"
        owner = cluster.stat()
        certificate.cert_chain_pems[0].write_to_path(cluster / "server.crt")
        certificate.private_key_pem.write_to_path(cluster / "server.key")
        for name in ("server.crt", "server.key"):
            (cluster / name).chmod(0o600)
            os.chown(cluster / name, owner.st_uid, owner.st_gid)

    def url(self, host: str = "localhost", **options: str | Path) -> str:
        parts = urlsplit(self.postgres.dsn)
        query = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in options.items())
        credentials = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{credentials}@{host}:{parts.port}", query=query).geturl()


@pytest.fixture(scope="module")
def tls_postgres() -> Iterator[TlsPostgres]:
    with tempfile.TemporaryDirectory(prefix="clerksync-tls-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        # Its certificate is made once there is a cluster to keep it in.
        with EmbeddedPostgres(folder / "postgres", binaries=binaries_with_tls()) as postgres:
            served = TlsPostgres(folder, postgres)
        with EmbeddedPostgres(folder / "postgres", binaries=binaries_with_tls(), settings={"ssl": "on"}) as postgres:
            served.postgres = postgres
            yield served


async def wires(url: str) -> dict[str, bool]:
    """Whether each kind of clerksync's connections is encrypted."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "select application_name, bool_and(ssl) as ssl from pg_stat_activity join pg_stat_ssl using (pid) "
            "where application_name like 'clerksync%' group by 1"
        )
        return {row["application_name"]: row["ssl"] for row in rows}
    finally:
        await connection.close()


@pytest.mark.parametrize("mode", ["verify-full", "verify-ca", "require"])
async def test_everything_connects_with_tls(tls_postgres: TlsPostgres, mode: str) -> None:
    """The migration, the pool, connections of their own, the listener and doctor, by the URL alone."""
    options = {"sslmode": mode} | ({} if mode == "require" else {"sslrootcert": str(tls_postgres.right_ca)})
    environment = {"DATABASE_URL": tls_postgres.url(**options)}

    migrated = run("migrate", environment=environment)
    async with Running("service", environment=environment) as service:
        await service.logged("removals are followed")
        database = Database(environment["DATABASE_URL"], pool_size=1)
        await database.dedicated("lookups").fetch("select 1")
        found = await wires(tls_postgres.url(**options))
        await database.close()
        checked = run("doctor", environment=environment)
        assert [] == service.log("the connection to Postgres may be unencrypted")

    assert 0 == migrated.returncode, migrated.stderr
    assert 0 == checked.returncode, checked.stderr
    assert {"clerksync": True, "clerksync lookups": True, "clerksync removals": True} == found


@pytest.mark.parametrize(
    ("host", "ca", "told"),
    [
        (
            "localhost",
            "wrong_ca",
            "the certificate of Postgres is not accepted: unable to get local issuer certificate",
        ),
        ("127.0.0.1", "right_ca", "the certificate of Postgres is not accepted: IP address mismatch"),
    ],
    ids=["another CA", "another name"],
)
async def test_a_certificate_that_is_not_the_right_one_is_refused(
    tls_postgres: TlsPostgres, host: str, ca: str, told: str
) -> None:
    """By everything that connects, in words, and nothing is sent without TLS instead."""
    url = tls_postgres.url(host, sslmode="verify-full", sslrootcert=getattr(tls_postgres, ca))
    await everything_refuses(url, told)

    assert {} == await wires(tls_postgres.url(sslmode="verify-full", sslrootcert=tls_postgres.right_ca))


@pytest.mark.parametrize("mode", ["require", "verify-full"])
async def test_a_server_without_tls_is_refused(tls_postgres: TlsPostgres, postgres_server_dsn: str, mode: str) -> None:
    """Whoever strips TLS on the way gets no password."""
    ca = f"&sslrootcert={quote(str(tls_postgres.right_ca), safe='')}" if mode == "verify-full" else ""

    await everything_refuses(
        f"{postgres_server_dsn}?sslmode={mode}{ca}", "sslmode asks for TLS, and Postgres offers none"
    )


async def everything_refuses(url: str, told: str) -> None:
    """Each command by itself, the service by not being ready; nobody shows the URL."""
    environment = {"DATABASE_URL": url}
    migrated = run("migrate", environment=environment)
    checked = run("doctor", environment=environment)
    async with Running("service", environment=environment) as service:
        (line,) = await service.logged("the database is not ready")
        not_followed = await service.logged("removals are not followed")

        assert service.process.poll() is None
        logged = service.err

    assert 1 == migrated.returncode
    assert f"clerksync: cannot connect to the database: {told}\n" == migrated.stderr
    assert 1 == checked.returncode
    assert told in checked.stderr
    assert line["problem"].endswith(told)
    assert not_followed[0]["problem"].endswith(told)
    password = urlsplit(url).password or ""
    assert password not in logged + migrated.stderr + checked.stderr


async def test_a_url_that_does_not_insist_on_tls_is_told_of(tls_postgres: TlsPostgres) -> None:
    """At the start, with the variable and without its value; the service goes on."""
    # A name that is not this machine's as far as its text tells.
    url = tls_postgres.url().replace("@localhost:", "@db.clerksync.invalid:")
    async with Running("service", environment={"DATABASE_URL": url}) as service:
        (line,) = await service.logged("the connection to Postgres may be unencrypted")
        await until(lambda: service.log("listening"), 10)

    assert "DATABASE_URL" == line["variable"]
    assert "sslmode=verify-full" in line["hint"]
    assert "db.clerksync.invalid" not in line["hint"] + line["event"]


@pytest.mark.parametrize("command", [("migrate",), ("doctor",), ("prune",), ("deliveries", "reencrypt")])
def test_every_command_that_connects_warns_of_plaintext(command: tuple[str, ...]) -> None:
    """On standard error, whatever comes of the command."""
    environment = {"DATABASE_URL": "postgresql://u:hunter2@nobody.invalid/d"} | (
        {"CLERKSYNC_QUARANTINE_KEY": "5Uv0kqWp3y2t2g6nQv2d1lUXFbJ0vZ6v2vQ2o0vX5lE="} if "reencrypt" in command else {}
    )

    done = run(*command, environment=environment)

    assert 1 == done.returncode
    assert "the connection to Postgres may be unencrypted" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
