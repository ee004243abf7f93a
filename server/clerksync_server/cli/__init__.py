"""The command line. Each module holds one command, or one family of them."""

import sys
from importlib import metadata
from typing import Annotated

import structlog
import typer

from clerksync_server.cli import deliveries, dev, doctor, explain, migrate, prune, send_event, serve, token
from clerksync_server.cli.failure import KNOWN_FAILURES, exit_code_of
from clerksync_server.errors import DatabaseUnavailable
from clerksync_server.ops.logs import keep_metadata_out

_app = typer.Typer(
    name="clerksync",
    help="Keeps Clerk's organizations and memberships in step in your own Postgres. "
    "Settings come from the environment: see docs/configuration.md.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"clerksync {metadata.version('clerksync')}")
        raise typer.Exit


@_app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    keep_metadata_out()


_app.command()(dev.dev)
_app.command()(serve.service)
_app.command()(serve.front)
_app.command()(migrate.migrate)
_app.command()(send_event.send_event)
_app.command()(doctor.doctor)
_app.command()(explain.explain)
_app.command()(prune.prune)
_app.command()(token.token)
_app.add_typer(deliveries.app, name="deliveries")


def main() -> None:
    """Runs the command. What the operator can mend is told in words, without a traceback."""
    try:
        _app()
    except KNOWN_FAILURES as error:
        structlog.contextvars.clear_contextvars()
        detail = f" ({error.detail})" if isinstance(error, DatabaseUnavailable) else ""
        print(f"clerksync: {error}{detail}", file=sys.stderr)  # noqa: T201
        sys.exit(exit_code_of(error))
