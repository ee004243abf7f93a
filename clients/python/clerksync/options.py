"""What a client can be told when it is made."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypedDict

import grpc

from clerksync.channel import ChannelOptions


class ClientOptions(TypedDict, total=False):
    """The keyword arguments of both clients; the defaults are those of `Options`."""

    timeout_s: float
    """How long a call may take, in seconds, unless it says otherwise itself."""
    cache_size: int
    """The most answers that are kept; about 1 KiB each. 0 keeps none, and does not listen for removals."""
    cache_ttl_s: float
    """The longest time that an answer is kept, in seconds: how old a role may be. Removals are told at once."""
    credentials: grpc.ChannelCredentials | None
    """For TLS; without them the connection is plaintext."""
    metadata: Callable[[], Iterable[tuple[str, str]]] | None
    """Called for each question that is asked, in the context of whoever asks: more gRPC metadata to send along."""
    channel_options: ChannelOptions
    """More options of the gRPC channel, as grpcio takes them; they win over the client's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options with their defaults. Raises ValueError for what makes no sense."""

    timeout_s: float = 2.0
    cache_size: int = 100_000
    cache_ttl_s: float = 300.0
    credentials: grpc.ChannelCredentials | None = None
    metadata: Callable[[], Iterable[tuple[str, str]]] | None = None
    channel_options: ChannelOptions = ()

    def __post_init__(self) -> None:
        if not 0 < self.timeout_s <= 3600:
            raise ValueError("timeout_s: expected more than 0 and at most 3600 seconds")
        if self.cache_size < 0:
            raise ValueError("cache_size: expected 0 or more")
        if not 0 < self.cache_ttl_s <= 86_400:
            raise ValueError("cache_ttl_s: expected more than 0 and at most 86400 seconds")
