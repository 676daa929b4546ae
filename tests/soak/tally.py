"""What a soak counts, from all its clients."""

from __future__ import annotations

import threading
from collections import Counter


class Tally:
    """Counts by name, and the mismatches in words. May be used from several threads."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.mismatches: list[str] = []
        self._lock = threading.Lock()

    def count(self, name: str, by: int = 1) -> None:
        """Add to a count."""
        with self._lock:
            self.counts[name] += by

    def mismatch(self, text: str) -> None:
        """Something is not as it must be."""
        with self._lock:
            self.mismatches.append(text)

    @property
    def transfers(self) -> int:
        """Objects or ranges that went in or out whole, and those given up on the way."""
        return sum(number for name, number in self.counts.items() if name.startswith(("put", "post", "get")))
