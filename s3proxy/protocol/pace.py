"""How fast a client is, counting only the time it was waited for."""

from __future__ import annotations


class Pace:
    """Judges a client by windows of `window` seconds of waiting for it: at least `rate` bytes per second in each.

    A `rate` of 0 is slow enough for everybody.
    """

    def __init__(self, rate: int, window: float) -> None:
        self._rate = rate
        self._window = window
        self._seconds = 0.0
        self._size = 0

    def too_slow(self, seconds: float, size: int) -> bool:
        """Count `size` bytes waited for `seconds`; whether a window has ended with too few."""
        self._seconds += seconds
        self._size += size
        if self._seconds < self._window:
            return False
        slow = self._size < self._rate * self._seconds
        self._seconds, self._size = 0.0, 0
        return slow
