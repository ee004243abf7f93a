"""What the gRPC threads and the test share, and when they wait for each other."""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from google.rpc import status_pb2

from clerksync.testing.removals import Removals
from clerksync.testing.rows import Rows
from clerksync_server.rules.evidence import EvidencePolicy
from clerksync_server.rules.world import PairKey

POLICY = EvidencePolicy(max_token_age_ms=60_000, retention_ms=90 * 24 * 60 * 60 * 1000)
"""The defaults of the real service."""


class Call(NamedTuple):
    """A call of an Ensure method that has arrived: `("EnsureUserProfile", 1)`."""

    method: str
    items: int
    """How many profiles or organizations it asked for: 1, or as many as there were in the batch."""


@dataclass(frozen=True, slots=True, eq=False)
class Trouble:
    """What happens to calls: they wait for `seconds` (None: until the trouble is over), or fail with `status`.

    Each one is itself, so that a call can tell whether the trouble that it is in is over.
    """

    seconds: float | None = 0
    status: status_pb2.Status | None = None
    silences: bool = False
    """Whether streams say nothing, instead of sharing the fate of other calls."""


@dataclass(slots=True, eq=False)
class Watcher:
    """An open stream of WatchRemovals."""

    cut: bool = False


@dataclass(slots=True)
class Stage:
    """Read and written only while `changed` is held; whoever writes what others wait for notifies all."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    rows: Rows = field(default_factory=lambda: Rows(POLICY))
    removals: Removals = field(default_factory=Removals)
    trouble: Trouble | None = None
    muted: bool = False
    is_stopping: bool = False
    watchers: set[Watcher] = field(default_factory=set)
    calls: list[Call] = field(default_factory=list)
    asked: Counter[PairKey] = field(default_factory=Counter)

    @property
    def silent(self) -> bool:
        """Whether streams stay open and say nothing."""
        return self.muted or (self.trouble is not None and self.trouble.silences)

    def reset(self) -> None:
        """Begins anew. Open streams stay, and are told that removals may have been missed."""
        self.rows = Rows(POLICY)
        self.removals.forget()
        self.trouble = None
        self.muted = False
        self.calls.clear()
        self.asked.clear()


def now_ms() -> int:
    return time.time_ns() // 1_000_000
