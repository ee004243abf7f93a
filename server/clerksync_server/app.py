"""The composition root: what a process is made of, and the order in which it starts and stops."""

import asyncio
import contextlib
import gc
import signal
import time
from datetime import timedelta

import structlog
from aiohttp import web

from clerksync.credential_files import UnusableFile
from clerksync.credentials import stays_on_this_machine
from clerksync_server.access.authorizer import Access
from clerksync_server.access.opening import access_of
from clerksync_server.access.session_tokens import session_tokens_of
from clerksync_server.clerk.signature import SignatureVerifier
from clerksync_server.database.connection import Database
from clerksync_server.database.monitor import DatabaseMonitor
from clerksync_server.database.wire import tell_of_plaintext
from clerksync_server.grpc_api.delivery_servicer import DeliveryServicer
from clerksync_server.grpc_api.server import CannotListen, GrpcServer
from clerksync_server.grpc_api.sync_servicer import SyncServicer
from clerksync_server.grpc_api.tls import ServerCertificate
from clerksync_server.http_connections import IDLE_S, ConnectionGuard, GuardedSite
from clerksync_server.ops import metrics
from clerksync_server.ops.lifecycle import Lifecycle
from clerksync_server.ops.server import ops_app
from clerksync_server.rules.evidence import EvidencePolicy
from clerksync_server.settings import Settings
from clerksync_server.settings.encryption import client_credentials, client_files, server_files, told_of_server
from clerksync_server.settings.types import Address
from clerksync_server.sync.body_keys import BodyKeys
from clerksync_server.sync.deliveries import Deliveries
from clerksync_server.sync.ensure import Ensure
from clerksync_server.sync.explain import Explain
from clerksync_server.sync.removals import RemovalFeed
from clerksync_server.sync.retention import Retention
from clerksync_server.webhook_front.app import front_app
from clerksync_server.webhook_front.client import keep_connected
from clerksync_server.webhook_front.forwarding import Forwarder

_log = structlog.get_logger(__name__)
_DAY_MS = 24 * 60 * 60 * 1000
_MOST_OPS_CONNECTIONS = 100
_READ_AHEAD_BYTES = 32 * 1024
"""Of a body, for each connection, before it is asked for; aiohttp holds twice as much, and what came with it."""
_NEW_OBJECTS_A_COLLECTION = 10_000


def retention_of(settings: Settings, database: Database) -> Retention:
    return Retention(
        database,
        deliveries_kept=timedelta(days=settings.ledger_retention_days),
        tombstones_kept=timedelta(days=settings.tombstone_retention_days),
    )


def certificate_of(settings: Settings) -> ServerCertificate | None:
    """What SyncService shows; None for plaintext, which the log tells. Raises UnusableSettingFile."""
    files = server_files(settings)
    if files is None:
        tell_plaintext(f"SyncService at {settings.grpc_listen}")
        return None
    try:
        certificate = ServerCertificate(files)
    except UnusableFile as error:
        raise told_of_server(error) from None
    metrics.export_certificate_expiry(certificate.expires_at_s)
    return certificate


def tell_plaintext(part: str) -> None:
    """Warns of what everybody on the way can read and alter."""
    _log.warning("gRPC is plaintext", part=part, hint="see docs/security.md")


class SyncServiceProcess:
    """SyncService with its database, the watch over it, and the feed of removals."""

    def __init__(self, settings: Settings, lifecycle: Lifecycle, access: Access) -> None:
        assert settings.database_url is not None
        assert settings.direct_dsn is not None
        self._settings = settings
        self._lifecycle = lifecycle
        self._database = Database(settings.database_url.get_secret_value(), pool_size=settings.database_pool_size)
        policy = EvidencePolicy(
            max_token_age_ms=settings.max_token_age_s * 1000, retention_ms=settings.tombstone_retention_days * _DAY_MS
        )
        deliveries = Deliveries(
            self._database, instance_id=settings.instance_id, body_keys=BodyKeys(settings.quarantine_key_texts)
        )
        self._removals = RemovalFeed(self._database, settings.direct_dsn)
        session_tokens = session_tokens_of(settings)
        self._with_keys = (access,) if session_tokens is None else (access, session_tokens)
        ensure, explain = Ensure(self._database, policy), Explain(self._database, policy)
        self._server = GrpcServer(
            SyncServicer(deliveries, ensure, explain, self._removals, session_tokens),
            DeliveryServicer(deliveries),
            access=access,
            reflection_for=settings.reflection,
            transport=settings.grpc_transport,
        )
        self._certificate = certificate_of(settings)
        self._monitor = DatabaseMonitor(self._database, lifecycle, self.tell_health)
        self._retention = retention_of(settings, self._database)
        self._background: list[asyncio.Task[None]] = []

    async def start(self) -> Address:
        tell_of_plaintext(self._settings.database_urls)
        await self._database.open()
        await asyncio.gather(*(part.start() for part in self._with_keys))
        address = await self._server.start(self._settings.grpc_listen, self._certificate)
        await self._monitor.check()
        self._background = [
            asyncio.create_task(self._monitor.run(), name="database monitor"),
            asyncio.create_task(self._removals.run(), name="removals"),
            asyncio.create_task(self._retention.run(), name="retention"),
        ]
        return address

    async def stop(self, grace_s: float) -> None:
        await self._server.stop(grace_s)
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await asyncio.gather(*(part.close() for part in self._with_keys))
        await self._database.close()

    async def serve(self) -> None:
        """Returns when it has been stopped. Raises ServerEnded if gRPC has ended otherwise."""
        await self._server.serve()

    def tell_health(self) -> None:
        self._server.set_serving(self._lifecycle.ready)


class HttpProcess:
    """An aiohttp application that listens."""

    def __init__(self, app: web.Application, address: Address, *, most_connections: int, grace_s: float = 0) -> None:
        """`grace_s` is what requests in progress are given to finish when it stops."""
        self._guard = ConnectionGuard(most_connections)
        app.middlewares.insert(0, self._guard.middleware)
        self._guarding: asyncio.Task[None] | None = None
        self._app = app
        self._address = address
        self._grace_s = grace_s
        self._runner: web.AppRunner | None = None

    async def start(self) -> Address:
        self._runner = web.AppRunner(self._app, handle_signals=False, shutdown_timeout=self._grace_s)
        await self._runner.setup()
        # Signatures are made over the bytes as sent, so a compressed body stays as it is.
        site = GuardedSite(
            self._runner,
            self._guard,
            self._address.host,
            self._address.port,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=IDLE_S,
            read_bufsize=_READ_AHEAD_BYTES,
        )
        try:
            await site.start()
        except (OSError, UnicodeError) as error:
            await self._runner.cleanup()
            why = error.strerror if isinstance(error, OSError) else "the host is no name"
            raise CannotListen(f"{self._address} cannot be listened on: {why}") from None
        self._guarding = asyncio.create_task(self._guard.run(), name="connections")
        return Address(self._address.host, self._runner.addresses[0][1])

    async def stop(self) -> None:
        if self._guarding is not None:
            self._guarding.cancel()
        if self._runner is not None:
            await self._runner.cleanup()


class Application:
    """One process: SyncService, the webhook front, or both, and always the ops endpoint."""

    def __init__(self, settings: Settings, *, service: bool, front: bool, dev: bool = False) -> None:
        """In `dev` everybody may call, unless a policy says otherwise. Raises InvalidSettings for unusable files."""
        self._settings = settings
        self._lifecycle = Lifecycle()
        self._service = SyncServiceProcess(settings, self._lifecycle, access_of(settings, dev=dev)) if service else None
        self._with_front = front
        self._http: HttpProcess | None = None
        self._ops = HttpProcess(ops_app(self._lifecycle), settings.ops_listen, most_connections=_MOST_OPS_CONNECTIONS)
        self._stop_asked = asyncio.Event()
        self._closing = contextlib.AsyncExitStack()
        self.grpc_address: Address | None = None
        self.http_address: Address | None = None
        self.ops_address: Address | None = None

    async def start(self) -> None:
        """Starts everything, or nothing. Raises CannotListen."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        self.ops_address = await self._ops.start()
        target = self._settings.target
        if self._service is not None:
            self.grpc_address = await self._service.start()
            if "service_target" not in self._settings.model_fields_set:
                target = str(self.grpc_address.reachable())
        if self._with_front:
            connection = keep_connected(target, client_credentials(self._settings))
            if client_files(self._settings) is None and not stays_on_this_machine(target):
                tell_plaintext(f"the way to {target}")
            self._closing.push_async_callback(connection.close)
            renewing = asyncio.create_task(connection.renew(), name="credentials")
            self._closing.callback(renewing.cancel)
            verifier = SignatureVerifier(self._settings.webhook_secret_texts)
            self._http = HttpProcess(
                front_app(verifier, Forwarder(connection), self._lifecycle),
                self._settings.http_listen,
                most_connections=self._settings.http_max_connections,
                # aiohttp takes it twice: once to wait for requests, and once after it has cancelled them.
                grace_s=self._settings.shutdown_grace_s / 2,
            )
            self.http_address = await self._http.start()
        _log.info(
            "listening",
            grpc=str(self.grpc_address) if self.grpc_address else None,
            http=str(self.http_address) if self.http_address else None,
            ops=str(self.ops_address),
        )

    async def stop(self) -> None:
        """Takes no new work, lets what is in progress finish, and closes from the outside in."""
        deadline = time.monotonic() + self._settings.shutdown_grace_s
        self._lifecycle.draining = True
        if self._service is not None:
            self._service.tell_health()
        if self._http is not None:
            await self._http.stop()
        await self._closing.aclose()
        if self._service is not None:
            await self._service.stop(max(0.0, deadline - time.monotonic()))
        await self._ops.stop()
        _log.info("stopped")

    async def wait_for_signal(self) -> None:
        """Returns on SIGTERM or SIGINT. A second signal ends the process at once.

        Raises ServerEnded if gRPC has ended before: whoever runs the process has to start it again.
        """
        loop = asyncio.get_running_loop()

        def stop(number: int) -> None:
            _log.info("stopping", signal=signal.Signals(number).name)
            self._stop_asked.set()
            loop.remove_signal_handler(number)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop, number)
        asked = asyncio.create_task(self._stop_asked.wait(), name="signal")
        serving = [] if self._service is None else [asyncio.create_task(self._service.serve(), name="gRPC")]
        try:
            ended, _ = await asyncio.wait([asked, *serving], return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            for task in (asked, *serving):
                task.cancel()


def spare_garbage_collection() -> None:
    """Looks for cycles less often, and no more among what the modules have made.

    Calls leave next to no cycles behind, and looking cost a tenth of a hit's CPU, at times all at once.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS_A_COLLECTION, *gc.get_threshold()[1:])


async def serve(settings: Settings, *, service: bool = False, front: bool = False) -> None:
    """Runs until SIGTERM or SIGINT."""
    spare_garbage_collection()
    application = Application(settings, service=service, front=front)
    await application.start()
    try:
        await application.wait_for_signal()
    finally:
        await application.stop()
