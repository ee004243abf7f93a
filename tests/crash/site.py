"""An installation as processes: SyncServices and fronts on fixed ports, killed and started again at will.

A process that stops by itself is a defect: only `kill` ends one, and `close` all of them.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc.aio
from running import Running, until
from stack import WEBHOOK_SECRET, timestamp_of

from clerksync.v1 import sync_service_pb2, sync_service_pb2_grpc
from clerksync_server.dev.embedded_postgres import EmbeddedPostgres
from clerksync_server.dev.instance_lock import server_processes

# Ends with the tests even if those are killed. 1 is PR_SET_PDEATHSIG, which only Linux has.
_LAUNCHER = """
import ctypes, runpy, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
runpy.run_module("clerksync_server", run_name="__main__", alter_sys=True)
"""
_COMMAND = (sys.executable, "-c", _LAUNCHER)
_FIRST_PORT, _PORTS_EACH, _SHARES = 20_000, 24, 500


def free_ports() -> Iterator[int]:
    """Ports below those that the system hands out, so that one stays free while its owner is dead."""
    first = _FIRST_PORT + os.getpid() % _SHARES * _PORTS_EACH
    for port in range(first, first + _PORTS_EACH):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port


class Replica:
    """A SyncService or a front that always listens in the same place."""

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self.kills = 0
        self._arguments = arguments
        self._environment = environment
        self._running: Running | None = None
        self._was_up = False

    def start(self) -> None:
        self._running = Running(*self._arguments, environment=self._environment, command=_COMMAND)
        self._was_up = False

    @property
    def running(self) -> Running:
        assert self._running is not None
        return self._running

    @property
    def pid(self) -> int:
        return self.running.process.pid

    async def up(self) -> None:
        """Waits until it listens."""
        if not self._was_up:
            await self.running.listening()
            self._was_up = True

    async def kill(self) -> None:
        """SIGKILL, as the machine or the kernel does it."""
        assert self.running.process.poll() is None, f"{self.name} ended by itself:\n{self.running.err}"
        self.kills += 1
        await self.close()

    async def close(self) -> None:
        if self._running is not None:
            running, self._running = self._running, None
            await running.__aexit__(None, None, None)


class Site:
    """SyncServices and fronts; every front knows every SyncService."""

    def __init__(
        self,
        database_url: str,
        *,
        services: int = 2,
        fronts: int = 2,
        service_variables: Sequence[Mapping[str, str]] = (),
        front_variables: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """The variables are per replica, and may be fewer than those."""
        ports = free_ports()
        grpc_addresses = [f"127.0.0.1:{next(ports)}" for _ in range(services)]
        http_addresses = [f"127.0.0.1:{next(ports)}" for _ in range(fronts)]
        self.webhook_urls = [f"http://{address}/webhooks/clerk" for address in http_addresses]
        target = "ipv4:" + ",".join(grpc_addresses)
        self.services = [
            Replica(
                f"SyncService {number}",
                ("service",),
                {"DATABASE_URL": database_url, "CLERKSYNC_GRPC_LISTEN": address} | dict(own),
            )
            for number, (address, own) in enumerate(_padded(grpc_addresses, service_variables))
        ]
        self.fronts = [
            Replica(
                f"front {number}",
                ("front",),
                {
                    "CLERK_WEBHOOK_SECRET": WEBHOOK_SECRET,
                    "CLERKSYNC_SERVICE_TARGET": target,
                    "CLERKSYNC_HTTP_LISTEN": address,
                }
                | dict(own),
            )
            for number, (address, own) in enumerate(_padded(http_addresses, front_variables))
        ]
        self._channels = [(address, Channel(address)) for address in grpc_addresses]

    @property
    def channels(self) -> "list[Channel]":
        """To each SyncService, as a sibling service has it."""
        return [channel for _, channel in self._channels]

    @property
    def replicas(self) -> list[Replica]:
        return self.services + self.fronts

    @property
    def pids(self) -> list[int]:
        return [replica.pid for replica in self.replicas]

    async def __aenter__(self) -> Self:
        try:
            for replica in self.replicas:
                replica.start()
            await asyncio.gather(*(replica.up() for replica in self.replicas))
            for service in self.services:
                await service.running.logged("the database is ready")
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            for replica in self.replicas:
                print(replica.name, *replica.running.err.splitlines()[-20:], sep="\n")
        await self.close()

    async def close(self) -> None:
        for _, channel in self._channels:
            await channel.close()
        for replica in self.replicas:
            await replica.close()


class Channel:
    """Ensure calls to one SyncService."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._channel: grpc.aio.Channel | None = None

    async def ensure_profile(
        self, user: str, org: str, issued_at_ms: int | None
    ) -> sync_service_pb2.EnsureUserProfileResponse:
        if self._channel is None:
            # Where SyncService was killed, it soon listens again.
            options = [("grpc.max_reconnect_backoff_ms", 300), ("grpc.initial_reconnect_backoff_ms", 100)]
            self._channel = grpc.aio.insecure_channel(self._address, options=options)
        request = sync_service_pb2.EnsureUserProfileRequest(clerk_user_id=user, clerk_org_id=org)
        if issued_at_ms is not None:
            request.token_issued_at.CopyFrom(timestamp_of(issued_at_ms))
        stub: Any = sync_service_pb2_grpc.SyncServiceStub(self._channel)
        response: sync_service_pb2.EnsureUserProfileResponse = await stub.EnsureUserProfile(request, timeout=10)
        return response

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close(None)


async def kill_postgres(postgres: EmbeddedPostgres, *, alone: bool) -> None:
    """SIGKILL for the main process alone (its children notice and end), or for all, as when a machine loses power."""
    assert postgres.pid is not None, (
        "Postgres ended by itself:\n" + (postgres.folder / "server.log").read_text()[-4000:]
    )
    pids = [postgres.pid] if alone else server_processes(postgres.folder / "cluster")
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    await until(lambda: postgres.pid is None, 10, every_s=0.005)


async def assert_nothing_left(postgres: EmbeddedPostgres) -> None:
    """No process of a stopped server is left."""
    cluster = postgres.folder / "cluster"
    await until(lambda: not server_processes(cluster), 5)


def faketime_library() -> Path | None:
    """Where Debian and others keep libfaketime; None where it is not installed."""
    for place in ("usr/lib/*/faketime", "usr/lib64/faketime", "usr/lib/faketime", "usr/local/lib/faketime"):
        for library in Path("/").glob(f"{place}/libfaketime.so.1"):
            return library
    return None


def _padded(addresses: list[str], variables: Sequence[Mapping[str, str]]) -> list[tuple[str, Mapping[str, str]]]:
    return list(zip(addresses, [*variables, *({} for _ in addresses)], strict=False))
