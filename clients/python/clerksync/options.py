"""What a client can be told when it is made."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, TypedDict

import grpc

from clerksync.channel import ChannelOptions
from clerksync.credential_files import PathLike, TlsFiles, UnusableFile
from clerksync.credentials import Credentials, stays_on_this_machine

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
    """For TLS, made by yourself, instead of `tls`. Without either the connection is plaintext."""
    tls: TlsFiles | None
    """For TLS from files, which are read anew when they change."""
    token_file: PathLike | None
    """A file with a bearer token that says who calls; read anew when it changes."""
    allow_plaintext_token: bool
    """Sends the token without TLS to another machine: only where a mesh or a sidecar encrypts."""
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
    tls: TlsFiles | None = None
    token_file: PathLike | None = None
    allow_plaintext_token: bool = False
    metadata: Callable[[], Iterable[tuple[str, str]]] | None = None
    channel_options: ChannelOptions = ()
    from_files: Credentials = field(init=False)
    """What `tls` and `token_file` hold now."""

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
        if not isinstance(self.tls, TlsFiles | None):
            raise ValueError("tls: expected clerksync.TlsFiles")  # noqa: TRY004
        if self.tls is not None and self.credentials is not None:
            raise ValueError("tls: is given beside credentials; expected one of them")
        try:
            from_files = Credentials(tls=self.tls, token_file=self.token_file)
        except UnusableFile as error:
            option = "token_file" if error.role == "token" else f"tls.{error.role}"
            raise ValueError(f"{option}: {error.problem}") from None
        object.__setattr__(self, "from_files", from_files)


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
    options = Options(**given)
    plaintext = options.tls is None and options.credentials is None
    if (
        options.token_file is not None
        and plaintext
        and not options.allow_plaintext_token
        and not stays_on_this_machine(target)
    ):
        raise ValueError(
            "token_file: the token would travel in plaintext; set tls, or allow_plaintext_token=True where a mesh or a "
            "sidecar encrypts"
        )
    return options
