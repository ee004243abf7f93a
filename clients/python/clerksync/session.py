"""Everything of a client that belongs to one event loop: channel, batches, stream of removals, cache."""

import asyncio
import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextvars import Context
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp

from clerksync.batching import Batcher, Question
from clerksync.breaker import CircuitBreaker
from clerksync.cache import Answer, Cache, Key
from clerksync.channel import connect
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
from clerksync.metadata import Metadata, current_metadata, merged
from clerksync.options import MAX_TIMEOUT_S, Options, is_number
from clerksync.removals import RemovalWatch
from clerksync.resources import (
    EnsuredOrganization,
    EnsuredUserProfile,
    ensured_organization_from_pb,
    ensured_user_profile_from_pb,
)
from clerksync.stats import ClientStats
from clerksync.v1 import sync_service_pb2, sync_service_pb2_grpc

if TYPE_CHECKING:
    from clerksync.v1.sync_service_pb2_grpc import SyncServiceAsyncStub

_log = logging.getLogger("clerksync")
_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_TIME = "token_issued_at"
_EXPECTED_ID = "expected 1 to 255 printable ASCII characters without spaces"
_GOOD_ID = re.compile(r"[\x21-\x7e]{1,255}")


_FUTURE_LIMIT = timedelta(days=1)
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
        self._channel = connect(target, credentials=options.credentials, options=options.channel_options)
        # Generated code types the stub as if every channel were a blocking one.
        self._stub = cast("SyncServiceAsyncStub", sync_service_pb2_grpc.SyncServiceStub(self._channel))
        self._profiles = Batcher(self._ask_for_profiles)
        self._organizations = Batcher(self._ask_for_organizations)
        self._watch = RemovalWatch(self._stub, self.cache, stats, breaker) if options.cache_size else None
        self._life = asyncio.get_running_loop().create_task(self._live(), name="clerksync session", context=Context())

    async def ask_for_profile(
        self, key: Key, issued_at: "datetime | float | None", timeout_s: float | None = None
    ) -> Answer:
        """Asks for what is not in the cache. Raises ClerksyncError."""
        if key[0] and (kept := self._kept_meanwhile(key)) is not None:
            return kept
        ids = {"clerk_user_id": key[0], "clerk_org_id": key[1]}
        return await self._measured(self._profiles, key, ids, issued_at, timeout_s)

    async def ask_for_organization(
        self, clerk_org_id: str, issued_at: "datetime | float | None", timeout_s: float | None = None
    ) -> Answer:
        """Asks for what is not in the cache. Raises ClerksyncError."""
        key = ("", clerk_org_id)
        if (kept := self._kept_meanwhile(key)) is not None:
            return kept
        return await self._measured(self._organizations, key, {"clerk_org_id": clerk_org_id}, issued_at, timeout_s)

    def _kept_meanwhile(self, key: Key) -> Answer | None:
        """The answer that has come since another thread looked for it."""
        if (kept := self.cache.get(key)) is not None:
            self._stats.hits += 1
        return kept

    async def _measured(
        self,
        batcher: Batcher,
        key: Key,
        ids: Mapping[str, str],
        issued_at: "datetime | float | None",
        timeout_s: float | None,
    ) -> Answer:
        self._stats.misses += 1
        started = time.perf_counter()
        try:
            moment = _checked(ids, issued_at)
            if timeout_s is None:
                timeout_s = self._options.timeout_s
            elif not is_number(timeout_s) or not timeout_s <= MAX_TIMEOUT_S:
                raise InvalidRequest({"timeout_s": f"expected a number of seconds, at most {MAX_TIMEOUT_S}"})
            return await self._ask(batcher, key, moment, timeout_s)
        except Refused as error:
            self._stats.refusals[error.label] += 1
            raise
        except ClerksyncError as error:
            self._stats.failures[error.kind] += 1
            raise
        finally:
            self._stats.latency.observe(time.perf_counter() - started)

    async def ready(self) -> None:
        """Returns once there is a connection, and the stream of removals has spoken if there is one."""
        try:
            await self._channel.channel_ready()
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
        try:
            await (asyncio.Event().wait() if self._watch is None else self._watch.run())
        finally:
            await self._profiles.close()
            await self._organizations.close()
            await self._channel.close()
            # What was cancelled reports back to this loop a moment later; after its end, another loop's log would tell.
            await asyncio.sleep(_LINGER_S)

    async def _ask(self, batcher: Batcher, key: Key, moment: datetime | None, timeout_s: float) -> Answer:
        question, joined = batcher.ask(key, moment, self._metadata())
        self._stats.coalesced += joined
        try:
            async with asyncio.timeout(timeout_s):
                # Whoever stops waiting leaves the question on its way: others may wait, and its effect is wanted.
                outcome = await asyncio.shield(question.outcome)
        except TimeoutError:
            if question.call is not None and question.call.fails_first():
                self._breaker.failed()
            raise DeadlineExceeded(f"SyncService has not answered within {timeout_s:g} s") from None
        if isinstance(outcome, ClerksyncError):
            # Several may wait for the same outcome; each raises it from its own place.
            raise outcome.with_traceback(None)
        return outcome

    def _metadata(self) -> Metadata:
        if self._options.metadata is None:
            return current_metadata()
        try:
            return merged(current_metadata(), self._options.metadata())
        except Exception as error:  # noqa: BLE001  (it is the service's code, and only tells of traces)
            _log.error("the option metadata failed: %s", type(error).__name__)
            return current_metadata()

    async def _ask_for_profiles(self, questions: Sequence[Question]) -> Sequence[Answer | ClerksyncError]:
        requests = [
            sync_service_pb2.EnsureUserProfileRequest(
                clerk_user_id=question.key[0],
                clerk_org_id=question.key[1],
                token_issued_at=_timestamp(question.issued_at),
            )
            for question in questions
        ]
        outcomes: Sequence[EnsuredUserProfile | ClerksyncError]
        if len(requests) == 1:
            alone = await self._call(self._stub.EnsureUserProfile, requests[0], questions[0])
            outcomes = [alone if isinstance(alone, ClerksyncError) else ensured_user_profile_from_pb(alone)]
        else:
            batch = sync_service_pb2.BatchEnsureUserProfilesRequest(requests=requests)
            # It carries the ids of the first who asked: there is room for one request's.
            together = await self._call(self._stub.BatchEnsureUserProfiles, batch, questions[0])
            if isinstance(together, ClerksyncError):
                outcomes = [together] * len(questions)
            elif len(together.results) != len(questions):
                outcomes = [CallFailed("a batch came back incomplete", code="INTERNAL")] * len(questions)
            else:
                outcomes = [_outcome_from_pb(result) for result in together.results]
        outcomes = [
            outcome
            if isinstance(outcome, ClerksyncError)
            or (outcome.profile.clerk_user_id, outcome.profile.clerk_org_id) == question.key
            else CallFailed("the answer is about somebody else", code="INTERNAL")
            for question, outcome in zip(questions, outcomes, strict=True)
        ]
        self._keep(questions, outcomes)
        return outcomes

    async def _ask_for_organizations(self, questions: Sequence[Question]) -> Sequence[Answer | ClerksyncError]:
        async def ask(question: Question) -> EnsuredOrganization | ClerksyncError:
            request = sync_service_pb2.EnsureOrganizationRequest(
                clerk_org_id=question.key[1], token_issued_at=_timestamp(question.issued_at)
            )
            answer = await self._call(self._stub.EnsureOrganization, request, question)
            return answer if isinstance(answer, ClerksyncError) else ensured_organization_from_pb(answer)

        outcomes = await asyncio.gather(*map(ask, questions))
        self._keep(questions, outcomes)
        return outcomes

    async def _call(
        self, method: "grpc.aio.UnaryUnaryMultiCallable[_Request, _Response]", request: _Request, first: Question
    ) -> "_Response | ClerksyncError":
        """Makes the call for the first of some questions and those that travel along, and tells the breaker."""
        self._stats.calls += 1
        assert first.call is not None
        error: ClerksyncError
        try:
            # As long as a call may take, whoever waits how long: a slow answer still fills the cache.
            response = await method(request, timeout=self._options.timeout_s, metadata=first.metadata)
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
            error = CallFailed("the answer could not be read", code="INTERNAL")
        if isinstance(error, Refused | InvalidRequest):
            self._breaker.succeeded()  # An answer, if not a welcome one.
        elif first.call.fails_first():
            self._breaker.failed()
        return error

    def _keep(self, questions: Sequence[Question], outcomes: Sequence[Answer | ClerksyncError]) -> None:
        for question, outcome in zip(questions, outcomes, strict=True):
            if isinstance(outcome, EnsuredUserProfile):
                kept: Answer = EnsuredUserProfile(outcome.profile, created=False)
            elif isinstance(outcome, EnsuredOrganization):
                kept = EnsuredOrganization(outcome.organization, created=False)
            else:
                continue
            self.cache.put(question.key, kept, asked_at=question.asked_at)


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


def _outcome_from_pb(result: sync_service_pb2.EnsureUserProfileResult) -> EnsuredUserProfile | ClerksyncError:
    if result.WhichOneof("result") != "response":
        return error_from_status(result.error)
    try:
        return ensured_user_profile_from_pb(result.response)
    except ValueError:  # A time that is none.
        return CallFailed("the answer could not be read", code="INTERNAL")


def _timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp


def _checked(ids: Mapping[str, str], issued_at: "datetime | float | None") -> datetime | None:
    """What SyncService would refuse is refused here: in a batch it could keep the others from travelling."""
    violations = {
        field: f"{'is ill-formed' if value else 'is missing'}; {_EXPECTED_ID}"
        for field, value in ids.items()
        if not (isinstance(value, str) and _GOOD_ID.fullmatch(value))
    }
    moment = None
    try:
        moment = issued_at if isinstance(issued_at, datetime | None) else datetime.fromtimestamp(issued_at, UTC)
        if moment is not None:
            if moment.utcoffset() is None:
                raise ValueError
            moment = moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        moment = None
        violations[_TIME] = "is no time; expected an aware datetime, or the token's iat in seconds"
    if moment is not None and moment > datetime.now(UTC) + _FUTURE_LIMIT:
        violations[_TIME] = "lies more than a day in the future; expected the token's iat, which counts seconds"
    if violations:
        raise InvalidRequest(violations)
    return moment
