"""Runs sql/0001_check_earlier_tables.sql."""

from collections.abc import Callable

revision = "0001"
down_revision = None


def upgrade(run_sql_file: Callable[[str], None]) -> None:
    run_sql_file("0001_check_earlier_tables.sql")
