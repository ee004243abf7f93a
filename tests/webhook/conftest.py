"""Connections of which every byte is chosen."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from webhook.peers import Peer


@pytest.fixture
async def connect() -> AsyncIterator[Callable[[str], Any]]:
    """Opens connections to the host and port of a URL, and ends them with the test."""
    peers: list[Peer] = []

    async def opened(url: str) -> Peer:
        host, port = url.split("/")[2].split(":")
        peers.append(Peer(*await asyncio.open_connection(host, int(port))))
        return peers[-1]

    yield opened
    for peer in peers:
        peer.writer.transport.abort()
