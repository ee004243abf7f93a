"""A connection that prepares its statements once."""

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.prepared_stmt import PreparedStatement


class Session:
    """A connection, and the statements that are prepared on it."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", *, prepares: bool) -> None:
        """Without `prepares` statements are sent anew each time: nothing may be kept behind a transaction pooler."""
        self.connection = connection
        self.committing = False
        """Whether a commit is on its way: then nobody knows what has come about."""
        self.prepares = prepares
        self._id = secrets.token_hex(8)
        self._statements: dict[str, PreparedStatement[asyncpg.Record]] = {}

    async def fetch(self, query: str, *args: object) -> "Sequence[asyncpg.Record]":
        if not self.prepares:
            return await self.connection.fetch(query, *args)
        return await (await self._prepared(query)).fetch(*args)

    async def fetchrow(self, query: str, *args: object) -> "asyncpg.Record | None":
        rows = await self.fetch(query, *args)
        return rows[0] if rows else None

    async def fetchval(self, query: str, *args: object) -> Any:
        rows = await self.fetch(query, *args)
        return rows[0][0] if rows else None

    async def execute(self, query: str, *args: object) -> str:
        if not self.prepares:
            return await self.connection.execute(query, *args)
        statement = await self._prepared(query)
        await statement.fetch(*args)
        return statement.get_statusmsg() or ""

    async def _prepared(self, query: str) -> "PreparedStatement[asyncpg.Record]":
        statement = self._statements.get(query)
        if statement is None:
            # Without a name asyncpg sends the text anew each time. Nobody else may have it: behind a pooler it would
            # be somebody else's statement.
            name = f"clerksync_{self._id}_{len(self._statements)}"
            statement = self._statements[query] = await self.connection.prepare(query, name=name)
        return statement
