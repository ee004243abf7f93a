"""`clerksync token`: makes a bearer token for a caller."""

import re
from typing import Annotated

import typer

from clerksync_server.access.tokens import line_of, new_token
from clerksync_server.cli.failure import CommandFailed

_NAME = re.compile(r"[\w.-]{1,100}", re.ASCII)


def token(name: Annotated[str, typer.Argument(help="Who is to use it: the policy knows it as token:NAME.")]) -> None:
    """Make a bearer token, and the line for the file that CLERKSYNC_TOKENS_FILE names.

    The token is shown once and kept nowhere: the file holds its hash. While one replaces another both lines stay.
    """
    if _NAME.fullmatch(name) is None:
        raise CommandFailed("NAME: expected 1 to 100 letters, digits, dots, dashes and underscores")
    made = new_token()
    typer.echo(f"token, for the caller:\n  {made}\n\nline, for the file:\n  {line_of(name, made)}")
