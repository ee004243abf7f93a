"""Tells why a profile is or is not there."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from clerksync_server.clock import milliseconds_of, utc_now
from clerksync_server.database.connection import Database
from clerksync_server.database.deliveries import DeliveryRow, list_deliveries_of_pair, read_last_writer
from clerksync_server.database.pairs import PairRow, read_pair
from clerksync_server.database.profiles import OrganizationRow, UserProfileRow, read_organization, read_user_profile
from clerksync_server.rules.evidence import EvidencePolicy, Verdict, judge_profile

if TYPE_CHECKING:
    from clerksync_server.database.connection import Connection

_DELIVERIES = 20


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that is known of a pair; `ensure_now` is what an Ensure call without a token's time would come to."""

    profile: UserProfileRow | None
    organization: OrganizationRow | None
    pair: PairRow
    ensure_now: Verdict
    last_writer: DeliveryRow | None
    deliveries: list[DeliveryRow]

    @property
    def summary(self) -> str:
        """Why the profile is or is not there, in a few sentences."""
        return " ".join(filter(None, (self._standing(), self._prospect())))

    def _standing(self) -> str:
        if self.profile is not None:
            if self.profile.clerk_membership_id is None:
                return (
                    f"The profile is there, provisionally: there is evidence of membership from "
                    f"{_time(self.pair.evidence_at)} (a token that a sibling service has seen, or the row of an "
                    "earlier set-up), and no membership event has come since."
                )
            writer = f" The delivery {self.last_writer.svix_id} wrote it last." if self.last_writer else ""
            return (
                f"The profile is there: Clerk told of a membership begun at {_time(self.pair.membership_created_at)} "
                f"and last changed at {_time(self.pair.membership_updated_at)}.{writer}"
            )
        if self.pair.user_deleted_at is not None:
            return f"There is no profile: the user was deleted in Clerk at {_time(self.pair.user_deleted_at)}. Final."
        if self.pair.organization_deleted_at is not None:
            deleted_at = _time(self.pair.organization_deleted_at)
            return f"There is no profile: the organization was deleted in Clerk at {deleted_at}. Final."
        if self.pair.removed_at is not None:
            return (
                f"There is no profile: the user was removed from the organization at {_time(self.pair.removed_at)}, "
                "and no later membership is known."
            )
        return "There is no profile: no membership and no token of the user in this organization was ever seen."

    def _prospect(self) -> str:
        if self.ensure_now is Verdict.MEMBERSHIP_REMOVED:
            return "EnsureUserProfile brings it back with a token issued after the removal."
        if self.ensure_now is Verdict.CREATE:
            since = " with a token issued since" if self.pair.removed_at else ""
            return f"The next EnsureUserProfile call{since} makes one."
        return ""


class Explain:
    """Answers operators. Reads only."""

    def __init__(self, database: Database, policy: EvidencePolicy, *, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._policy = policy
        self._now = now

    async def user_profile(self, clerk_user_id: str, clerk_org_id: str) -> Explanation:
        async def work(connection: "Connection") -> Explanation:
            pair = await read_pair(connection, clerk_user_id, clerk_org_id)
            profile = await read_user_profile(connection, (clerk_user_id, clerk_org_id))
            return Explanation(
                profile=profile,
                organization=await read_organization(connection, clerk_org_id),
                pair=pair,
                ensure_now=self._judge(profile, pair),
                last_writer=(
                    await read_last_writer(connection, clerk_user_id, clerk_org_id)
                    if profile is not None and profile.clerk_membership_id is not None
                    else None
                ),
                deliveries=await list_deliveries_of_pair(connection, clerk_user_id, clerk_org_id, limit=_DELIVERIES),
            )

        # One snapshot for all: an explanation must not contradict itself.
        return await self._database.transaction(work, isolation="repeatable_read", readonly=True)

    def _judge(self, profile: UserProfileRow | None, pair: PairRow) -> Verdict:
        now_ms = milliseconds_of(self._now())
        return judge_profile(
            exists=profile is not None,
            user_deleted=pair.user_deleted_at is not None,
            organization_deleted=pair.organization_deleted_at is not None,
            removed_at_ms=None if pair.removed_at is None else milliseconds_of(pair.removed_at),
            evidence_ms=self._policy.evidence_ms(now_ms=now_ms, token_issued_at_ms=None),
            oldest_ms=self._policy.oldest_ms(now_ms=now_ms),
        )


def _time(moment: datetime | None) -> str:
    return "an unknown time" if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
