"""What SyncService has answered, kept for as long as it is sure to hold. Pure, without I/O.

An answer is good while two things hold. It is younger than the TTL, which bounds how old a role may be. And the stream
of removals has said something within the last few seconds, or the answer itself is that young: then nobody can have
been removed unnoticed. So a stream that is stuck or cut shrinks the TTL to those seconds by itself.

The loop that fills the cache owns it. Other threads may call `get` at the same time.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias, TypeVar

from clerksync.resources import EnsuredOrganization, EnsuredUserProfile

Key: TypeAlias = tuple[str, str]
"""(clerk_user_id, clerk_org_id); the user is "" for the organization itself."""
Answer: TypeAlias = EnsuredUserProfile | EnsuredOrganization

SILENCE_S: Final = 5.0
"""How long the stream may be silent; SyncService says something every 2 s."""
_NEVER = float("-inf")


class Cache:
    """A bounded LRU of answers that existed when they were asked for."""

    def __init__(
        self, *, size: int, ttl_s: float, silence_s: float = SILENCE_S, now: Callable[[], float] = time.monotonic
    ) -> None:
        """`size` is the most answers that are kept (0: none), `ttl_s` the longest time for any."""
        self._size = size
        self._ttl_s = ttl_s
        self._silence_s = silence_s
        self._now = now
        self._kept: OrderedDict[Key, tuple[float, Answer]] = OrderedDict()
        self._heard_at = _NEVER
        # When each was told to have gone away, the oldest first; for as long as the TTL, because no answer that is
        # older can be used, whether it is kept or on its way still.
        self._users: OrderedDict[str, float] = OrderedDict()
        self._organizations: OrderedDict[str, float] = OrderedDict()
        self._pairs: OrderedDict[Key, float] = OrderedDict()
        self._dropped_at = _NEVER

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Key) -> Answer | None:
        """The answer, if it is sure to hold still."""
        try:
            kept = self._kept.get(key)
        except TypeError:  # An id that is none; asking will say so.
            return None
        if kept is None:
            return None
        asked_at, answer = kept
        now = self._now()
        if now - asked_at >= self._ttl_s or now - max(asked_at, self._heard_at) >= self._silence_s:
            return None
        user, organization = key
        if (self._users and self._users.get(user, _NEVER) >= asked_at) or (
            self._organizations and self._organizations.get(organization, _NEVER) >= asked_at
        ):
            return None
        try:
            self._kept.move_to_end(key)
        except KeyError:
            return None  # Another thread has just dropped it.
        return answer

    def put(self, key: Key, answer: Answer, *, asked_at: float) -> None:
        """Keeps an answer to a question asked at `asked_at`, unless its subject went away since."""
        if not self._size or asked_at <= max(self._dropped_at, self._pairs.get(key, _NEVER)):
            return
        self._kept[key] = (asked_at, answer)
        self._kept.move_to_end(key)
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def heard(self) -> None:
        """The stream has said something: all removals until now have been told."""
        self._heard_at = self._now()

    @property
    def silent_for_s(self) -> float:
        """Seconds since the stream has said something; infinite if it never has."""
        return self._now() - self._heard_at

    def drop_all(self) -> None:
        """Removals may have been missed."""
        self._dropped_at = self._now()
        for store in (self._kept, self._users, self._organizations, self._pairs):
            store.clear()

    def drop(self, removed: Iterable[Key]) -> None:
        """Drops what went away: a pair, or with "" in place of the other id all of a user or of an organization.

        Entries of a user or an organization are not searched for: `get` sees that they are too old.
        """
        now = self._now()
        for key in removed:
            user, organization = key
            if not organization:
                _mark(self._users, user, now)
            elif not user:
                _mark(self._organizations, organization, now)
            else:
                self._kept.pop(key, None)
                _mark(self._pairs, key, now)
        forgotten_before = now - self._ttl_s
        _forget(self._users, forgotten_before)
        _forget(self._organizations, forgotten_before)
        _forget(self._pairs, forgotten_before)
        if max(len(self._users), len(self._organizations), len(self._pairs)) > max(self._size, 1000):
            self.drop_all()  # So many at once that remembering each would cost more than asking again.


_Subject = TypeVar("_Subject")


def _mark(marks: "OrderedDict[_Subject, float]", subject: _Subject, now: float) -> None:
    marks[subject] = now
    marks.move_to_end(subject)


def _forget(marks: "OrderedDict[_Subject, float]", before: float) -> None:
    while marks and next(iter(marks.values())) < before:
        marks.popitem(last=False)
