"""Bytes per second, shared fairly: of two that want more than there is, neither gets more, whatever its chunks.

Whoever asks has a place in line by how much it was given before (start-time fair queueing): a transfer's first byte
stands where the line is now, each further one as many bytes behind as it asked for. The line moves when the bytes
let through last have been paid for in time; by then those served before are back in line.
"""

from __future__ import annotations

import asyncio
import heapq

LONGEST_QUANTUM = 256 * 1024
SHORTEST_QUANTUM = 4 * 1024
"""Bytes let through at once: as many as take `SLACK`, between these."""

SLACK = 0.1
"""Seconds that may be made up for after nobody asked or the event loop was late."""


class Bandwidth:
    """A rate in bytes per second, or None for any. In time t passes at most rate x (t + `SLACK`) and one quantum.

    Holds one place in line for each transfer that waits. Not thread-safe: used from the event loop only.
    """

    def __init__(self, rate: float | None = None) -> None:
        self._rate = rate
        self._line: list[_Place] = []
        self._places = 0
        self._now = 0.0
        """Where the line is: the place served last, in bytes of a transfer that always wanted more."""
        self._paid = float("-inf")
        """When all bytes let through are paid for, in loop time."""
        self._timer: asyncio.Handle | None = None

    @property
    def rate(self) -> float | None:
        """Bytes per second. May be changed at any time, and counts from the next quantum on."""
        return self._rate

    @rate.setter
    def rate(self, rate: float | None) -> None:
        if rate != self._rate:
            self._rate = rate
            self._serve()

    @property
    def quantum(self) -> int:
        """Bytes let through at once, at most."""
        if self._rate is None:
            return LONGEST_QUANTUM
        return int(min(LONGEST_QUANTUM, max(SHORTEST_QUANTUM, self._rate * SLACK)))

    async def take(self, share: Share, size: int) -> None:
        """Wait until `size` more bytes of a transfer may pass. Who is cancelled gives its place to the next."""
        while size > 0 and self._rate is not None:
            piece = min(size, self.quantum)
            size -= piece
            begin = max(self._now, share.end)
            share.end = begin + piece
            if not self._line and self._is_free():
                self._let_pass(begin, piece)
            else:
                await self._stand(begin, piece)

    async def _stand(self, begin: float, piece: int) -> None:
        self._places += 1
        place = _Place(begin, self._places, piece)
        heapq.heappush(self._line, place)
        self._serve()
        try:
            await place.turn
        except asyncio.CancelledError:
            if place in self._line:
                self._line.remove(place)
                heapq.heapify(self._line)
            elif self._rate is not None:
                self._paid -= piece / self._rate  # Served, and gone before it knew.
            self._serve()
            raise

    def _serve(self) -> None:
        """Let the first in line pass if it may now, and see to the next in time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._line and self._is_free():
            place = heapq.heappop(self._line)
            self._let_pass(place.begin, place.size)
            if not place.turn.done():
                place.turn.set_result(None)
        if self._line:
            # One a step at most: who was served can be back in line before the next one is picked.
            loop = asyncio.get_running_loop()
            self._timer = loop.call_soon(self._serve) if self._is_free() else loop.call_at(self._paid, self._serve)

    def _is_free(self) -> bool:
        return self._rate is None or self._paid <= asyncio.get_running_loop().time()

    def _let_pass(self, begin: float, size: int) -> None:
        self._now = begin
        if self._rate is not None:
            earliest = asyncio.get_running_loop().time() - SLACK
            self._paid = max(self._paid, earliest) + size / self._rate


class Share:
    """One transfer's account: the place in line after all it was given."""

    __slots__ = ("end",)

    def __init__(self) -> None:
        self.end = 0.0


class _Place:
    """One who waits. Ordered by place, then by who came first."""

    __slots__ = ("begin", "number", "size", "turn")

    def __init__(self, begin: float, number: int, size: int) -> None:
        self.begin = begin
        self.number = number
        self.size = size
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __lt__(self, other: _Place) -> bool:
        return (self.begin, self.number) < (other.begin, other.number)
