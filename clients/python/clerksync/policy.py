"""What a request of a sibling service does with the answer, or without one. The same for every framework.

- An answer from the cache costs nothing. Otherwise SyncService is asked, for no longer than the budget.
- No answer (slow, away, broken): the request goes on without a profile. A counter counts it, a log line tells it, and
  after several in a row a circuit breaker stops asking for a while.
- A definite answer that the user was removed, or that user or organization was deleted: the request is denied.
- A session token that is refused tells nothing of the user, and whatever else the request carries, its user may have
  chosen. So SyncService is asked once more without one: what holds then is what the policy has for this service.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal, Protocol, Self, TypeAlias

from clerksync.breaker import CircuitBreaker
from clerksync.client import SyncClient
from clerksync.errors import (
    CircuitOpen,
    ClerksyncError,
    DeadlineExceeded,
    InvalidRequest,
    MembershipRemoved,
    OrganizationDeleted,
    Refused,
    SessionTokenRefused,
    UserDeleted,
)
from clerksync.identity import Identity
from clerksync.options import is_number
from clerksync.resources import EnsuredUserProfile, UserProfile
from clerksync.stats import ClientStats

OnRemoved: TypeAlias = Literal["refuse", "continue"]
FindTokens: TypeAlias = Callable[[], Sequence[str]]
"""Finds the session tokens of a request that say what its identity says: one of them has proved it."""
BUDGET_S: Final = 0.05
MOST_TOKENS: Final = 3
"""How many different tokens are tried for one request. No browser sends more that say the same."""
_LOG_EVERY_S = 10.0
_STEPS = 16
"""Those who ask again wait for so many different lengths of time: the client has a timer for each."""
_REMOVED: Final = (MembershipRemoved, UserDeleted, OrganizationDeleted)
_log = logging.getLogger("clerksync")


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a request."""

    profile: UserProfile | None = None
    """The profile, for the handlers; None if there is none, or if it could not be asked for."""
    refusal: Refused | None = None
    """Why there may be no profile."""
    denied: bool = False
    """Whether to answer 403 (PERMISSION_DENIED) instead of calling the handler."""

    @property
    def denial(self) -> dict[str, dict[str, str]]:
        """The body of the 403, as JSON."""
        assert self.refusal is not None
        return {"error": {"code": self.refusal.reason.lower(), "message": str(self.refusal)}}


GO_ON: Final = Decision()
"""Nothing is known; the request goes on."""


class KeepsProfiles(Protocol):
    """Either client."""

    def kept_user_profile(self, clerk_user_id: str, clerk_org_id: str, /) -> EnsuredUserProfile | None: ...


class Policy:
    """Turns outcomes into decisions, and tells counters and log; asks nobody itself."""

    def __init__(
        self,
        stats: ClientStats,
        breaker: CircuitBreaker,
        *,
        budget_s: float,
        on_removed: OnRemoved,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        if not (is_number(budget_s) and 0 < budget_s <= 60):
            raise ValueError("budget_s: expected more than 0 and at most 60 seconds")
        if on_removed not in ("refuse", "continue"):
            raise ValueError('on_removed: expected "refuse" or "continue"')
        self.budget_s = budget_s
        self._on_removed = on_removed
        self._stats = stats
        self._now = now
        self._breaker = breaker
        self._logged_at = float("-inf")
        self._not_logged = 0

    def begin(
        self, client: KeepsProfiles, identity: Identity | None, find_tokens: FindTokens | None = None
    ) -> "Attempt | Decision":
        """What to ask in; or the decision, where nothing has to be asked, or has failed too often just now."""
        if identity is None:
            return GO_ON
        kept = client.kept_user_profile(identity.clerk_user_id, identity.clerk_org_id)
        if kept is not None:
            return Decision(kept.profile)
        if self._breaker.allows():
            if identity.session_token is not None:
                return Attempt(self, identity, (identity.session_token,))
            return Attempt(self, identity, () if find_tokens is None else find_tokens())
        return self.unanswered(CircuitOpen("asking has failed too often just now"))

    def refused(self, error: Refused, *, hidden: bool = False) -> Decision:
        """`hidden`: whoever sends the request may have hidden the token that proves who it is among others."""
        if not (isinstance(error, _REMOVED) or hidden):
            # The token proves nothing, which is not to say that the user was removed.
            self.unanswered(error)
            return Decision(refusal=error)
        denied = self._on_removed == "refuse"
        self._stats.denied += denied
        return Decision(refusal=error, denied=denied)

    def failed(self, error: Exception) -> Decision:
        if not isinstance(error, DeadlineExceeded):
            # There may have been no call. If there was one, it has told the breaker what became of it.
            self._breaker.gave_up()
        return self.unanswered(error)

    def unanswered(self, error: Exception) -> Decision:
        """Counts a request that goes on without an answer, and tells the log, once in 10 s."""
        kind = error.kind if isinstance(error, ClerksyncError) else "defect"
        self._stats.unanswered[kind] += 1
        self._not_logged += 1
        now = self._now()
        if now - self._logged_at >= _LOG_EVERY_S:
            # Texts of our own errors hold no ids; those of others might.
            detail = str(error) if isinstance(error, ClerksyncError) else type(error).__name__
            _log.warning("went on without a profile: %s: %s (%d requests)", kind, detail, self._not_logged)
            self._logged_at, self._not_logged = now, 0
        return GO_ON


class Attempt:
    """Asks within one budget: `for token in attempt.tokens(): with attempt: attempt.ensured = …ask…`.

    Afterwards `decision` holds, whatever came of it.
    """

    def __init__(self, policy: Policy, identity: Identity, session_tokens: Sequence[str] = ()) -> None:
        self._policy = policy
        self._until = time.monotonic() + policy.budget_s
        self.question = identity.clerk_user_id, identity.clerk_org_id, identity.token_issued_at
        """What to ask a client with."""
        self.timeout_s = policy.budget_s
        """How long to wait for the answer."""
        self._tokens = session_tokens
        self._unproven: ClerksyncError | None = None
        self._settled = False
        self.ensured: EnsuredUserProfile | None = None
        self.decision = GO_ON

    def tokens(self) -> Iterator[str | None]:
        """The session token to ask with; after one that was refused none, and where that is refused the others."""
        first, *others = self._tokens[:MOST_TOKENS] or (None,)
        yield first
        for token in () if first is None else (None, *others):
            if self._settled:
                return
            left = (self._until - time.monotonic()) / self._policy.budget_s
            if left <= 0:
                self.decision = self._policy.failed(DeadlineExceeded("the session token was refused too late"))
                return
            self.timeout_s = math.ceil(left * _STEPS) / _STEPS * self._policy.budget_s
            yield token
        if self._settled:
            return
        if isinstance(self._unproven, Refused):
            self.decision = self._policy.refused(self._unproven, hidden=len(self._tokens) > MOST_TOKENS)
        elif self._unproven is not None:
            self.decision = self._policy.failed(self._unproven)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if isinstance(error, ClerksyncError) and _is_about_token(error):
            self._unproven = self._unproven or error
            return True
        self._settled = True
        if self.ensured is not None:
            self.decision = Decision(self.ensured.profile)
        elif isinstance(error, Refused):
            self.decision = self._policy.refused(error)
        elif isinstance(error, Exception):
            self.decision = self._policy.failed(error)
        return isinstance(error, Exception)


def _is_about_token(error: ClerksyncError) -> bool:
    if isinstance(error, InvalidRequest):
        return error.violations.keys() == {"session_token"}
    return isinstance(error, SessionTokenRefused)


class Guard:
    """Asks on behalf of requests, for asyncio."""

    def __init__(self, client: SyncClient, *, budget_s: float = BUDGET_S, on_removed: OnRemoved = "refuse") -> None:
        """`budget_s` is the longest time that a request waits; `on_removed="continue"` denies nobody."""
        if not isinstance(client, SyncClient):
            raise TypeError("client: expected a clerksync.SyncClient; the one without asyncio is for threads")
        self._client = client
        self._policy = Policy(client.stats, client.breaker, budget_s=budget_s, on_removed=on_removed)

    async def check(self, identity: Identity | None, find_tokens: FindTokens | None = None) -> Decision:
        """Never raises because of SyncService, and never takes longer than the budget.

        `find_tokens` is called where SyncService has to be asked and the identity brings no session token itself.
        """
        attempt = self._policy.begin(self._client, identity, find_tokens)
        if isinstance(attempt, Decision):
            return attempt
        for token in attempt.tokens():
            with attempt:
                attempt.ensured = await self._client.ensure_user_profile(
                    *attempt.question, session_token=token, timeout_s=attempt.timeout_s
                )
        return attempt.decision
