"""What is wrong in the environment is told in words, at the start or as the reason for not being ready."""

import os
from pathlib import Path

import pytest
from running import LOOPBACK, Running, run

GOOD = {"CLERK_WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "DATABASE_URL": "postgresql://u@127.0.0.1/d"}


@pytest.mark.parametrize(
    ("command", "variable", "value"),
    [
        ("service", "DATABASE_URL", "postgresql://u:pa#marked@127.0.0.1/db"),
        ("service", "DATABASE_URL", "postgresql://u:marked@127.0.0.1:port/db"),
        ("migrate", "DATABASE_URL", "postgresql://u:marked@127.0.0.1/db?sslmode=perhaps"),
        ("front", "CLERK_WEBHOOK_SECRET", ","),
        ("front", "CLERKSYNC_HTTP_LISTEN", "a..b:80"),
        ("front", "CLERKSYNC_SERVICE_TARGET", "http://127.0.0.1:50051"),
        ("front", "CLERKSYNC_SERVICE_TARGET", "dns:///"),
    ],
)
def test_refused_at_the_start(command: str, variable: str, value: str) -> None:
    """One line names the variable and what it has to be, and repeats nothing of it."""
    refused = run(command, environment=GOOD | LOOPBACK | {variable: value})

    assert refused.returncode == 2
    assert refused.stderr.startswith(f"clerksync: {variable}: ")
    assert len(refused.stderr.splitlines()) == 1
    assert "marked" not in refused.stderr


async def test_what_shows_only_when_connecting() -> None:
    """A certificate that is not there makes a service that is not ready and goes on, not one that falls over."""
    url = "postgresql://u@127.0.0.1:1/d?sslmode=verify-full&sslrootcert=/no/such/file"
    async with Running("service", environment={"DATABASE_URL": url}) as service:
        await service.listening()
        (line,) = await service.logged("the database is not ready")

        assert line["problem"]
        assert service.process.poll() is None
        await service.stop()
        assert service.process.returncode == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_data_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """`clerksync dev` says that its folder cannot be used."""
    tmp_path.chmod(0o500)

    refused = run("dev", environment={"CLERKSYNC_DATA_DIR": str(tmp_path / "data")})

    assert refused.returncode == 1
    assert refused.stderr.startswith("clerksync: CLERKSYNC_DATA_DIR: ")
