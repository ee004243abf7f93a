"""`clerksync migrate`."""

import asyncio

import typer

from clerksync_server.database import migrate as migrations
from clerksync_server.database.wire import tell_of_plaintext
from clerksync_server.ops.logs import configure_logs
from clerksync_server.settings import load_settings


def migrate() -> None:
    """Bring the database's schema up to date. Safe to run from several places at once. Needs DATABASE_URL."""
    settings = load_settings("database_url")
    configure_logs(settings)
    assert settings.database_url is not None
    tell_of_plaintext(settings.database_urls)
    applied = asyncio.run(migrations.migrate(settings.database_url.get_secret_value()))
    if applied:
        typer.echo(f"migrated to {applied[-1]} ({', '.join(applied)})")
    else:
        typer.echo("nothing to do: the schema is up to date")
