"""What `pip install` puts on a machine."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVER_ONLY = {"aiohttp", "alembic", "asyncpg", "clerksync_server", "pydantic", "sqlalchemy", "structlog", "svix"}
FRAMEWORKS = {"django", "fastapi", "flask", "litestar", "opentelemetry", "prometheus_client", "pytest", "starlette"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names of the files in the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built).namelist()


def test_top_level_names(wheel: list[str]) -> None:
    """Nothing but our two packages lands in site-packages: no `server`, `tests` or `google`."""
    names = {name.split("/")[0] for name in wheel if ".dist-info/" not in name}

    assert {"clerksync", "clerksync_server"} == names


def test_data_is_included(wheel: list[str]) -> None:
    """The wheel carries the migrations, the queries, the samples and the marks that it is typed."""
    for folder, suffix in (("migrations/sql", ".sql"), ("server/clerksync_server/database/queries", ".sql")):
        inside = "clerksync_server/" + folder.removeprefix("server/clerksync_server/")
        for file in (ROOT / folder).glob(f"*{suffix}"):
            assert f"{inside}/{file.name}" in wheel
    assert sum(name.startswith("clerksync_server/samples/") for name in wheel) == 9
    assert {"clerksync/py.typed", "clerksync_server/py.typed"} < set(wheel)


@pytest.mark.parametrize(
    "module",
    ["clerksync", "clerksync.blocking", "clerksync.policy", "clerksync.testing", "clerksync.v1.sync_service_pb2_grpc"],
)
def test_the_client_needs_nothing_of_the_server(module: str) -> None:
    """A sibling service that imports the client loads none of the server's dependencies, and no framework."""
    code = f"import sys, {module}; print(*sys.modules)"

    loaded = set(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    )
    allowed = {"clerksync_server"} if module == "clerksync.testing" else set()

    assert allowed == (SERVER_ONLY | FRAMEWORKS) & loaded
    assert {"clerksync_server", "clerksync_server.rules"} >= {
        name
        for name in loaded
        if name.startswith("clerksync_server") and not name.startswith("clerksync_server.rules.")
    }


def test_the_command_says_what_is_missing() -> None:
    """Where only the client is installed the command says so in words."""
    code = "import sys; sys.modules['typer'] = None; from clerksync_server.__main__ import main; main()"

    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)

    assert (1, "") == (ended.returncode, ended.stdout)
    assert "pip install 'clerksync[server]'" in ended.stderr
    assert "Traceback" not in ended.stderr
