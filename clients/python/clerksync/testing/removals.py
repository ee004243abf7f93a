"""The removals so far, and positions among them."""

import secrets
from collections.abc import Sequence
from typing import NamedTuple

from clerksync.v1 import sync_service_pb2

_MOST_IN_ONE_RESPONSE = 1_000


class Position(NamedTuple):
    """How many removals have been told, of those in a log; `str()` is what callers get."""

    log: str
    told: int

    def __str__(self) -> str:
        return f"{self.log}.{self.told}"


class Removals:
    """A log that streams are read from. Not thread-safe."""

    def __init__(self) -> None:
        self.forget()

    @property
    def end(self) -> Position:
        """The position from which nothing is left to tell."""
        return Position(self._log, len(self._removals))

    def add(self, *, clerk_user_id: str = "", clerk_org_id: str = "") -> None:
        self._removals.append(sync_service_pb2.Removal(clerk_user_id=clerk_user_id, clerk_org_id=clerk_org_id))

    def forget(self) -> None:
        """Makes all positions so far unknown."""
        self._log = secrets.token_hex(4)
        self._removals: list[sync_service_pb2.Removal] = []

    def resume(self, text: str) -> Position | None:
        """The position that a caller has sent, None if it is not known or none at all."""
        told = text.rpartition(".")[2]
        if not (told.isascii() and told.isdecimal() and len(told) < 20):
            return None
        position = Position(self._log, int(told))
        return position if str(position) == text and position <= self.end else None

    def is_known(self, position: Position) -> bool:
        return position.log == self._log

    def after(self, position: Position) -> tuple[Sequence[sync_service_pb2.Removal], Position]:
        """The next removals, as many as fit into a response, and the position behind them."""
        removals = self._removals[position.told : position.told + _MOST_IN_ONE_RESPONSE]
        return removals, position._replace(told=position.told + len(removals))
