"""How an upload is cut into S3 parts: the limits of S3, and the capacity of part 1, 2, 3 …

Sizes are in bytes. With a declared length all parts are equal and just large enough. Without one the parts start small
and grow on a schedule, so that short uploads stay cheap and long ones still fit: with 8 MiB to begin with and 10,000
parts it reaches 20.4 TiB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from s3proxy.errors import TooLarge

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
#: The smallest part S3 takes, but for the last one of an upload.
MIN_PART_SIZE = 5 * MIB
#: The largest part.
MAX_PART_SIZE = 5 * GIB
#: The largest number of parts, and the highest part number.
MAX_PARTS = 10_000
#: The largest object one PutObject takes.
MAX_PUT_SIZE = 5 * GIB
#: The largest object there can be: 48.8 TiB.
MAX_OBJECT_SIZE = MAX_PARTS * MAX_PART_SIZE

#: Parts grown for a declared length are whole multiples of this: buffers of few different sizes can be used again.
ROUND = 256 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class PartPolicy:
    """The operator's and the store's limits, all in bytes but `max_parts`.

    Up to and including `put_limit` bytes an object is one PutObject. `equal_parts` is for stores that want every part
    but the last of one size (Cloudflare R2). Raises `ValueError` for limits that contradict each other.
    """

    part_size: int
    put_limit: int
    max_parts: int = MAX_PARTS
    max_part_size: int = MAX_PART_SIZE
    equal_parts: bool = False
    max_object_size: int = MAX_OBJECT_SIZE

    def __post_init__(self) -> None:
        if not 0 < self.part_size <= self.max_part_size:
            raise ValueError("part_size must be at least 1 and at most max_part_size")
        if not 0 <= self.put_limit <= self.max_part_size:
            raise ValueError("put_limit must be at least 0 and at most max_part_size")
        if self.max_parts < 1 or self.max_object_size < 1:
            raise ValueError("max_parts and max_object_size must be at least 1")

    def plan(self, declared_size: int | None) -> PartPlan:
        """The plan for a body of that many bytes, or of unknown length (None).

        Raises `TooLarge`, naming the limit, when a declared size cannot be stored.
        """
        if declared_size is None:
            return PartPlan(self, None)
        if declared_size < 0:
            raise ValueError("declared_size must be at least 0")
        if declared_size > self._max_declared_size:
            raise too_large(self._max_declared_size)
        return PartPlan(self, declared_size)

    def limited(self, size: int | None) -> PartPolicy:
        """The same for objects of at most `size` bytes."""
        if size is None or size >= self.max_object_size:
            return self
        return replace(self, max_object_size=size)

    @property
    def _max_declared_size(self) -> int:
        return min(self.max_object_size, max(self.put_limit, self.max_parts * self.max_part_size))


@dataclass(frozen=True, slots=True)
class PartPlan:
    """The capacity of every part of one upload. Made by `PartPolicy.plan`, which checks the declared size."""

    policy: PartPolicy
    declared_size: int | None

    @property
    def multipart_at_once(self) -> bool:
        """Whether the declared length already says that this is no single PutObject."""
        return self.declared_size is not None and self.declared_size > self.policy.put_limit

    @property
    def max_size(self) -> int:
        """The most bytes the parts hold together, at most the policy's `max_object_size`."""
        return min(self.policy.max_object_size, self._capacity())

    def size_of(self, number: int) -> int:
        """The capacity of part `number`, counted from 1, in bytes. The last part may stay smaller.

        Raises `TooLarge` past the store's number of parts.
        """
        if number < 1:
            raise ValueError("part numbers count from 1")
        if number > self.policy.max_parts:
            raise too_large(self.max_size)
        if self.declared_size is not None:
            return self._equal_size(self.declared_size)
        return self._first_size() if number == 1 else self._grown_size(number)

    def _equal_size(self, declared_size: int) -> int:
        policy = self.policy
        if not self.multipart_at_once:
            return max(1, declared_size)
        needed = _ceil_divide(declared_size, policy.max_parts)
        if needed <= policy.part_size:
            return policy.part_size
        rounded = _ceil_divide(needed, ROUND) * ROUND
        return rounded if rounded <= policy.max_part_size else needed

    def _first_size(self) -> int:
        """Until it overflows, part 1 may still become a PutObject: it holds as much as one may have."""
        policy = self.policy
        return policy.part_size if policy.equal_parts else max(policy.part_size, policy.put_limit)

    def _grown_size(self, number: int) -> int:
        """Unknown length: the size doubles with every tenth of the parts, past the middle four times as often.

        The first half is cheap in memory and reaches hundreds of GiB; the second is there to reach S3's end.
        """
        policy = self.policy
        if policy.equal_parts:
            return policy.part_size
        half, slow, fast = self._rhythm()
        before = number - 1
        doublings = before // slow if before < half else half // slow + (before - half) // fast
        return min(policy.max_part_size, policy.part_size << doublings)

    def _rhythm(self) -> tuple[int, int, int]:
        """The middle, and after how many parts the size doubles before and after it."""
        max_parts = self.policy.max_parts
        return max_parts // 2, max(1, max_parts // 10), max(1, max_parts // 40)

    def _capacity(self) -> int:
        policy = self.policy
        if self.declared_size is not None:
            return policy.max_parts * self._equal_size(self.declared_size)
        # The schedule, with part 1 put right.
        scheduled = sum(count * self._grown_size(number) for number, count in self._stretches())
        return scheduled - self._grown_size(1) + self._first_size()

    def _stretches(self) -> Iterator[tuple[int, int]]:
        """The first number and the count of parts of equal size, in order: some 25 stretches, not 10,000 parts."""
        half, slow, fast = self._rhythm()
        for start, end, step in ((0, half, slow), (half, self.policy.max_parts, fast)):
            for before in range(start, end, step):
                yield before + 1, min(step, end - before)


def _ceil_divide(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)


def too_large(limit: int) -> TooLarge:
    """The refusal of an object of more than `limit` bytes."""
    return TooLarge(f"The object is larger than {limit} bytes, the most that can be stored.")
