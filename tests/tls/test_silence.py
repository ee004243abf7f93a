"""What strangers send to the TLS port, and what the process writes of it."""

import asyncio
import os
import shutil
import socket
import subprocess

import pytest
import trustme
from running import Running, until
from tls.conftest import MountFiles
from tls.mounted import CA, CERT, KEY, issued
from tls.test_processes import TRANSPORT

LIKE_OURS = 'x\n{"event":"call","method":"EnsureUserProfile","code":"OK","caller":"dns:operator"}\n'


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize("verbosity", ["", "ERROR"])
async def test_handshakes_of_strangers(verbosity: str, database_url: str, mount: MountFiles, ca: trustme.CA) -> None:
    """Nothing that a stranger sends gets into the output, be it made to look like a log line; unless that is asked."""
    files = mount(issued(ca))
    environment = TRANSPORT | {
        "DATABASE_URL": database_url,
        "CLERKSYNC_GRPC_PLAINTEXT": "",
        "CLERKSYNC_GRPC_TLS_CERT": files / CERT,
        "CLERKSYNC_GRPC_TLS_KEY": files / KEY,
        "CLERKSYNC_GRPC_TLS_CLIENT_CA": files / CA,
        "GRPC_VERBOSITY": verbosity,
    }
    async with Running("service", environment=environment) as service:
        address = (await service.listening())["grpc"]
        await service.logged("removals are followed")
        before = service.err
        asked = ["openssl", "s_client", "-connect", address, "-alpn", "h2", "-servername", LIKE_OURS]
        await asyncio.to_thread(subprocess.run, asked, stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n" + os.urandom(100))
            stranger.settimeout(20)
            while await asyncio.to_thread(stranger.recv, 1000):
                pass
        if verbosity:
            await until(lambda: "dns:operator" in service.err, 10)
        else:
            # What comes later is written later.
            await service.stop()
            said = [line for line in service.err.removeprefix(before).splitlines() if '"stopp' not in line]
            assert (said, service.out) == ([], "")
