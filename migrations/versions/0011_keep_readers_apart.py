"""Runs sql/0011_keep_readers_apart.sql."""

from collections.abc import Callable

revision = "0011"
down_revision = "0010"


def upgrade(run_sql_file: Callable[[str], None]) -> None:
    run_sql_file("0011_keep_readers_apart.sql")
