"""One stream of WatchRemovals."""

from collections.abc import Iterator

import grpc
from google.rpc import status_pb2

from clerksync.testing import statuses
from clerksync.testing.stage import Stage, Watcher
from clerksync.testing.waiting import Ending, fail
from clerksync.v1 import sync_service_pb2


class Stream:
    """Tells of removals as they happen, and every `checkpoint_interval_s` how far it has come."""

    def __init__(self, stage: Stage, context: grpc.ServicerContext, *, checkpoint_interval_s: float) -> None:
        self._stage = stage
        self._context = context
        self._checkpoint_interval_s = checkpoint_interval_s
        self._watcher = Watcher()
        self._is_first = True

    def responses(self, position: str) -> Iterator[sync_service_pb2.WatchRemovalsResponse]:
        """Ends with the call, or fails if the test wants it to."""
        stage = self._stage
        self._ending = Ending(self._context, stage)
        with stage.changed:
            self._position = stage.removals.resume(position)
            stage.watchers.add(self._watcher)
            stage.changed.notify_all()
        self._ending.then(lambda: stage.watchers.discard(self._watcher))
        while (response := self._next()) is not None:
            yield response

    def _next(self) -> sync_service_pb2.WatchRemovalsResponse | None:
        stage = self._stage
        with stage.changed:
            while not stage.changed.wait_for(self._is_due, self._checkpoint_interval_s):
                if not stage.silent:
                    break  # A checkpoint is due.
            if self._ending.has_come:
                return None
            if (status := self._failure()) is None:
                return self._news()
        return fail(self._context, status)

    def _is_due(self) -> bool:
        if self._ending.has_come or self._failure() is not None:
            return True
        return not self._stage.silent and (self._is_first or self._stage.removals.end != self._position)

    def _failure(self) -> status_pb2.Status | None:
        if self._watcher.cut or self._stage.is_stopping:
            return statuses.shutting_down()
        trouble = self._stage.trouble
        return None if trouble is None or trouble.silences else trouble.status

    def _news(self) -> sync_service_pb2.WatchRemovalsResponse:
        removals = self._stage.removals
        self._is_first = False
        if self._position is None or not removals.is_known(self._position):
            self._position = removals.end
            return sync_service_pb2.WatchRemovalsResponse(position=str(self._position), reset=True)
        told, self._position = removals.after(self._position)
        return sync_service_pb2.WatchRemovalsResponse(position=str(self._position), removals=told)
