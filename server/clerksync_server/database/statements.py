"""What runs statements: a connection of the pool, or one of its own that prepares them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncpg


class Statements(Protocol):
    """The part of a connection that the queries need; each call is one statement."""

    async def fetch(self, query: str, *args: object) -> "Sequence[asyncpg.Record]": ...

    async def fetchrow(self, query: str, *args: object) -> "asyncpg.Record | None": ...

    async def fetchval(self, query: str, *args: object) -> Any: ...

    async def execute(self, query: str, *args: object) -> str:
        """Returns Postgres's word for what was done, such as "DELETE 3"."""
        ...
