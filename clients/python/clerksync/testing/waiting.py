"""How a call in progress waits for what the test does, without outliving its caller."""

from collections.abc import Callable
from typing import Never

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status

from clerksync.testing import statuses
from clerksync.testing.stage import Stage, Trouble


class Ending:
    """Whether a call has ended: was answered, cancelled, or ran out of time. Wakes whoever waits on the stage."""

    def __init__(self, context: grpc.ServicerContext, stage: Stage) -> None:
        self.has_come = False
        self._stage = stage
        self._tidy: list[Callable[[], object]] = []
        if not context.add_callback(self._come):
            self._come()

    def then(self, tidy: Callable[[], object]) -> None:
        """Calls `tidy` at the end, or now if that is over."""
        with self._stage.changed:
            if not self.has_come:
                self._tidy.append(tidy)
                return
        tidy()

    def _come(self) -> None:
        with self._stage.changed:
            self.has_come = True
            for tidy in self._tidy:
                tidy()
            self._stage.changed.notify_all()


def wait_out_trouble(context: grpc.ServicerContext, stage: Stage) -> status_pb2.Status | None:
    """Waits as long as there is trouble that makes calls wait; returns what the call is to fail with, if it is."""
    if stage.trouble is None and not stage.is_stopping:
        return None
    ending = Ending(context, stage)
    trouble: Trouble | None

    def is_over() -> bool:
        return ending.has_come or stage.is_stopping or stage.trouble is not trouble

    with stage.changed:
        while (trouble := stage.trouble) is not None and trouble.status is None:
            was_over = stage.changed.wait_for(is_over, trouble.seconds)
            if ending.has_come or stage.is_stopping or not was_over:
                break
        status = None if trouble is None else trouble.status
        if stage.is_stopping:
            status = statuses.shutting_down()
    if ending.has_come:
        context.abort(grpc.StatusCode.CANCELLED, "the caller has gone")
    return status


def fail(context: grpc.ServicerContext, status: status_pb2.Status) -> Never:
    context.abort_with_status(rpc_status.to_status(status))
