"""Runs sql/0006_add_removal_log.sql."""

from collections.abc import Callable

revision = "0006"
down_revision = "0005"


def upgrade(run_sql_file: Callable[[str], None]) -> None:
    run_sql_file("0006_add_removal_log.sql")
