"""Runs sql/0003_create_tables.sql."""

from collections.abc import Callable

revision = "0003"
down_revision = "0002"


def upgrade(run_sql_file: Callable[[str], None]) -> None:
    run_sql_file("0003_create_tables.sql")
