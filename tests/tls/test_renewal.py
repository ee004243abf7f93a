"""Certificates and tokens that are renewed while calls are made."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import bodies
import grpc
import grpc.aio
import pytest
import trustme
from running import until
from stack import Stack, now_ms
from tls.conftest import MountFiles, StartTls, target_of
from tls.mounted import CA, CERT, HOST, KEY, Mounted, issued
from tls.test_handshakes import asks, tls_of

from clerksync import CallFailed, SyncClient
from clerksync.credentials import CHECKED_EVERY_S
from clerksync.v1 import sync_service_pb2_grpc

TAKEN_WITHIN_S = CHECKED_EVERY_S + 4


async def shown(stack: Stack) -> bytes:
    """The certificate that a new connection is shown, in DER."""
    host, _, port = stack.target.rpartition(":")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return certificate


@contextlib.asynccontextmanager
async def load(client: SyncClient) -> AsyncIterator[Callable[[], int]]:
    """Calls without a pause; fails with the first that fails. Yields how many there were."""
    calls = 0
    stop = False

    async def ask(number: int) -> None:
        nonlocal calls
        while not stop:
            # Everybody is new: what is kept would not be asked for.
            await client.ensure_user_profile(f"user_{number}_{calls}", "org_1")
            calls += 1

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(ask(number))
        try:
            yield lambda: calls
        finally:
            stop = True


async def test_a_renewed_certificate(start_tls: StartTls, server: Mounted, ca: trustme.CA) -> None:
    """New connections are shown the renewed certificate; calls on old ones go on, under load, without one failure."""
    stack = await start_tls()
    client = SyncClient(target_of(stack), tls=tls_of(server, shows=False), cache_size=0, timeout_s=10)
    async with client, load(client) as calls:
        await until(lambda: calls() > 20, 10)
        seen = set()
        for _ in range(5):
            renewed = issued(ca)
            server.swap(renewed)
            before = calls()
            assert await shown(stack) == ssl.PEM_cert_to_DER_cert(renewed[CERT].decode())
            assert await asks(target_of(stack), tls_of(server, shows=False))
            seen.add(renewed[CERT])
            await until(lambda before=before: calls() > before + 20, 10)

    assert len(seen) == 5


@pytest.mark.parametrize("broken", ["another key", "half a certificate", "no key", "garbage for the client CA"])
async def test_a_broken_renewal(
    broken: str, start_tls: StartTls, server: Mounted, ca: trustme.CA, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is not complete or does not fit together is not taken, and told once; what follows and is right, is."""
    stack = await start_tls(asks_clients=True)
    before = await shown(stack)
    renewed = issued(ca)
    bad = {
        "another key": renewed | {KEY: issued(ca)[KEY]},
        "half a certificate": renewed | {CERT: renewed[CERT][: len(renewed[CERT]) // 2]},
        "no key": {CERT: renewed[CERT], CA: renewed[CA]},
        "garbage for the client CA": renewed | {CA: b"\x00garbage"},
    }[broken]

    server.swap(bad)
    during = [await shown(stack) for _ in range(3)]
    told = "".join(capfd.readouterr())
    server.swap(renewed)

    assert during == [before] * 3
    assert told.count("a renewed certificate is not used") == 1
    assert "PRIVATE" not in told
    assert await shown(stack) == ssl.PEM_cert_to_DER_cert(renewed[CERT].decode())


async def test_files_renewed_one_by_one(start_tls: StartTls, server: Mounted, ca: trustme.CA) -> None:
    """Whoever writes the certificate first and its key later has both taken once both are there."""
    stack = await start_tls()
    before, renewed = await shown(stack), issued(ca)
    halfway = renewed | {KEY: (server.read(KEY))}

    server.swap(halfway)
    assert await shown(stack) == before
    server.swap(renewed)

    assert await shown(stack) == ssl.PEM_cert_to_DER_cert(renewed[CERT].decode())


async def test_a_renewed_client_authority(
    start_tls: StartTls, server: Mounted, mount: MountFiles, ca: trustme.CA, other_ca: trustme.CA
) -> None:
    """Clients of a new authority are taken once it is in the file, and those of the old one are not once it is out."""
    target = target_of(await start_tls(asks_clients=True))
    own = issued(ca)
    old, new = tls_of(mount(own)), tls_of(mount(issued(other_ca, trusts=ca)))
    taken = [[await asks(target, old), await asks(target, new)]]

    for trusted in (own[CA] + other_ca.cert_pem.bytes(), other_ca.cert_pem.bytes()):
        server.swap(own | {CA: trusted})
        taken.append([await asks(target, old), await asks(target, new)])

    assert taken == [[True, False], [True, True], [False, True]]


async def test_the_metric_tells_the_expiry(start_tls: StartTls, server: Mounted, ca: trustme.CA) -> None:
    """The metric is the end of the certificate that is shown, and follows its renewal."""
    stack = await start_tls()

    for not_after in (datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2031, 1, 2, tzinfo=UTC)):
        leaf = ca.issue_cert(HOST, not_after=not_after)
        server.swap(issued(ca) | {CERT: leaf.cert_chain_pems[0].bytes(), KEY: leaf.private_key_pem.bytes()})
        async with aiohttp.ClientSession() as http, http.get(f"{stack.ops_url}/metrics") as response:
            lines = (await response.text()).splitlines()

        [value] = [line.split()[1] for line in lines if line.startswith("clerksync_grpc_certificate_expiry_seconds")]
        assert float(value) == not_after.timestamp()


async def test_a_renewed_client_certificate(
    start_tls: StartTls, server: Mounted, mount: MountFiles, ca: trustme.CA, other_ca: trustme.CA
) -> None:
    """A client shows its renewed certificate without a restart: no call fails, and no removal goes unheard."""
    server.swap(issued(ca, HOST, "127.0.0.1"))
    front = mount(issued(other_ca, "front.example", trusts=ca))  # It connects when it has something to tell.
    stack = await start_tls(
        asks_clients=True,
        CLERKSYNC_SERVICE_TLS_CA=front / CA,
        CLERKSYNC_SERVICE_TLS_CERT=front / CERT,
        CLERKSYNC_SERVICE_TLS_KEY=front / KEY,
    )
    own = mount(issued(ca, "sibling.example"))
    client = SyncClient(target_of(stack), tls=tls_of(own), timeout_s=1)
    async with client:
        assert await client.ready()
        connection = client._session()._connection
        first = connection.channel
        assert (await client.ensure_user_profile("user_kept", "org_1")).created
        async with load(client) as calls:
            renewed = issued(other_ca, "sibling.example", trusts=ca)
            server.swap(issued(ca, HOST, "127.0.0.1") | {CA: ca.cert_pem.bytes() + other_ca.cert_pem.bytes()})
            own.swap(renewed)
            await until(lambda: connection.channel is not first, TAKEN_WITHIN_S)
            before = calls()
            await until(lambda: calls() > before + 20, 10)
            await until(lambda: not connection._closing, 5)  # The old channel is gone, and its stream with it.
        # From now on the old certificate is worth nothing.
        server.swap(issued(ca, HOST, "127.0.0.1") | {CA: other_ca.cert_pem.bytes()})
        await until(lambda: client.silent_for_s < 2, 10)
        t = now_ms()
        joined = bodies.membership("created", "user_kept", "org_1", at=t, joined_at=t)
        left = bodies.membership("deleted", "user_kept", "org_1", at=t + 1, joined_at=t)
        assert [(await stack.post(joined)).outcome, (await stack.post(left)).outcome] == ["applied", "applied"]
        await until(lambda: client.kept_user_profile("user_kept", "org_1") is None, 5)


class Listener:
    """Hears what calls carry, and answers none."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, ...]] = []

    def __getattr__(self, method: str) -> Any:
        """The methods that are never called."""
        if method.startswith("_"):
            raise AttributeError(method)
        return self.EnsureUserProfile

    async def EnsureUserProfile(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._hear(context)

    async def WatchRemovals(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._hear(context)
        yield  # It is a stream.

    async def _hear(self, context: Any) -> None:
        self.heard.append(tuple(value for key, value in context.invocation_metadata() if key == "authorization"))
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "")


async def test_a_renewed_token(tmp_path: Path) -> None:
    """Every call carries the token that is in the file now, once, whatever else says who calls."""
    listener, server = Listener(), grpc.aio.server()
    add_to_server: Any = sync_service_pb2_grpc.add_SyncServiceServicer_to_server
    add_to_server(listener, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    path = tmp_path / "token"
    path.write_text("first-token\n")
    # Loopback, so plaintext is no danger.
    client = SyncClient(
        f"127.0.0.1:{port}", token_file=path, metadata=lambda: [("authorization", "Bearer of-somebody-else")]
    )
    try:
        async with client:
            await until(lambda: len(listener.heard) > 1, 5)  # The stream asks by itself.
            with pytest.raises(CallFailed):
                await client.ensure_user_profile("user_1", "org_1")
            assert set(listener.heard) == {("Bearer first-token",)}
            path.write_text("not one token")
            await asyncio.sleep(CHECKED_EVERY_S + 0.5)
            path.write_text("second-token")
            await until(lambda: listener.heard[-1] == ("Bearer second-token",), TAKEN_WITHIN_S)
            assert set(listener.heard) == {("Bearer first-token",), ("Bearer second-token",)}
    finally:
        await server.stop(None)
