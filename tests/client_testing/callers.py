"""A caller of SyncService on threads, as Django and Flask services are; and what a failed call says."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from clerksync.v1 import sync_service_pb2, sync_service_pb2_grpc

CREATED, EXISTED = sync_service_pb2.ENSURE_OUTCOME_CREATED, sync_service_pb2.ENSURE_OUTCOME_EXISTED
Told = set[tuple[str, str]]


class Caller:
    """Calls with a deadline of 5 s, unless told otherwise."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.sync: Any = sync_service_pb2_grpc.SyncServiceStub(channel)

    def ensure(self, user: str, org: str, issued_at_ms: int | None = None, *, timeout: float = 5) -> Any:
        return self.sync.EnsureUserProfile(profile_request(user, org, issued_at_ms), timeout=timeout)

    def batch(self, *requests: sync_service_pb2.EnsureUserProfileRequest) -> Any:
        return self.sync.BatchEnsureUserProfiles(
            sync_service_pb2.BatchEnsureUserProfilesRequest(requests=requests), timeout=5
        )

    def organization(self, org: str, issued_at_ms: int | None = None) -> Any:
        request = sync_service_pb2.EnsureOrganizationRequest(clerk_org_id=org)
        if issued_at_ms is not None:
            request.token_issued_at.FromMilliseconds(issued_at_ms)
        return self.sync.EnsureOrganization(request, timeout=5)

    @contextmanager
    def watching(self, position: str = "") -> Iterator["Watch"]:
        """A stream of WatchRemovals."""
        stream = self.sync.WatchRemovals(sync_service_pb2.WatchRemovalsRequest(position=position))
        watch = Watch(stream)
        try:
            yield watch
        finally:
            stream.cancel()
            watch.thread.join(5)


class Watch:
    """The responses of a stream as they come, and the error that it ended with."""

    def __init__(self, stream: Any) -> None:
        self._said: Queue[Any] = Queue()
        self.thread = threading.Thread(target=self._listen, args=(stream,), daemon=True)
        self.thread.start()

    def _listen(self, stream: Any) -> None:
        try:
            for response in stream:
                self._said.put(response)
        except grpc.RpcError as error:
            self._said.put(error)

    @property
    def is_silent(self) -> bool:
        """Whether nothing has come that was not taken."""
        return self._said.empty()

    def next(self) -> Any:
        """The next response, or the error; fails if none comes within 5 s."""
        return self._said.get(timeout=5)

    def next_removals(self) -> tuple[Told, str]:
        """What the next response with removals tells, and its position; checkpoints are left out."""
        while not (response := self.next()).removals:
            assert not response.reset
        return {(removal.clerk_user_id, removal.clerk_org_id) for removal in response.removals}, response.position


def profile_request(user: str, org: str, issued_at_ms: int | None = None) -> sync_service_pb2.EnsureUserProfileRequest:
    request = sync_service_pb2.EnsureUserProfileRequest(clerk_user_id=user, clerk_org_id=org)
    if issued_at_ms is not None:
        request.token_issued_at.CopyFrom(Timestamp(seconds=issued_at_ms // 1000, nanos=issued_at_ms % 1000 * 1_000_000))
    return request


def failure(error: grpc.RpcError) -> tuple[str, str, list[str]]:
    """The code, the reason and the fields of a failed call."""
    status = rpc_status.from_call(error)
    assert status is not None, error
    return told(status)


def told(status: status_pb2.Status) -> tuple[str, str, list[str]]:
    """The code, the reason and the fields that a status names."""
    code = next(code.name for code in grpc.StatusCode if code.value[0] == status.code)
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    reasons = [info.reason for detail in status.details if detail.Is(info.DESCRIPTOR) and detail.Unpack(info)]
    (reason,) = reasons
    fields = [
        violation.field
        for detail in status.details
        if detail.Is(bad.DESCRIPTOR) and detail.Unpack(bad)
        for violation in bad.field_violations
    ]
    return code, reason, sorted(fields)
