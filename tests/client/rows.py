"""Answers to keep, and a clock that tests move."""

from datetime import UTC, datetime

from clerksync import EnsuredUserProfile, UserProfile

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """Seconds, as time.monotonic tells them."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.now_s += seconds


def ensured(clerk_user_id: str = "user_1", clerk_org_id: str = "org_1") -> EnsuredUserProfile:
    profile = UserProfile("id", clerk_user_id, clerk_org_id, "org:member", "orgmem_1", LONG_AGO, LONG_AGO)
    return EnsuredUserProfile(profile, created=False)
