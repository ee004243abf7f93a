"""Which URLs of a database let a connection go unencrypted."""

import pytest

from clerksync_server.database.wire import may_be_plaintext


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p@db.example/d", True),
        ("postgresql://u:p@db.example:5432/d?sslmode=prefer", True),
        ("postgresql://u:p@db.example/d?sslmode=allow", True),
        ("postgresql://u:p@db.example/d?sslmode=disable", True),
        ("postgresql://u:p@db.example/d?sslmode=require", False),
        ("postgresql://u:p@db.example/d?sslmode=verify-ca", False),
        ("postgresql://u:p@db.example/d?sslmode=verify-full&sslrootcert=/ca.pem", False),
        ("postgresql://u:p@db.example/d?sslmode=verify-full&sslmode=prefer", True),
        ("postgresql://u:p@10.0.0.1/d", True),
        ("postgresql://u:p@[fd00::1]:5432/d", True),
        ("postgresql://u:p@127.0.0.1:5432/d", False),
        ("postgresql://u:p@127.8.9.1/d", False),
        ("postgresql://u:p@[::1]:5432/d", False),
        ("postgresql://u:p@localhost/d", False),
        ("postgresql://u:p@localhost.example/d", True),
        ("postgresql://u:p@127.0.0.1,10.0.0.1:5432/d", True),
        ("postgresql://u:p@127.0.0.1:1,localhost:2/d", False),
        ("postgresql://%2Frun%2Fpostgresql/d", False),
        ("postgresql:///d?host=/run/postgresql", False),
        ("postgresql:///d?host=db.example", True),
        ("postgresql://u:p@/d?host=db.example", True),
        ("postgresql:///d", False),
        ("postgresql://u:p%40db@127.0.0.1/d", False),
    ],
)
def test_what_may_go_unencrypted(url: str, expected: bool) -> None:
    """Whatever leads to another machine without an sslmode that insists; the last of several counts, as in asyncpg."""
    assert expected is may_be_plaintext(url)


def test_the_environment_counts_as_asyncpg_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """PGSSLMODE where the URL has no mode, PGHOST where it has no host."""
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    assert not may_be_plaintext("postgresql://u:p@db.example/d")
    assert may_be_plaintext("postgresql://u:p@db.example/d?sslmode=prefer")
    monkeypatch.delenv("PGSSLMODE")
    monkeypatch.setenv("PGHOST", "db.example")
    assert may_be_plaintext("postgresql:///d")
    assert may_be_plaintext("postgresql://u:p@/d")
