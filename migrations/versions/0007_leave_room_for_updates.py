"""Runs sql/0007_leave_room_for_updates.sql."""

from collections.abc import Callable

revision = "0007"
down_revision = "0006"


def upgrade(run_sql_file: Callable[[str], None]) -> None:
    run_sql_file("0007_leave_room_for_updates.sql")
