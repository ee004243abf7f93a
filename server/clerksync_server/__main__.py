"""The command `clerksync`."""

import sys


def main() -> None:
    """Runs the command, or says what is missing where only the client is installed."""
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


if __name__ == "__main__":
    main()
