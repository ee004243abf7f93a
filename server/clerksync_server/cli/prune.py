"""`clerksync prune`."""

import asyncio

import typer

from clerksync_server.app import retention_of
from clerksync_server.database.connection import Database
from clerksync_server.database.wire import tell_of_plaintext
from clerksync_server.ops.logs import configure_logs
from clerksync_server.settings import load_settings
from clerksync_server.sync.retention import Pruned


def prune() -> None:
    """Forget deliveries and tombstones that are past their retention. SyncService does so by itself every hour or so.

    Needs DATABASE_URL.
    """
    settings = load_settings("database_url")
    configure_logs(settings)
    assert settings.database_url is not None
    tell_of_plaintext(settings.database_urls)
    database = Database(settings.database_url.get_secret_value(), pool_size=1)

    async def run() -> Pruned:
        await database.open()
        try:
            return await retention_of(settings, database).prune()
        finally:
            await database.close()

    pruned = asyncio.run(run())
    typer.echo(f"forgot {pruned.deliveries} deliveries and {pruned.tombstones} tombstones")
