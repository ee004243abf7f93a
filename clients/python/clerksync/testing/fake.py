"""FakeSyncService: what authors of tests use."""

import asyncio
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Self

import grpc

from clerksync.resources import (
    Organization,
    UserProfile,
    ensured_organization_from_pb,
    user_profile_from_pb,
)
from clerksync.testing import statuses
from clerksync.testing.clerk import Clerk
from clerksync.testing.health import health_handler
from clerksync.testing.servicer import FakeServicer
from clerksync.testing.stage import Call, Stage, Trouble
from clerksync.testing.threads import DaemonThreads
from clerksync.v1 import sync_service_pb2, sync_service_pb2_grpc

_HOST = "127.0.0.1"
_LAST_BYTES_S = 1.0
_OPTIONS = [
    ("grpc.so_reuseport", 0),  # Two servers on one port would share it silently.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),  # As the real one allows clients to.
    ("grpc.keepalive_permit_without_calls", 1),
]


class Until:
    """As a context manager it ends, with the block, what the method that returned it has begun."""

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()


class FakeSyncService(Clerk):
    """SyncService in this process, by the rules of the real one, on a port of 127.0.0.1; and trouble on demand.

    ``with FakeSyncService() as fake:``, or ``async with``. All methods may be called from any thread, at any time, and
    what they say holds when they return. The state outlives `stop` and `start`, as Postgres outlives SyncService.

    `checkpoint_interval_s`: how often a quiet stream of WatchRemovals says how far it has come; 2 s, as the real one.
    """

    def __init__(self, *, checkpoint_interval_s: float = 2.0) -> None:
        # The threads of grpc rather than an event loop of our own: two event loops in one process share a queue in
        # grpc.aio, and older versions of it then fill the log of the test's loop with BlockingIOError.
        super().__init__(Stage())
        self._servicer = FakeServicer(  # type: ignore[abstract]  # what is missing is UNIMPLEMENTED
            self._stage, checkpoint_interval_s=checkpoint_interval_s
        )
        self._port: int | None = None
        self._server: grpc.Server | None = None
        self._threads: DaemonThreads | None = None
        self._reserved: socket.socket | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    # Running

    @property
    def target(self) -> str:
        """What a client connects to, "127.0.0.1:port"; the same after `stop` and `start`."""
        if self._port is None:
            raise RuntimeError("FakeSyncService has not been started: use it in a `with` statement, or call start()")
        return f"{_HOST}:{self._port}"

    def start(self) -> None:
        """Listens; on the port from before, if there was one. Raises RuntimeError if it runs already."""
        if self._server is not None:
            raise RuntimeError("FakeSyncService is running already")
        threads = DaemonThreads()
        server = grpc.server(threads, options=_OPTIONS)  # type: ignore[arg-type]  # any executor does
        sync_service_pb2_grpc.add_SyncServiceServicer_to_server(self._servicer, server)
        server.add_generic_rpc_handlers((health_handler(self._stage),))
        self._release()
        self._port = server.add_insecure_port(f"{_HOST}:{self._port or 0}")
        server.start()
        self._server, self._threads = server, threads

    def stop(self) -> None:
        """Ends all calls and stops listening: connections are refused until `start`."""
        if self._server is None or self._threads is None:
            raise RuntimeError("FakeSyncService is not running: it has not been started, or was stopped already")
        server, threads = self._server, self._threads
        self._server = self._threads = None
        self._set_stopping(True)
        # Calls that wait end now by themselves. Cutting them off, as without grace, makes gRPC write to stderr.
        server.stop(_LAST_BYTES_S).wait()
        threads.shutdown()
        self._set_stopping(False)
        self._reserve()

    def stopped(self) -> Until:
        """`stop`, and `start` at the end of the block: ``with fake.stopped(): ...``."""
        self.stop()
        return Until(self.start)

    def close(self) -> None:
        """Stops, if it runs, and gives the port back."""
        if self._server is not None:
            self.stop()
        self._release()
        self._port = None

    def reset(self) -> None:
        """Forgets everybody, the calls and the trouble. Open streams of WatchRemovals are told that it did."""
        with self._stage.changed:
            self._stage.reset()
            self._stage.changed.notify_all()

    # Trouble. Each lasts until `back`, or to the end of the block: `with fake.away(): ...`.

    def slow(self, seconds: float) -> Until:
        """Calls are answered only after this time. Streams that are open are not slower."""
        return self._trouble(Trouble(seconds=seconds))

    def away(self) -> Until:
        """As without Postgres: calls fail with UNAVAILABLE (DATABASE_UNAVAILABLE), and streams fall silent.

        For a SyncService that cannot even be reached there is `stopped`.
        """
        return self._trouble(Trouble(status=statuses.database_unavailable(), silences=True))

    def broken(self) -> Until:
        """Calls fail with INTERNAL, and streams that are open end with it."""
        return self._trouble(Trouble(status=statuses.internal()))

    def freeze(self) -> Until:
        """Calls are accepted and not answered, and streams fall silent; afterwards they go on.

        As with SIGSTOP, except that the connections themselves stay alive: pings are answered.
        """
        return self._trouble(Trouble(seconds=None, silences=True))

    def mute_watchers(self) -> Until:
        """Streams of WatchRemovals stay open and say nothing; afterwards they tell what they have left out."""
        self._mute(True)
        return Until(lambda: self._mute(False))

    def cut_watchers(self) -> None:
        """Ends all streams of WatchRemovals with UNAVAILABLE (SHUTTING_DOWN). New ones may come at once."""
        with self._stage.changed:
            for watcher in self._stage.watchers:
                watcher.cut = True
            self._stage.changed.notify_all()

    def forget_positions(self) -> None:
        """Makes all positions of WatchRemovals too old: who resumes, or is watching, is told to drop all (`reset`)."""
        with self._stage.changed:
            self._stage.removals.forget()
            self._stage.changed.notify_all()

    def back(self) -> None:
        """Ends `slow`, `away`, `broken`, `freeze` and `mute_watchers`. Calls that wait are answered at once."""
        with self._stage.changed:
            self._stage.trouble = None
            self._stage.muted = False
            self._stage.changed.notify_all()

    # What there is, and what was asked

    def profile(self, clerk_user_id: str, clerk_org_id: str) -> UserProfile | None:
        """The row of user_profile, None if there is none."""
        with self._stage.changed:
            profile = self._stage.rows.user_profile((clerk_user_id, clerk_org_id))
        return None if profile is None else user_profile_from_pb(profile)

    def organization_row(self, clerk_org_id: str) -> Organization | None:
        """The row of organization, None if there is none."""
        with self._stage.changed:
            organization = self._stage.rows.organization(clerk_org_id)
        if organization is None:
            return None
        response = sync_service_pb2.EnsureOrganizationResponse(organization=organization)
        return ensured_organization_from_pb(response).organization

    @property
    def calls(self) -> list[Call]:
        """The Ensure calls that have arrived since the start or `reset`, in their order, answered or not.

        Each is a pair: ``[("EnsureUserProfile", 1), ("BatchEnsureUserProfiles", 20)]``.
        """
        with self._stage.changed:
            return list(self._stage.calls)

    def times_asked(self, clerk_user_id: str, clerk_org_id: str) -> int:
        """How often a profile was asked for, alone or in a batch."""
        with self._stage.changed:
            return self._stage.asked[clerk_user_id, clerk_org_id]

    @property
    def watchers(self) -> int:
        """How many streams of WatchRemovals are open."""
        with self._stage.changed:
            return len(self._stage.watchers)

    def wait_for_watchers(self, count: int = 1, *, timeout_s: float = 5.0) -> None:
        """Returns once at least so many streams are open: a removal from now on reaches them. Raises TimeoutError."""
        with self._stage.changed:
            if not self._stage.changed.wait_for(lambda: len(self._stage.watchers) >= count, timeout_s):
                raise TimeoutError(f"{len(self._stage.watchers)} of {count} watchers came within {timeout_s} s")

    def _trouble(self, trouble: Trouble) -> Until:
        with self._stage.changed:
            before = self._stage.trouble
            self._stage.trouble = trouble
            self._stage.changed.notify_all()

        def end() -> None:
            with self._stage.changed:
                # Unless something else was asked for meanwhile.
                if self._stage.trouble is trouble:
                    self._stage.trouble = before
                    self._stage.changed.notify_all()

        return Until(end)

    def _mute(self, muted: bool) -> None:
        with self._stage.changed:
            self._stage.muted = muted
            self._stage.changed.notify_all()

    def _set_stopping(self, is_stopping: bool) -> None:
        with self._stage.changed:
            self._stage.is_stopping = is_stopping
            self._stage.changed.notify_all()

    def _reserve(self) -> None:
        # While nobody listens, the system could give the port to somebody else.
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind((_HOST, self._port or 0))

    def _release(self) -> None:
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None
