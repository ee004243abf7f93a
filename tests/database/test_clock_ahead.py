"""A SyncService whose clock has jumped ahead."""

from datetime import UTC, datetime, timedelta

import bodies
import pytest
from stack import Stack, now_ms

from clerksync_server.database.connection import Database
from clerksync_server.errors import Refused
from clerksync_server.rules.evidence import EvidencePolicy
from clerksync_server.sync.ensure import Ensure

POLICY = EvidencePolicy(max_token_age_ms=60_000, retention_ms=90 * 24 * 3600 * 1000)


async def test_evidence_is_never_from_the_future(stack: Stack) -> None:
    """Postgres's clock bounds what a call without a token's time proves, so that a removal to come still ends it."""
    database = Database(stack.database_url, pool_size=1)
    await database.open()
    ahead = Ensure(database, POLICY, now=lambda: datetime.now(UTC) + timedelta(hours=2))
    try:
        made = await ahead.user_profile("user_1", "org_1", None)
        t = now_ms() + 60_000
        await stack.post(bodies.membership("deleted", "user_1", "org_1", at=t, joined_at=t - 1000))

        assert made.created
        assert await stack.rows("select id from user_profile") == []
        with pytest.raises(Refused, match="removed from the organization"):
            await ahead.user_profile("user_1", "org_1", None)
    finally:
        await database.close()
