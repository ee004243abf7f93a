"""How the operators' commands ask SyncService, and read times in its answers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import grpc.aio
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from clerksync_server.cli.failure import CommandFailed
from clerksync_server.cli.showing import printable
from clerksync_server.settings import load_settings
from clerksync_server.settings.encryption import asking_problems, client_credentials
from clerksync_server.webhook_front.client import connect

TIMEOUT_S = 10.0
_Answer = TypeVar("_Answer")


class CallRefused(CommandFailed):
    """SyncService answers, and cannot do what is asked in the state that things are in: FAILED_PRECONDITION."""


def ask(stub: Any, call: Callable[[Any], Awaitable[_Answer]]) -> _Answer:
    """Makes one call with a stub of the class given. Raises CommandFailed with what SyncService said."""
    settings = load_settings(asking_problems)
    target, credentials = settings.target, client_credentials(settings)

    async def make() -> _Answer:
        async with connect(target, credentials) as channel:
            return await call(stub(channel))

    try:
        return asyncio.run(make())
    except grpc.aio.AioRpcError as error:
        where = f" (SyncService at {target})" if error.code() is grpc.StatusCode.UNAVAILABLE else ""
        kind = CallRefused if error.code() is grpc.StatusCode.FAILED_PRECONDITION else CommandFailed
        raise kind(f"{error.code().name}: {printable(error.details() or '')}{where}") from None


def time_of(message: Message, field: str) -> str:
    """The time in a field, or nothing if it is unset."""
    timestamp: Timestamp = getattr(message, field)
    return timestamp.ToJsonString() if message.HasField(cast("Any", field)) else ""
