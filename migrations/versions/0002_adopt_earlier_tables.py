"""Runs sql/0002_adopt_earlier_tables.sql."""

from collections.abc import Callable

revision = "0002"
down_revision = "0001"


def upgrade(run_sql_file: Callable[[str], None]) -> None:
    run_sql_file("0002_adopt_earlier_tables.sql")
