"""The bytes that declared objects are made of: one random period, repeated; any slice can be checked by anyone."""

import random
from collections.abc import Iterator
from pathlib import Path

# A prime just under 64 MiB: no part or range size is a multiple of it, so a piece at the wrong offset is noticed.
PERIOD = 67_108_859


def pattern() -> bytes:
    """One period, the same in every process."""
    return random.Random(20).randbytes(PERIOD)


def write_pattern(path: Path) -> Path:
    """Write one period to `path`, for sendfile."""
    path.write_bytes(pattern())
    return path


def runs(offset: int, size: int) -> Iterator[tuple[int, int]]:
    """Where `size` bytes from `offset` of the endless pattern lie in one period: (start, length) pieces, in order."""
    while size > 0:
        start = offset % PERIOD
        length = min(size, PERIOD - start)
        yield start, length
        offset += length
        size -= length
