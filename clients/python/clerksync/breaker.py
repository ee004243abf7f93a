"""The circuit breaker: stops asking for a while after several calls in a row have failed. Pure, without I/O.

It counts calls, not those who wait for them: however many wait for one that is slow, it has failed once. And a call
that answers after all, though nobody waits for it any more, is a success. Any number of threads may use one.
"""

import random
import threading
import time
from collections.abc import Callable
from typing import Final

_FAILURES_TO_OPEN: Final = 3
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0
_TRY_LASTS_S: Final = 10.0
"""A try of which nothing was heard for so long has been lost, for example with the event loop that it was made in."""


class CircuitBreaker:
    """Opens after 3 failures in a row, for 1 s; then lets one try through, and pauses twice as long if that fails too.

    At most 30 s; each pause is up to a quarter shorter by chance, so that many processes do not try at once.
    """

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._failures = 0
        self._pause_s = _FIRST_PAUSE_S
        self._open_until: float | None = None
        self._tried_at: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether asking is not allowed now."""
        with self._lock:
            return self._is_open(self._now())

    def allows(self) -> bool:
        """Whether to ask now. While it is open, whoever is told yes makes the try that decides."""
        if self._open_until is None:
            return True
        now = self._now()
        with self._lock:
            if self._is_open(now):
                return False
            if self._open_until is not None:
                self._tried_at = now
            return True

    def succeeded(self) -> None:
        """A call was answered, whatever the answer."""
        with self._lock:
            self._failures = 0
            self._pause_s = _FIRST_PAUSE_S
            self._open_until = None
            self._tried_at = None

    def failed(self) -> None:
        """A call was not answered, or not in the time that those who asked had for it. Told once for each call."""
        now = self._now()
        with self._lock:
            self._failures += 1
            if self._open_until is not None and self._tried_at is None:
                return  # It began before the breaker opened, and tells nothing new.
            if self._failures >= _FAILURES_TO_OPEN:
                if self._open_until is not None:
                    self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
                self._open_until = now + self._pause_s * random.uniform(0.75, 1.0)  # noqa: S311
            self._tried_at = None

    def gave_up(self) -> None:
        """Who was told yes made no call after all."""
        with self._lock:
            self._tried_at = None

    def end_pause(self) -> None:
        """SyncService has been heard of otherwise: the next one may try."""
        now = self._now()
        with self._lock:
            if self._open_until is not None:
                self._open_until = now

    def _is_open(self, now: float) -> bool:
        if self._open_until is None:
            return False
        if self._tried_at is not None and now - self._tried_at < _TRY_LASTS_S:
            return True
        return now < self._open_until
