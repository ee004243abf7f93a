"""The command `clerksync`."""

import os
import sys


def main() -> None:
    """Runs the command, or says what is missing where only the client is installed."""
    _silence_grpc()
    try:
        from clerksync_server.cli import main as run  # noqa: PLC0415  (what it needs may not be there)
    except ModuleNotFoundError as missing:
        print(  # noqa: T201
            f"clerksync: {missing.name} is not installed. This is the client alone; "
            "the command needs the rest: pip install 'clerksync[server]'",
            file=sys.stderr,
        )
        sys.exit(1)
    run()


def _silence_grpc() -> None:
    """Has gRPC's core write nothing, unless the environment says how much. It reads that when it is loaded.

    It writes to standard error by itself, a line or two for each bad handshake: text of a stranger's choice, as it
    came, among our own lines and in their form.
    """
    if not os.environ.get("GRPC_VERBOSITY"):
        os.environ["GRPC_VERBOSITY"] = "NONE"


if __name__ == "__main__":
    main()
