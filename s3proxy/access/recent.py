"""What was found true a short while ago and need not be found again."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

V = TypeVar("V")


class Recent(Generic[V]):
    """Values by digest, each for some seconds, at most `size`; the one unused longest gives way. Holds no secrets."""

    def __init__(self, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._clock = clock
        self._values: OrderedDict[bytes, tuple[V, float]] = OrderedDict()

    def __len__(self) -> int:
        """Values held, the outdated ones included."""
        return len(self._values)

    def get(self, digest: bytes) -> V | None:
        """The value, while its time has not passed."""
        found = self._values.get(digest)
        if found is None:
            return None
        if found[1] <= self._clock():
            del self._values[digest]
            return None
        self._values.move_to_end(digest)
        return found[0]

    def put(self, digest: bytes, value: V, seconds: float) -> None:
        """Hold a value from now on, for so many seconds."""
        self._values[digest] = value, self._clock() + seconds
        self._values.move_to_end(digest)
        if len(self._values) > self._size:
            self._values.popitem(last=False)
