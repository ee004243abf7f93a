"""Times to come: a SyncService whose clock has jumped ahead, and events that wait for their time."""

from datetime import UTC, datetime, timedelta

import bodies
import pytest
from stack import Stack, now_ms

from clerksync_server.database.connection import Database
from clerksync_server.database.deliveries import Outcome
from clerksync_server.errors import Refused
from clerksync_server.rules.evidence import EvidencePolicy
from clerksync_server.sync.deliveries import Deliveries
from clerksync_server.sync.ensure import Ensure, Sighting

POLICY = EvidencePolicy(max_token_age_ms=60_000, retention_ms=90 * 24 * 3600 * 1000)
SIGHTING = Sighting("user_1", "org_1", None)


async def test_evidence_is_never_from_the_future(stack: Stack) -> None:
    """Postgres's clock bounds what a call without a token's time proves, so that a removal to come still ends it."""
    database = Database(stack.database_url, pool_size=1)
    await database.open()
    ahead = Ensure(database, POLICY, now=lambda: datetime.now(UTC) + timedelta(hours=2))
    try:
        made = await ahead.user_profile(SIGHTING)
        t = now_ms() + 60_000
        await stack.post(bodies.membership("deleted", "user_1", "org_1", at=t, joined_at=t - 1000))

        assert made.created
        assert await stack.rows("select id from user_profile") == []
        with pytest.raises(Refused, match="removed from the organization"):
            await ahead.user_profile(SIGHTING)
    finally:
        await database.close()


async def test_an_event_to_come_is_understood_once_its_time_has_come(stack: Stack) -> None:
    """A redrive measures a quarantined time by the present, not by the attempt of that day."""
    body = bodies.organization("created", "org_1", at=now_ms() + 300 * 24 * 3600 * 1000)
    answer = await stack.post(body, svix_id="msg_1")
    database = Database(stack.database_url, pool_size=1)
    await database.open()
    try:
        today = await Deliveries(database).redrive("msg_1")
        later = await Deliveries(database, now=lambda: datetime.now(UTC) + timedelta(days=300)).redrive("msg_1")
    finally:
        await database.close()

    assert answer.status == 202
    assert today.judgement.outcome is Outcome.QUARANTINED
    assert later.judgement.outcome is Outcome.APPLIED
