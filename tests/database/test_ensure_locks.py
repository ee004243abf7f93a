"""Ensure waits for whoever is deleting."""

import asyncio

import pytest
from stack import Stack
from watching import Connection

from clerksync_server.database.facts import Lock, organization_lock, pair_lock, take_locks, user_lock


@pytest.mark.parametrize(
    "lock",
    [organization_lock("org_1", exclusive=True), user_lock("user_1", exclusive=True), pair_lock("user_1", "org_1")],
    ids=["organization", "user", "pair"],
)
async def test_making_a_profile_waits_for_a_deletion(stack: Stack, connection: Connection, lock: Lock) -> None:
    """While a transaction deletes the user or the organization, nothing is made that it would not see."""
    async with connection.transaction():
        await take_locks(connection, {lock})
        call = asyncio.create_task(stack.ensure_profile("user_1", "org_1"))
        await asyncio.sleep(0.3)
        assert not call.done()
    await call
