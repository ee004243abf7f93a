"""Runs sql/0010_keep_deletions_whose_they_are.sql."""

from collections.abc import Callable

revision = "0010"
down_revision = "0009"


def upgrade(run_sql_file: Callable[[str], None]) -> None:
    run_sql_file("0010_keep_deletions_whose_they_are.sql")
