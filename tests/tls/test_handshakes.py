"""Who gets a connection to SyncService, and whom clients take for it."""

import asyncio
import shutil
import socket

import bodies
import grpc
import grpc.aio
import pytest
import trustme
from stack import now_ms
from tls.conftest import MountFiles, StartTls, target_of
from tls.mounted import CA, CERT, KEY, Mounted, issued

from clerksync import SyncClient, TlsFiles, Unavailable, blocking


def tls_of(mounted: Mounted, *, shows: bool = True) -> TlsFiles:
    """The files of a client; one that shows no certificate of its own only trusts."""
    if not shows:
        return TlsFiles(ca=mounted / CA)
    return TlsFiles(ca=mounted / CA, certificate=mounted / CERT, key=mounted / KEY)


async def asks(target: str, tls: TlsFiles) -> bool:
    """Whether a client gets an answer."""
    async with SyncClient(target, tls=tls, cache_size=0, timeout_s=2) as client:
        try:
            await client.ensure_user_profile("user_1", "org_1")
        except Unavailable:
            return False
        return True


async def test_a_client_that_trusts_the_authority(start_tls: StartTls, server: Mounted) -> None:
    """A client that trusts the authority of SyncService's certificate asks over TLS, with or without asyncio."""
    target = target_of(await start_tls())
    tls = tls_of(server, shows=False)

    assert await asks(target, tls)
    with blocking.SyncClient(target, tls=tls) as client:
        ensured = await asyncio.to_thread(client.ensure_user_profile, "user_1", "org_1")
    assert ensured.profile.clerk_user_id == "user_1"


@pytest.mark.parametrize("wrong", ["other authority", "public authorities", "self-signed", "other name"])
async def test_a_server_that_is_not_the_right_one(
    wrong: str, start_tls: StartTls, server: Mounted, mount: MountFiles, ca: trustme.CA, other_ca: trustme.CA
) -> None:
    """A client asks nobody whose certificate is of another authority, signs itself, or has other names."""
    tls = TlsFiles(ca=mount(issued(ca)) / CA)
    match wrong:
        case "other authority":
            server.swap(issued(other_ca))
        case "public authorities":
            tls = TlsFiles()
        case "self-signed":
            server.swap({CERT: other_ca.cert_pem.bytes(), KEY: other_ca.private_key_pem.bytes(), CA: b""})
        case "other name":
            server.swap(issued(ca, "clerksync.example"))
    target = target_of(await start_tls())

    assert not await asks(target, tls)


async def test_a_server_whose_certificate_has_expired(mount: MountFiles, ca: trustme.CA) -> None:
    """A client asks nobody whose certificate has expired; SyncService would not start with such a one."""
    shown, server = mount(issued(ca, expired=True)), grpc.aio.server()
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(shown.read(KEY), shown.read(CERT))]))
    await server.start()
    try:
        assert not await asks(f"localhost:{port}", tls_of(shown, shows=False))
    finally:
        await server.stop(None)


async def test_the_name_can_be_told(start_tls: StartTls, server: Mounted, ca: trustme.CA) -> None:
    """Where the target does not tell the name of the certificate, as through a tunnel, the client can."""
    server.swap(issued(ca, "clerksync.example"))
    target = target_of(await start_tls())

    assert await asks(target, TlsFiles(ca=server / CA, server_name="clerksync.example"))


async def test_the_address_of_a_certificate_is_verified(start_tls: StartTls, server: Mounted, ca: trustme.CA) -> None:
    """A certificate for an address is right for a target that names the address."""
    server.swap(issued(ca, "127.0.0.1"))
    stack = await start_tls()

    assert await asks(stack.target, tls_of(server, shows=False))
    assert not await asks(target_of(stack), tls_of(server, shows=False))


@pytest.mark.parametrize("wrong", ["no certificate", "other authority", "self-signed", "expired"])
async def test_a_client_without_the_right_certificate(
    wrong: str, start_tls: StartTls, mount: MountFiles, ca: trustme.CA, other_ca: trustme.CA
) -> None:
    """With a client CA nobody gets a connection without a certificate of it that is valid now."""
    target = target_of(await start_tls(asks_clients=True))
    client = {
        "no certificate": issued(ca),
        "other authority": issued(other_ca, trusts=ca),
        "self-signed": {
            CERT: other_ca.cert_pem.bytes(),
            KEY: other_ca.private_key_pem.bytes(),
            CA: ca.cert_pem.bytes(),
        },
        "expired": issued(ca, expired=True),
    }[wrong]

    assert not await asks(target, tls_of(mount(client), shows=wrong != "no certificate"))
    assert await asks(target, tls_of(mount(issued(ca, "sibling.example"))))


async def test_a_plaintext_client(start_tls: StartTls) -> None:
    """A plaintext client gets nothing from a SyncService with TLS."""
    stack = await start_tls()

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stack.ensure_profile("user_1", "org_1")

    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize(("version", "taken"), [("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)])
async def test_the_oldest_version(version: str, taken: bool, start_tls: StartTls, server: Mounted) -> None:
    """TLS 1.2 and 1.3 are spoken, and nothing older."""
    target = target_of(await start_tls())
    command = ["openssl", "s_client", "-connect", target, version, "-alpn", "h2", "-CAfile", server / CA]
    # Without it the client's own OpenSSL would refuse the old version.
    lax = ["-cipher", "DEFAULT:@SECLEVEL=0"] if version != "-tls1_3" else []

    running = await asyncio.create_subprocess_exec(
        *command, *lax, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = (text.decode(errors="replace") for text in await asyncio.wait_for(running.communicate(), 20))

    assert ("Verify return code: 0 (ok)" in out and "Cipher is (NONE)" not in out) is taken, out
    if not taken:
        assert "no protocols available" not in err  # That would be our own client's refusal.


async def test_a_connection_that_says_nothing(start_tls: StartTls, server: Mounted) -> None:
    """Connections that never begin their handshake keep nobody else from theirs."""
    target = target_of(await start_tls())
    host, _, port = target.partition(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(50)]
    try:
        assert await asks(target, tls_of(server, shows=False))
    finally:
        for connection in silent:
            connection.close()


@pytest.mark.parametrize("asks_clients", [False, True])
async def test_the_front_follows_the_server(asks_clients: bool, start_tls: StartTls, connection: object) -> None:
    """In one process with SyncService the front trusts and shows what SyncService shows."""
    stack = await start_tls(asks_clients=asks_clients)

    assert (await stack.post(bodies.organization("created", "org_1", at=now_ms()))).outcome == "applied"
