"""Raw sockets to our HTTP servers."""

import asyncio
import contextlib

MIB = 1024 * 1024
HEAD = b"POST /webhooks/clerk HTTP/1.1\r\nHost: front\r\n"


class Peer:
    """One connection to a server, of which every byte is chosen."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """As much as the other side still takes."""
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def status(self) -> int:
        """Of the next answer; 0 if the connection ends instead."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return 0
        length = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
        )
        await self.reader.readexactly(length)
        return int(head.split()[1])

    async def is_ended(self, within_s: float) -> bool:
        try:
            async with asyncio.timeout(within_s):
                while await self.reader.read(MIB):
                    pass
        except TimeoutError:
            return False
        except ConnectionError:
            pass
        return True

    async def is_cut_off(self, within_s: float) -> bool:
        """As `is_ended`, without reading what was answered; sends a byte now and then."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not self.writer.transport.is_closing():
                    self.writer.write(b"x")
                    await asyncio.sleep(0.05)
        return self.writer.transport.is_closing()
