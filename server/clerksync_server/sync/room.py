"""How much may wait, or be under way, at the same time."""

from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from clerksync_server.errors import Overloaded


class Room:
    """Room for so much of something, shared by groups, for example organizations.

    A group gets no more once it has as much as is still free: one that floods has half of the room at most, two have a
    third each. So there is room left for whoever has little, and nobody has to know beforehand how many groups come.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._taken_by: dict[Hashable, int] = {}

    def take(self, size: int, group: Hashable = None) -> None:
        """Raises Overloaded, at once. None is no group: it may have all that is free."""
        free = self._most - self._taken
        if size > free or (group is not None and self._taken_by.get(group, 0) + size > free):
            raise Overloaded
        self._taken += size
        if group is not None:
            self._taken_by[group] = self._taken_by.get(group, 0) + size

    def give_back(self, size: int, group: Hashable = None) -> None:
        """Of what was taken."""
        self._taken -= size
        if group is None:
            return
        if left := self._taken_by[group] - size:
            self._taken_by[group] = left
        else:
            del self._taken_by[group]

    @contextmanager
    def taken(self, size: int, group: Hashable = None) -> Iterator[None]:
        """Takes it for as long as the block lasts. Raises Overloaded."""
        self.take(size, group)
        try:
            yield
        finally:
            self.give_back(size, group)
