"""Runs sql/0005_explain_and_prune.sql."""

from collections.abc import Callable

revision = "0005"
down_revision = "0004"


def upgrade(run_sql_file: Callable[[str], None]) -> None:
    run_sql_file("0005_explain_and_prune.sql")
