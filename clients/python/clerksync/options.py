"""What a client can be told when it is made."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypedDict

import grpc

from clerksync.channel import ChannelOptions

MAX_TIMEOUT_S: Final = 3600


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
        if not (is_number(self.timeout_s) and 0 < self.timeout_s <= MAX_TIMEOUT_S):
            raise ValueError(f"timeout_s: expected more than 0 and at most {MAX_TIMEOUT_S} seconds")
        if not isinstance(self.cache_size, int) or self.cache_size < 0:
            raise ValueError("cache_size: expected a whole number, 0 or more")
        if not (is_number(self.cache_ttl_s) and 0 < self.cache_ttl_s <= 86_400):
            raise ValueError("cache_ttl_s: expected more than 0 and at most 86400 seconds")
        if not isinstance(self.credentials, grpc.ChannelCredentials | None):
            problem = "credentials: expected grpc.ChannelCredentials, for example of grpc.ssl_channel_credentials"
            raise ValueError(problem)  # noqa: TRY004  (one kind of error for all options)
        if self.metadata is not None and not callable(self.metadata):
            raise ValueError("metadata: expected a function that returns pairs of names and values")


def is_number(value: object) -> bool:
    """Whether it is a plain number; callers do pass text from the environment."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def options_of(target: str, given: ClientOptions) -> Options:
    """The options that a client was given. Raises ValueError, and names what is wrong."""
    if not isinstance(target, str) or not target:
        raise ValueError("target: expected a gRPC target, for example dns:///clerksync:50051")
    if unknown := given.keys() - ClientOptions.__annotations__.keys():
        known = ", ".join(ClientOptions.__annotations__)
        raise ValueError(f"{min(unknown)}: there is no such option; there are {known}")
    return Options(**given)
