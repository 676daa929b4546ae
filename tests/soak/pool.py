"""Random bytes made once, of which every body is a stretch: which one says what it must hold."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

MIB = 1024 * 1024

POOL_SIZE = 64 * MIB

LARGEST = 40 * MIB


@dataclass(frozen=True, slots=True)
class Stretch:
    """`size` bytes of the pool from `start`; two of different starts differ."""

    start: int
    size: int


class Pool:
    """The bytes."""

    def __init__(self, seed: int) -> None:
        self._bytes = memoryview(random.Random(seed).randbytes(POOL_SIZE))

    def bytes_of(self, stretch: Stretch, first: int = 0) -> memoryview:
        """A body, from its byte `first` on."""
        return self._bytes[stretch.start + first : stretch.start + stretch.size]

    def digest(self, stretch: Stretch) -> str:
        """SHA-256 of a body."""
        return hashlib.sha256(self.bytes_of(stretch)).hexdigest()


def pick(chance: random.Random) -> Stretch:
    """A body of some size: mostly small, some around the borders of parts, few large; now and then an empty one."""
    kind = chance.random()
    if kind < 0.04:
        size = 0
    elif kind < 0.60:
        size = chance.randint(1, 200_000)
    elif kind < 0.80:
        size = chance.randint(200_000, 2 * MIB)
    elif kind < 0.88:
        size = chance.choice((1, 2, 5, 10)) * MIB + chance.randint(-1, 1)
    elif kind < 0.98:
        size = chance.randint(5 * MIB, 16 * MIB)
    else:
        size = chance.randint(16 * MIB, LARGEST)
    return Stretch(chance.randrange(POOL_SIZE - LARGEST), size)
