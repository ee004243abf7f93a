"""`clerksync send-event`: signs a body and posts it, as Clerk would."""

import asyncio
import json
import os
import secrets
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import aiohttp
import typer

from clerksync_server.cli.failure import CommandFailed
from clerksync_server.cli.showing import printable
from clerksync_server.dev.sample_events import SAMPLE_NAMES, sample_event
from clerksync_server.dev.sender import post_event
from clerksync_server.dev.webhook_secret import read_webhook_secret
from clerksync_server.settings import load_settings
from clerksync_server.webhook_front.app import PATH


def send_event(
    file: Annotated[Path | None, typer.Argument(help="A file with the body. It is sent byte for byte.")] = None,
    sample: Annotated[str | None, typer.Option(help=f"A named sample instead: {', '.join(SAMPLE_NAMES)}.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Changes a sample: --set data.organization.id=org_1. Repeatable; values are JSON or text."
        ),
    ] = None,
    url: Annotated[str | None, typer.Option(help="Where to post. Default: the front of this environment.")] = None,
    svix_id: Annotated[str | None, typer.Option("--id", help="The svix-id. Default: a new one.")] = None,
) -> None:
    """Sign a body from a file or a named sample, and post it to the webhook front.

    Signs with CLERK_WEBHOOK_SECRET, or with the secret that `clerksync dev` has made in this folder.
    """
    if (file is None) == (sample is None):
        raise typer.BadParameter("name a file or a --sample, one of them")
    settings = load_settings()
    secret = next(iter(settings.webhook_secret_texts), None) or read_webhook_secret(settings.data_dir)
    if secret is None:
        raise CommandFailed("CLERK_WEBHOOK_SECRET is not set, and `clerksync dev` has not made one in this folder")
    body = _sample_body(sample, changes or []) if sample is not None else _file_body(file, changes or [])
    target = url or f"http://{settings.http_listen.reachable()}{PATH}"
    shown = _without_password(target)
    svix_id = svix_id or f"msg_{secrets.token_hex(12)}"
    try:
        status, answer = asyncio.run(post_event(target, secret, svix_id, body))
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise CommandFailed(f"{shown} could not be reached: {_reason(error)}") from None
    typer.echo(f"{svix_id}: {status} {printable(answer)}")
    if status >= 300:
        raise typer.Exit(1)


def _without_password(url: str) -> str:
    """Scheme, host, port and path. A front behind a proxy may ask for a password. Raises CommandFailed."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = parts = None
    if parts is None or parts.scheme not in ("http", "https") or not host:
        raise CommandFailed(f"--url: expected http://HOST:PORT{PATH}, or https")
    if "@" in parts.path + parts.query + parts.fragment:
        # Otherwise a part of the password would be taken for the path.
        raise CommandFailed("--url: write /, ?, # and @ in a user or a password as %2F, %3F, %23 and %40")
    host = f"[{host}]" if ":" in host else host
    return printable(f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{parts.path}")


def _reason(error: Exception) -> str:
    """Texts of libraries may hold the URL."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientOSError) and not isinstance(error, aiohttp.ClientSSLError):
        # What is no number of the system's is one of the resolver's.
        number = error.errno or 0
        return os.strerror(number) if number > 0 else "the host is not known" if number else type(error).__name__
    return type(error).__name__


def _file_body(file: Path | None, changes: list[str]) -> bytes:
    assert file is not None
    if changes:
        raise typer.BadParameter("--set changes samples only; a file is sent byte for byte")
    try:
        body = file.read_bytes()
        body.decode()
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CommandFailed(f"{file} is not UTF-8, and only that can be signed") from None
    return body


def _sample_body(name: str, changes: list[str]) -> bytes:
    if name not in SAMPLE_NAMES:
        raise typer.BadParameter(f"there is no sample {name!r}; there are {', '.join(SAMPLE_NAMES)}")
    return json.dumps(sample_event(name, dict(map(_change, changes)))).encode()


def _change(text: str) -> tuple[str, Any]:
    path, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not of the form path=value")
    try:
        return path, json.loads(value)
    except ValueError:
        return path, value
