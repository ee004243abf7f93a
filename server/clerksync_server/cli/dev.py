"""`clerksync dev`: everything in one process, on an embedded Postgres, with a story to look at."""

import ctypes
import json
import shlex
import signal
import sys
from contextlib import nullcontext
from typing import Annotated, Any, NamedTuple

import typer
from pydantic import SecretStr
from rich.console import Console

from clerksync.credential_files import TlsFiles
from clerksync_server.app import Application
from clerksync_server.cli.failure import CommandFailed
from clerksync_server.database.migrate import migrate
from clerksync_server.dev.database import dev_postgres
from clerksync_server.dev.sample_events import sample_event
from clerksync_server.dev.sender import signed_headers
from clerksync_server.dev.story import Story, play
from clerksync_server.dev.webhook_secret import make_webhook_secret, read_webhook_secret
from clerksync_server.event_loop import run
from clerksync_server.ops.logs import configure_logs
from clerksync_server.settings import Settings, load_settings
from clerksync_server.settings.encryption import client_credentials, client_files, dev_problems
from clerksync_server.webhook_front.app import PATH
from clerksync_server.webhook_front.client import connect

_MAX_GRACE_S = 3.0
"""With the stop of Postgres, the whole is over within 5 s."""
_PR_SET_PDEATHSIG = 1


def dev(
    story: Annotated[bool, typer.Option(help="Play the sample story before serving.")] = True,
    stop_with_parent: Annotated[
        bool, typer.Option("--stop-with-parent", help="Stop when the process that started this one ends (Linux).")
    ] = False,
) -> None:
    """Start everything on an embedded Postgres, play a sample story, and serve until Ctrl-C.

    With DATABASE_URL set, that Postgres is migrated and used instead. Without a webhook secret, one is made and shown.
    """
    if stop_with_parent and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    settings = load_settings(dev_problems)
    configure_logs(settings)
    made = _Made()
    changes: dict[str, Any] = {"shutdown_grace_s": min(settings.shutdown_grace_s, _MAX_GRACE_S)}
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        if not settings.webhook_secrets:
            secret = read_webhook_secret(settings.data_dir) or make_webhook_secret(settings.data_dir)
            changes["webhook_secrets"] = (SecretStr(secret),)
            made = made._replace(secret=secret)
    except OSError as error:
        raise CommandFailed(f"CLERKSYNC_DATA_DIR: {settings.data_dir} cannot be used: {error.strerror}") from None
    postgres = None if settings.database_url else dev_postgres(settings.data_dir)
    # Until the application takes over the signals: a Ctrl-C during the start still stops Postgres in order.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with postgres or nullcontext():
            if postgres is not None:
                changes |= {"database_url": SecretStr(postgres.dsn), "database_direct_url": None}
                made = made._replace(dsn=postgres.dsn)
            run(_run(settings.model_copy(update=changes), made, play_story=story))
    except KeyboardInterrupt:
        pass


class _Made(NamedTuple):
    """What was made here, for this machine alone, and may be shown; None for what was given."""

    dsn: str | None = None
    secret: str | None = None


class _TlsHints(NamedTuple):
    """What to add to a command that calls SyncService."""

    grpcurl: str = "-plaintext"
    buf: str = "--http2-prior-knowledge"
    scheme: str = "http"
    variables: str = ""


def _tls_hints(files: TlsFiles | None) -> _TlsHints:
    if files is None:
        return _TlsHints()
    given = {"cacert": files.ca, "cert": files.certificate, "key": files.key}
    options = {name: shlex.quote(str(path)) for name, path in given.items() if path is not None}
    name = shlex.quote(files.server_name) if files.server_name else None
    variables = {"CA": options.get("cacert"), "CERT": options.get("cert"), "KEY": options.get("key"), "NAME": name}
    return _TlsHints(
        " ".join([*(f"-{key} {value}" for key, value in options.items()), *([f"-authority {name}"] if name else [])]),
        " ".join(
            [*(f"--{key} {value}" for key, value in options.items()), *([f"--servername {name}"] if name else [])]
        ),
        "https",
        "".join(f"CLERKSYNC_SERVICE_TLS_{key}={value} " for key, value in variables.items() if value),
    )


async def _run(settings: Settings, made: _Made, *, play_story: bool) -> None:
    assert settings.database_url is not None
    dsn = settings.database_url.get_secret_value()
    await migrate(dsn)
    application = Application(settings, service=True, front=True, dev=True)
    await application.start()
    try:
        console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160)
        url = f"http://{application.http_address.reachable()}{PATH}" if application.http_address else ""
        target = str(application.grpc_address.reachable()) if application.grpc_address else ""
        sample_story = Story()
        if play_story:
            await play(
                sample_story,
                url=url,
                secret=settings.webhook_secret_texts[0],
                channel=lambda: connect(target, client_credentials(settings)),
                dsn=dsn,
                console=console,
            )
        _print_hints(console, settings, made, application, sample_story, url, target)
        await application.wait_for_signal()
    finally:
        await application.stop()


def _print_hints(  # noqa: PLR0917
    console: Console, settings: Settings, made: _Made, application: Application, story: Story, url: str, target: str
) -> None:
    """Lines to paste into a second terminal."""
    secret = settings.webhook_secret_texts[0]
    ops = f"http://{application.ops_address.reachable()}" if application.ops_address else ""
    database = shlex.quote(made.dsn) if made.dsn else '"$DATABASE_URL"'
    database_hint = "" if made.dsn else ", with DATABASE_URL as here"
    secret_hint = f"; the secret is {made.secret}" if made.secret else ", with the variable of the secret as here"
    variable = f"CLERK_WEBHOOK_SECRET={made.secret} " if made.secret else ""
    body = json.dumps(sample_event("organization.created"), separators=(",", ":"))
    headers = signed_headers(secret, "msg_by_hand", body.encode())
    curl = " ".join(["curl -i", shlex.quote(url), *(f"-H {shlex.quote(f'{k}: {v}')}" for k, v in headers.items())])
    ensure = json.dumps({"clerk_user_id": "user_grpcurl", "clerk_org_id": story.clerk_org_id})
    method = "clerksync.v1.SyncService/EnsureUserProfile"
    tls = _tls_hints(client_files(settings))
    lines = f"""Serving until Ctrl-C. Try, in a second terminal:

  # the tables{database_hint}
  psql {database} -c 'select * from user_profile'

  # webhooks{secret_hint}
  {variable}{sys.argv[0]} send-event --sample organizationMembership.created --url {url}
  # … or by hand; this signature is good for 5 minutes
  {curl} -d {shlex.quote(body)}

  # gRPC
  grpcurl {tls.grpcurl} {target} list
  grpcurl {tls.grpcurl} -d {shlex.quote(ensure)} {target} {method}
  buf curl --protocol grpc {tls.buf} -d {shlex.quote(ensure)} {tls.scheme}://{target}/{method}
  grpcurl {tls.grpcurl} {target} grpc.health.v1.Health/Check

  # operations
  curl {ops}/readyz ; curl {ops}/metrics
  CLERKSYNC_SERVICE_TARGET={target} {tls.variables}{sys.argv[0]} deliveries list"""
    console.print(lines, soft_wrap=True)
