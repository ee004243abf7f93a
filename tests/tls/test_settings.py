"""What the settings of TLS have to be, and what commands say of those that are not."""

from pathlib import Path

import pytest
import trustme
from running import LOOPBACK, run
from tls.conftest import MountFiles
from tls.mounted import CA, CERT, KEY, issued

from clerksync import SyncClient, TlsFiles
from clerksync.credentials import stays_on_this_machine

DATABASE = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
NO_TLS = LOOPBACK | DATABASE | {"CLERKSYNC_GRPC_PLAINTEXT": "", "CLERKSYNC_GRPC_TRANSPORT": "grpcio"}
FRONT = {"CLERK_WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}


def refusal(command: str, **variables: str) -> str:
    """What a command that does not start says."""
    refused = run(command, environment=NO_TLS | variables)
    assert refused.returncode == 2, refused.stderr
    assert "Traceback" not in refused.stderr
    return refused.stderr


def test_plaintext_has_to_be_asked_for() -> None:
    """Without a certificate SyncService starts only if plaintext was asked for, and says which variables to set."""
    told = refusal("service")

    for variable in ("CLERKSYNC_GRPC_TLS_CERT", "CLERKSYNC_GRPC_TLS_KEY", "CLERKSYNC_GRPC_PLAINTEXT=1"):
        assert variable in told


def test_dev_elsewhere_is_asked_too() -> None:
    """`clerksync dev` may be plaintext on loopback only."""
    assert "CLERKSYNC_GRPC_PLAINTEXT=1" in refusal("dev", CLERKSYNC_GRPC_LISTEN="0.0.0.0:0")


@pytest.mark.parametrize("command", ["front", "explain"])
def test_a_client_elsewhere_is_asked_too(command: str) -> None:
    """The front and the operators' commands speak plaintext to another machine only if that was asked for."""
    arguments = (command,) if command == "front" else (command, "user_1", "org_1")
    variables = FRONT | {"CLERKSYNC_SERVICE_TARGET": "dns:///clerksync.invalid:50051"}
    refused = run(*arguments, environment=NO_TLS | variables)

    assert refused.returncode == 2
    assert "CLERKSYNC_SERVICE_TLS_CA: is not set" in refused.stderr


@pytest.mark.parametrize(
    ("changes", "variable"),
    [
        ({"CLERKSYNC_GRPC_PLAINTEXT": "1"}, "CLERKSYNC_GRPC_PLAINTEXT"),
        ({"CLERKSYNC_GRPC_TLS_CERT": ""}, "CLERKSYNC_GRPC_TLS_CERT"),
        ({"CLERKSYNC_GRPC_TLS_KEY": ""}, "CLERKSYNC_GRPC_TLS_KEY"),
        ({"CLERKSYNC_GRPC_TLS_CERT": "", "CLERKSYNC_GRPC_TLS_KEY": ""}, "CLERKSYNC_GRPC_TLS_CERT"),
        ({"CLERKSYNC_GRPC_TLS_CERT": "/nowhere"}, "CLERKSYNC_GRPC_TLS_CERT"),
        ({"CLERKSYNC_GRPC_TLS_KEY": "/nowhere"}, "CLERKSYNC_GRPC_TLS_KEY"),
        ({"CLERKSYNC_GRPC_TLS_CLIENT_CA": "/nowhere"}, "CLERKSYNC_GRPC_TLS_CLIENT_CA"),
        ({"CLERKSYNC_GRPC_TLS_CERT": "KEY"}, "CLERKSYNC_GRPC_TLS_CERT"),
        ({"CLERKSYNC_GRPC_TLS_KEY": "CERT"}, "CLERKSYNC_GRPC_TLS_KEY"),
        ({"CLERKSYNC_GRPC_TLS_KEY": "OTHER_KEY"}, "CLERKSYNC_GRPC_TLS_KEY"),
        ({"CLERKSYNC_GRPC_TLS_CLIENT_CA": "KEY"}, "CLERKSYNC_GRPC_TLS_CLIENT_CA"),
        ({"CLERKSYNC_SERVICE_TLS_CERT": "CERT"}, "CLERKSYNC_SERVICE_TLS_KEY"),
        ({"CLERKSYNC_SERVICE_TLS_NAME": "clerksync"}, "CLERKSYNC_SERVICE_TLS_CA"),
    ],
)
def test_files_that_do_not_fit(changes: dict[str, str], variable: str, mount: MountFiles, ca: trustme.CA) -> None:
    """What is missing, unreadable or does not fit together is told by the name of its variable, without its content."""
    right, other = mount(issued(ca)), mount(issued(ca))
    files = {"CERT": right / CERT, "KEY": right / KEY, "CA": right / CA, "OTHER_KEY": other / KEY}
    variables = {
        "CLERKSYNC_GRPC_TLS_CERT": files["CERT"],
        "CLERKSYNC_GRPC_TLS_KEY": files["KEY"],
        "CLERKSYNC_GRPC_TLS_CLIENT_CA": files["CA"],
    }
    told = refusal("service", **(variables | {name: files.get(value, value) for name, value in changes.items()}))

    assert f"{variable}: " in told
    assert "BEGIN" not in told


def test_a_transport_without_tls(mount: MountFiles, ca: trustme.CA) -> None:
    """The transport that has no TLS does not start with a certificate that it would not show."""
    pytest.importorskip("pygrpc_native", reason="pygrpc-native is not installed: the extra `native` has it")
    files = mount(issued(ca))
    tls = {"CLERKSYNC_GRPC_TLS_CERT": files / CERT, "CLERKSYNC_GRPC_TLS_KEY": files / KEY}

    assert "CLERKSYNC_GRPC_TRANSPORT: " in refusal("service", CLERKSYNC_GRPC_TRANSPORT="native", **tls)


@pytest.mark.parametrize(
    ("target", "stays"),
    [
        ("127.0.0.1:50051", True),
        ("127.9.9.9:50051", True),
        ("[::1]:50051", True),
        ("localhost:50051", True),
        ("dns:///localhost:50051", True),
        ("dns:localhost:50051", True),
        ("dns:localhost", True),
        ("ipv4:127.0.0.1:1,127.0.0.2:1", True),
        ("ipv6:[::1]:50051", True),
        ("unix:/run/clerksync", True),
        ("unix-abstract:clerksync", True),
        ("ipv4:127.0.0.1:1,10.0.0.1:1", False),
        ("10.0.0.1:50051", False),
        ("clerksync:50051", False),
        ("dns:///clerksync:50051", False),
        ("dns://127.0.0.1/clerksync:50051", False),
        ("localhost.example:50051", False),
        ("127.0.0.1.example:50051", False),
        ("dns:50051", False),
        ("unix.example:50051", False),
        ("xds:///localhost", False),
        ("passthrough:///127.0.0.1:50051", False),
    ],
)
def test_what_stays_on_this_machine(target: str, stays: bool) -> None:
    """Only loopback addresses, `localhost` and Unix sockets lead to nobody else; all of a list have to."""
    assert stays_on_this_machine(target) is stays


def test_a_token_needs_tls(tmp_path: Path) -> None:
    """A client with a token is not made for plaintext to another machine, unless it is told that a mesh encrypts."""
    token = tmp_path / "token"
    token.write_text("marked")

    with pytest.raises(ValueError, match=r"^token_file: .*plaintext") as refused:
        SyncClient("dns:///clerksync:50051", token_file=token)

    assert "marked" not in str(refused.value)
    SyncClient("dns:///clerksync:50051", token_file=token, allow_plaintext_token=True)
    SyncClient("127.0.0.1:50051", token_file=token)


@pytest.mark.parametrize("text", ["", " \n", "two tokens", "t\u00f6ken", "x" * 8193])
def test_a_file_without_a_token(text: str, tmp_path: Path) -> None:
    """A file that holds no token is told when the client is made, without what it holds."""
    token = tmp_path / "token"
    token.write_text(text)

    with pytest.raises(ValueError, match=r"^token_file: holds no token"):
        SyncClient("127.0.0.1:50051", token_file=token)


def test_files_of_a_client_that_do_not_fit(mount: MountFiles, ca: trustme.CA) -> None:
    """A client is told when it is made which of its files is wrong."""
    files, other = mount(issued(ca)), mount(issued(ca))

    for option, tls in (
        ("tls.ca", TlsFiles(ca="/nowhere")),
        ("tls.certificate", TlsFiles(certificate=files / KEY, key=files / KEY)),
        ("tls.key", TlsFiles(certificate=files / CERT, key=other / KEY)),
    ):
        with pytest.raises(ValueError, match=rf"^{option}: "):
            SyncClient("127.0.0.1:50051", tls=tls)
    with pytest.raises(ValueError, match=r"^certificate and key: expected both or neither"):
        TlsFiles(certificate=files / CERT)
