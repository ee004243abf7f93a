"""The client for asyncio."""

import asyncio
from datetime import datetime
from types import TracebackType
from typing import Self, Unpack, cast

from clerksync.breaker import CircuitBreaker
from clerksync.errors import ClientClosed
from clerksync.options import ClientOptions, options_of
from clerksync.resources import EnsuredOrganization, EnsuredUserProfile
from clerksync.session import Session
from clerksync.stats import ClientStats


class SyncClient:
    """Asks SyncService for profiles and organizations, and keeps its answers.

    Make one for the whole process, wherever you like: it connects when it is first used. Each event loop that uses it
    gets a connection and a cache of its own; within a loop it may be used by any number of tasks.

        client = SyncClient("dns:///clerksync:50051")
        ensured = await client.ensure_user_profile("user_1", "org_1", claims["iat"])
        ensured.profile.id

    Close it with `await client.close()`, or use it in `async with`. When a service starts, `await client.ready()`
    spares its first requests the wait for the connection.
    """

    def __init__(self, target: str, **options: Unpack[ClientOptions]) -> None:
        """`target` is a gRPC target; with `dns:///` all replicas behind the name are used in turn."""
        self.stats = ClientStats()
        self.breaker = CircuitBreaker()
        """Counts calls; `clerksync.policy` heeds it, `ensure_user_profile` itself does not."""
        self._target = target
        self._options = options_of(target, options)
        self._sessions: dict[asyncio.AbstractEventLoop, Session] = {}
        self._current: tuple[asyncio.AbstractEventLoop | None, Session | None] = (None, None)
        self._closed = False

    async def ensure_user_profile(
        self,
        clerk_user_id: str,
        clerk_org_id: str,
        token_issued_at: datetime | float | None = None,
        *,
        session_token: str | None = None,
        timeout_s: float | None = None,
    ) -> EnsuredUserProfile:
        """Returns the profile of a user in an organization; creates both if a webhook has not brought them yet.

        Call it after authentication, with what the VERIFIED session token says. `token_issued_at` is the token's
        `iat`, as a datetime or in seconds. `session_token` is the token itself, for a SyncService that verifies it.
        A kept answer costs about a microsecond and no call, and needs no token.

        Raises:
            Refused: the user was removed, the user or the organization was deleted, or the token is too old.
            Unavailable: no answer in time; the request may go on without it.
            InvalidRequest: an id or the time is ill-formed.
            CallFailed: SyncService is broken, or does not let this caller ask.
        """
        session = self._session()
        kept = session.cache.get((clerk_user_id, clerk_org_id))
        if kept is not None and clerk_user_id:
            self.stats.hits += 1
            return cast("EnsuredUserProfile", kept)
        answer = await session.ask_for_profile((clerk_user_id, clerk_org_id), token_issued_at, timeout_s, session_token)
        return cast("EnsuredUserProfile", answer)

    async def ensure_organization(
        self,
        clerk_org_id: str,
        token_issued_at: datetime | float | None = None,
        *,
        session_token: str | None = None,
        timeout_s: float | None = None,
    ) -> EnsuredOrganization:
        """Returns an organization; creates a placeholder if a webhook has not brought it yet.

        `ensure_user_profile` makes the organization as well, so most services never call this. Raises the same.
        """
        session = self._session()
        kept = session.cache.get(("", clerk_org_id))
        if kept is not None:
            self.stats.hits += 1
            return cast("EnsuredOrganization", kept)
        answer = await session.ask_for_organization(clerk_org_id, token_issued_at, timeout_s, session_token)
        return cast("EnsuredOrganization", answer)

    def kept_user_profile(self, clerk_user_id: str, clerk_org_id: str) -> EnsuredUserProfile | None:
        """What `ensure_user_profile` would return without asking; None if it would have to ask."""
        session = self._sessions.get(asyncio.get_running_loop())
        if session is None or not clerk_user_id or session.has_ended:
            return None
        kept = session.cache.get((clerk_user_id, clerk_org_id))
        if kept is None:
            return None
        self.stats.hits += 1
        return cast("EnsuredUserProfile", kept)

    async def ready(self, *, within_s: float = 5.0) -> bool:
        """Connects, and waits until answers can be kept: for when a service starts. Returns whether it came to that.

        Without it the first requests do the same on their own time, and may go on without a profile.
        """
        session = self._session()
        try:
            async with asyncio.timeout(within_s):
                await session.ready()
        except TimeoutError:
            return False
        return True

    @property
    def kept(self) -> int:
        """How many answers are kept now, over all event loops."""
        return sum(len(session.cache) for session in tuple(self._sessions.values()))

    @property
    def silent_for_s(self) -> float:
        """Seconds since the stream of removals has said something; it does so every 2 s. Infinite before it has."""
        return min((session.cache.silent_for_s for session in tuple(self._sessions.values())), default=float("inf"))

    async def close(self) -> None:
        """Closes what belongs to the running loop at once, what belongs to others as soon as they have time for it.

        Whoever waits for an answer gets ClientClosed.
        """
        self._closed = True
        self._current = (None, None)
        running = asyncio.get_running_loop()
        while self._sessions:
            loop, session = self._sessions.popitem()
            if loop is running:
                await session.close()
            elif loop.is_running():
                asyncio.run_coroutine_threadsafe(session.close(), loop)

    async def __aenter__(self) -> Self:
        self._session()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _session(self) -> Session:
        loop = asyncio.get_running_loop()
        current_loop, session = self._current
        if current_loop is loop and session is not None and not session.has_ended:
            return session
        if self._closed:
            raise ClientClosed("the client is closed")
        # Loops that have ended took their connections along.
        for ended in [other for other in tuple(self._sessions) if other.is_closed()]:
            self._sessions.pop(ended, None)
        session = self._sessions.get(loop)
        if session is None or session.has_ended:
            session = self._sessions[loop] = Session(self._target, self._options, self.stats, self.breaker)
        self._current = (loop, session)
        return session
