"""Everything of a client that belongs to one event loop: channel, batches, stream of removals, cache."""

import asyncio
import logging
import os
import time
from collections.abc import Coroutine, Sequence
from contextvars import Context
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import grpc
import grpc.aio

from clerksync.arguments import checked
from clerksync.batching import Batcher, Question
from clerksync.breaker import CircuitBreaker
from clerksync.cache import Answer, Cache, Key
from clerksync.channel import connect
from clerksync.connection import Connection
from clerksync.deadlines import Deadlines
from clerksync.errors import (
    CallFailed,
    ClerksyncError,
    ClientClosed,
    DeadlineExceeded,
    InvalidRequest,
    Refused,
    Unavailable,
    error_from_rpc,
    error_from_status,
)
from clerksync.metadata import Metadata, current_metadata, merged, with_authorization
from clerksync.options import MAX_TIMEOUT_S, Options, is_number
from clerksync.removals import RemovalWatch
from clerksync.resources import (
    EnsuredOrganization,
    EnsuredUserProfile,
    ensured_organization_from_pb,
    ensured_user_profile_from_pb,
)
from clerksync.stats import ClientStats
from clerksync.v1 import sync_service_pb2

_log = logging.getLogger("clerksync")
_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LINGER_S = 0.05
_first_used_in: int | None = None
"""The process that has used gRPC's asyncio machinery first."""


class Session:
    """Made, used and closed in one event loop; `cache.get` may be called from anywhere."""

    def __init__(self, target: str, options: Options, stats: ClientStats, breaker: CircuitBreaker) -> None:
        """Raises Unavailable in a process that was forked from one that has used a client."""
        refuse_after_fork()
        self.cache = Cache(size=options.cache_size, ttl_s=options.cache_ttl_s)
        self._options = options
        self._stats = stats
        self._breaker = breaker
        self._connection = Connection(
            options.from_files,
            lambda: connect(
                target, own=options.credentials, credentials=options.from_files, options=options.channel_options
            ),
            longest_call_s=options.timeout_s,
        )
        self._profiles = Batcher(self._ask_for_profiles)
        self._organizations = Batcher(self._ask_for_organizations)
        self._deadlines = Deadlines()
        self._watch = RemovalWatch(self._connection, self.cache, stats, breaker) if options.cache_size else None
        self._life = asyncio.get_running_loop().create_task(self._live(), name="clerksync session", context=Context())

    def ask_for_profile(
        self,
        key: Key,
        issued_at: "datetime | float | None",
        timeout_s: float | None = None,
        session_token: str | None = None,
    ) -> Coroutine[Any, Any, Answer]:
        """Asks for what is not in the cache. Raises ClerksyncError."""
        return self._ask(self._profiles, key, issued_at, timeout_s, session_token)

    def ask_for_organization(
        self,
        clerk_org_id: str,
        issued_at: "datetime | float | None",
        timeout_s: float | None = None,
        session_token: str | None = None,
    ) -> Coroutine[Any, Any, Answer]:
        """Asks for what is not in the cache. Raises ClerksyncError."""
        return self._ask(self._organizations, ("", clerk_org_id), issued_at, timeout_s, session_token)

    async def _ask(
        self,
        batcher: Batcher,
        key: Key,
        issued_at: "datetime | float | None",
        timeout_s: float | None,
        session_token: str | None,
    ) -> Answer:
        # One coroutine and one future for each who asks: this is what a batch of many costs.
        stats = self._stats
        has_user = batcher is self._profiles
        if (key[0] or not has_user) and (kept := self.cache.get(key)) is not None:
            stats.hits += 1  # It has come since another thread looked for it.
            return kept
        stats.misses += 1
        started = time.perf_counter()
        try:
            moment = checked(key, issued_at, session_token, has_user=has_user)
            if timeout_s is None:
                timeout_s = self._options.timeout_s
            elif not is_number(timeout_s) or not timeout_s <= MAX_TIMEOUT_S:
                raise InvalidRequest({"timeout_s": f"expected a number of seconds, at most {MAX_TIMEOUT_S}"})
            question, joined = batcher.ask(key, moment, self._metadata(), session_token)
            stats.coalesced += joined
            # Whoever stops waiting leaves the question on its way: others may wait, and its effect is wanted.
            waiter = question.waiter()
            queue = self._deadlines.add(waiter, timeout_s)
            try:
                outcome = await waiter
            finally:
                queue.leave(waiter)
                question.left_by(waiter)
            if outcome is None:
                if question.call is not None and question.call.fails_first():
                    self._breaker.failed()
                raise DeadlineExceeded(f"SyncService has not answered within {timeout_s:g} s")
            if isinstance(outcome, ClerksyncError):
                # Several may wait for the same outcome; each raises it from its own place.
                raise outcome.with_traceback(None)
            return outcome
        except Refused as error:
            stats.refusals[error.label] += 1
            raise
        except ClerksyncError as error:
            stats.failures[error.kind] += 1
            raise
        finally:
            stats.latency.observe(time.perf_counter() - started)

    async def ready(self) -> None:
        """Returns once there is a connection, and the stream of removals has spoken if there is one."""
        try:
            await self._connection.channel.channel_ready()
        except grpc.aio.UsageError:
            raise ClientClosed("the client was closed") from None
        if self._watch is not None:
            await self._watch.in_step.wait()

    @property
    def has_ended(self) -> bool:
        """Whether it was closed, or cancelled with the other tasks of its loop."""
        return self._life.done()

    async def close(self) -> None:
        """Whoever waits for an answer gets ClientClosed."""
        self._life.cancel()
        await asyncio.gather(self._life, return_exceptions=True)

    async def _live(self) -> None:
        """Listens for removals until it is cancelled: by `close`, or with all tasks because the loop is ending.

        Then it closes what would otherwise bother other loops: gRPC's machinery is one for all.
        """
        renewing = asyncio.get_running_loop().create_task(self._connection.renew(), name="clerksync credentials")
        try:
            await (asyncio.Event().wait() if self._watch is None else self._watch.run())
        finally:
            renewing.cancel()
            await self._profiles.close()
            await self._organizations.close()
            await self._connection.close()
            # What was cancelled reports back to this loop a moment later; after its end, another loop's log would tell.
            await asyncio.sleep(_LINGER_S)

    def _metadata(self) -> Metadata:
        if self._options.metadata is None:
            return current_metadata()
        try:
            return merged(current_metadata(), self._options.metadata())
        except Exception as error:  # noqa: BLE001  (it is the service's code, and only tells of traces)
            _log.error("the option metadata failed: %s", type(error).__name__)
            return current_metadata()

    async def _ask_for_profiles(self, questions: Sequence[Question]) -> Sequence[Answer | ClerksyncError]:
        first = questions[0]
        if len(questions) == 1:
            request = sync_service_pb2.EnsureUserProfileRequest()
            _fill(request, first)
            alone = await self._call(self._connection.stub.EnsureUserProfile, request, first)
            return [alone if isinstance(alone, ClerksyncError) else self._read_profile(first, alone)]
        batch = sync_service_pb2.BatchEnsureUserProfilesRequest()
        add = batch.requests.add
        for question in questions:
            _fill(add(), question)
        # It carries the ids of the first who asked: there is room for one request's.
        together = await self._call(self._connection.stub.BatchEnsureUserProfiles, batch, first)
        if isinstance(together, ClerksyncError):
            return [together] * len(questions)
        if len(together.results) != len(questions):
            return [CallFailed("a batch came back incomplete", code="INTERNAL")] * len(questions)
        read = self._read_profile
        return [
            read(question, result.response) if result.HasField("response") else error_from_status(result.error)
            for question, result in zip(questions, together.results, strict=True)
        ]

    def _read_profile(
        self, question: Question, response: sync_service_pb2.EnsureUserProfileResponse
    ) -> EnsuredUserProfile | ClerksyncError:
        """What it says, if it can be read and is about whom was asked for; the cache keeps that."""
        try:
            ensured = ensured_user_profile_from_pb(response)
        except ValueError:
            return _unreadable()
        profile = ensured.profile
        if (profile.clerk_user_id, profile.clerk_org_id) != question.key:
            return CallFailed("the answer is about somebody else", code="INTERNAL")
        kept = EnsuredUserProfile(profile, created=False) if ensured.created else ensured
        self.cache.put(question.key, kept, asked_at=question.asked_at)
        return ensured

    async def _ask_for_organizations(self, questions: Sequence[Question]) -> Sequence[Answer | ClerksyncError]:
        return await asyncio.gather(*map(self._ask_for_organization, questions))

    async def _ask_for_organization(self, question: Question) -> EnsuredOrganization | ClerksyncError:
        request = sync_service_pb2.EnsureOrganizationRequest(clerk_org_id=question.key[1])
        if question.issued_at is not None:
            _fill_time(request, question.issued_at)
        if question.session_token is not None:
            request.session_token = question.session_token
        answer = await self._call(self._connection.stub.EnsureOrganization, request, question)
        if isinstance(answer, ClerksyncError):
            return answer
        try:
            ensured = ensured_organization_from_pb(answer)
        except ValueError:
            return _unreadable()
        kept = EnsuredOrganization(ensured.organization, created=False)
        self.cache.put(question.key, kept, asked_at=question.asked_at)
        return ensured

    async def _call(
        self, method: "grpc.aio.UnaryUnaryMultiCallable[_Request, _Response]", request: _Request, first: Question
    ) -> "_Response | ClerksyncError":
        """Makes the call for the first of some questions and those that travel along, and tells the breaker."""
        self._stats.calls += 1
        assert first.call is not None
        error: ClerksyncError
        try:
            # As long as a call may take, whoever waits how long: a slow answer still fills the cache.
            metadata = with_authorization(first.metadata, self._connection.authorization())
            response = await method(request, timeout=self._options.timeout_s, metadata=metadata)
        except grpc.aio.AioRpcError as failure:
            error = error_from_rpc(failure)
        except grpc.aio.UsageError:  # Its channel was closed.
            return ClientClosed("the client was closed")
        except Exception as failure:  # noqa: BLE001  (whatever it is, those who wait must be told)
            error = CallFailed(f"the call could not be made: {type(failure).__name__}", code="UNKNOWN")
        else:
            if response is not None:
                self._breaker.succeeded()
                return response
            error = _unreadable()
        if isinstance(error, Refused | InvalidRequest):
            self._breaker.succeeded()  # An answer, if not a welcome one.
        elif first.call.fails_first():
            self._breaker.failed()
        return error


def refuse_after_fork() -> None:
    """The threads of gRPC's asyncio machinery do not survive a fork: without them a call would hang for ever.

    Raises Unavailable in a process that was forked from one that has used a client.
    """
    global _first_used_in  # noqa: PLW0603  (so is the machinery)
    if _first_used_in is None:
        _first_used_in = os.getpid()
    elif _first_used_in != os.getpid():
        raise Unavailable(
            "this process was forked from one that had used a clerksync client already: make the first call after the "
            "fork (making the client before it is fine)"
        )


def _fill(request: sync_service_pb2.EnsureUserProfileRequest, question: Question) -> None:
    request.clerk_user_id, request.clerk_org_id = question.key
    if question.issued_at is not None:
        _fill_time(request, question.issued_at)
    if question.session_token is not None:
        request.session_token = question.session_token


def _fill_time(
    request: sync_service_pb2.EnsureUserProfileRequest | sync_service_pb2.EnsureOrganizationRequest, moment: datetime
) -> None:
    """As `FromDatetime`, in a quarter of the time."""
    since = moment - _EPOCH
    request.token_issued_at.seconds = since.days * 86_400 + since.seconds
    request.token_issued_at.nanos = since.microseconds * 1000


def _unreadable() -> CallFailed:
    return CallFailed("the answer could not be read", code="INTERNAL")
