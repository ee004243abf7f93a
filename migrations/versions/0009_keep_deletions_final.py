"""Runs sql/0009_keep_deletions_final.sql."""

from collections.abc import Callable

revision = "0009"
down_revision = "0008"


def upgrade(run_sql_file: Callable[[str], None]) -> None:
    run_sql_file("0009_keep_deletions_final.sql")
