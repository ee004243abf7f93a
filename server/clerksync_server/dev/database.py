"""The database of `clerksync dev`."""

from pathlib import Path

from clerksync_server.dev.embedded_postgres import EmbeddedPostgres, running_dsn

_FOLDER = "postgres"


def dev_postgres(data_dir: Path) -> EmbeddedPostgres:
    """The embedded Postgres of a data folder, not started yet."""
    return EmbeddedPostgres(data_dir / _FOLDER)


def running_dev_dsn(data_dir: Path) -> str | None:
    """The DSN of a `clerksync dev` that runs on the data folder, or None."""
    return running_dsn(data_dir / _FOLDER)
