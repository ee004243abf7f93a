"""The circuit breaker: stops asking for a while what has just failed several times in a row. Pure, without I/O."""

import random
import time
from collections.abc import Callable

_FAILURES_TO_OPEN = 5
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0


class CircuitBreaker:
    """Opens after 5 failures in a row, for 1 s; then lets one try through, and pauses twice as long if that fails too.

    At most 30 s; each pause is up to a quarter shorter by chance, so that many processes do not try at once.
    """

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failures = 0
        self._pause_s = _FIRST_PAUSE_S
        self._closed_until_tried = False
        self._open_until: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether trying is not allowed now."""
        return self._open_until is not None and (self._closed_until_tried or self._now() < self._open_until)

    def allows(self) -> bool:
        """Whether to try now. Whoever is told yes must report `succeeded`, `failed` or `gave_up`."""
        if self.is_open:
            return False
        if self._open_until is not None:
            self._closed_until_tried = True  # This one is the try that decides.
        return True

    def succeeded(self) -> None:
        self._failures = 0
        self._pause_s = _FIRST_PAUSE_S
        self._open_until = None
        self._closed_until_tried = False

    def failed(self) -> None:
        self._failures += 1
        if self._open_until is not None and not self._closed_until_tried:
            return  # It began before the breaker opened, and tells nothing new.
        if self._failures >= _FAILURES_TO_OPEN:
            if self._open_until is not None:
                self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
            self._open_until = self._now() + self._pause_s * random.uniform(0.75, 1.0)  # noqa: S311
        self._closed_until_tried = False

    def gave_up(self) -> None:
        """The try ended without an outcome: the caller went away."""
        self._closed_until_tried = False
