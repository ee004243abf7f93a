"""The client for code without asyncio: Flask, Django, scripts, workers with threads.

    client = clerksync.blocking.SyncClient("dns:///clerksync:50051")
    ensured = client.ensure_user_profile("user_1", "org_1", claims["iat"])

It runs the machinery of the asyncio client in one background thread, and answers from the cache without leaving the
thread that asks.
"""

import asyncio
import concurrent.futures
import contextlib
import os
import threading
import weakref
from collections.abc import Coroutine
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self, TypeVar, Unpack, cast

from clerksync.breaker import CircuitBreaker
from clerksync.cache import Answer, Key
from clerksync.errors import ClientClosed, DeadlineExceeded
from clerksync.identity import Identity
from clerksync.options import MAX_TIMEOUT_S, ClientOptions, Options, is_number, options_of
from clerksync.policy import BUDGET_S, Decision, FindTokens, OnRemoved, Policy
from clerksync.resources import EnsuredOrganization, EnsuredUserProfile
from clerksync.session import Session, refuse_after_fork
from clerksync.stats import ClientStats

_Result = TypeVar("_Result")
_CLOSE_WITHIN_S: Final = 2.0


class SyncClient:
    """Asks SyncService for profiles and organizations, and keeps its answers. For any number of threads.

    Make one for the whole process, wherever you like: it starts its thread and connects when it is first used. Servers
    that fork (gunicorn, uWSGI, Celery) may make it before the fork, and must use it only after.
    """

    def __init__(self, target: str, **options: Unpack[ClientOptions]) -> None:
        """`target` is a gRPC target; with `dns:///` all replicas behind the name are used in turn."""
        self.stats = ClientStats()
        self.breaker = CircuitBreaker()
        """Counts calls; `Guard` heeds it, `ensure_user_profile` itself does not."""
        self._target = target
        self._options = options_of(target, options)
        self._starting = threading.Lock()
        self._background: _Background | None = None
        self._closed = False
        _clients.add(self)
        # Where nobody holds it any more.
        self._holder: list[_Background] = []
        weakref.finalize(self, _close, self._holder)

    def ensure_user_profile(
        self,
        clerk_user_id: str,
        clerk_org_id: str,
        token_issued_at: datetime | float | None = None,
        *,
        session_token: str | None = None,
        timeout_s: float | None = None,
    ) -> EnsuredUserProfile:
        """As `clerksync.SyncClient.ensure_user_profile`: the same arguments, results and errors."""
        key = (clerk_user_id, clerk_org_id)
        background = self._started()
        kept = background.session.cache.get(key) if clerk_user_id else None
        if kept is not None:
            self.stats.hits += 1
            return cast("EnsuredUserProfile", kept)
        work = background.session.ask_for_profile(key, token_issued_at, timeout_s, session_token)
        return cast("EnsuredUserProfile", self._wait(background, work, timeout_s))

    def ensure_organization(
        self,
        clerk_org_id: str,
        token_issued_at: datetime | float | None = None,
        *,
        session_token: str | None = None,
        timeout_s: float | None = None,
    ) -> EnsuredOrganization:
        """As `clerksync.SyncClient.ensure_organization`."""
        background = self._started()
        kept = background.session.cache.get(("", clerk_org_id))
        if kept is not None:
            self.stats.hits += 1
            return cast("EnsuredOrganization", kept)
        work = background.session.ask_for_organization(clerk_org_id, token_issued_at, timeout_s, session_token)
        return cast("EnsuredOrganization", self._wait(background, work, timeout_s))

    def kept_user_profile(self, clerk_user_id: str, clerk_org_id: str) -> EnsuredUserProfile | None:
        """What `ensure_user_profile` would return without asking; None if it would have to ask."""
        background = self._background
        kept = None if background is None or not clerk_user_id else background.kept((clerk_user_id, clerk_org_id))
        if kept is None:
            return None
        self.stats.hits += 1
        return cast("EnsuredUserProfile", kept)

    def ready(self, *, within_s: float = 5.0) -> bool:
        """As `clerksync.SyncClient.ready`. Starts the thread, so not to be called before a fork."""
        background = self._started()
        waiting = background.submit(background.session.ready())
        try:
            waiting.result(within_s)
        except concurrent.futures.TimeoutError:
            waiting.cancel()
            return False
        return True

    @property
    def kept(self) -> int:
        """How many answers are kept now."""
        return 0 if self._background is None else len(self._background.session.cache)

    @property
    def silent_for_s(self) -> float:
        """Seconds since the stream of removals has said something; it does so every 2 s. Infinite before it has."""
        return float("inf") if self._background is None else self._background.session.cache.silent_for_s

    def close(self) -> None:
        """Ends the thread. Whoever waits for an answer gets ClientClosed. The interpreter's end does it as well."""
        with self._starting:
            self._closed = True
            background, self._background = self._background, None
            self._holder.clear()
        if background is not None:
            background.close()

    def __enter__(self) -> Self:
        self._started()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _started(self) -> "_Background":
        if (background := self._background) is not None:
            return background
        with self._starting:
            if self._closed:
                raise ClientClosed("the client is closed")
            if self._background is None:
                self._background = _Background(self._target, self._options, self.stats, self.breaker)
                self._holder[:] = [self._background]
            return self._background

    def _wait(self, background: "_Background", work: Coroutine[Any, Any, Answer], timeout_s: float | None) -> Answer:
        if timeout_s is None or not is_number(timeout_s) or not timeout_s <= MAX_TIMEOUT_S:
            timeout_s = self._options.timeout_s  # As long as it takes to say that it is ill-formed.
        try:
            future = background.submit(work)
        except RuntimeError:  # Its loop has ended.
            work.close()
            raise ClientClosed("the client was closed") from None
        try:
            # The question ends by itself; that its thread may be late with it is not to keep this one.
            return future.result(timeout_s)
        except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
            if self._closed:
                raise ClientClosed("the client was closed") from None
            raise DeadlineExceeded(f"SyncService has not answered within {timeout_s:g} s") from None

    def forget_thread(self) -> None:
        """Called in a process that was just forked: the thread is not there."""
        self._starting = threading.Lock()
        if self._background is not None:
            _lost.append(self._background)
            self._background = None
            self._holder.clear()


class Guard:
    """Asks on behalf of requests, for threads."""

    def __init__(self, client: SyncClient, *, budget_s: float = BUDGET_S, on_removed: OnRemoved = "refuse") -> None:
        """`budget_s` is the longest time that a request waits; `on_removed="continue"` denies nobody."""
        if not isinstance(client, SyncClient):
            raise TypeError("client: expected a clerksync.blocking.SyncClient")
        self._client = client
        self._policy = Policy(client.stats, client.breaker, budget_s=budget_s, on_removed=on_removed)

    def check(self, identity: Identity | None, find_tokens: FindTokens | None = None) -> Decision:
        """As `clerksync.policy.Guard.check`."""
        attempt = self._policy.begin(self._client, identity, find_tokens)
        if isinstance(attempt, Decision):
            return attempt
        for token in attempt.tokens():
            with attempt:
                attempt.ensured = self._client.ensure_user_profile(
                    *attempt.question, session_token=token, timeout_s=attempt.timeout_s
                )
        return attempt.decision


class _Background:
    """An event loop in a thread, and the session that lives there."""

    def __init__(self, target: str, options: Options, stats: ClientStats, breaker: CircuitBreaker) -> None:
        """Raises Unavailable in a process that was forked from one that has used a client."""
        refuse_after_fork()
        self._target = target
        self._options = options
        self._stats = stats
        self._breaker = breaker
        self._stop = asyncio.Event()
        running: concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, Session]] = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._run, args=(running,), name="clerksync", daemon=True)
        self._thread.start()
        self._loop, self.session = running.result()

    def kept(self, key: Key) -> Answer | None:
        return self.session.cache.get(key)

    def submit(self, work: Coroutine[Any, Any, _Result]) -> "concurrent.futures.Future[_Result]":
        """Runs it in the loop, in the caller's context: that holds the ids of the request being served."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        """Waits a moment for the thread; it is a daemon, and keeps nobody."""
        with contextlib.suppress(RuntimeError):  # The loop has ended already.
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_CLOSE_WITHIN_S)

    def _run(self, running: "concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, Session]]") -> None:
        async def live() -> None:
            try:
                session = Session(self._target, self._options, self._stats, self._breaker)
            except BaseException as error:  # noqa: BLE001  (whoever waits for the thread is told)
                running.set_exception(error)
                return
            running.set_result((asyncio.get_running_loop(), session))
            await self._stop.wait()
            await session.close()

        asyncio.run(live())


_clients: "weakref.WeakSet[SyncClient]" = weakref.WeakSet()
_lost: list[_Background] = []
"""Of the process that this one was forked from. Kept, because collecting them would wait for threads that are gone."""


def _close(holder: list[_Background]) -> None:
    for background in holder:
        background.close()


def _forget_all() -> None:
    for client in tuple(_clients):
        client.forget_thread()


if hasattr(os, "register_at_fork"):  # Not on Windows, which does not fork.
    os.register_at_fork(after_in_child=_forget_all)
