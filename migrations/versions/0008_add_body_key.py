"""Runs sql/0008_add_body_key.sql."""

from collections.abc import Callable

revision = "0008"
down_revision = "0007"


def upgrade(run_sql_file: Callable[[str], None]) -> None:
    run_sql_file("0008_add_body_key.sql")
