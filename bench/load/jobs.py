"""What a load generator is told, and what it answers."""

from typing import Literal

import msgspec


class Phases(msgspec.Struct, kw_only=True):
    """How long a load lasts. The warm-up is not counted."""

    warm_up_s: float = 0.3
    seconds: float = 1.5
    calls: int | None = None
    """End after this many, however long that takes; `seconds` is then the longest time."""


class Pairs(msgspec.Struct, kw_only=True):
    """Whom calls ask for: `choices` of the first `among` pairs, at random; or new ones, each in a new organization."""

    among: int = 0
    choices: int = 20_000
    new: bool = False


class UnaryJob(Phases, tag="unary", kw_only=True):
    """Ensure calls over HTTP/2: each stream asks again as soon as it is answered."""

    address: str
    connections: int
    streams: int
    """On each connection at once."""
    pairs: Pairs
    batch: int = 1
    """With more than 1 it calls BatchEnsureUserProfiles, with as many pairs each."""
    expect: Literal["existed", "created", "any"] = "any"
    """The outcome that a sample of the answers must tell."""


class WebhookJob(Phases, tag="webhook", kw_only=True):
    """Signed deliveries over HTTP/1.1: each sender sends the next one as soon as it is answered."""

    address: str
    senders: int
    members: int
    """How many profiles the database has at the start."""
    secret: str
    repeats: bool = False
    """Send the same few again and again, to servers that do not note which they had: they may be many more a second."""


class ClientJob(Phases, tag="client", kw_only=True):
    """Calls of clerksync.SyncClient, by as many callers at once, each for another pair every time."""

    address: str
    callers: int
    pairs: Pairs
    cache_size: int = 0


Job = UnaryJob | WebhookJob | ClientJob


class Load(msgspec.Struct, kw_only=True):
    """What came of a job."""

    calls: int
    """Answered well, within the counted time."""
    failures: int
    """In all phases: errors, unexpected answers, and calls that were not answered at all."""
    seconds: float
    """The counted time."""
    calls_in_all: int
    """With those of the warm-up and of the end, failures included."""
    p50_us: float
    p99_us: float
    generator_cpu_us: float
    """For each call."""
    ran_out: bool = False
    """The calls that were prepared did not last for the whole time; `seconds` is less then."""
    first_failure: str = ""
