"""Reads the bodies of deliveries, as long as they may take, and no more of them at once than there is room for."""

import asyncio

from aiohttp import web

from clerksync_server.sync.room import Room

MAX_BODY_BYTES = 1024 * 1024
READ_TIMEOUT_S = 10.0
_SMALL_BYTES = 64 * 1024
"""What each may have without asking for room. Clerk's bodies are smaller; so large ones, which nobody has signed, may
crowd out one another, and not those."""
_MOST_BYTES = 32 * 1024 * 1024


class TooLarge(Exception):
    """The body is larger than MAX_BODY_BYTES."""


class BodyReader:
    """Reads bodies whole; all that are held at once have a bounded size."""

    def __init__(self) -> None:
        self._room = Room(_MOST_BYTES)

    async def read(self, request: web.Request) -> tuple[bytes, int]:
        """The body, and what has to be given back afterwards.

        Raises TooLarge, TimeoutError after READ_TIMEOUT_S, Overloaded, or what aiohttp raises.
        """
        if request.content_length is not None and request.content_length > MAX_BODY_BYTES:
            # Before a byte of it is read.
            raise TooLarge
        if request.content.is_eof():
            # All of it has come with the headers, as is usual: it need not be waited for.
            body = await request.read()
            if len(body) > MAX_BODY_BYTES:
                raise TooLarge
            return body, 0
        pieces, size, held = [], 0, 0
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                async for piece in request.content.iter_any():
                    size += len(piece)
                    if size > MAX_BODY_BYTES:
                        raise TooLarge
                    if size > _SMALL_BYTES + held:
                        more = size - _SMALL_BYTES - held
                        self._room.take(more)
                        held += more
                    pieces.append(piece)
        except BaseException:
            self.give_back(held)
            # The error keeps this frame.
            pieces.clear()
            raise
        return b"".join(pieces), held

    def give_back(self, held: int) -> None:
        """Once the body is needed no more."""
        self._room.give_back(held)
