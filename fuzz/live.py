"""SyncService and the front on a real Postgres, in a thread of their own, and what they call a defect."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog

from clerksync_server.app import Application
from clerksync_server.settings import load_settings
from clerksync_server.settings.types import Address
from fuzz.signing import SECRET

_STARTS_WITHIN_S = 30


class _Errors(logging.Handler):
    """What asyncio says of exceptions that nobody caught."""

    def __init__(self, told: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        self._told.append(f"{record.name}: {record.getMessage()}")


@dataclass
class Live:
    """Addresses of a running stack, and its log lines of the level error."""

    http: Address
    grpc: Address
    errors: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Raises AssertionError if a defect was logged."""
        assert not self.errors, self.errors


@contextmanager
def live_stack(database_url: str, transport: str = "grpcio") -> Iterator[Live]:
    """Runs it until the block is left."""
    errors: list[str] = []
    with _listening_to_errors(errors):
        started: Future[tuple[Address, Address]] = Future()
        loop, stop = asyncio.new_event_loop(), asyncio.Event()
        thread = threading.Thread(
            target=lambda: loop.run_until_complete(_serve(database_url, transport, started, stop)), daemon=True
        )
        thread.start()
        http, grpc = started.result(_STARTS_WITHIN_S)
        try:
            yield Live(http, grpc, errors)
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
            loop.close()


async def _serve(
    database_url: str, transport: str, started: "Future[tuple[Address, Address]]", stop: asyncio.Event
) -> None:
    try:
        settings = load_settings(
            DATABASE_URL=database_url,
            CLERK_WEBHOOK_SECRET=SECRET,
            CLERKSYNC_GRPC_TRANSPORT=transport,
            CLERKSYNC_GRPC_LISTEN="127.0.0.1:0",
            CLERKSYNC_HTTP_LISTEN="127.0.0.1:0",
            CLERKSYNC_OPS_LISTEN="127.0.0.1:0",
            CLERKSYNC_SHUTDOWN_GRACE="1",
        )
        application = Application(settings, service=True, front=True, dev=True)
        await application.start()
    except BaseException as error:
        started.set_exception(error)
        raise
    try:
        assert application.http_address is not None
        assert application.grpc_address is not None
        started.set_result((application.http_address, application.grpc_address))
        await stop.wait()
    finally:
        await application.stop()


@contextmanager
def _listening_to_errors(errors: list[str]) -> Iterator[None]:
    def keep(logger: object, name: str, line: structlog.typing.EventDict) -> Any:
        if name in {"error", "critical", "exception"}:
            errors.append(str(line))
        raise structlog.DropEvent

    before, handler, asyncio_log = structlog.get_config(), _Errors(errors), logging.getLogger("asyncio")
    structlog.configure(
        processors=[keep],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=False,
    )
    # A stranger's malformed request is no error of ours; aiohttp calls it one.
    aiohttp_log = logging.getLogger("aiohttp.server")
    level = aiohttp_log.level
    aiohttp_log.setLevel(logging.CRITICAL)
    asyncio_log.addHandler(handler)
    try:
        yield
    finally:
        asyncio_log.removeHandler(handler)
        aiohttp_log.setLevel(level)
        structlog.configure(**before)
