"""Runs sql/0004_row_level_security.sql."""

from collections.abc import Callable

revision = "0004"
down_revision = "0003"


def upgrade(run_sql_file: Callable[[str], None]) -> None:
    run_sql_file("0004_row_level_security.sql")
