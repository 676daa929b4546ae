"""The bytes of a principal's day, counted here and shared through the ledger.

Every process adds what it moved about once a second and reads the total in the same call. So each knows what all
moved up to a second ago, and together they overstep by no more than what they move in that time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Protocol

from s3proxy.errors import AccessUnavailable, QuotaExceeded

DAY = 86_400
"""Seconds from midnight to midnight UTC."""

FLUSH_INTERVAL = 1.0
"""Seconds between two additions to the ledger, and that a total read from it is good for."""

NEVER = float("-inf")


class UsageLike(Protocol):
    """The part of the ledger that is about quotas (`ledger.database.Ledger`)."""

    async def add_usage(self, principal: str, day: date, size: int) -> int:
        """Add to the day and return its total. Raises `AccessUnavailable`."""
        ...

    async def usage(self, principal: str, day: date) -> int:
        """The day's total. Raises `AccessUnavailable`."""
        ...


@dataclass(slots=True)
class _Day:
    """`known` bytes are in the ledger as read at `read` (loop time), `unsent` ones only here."""

    date: date
    read: float = NEVER
    known: int = 0
    unsent: int = 0

    @property
    def total(self) -> int:
        return self.known + self.unsent


class DayCount:
    """How much of `most` bytes, given with each question, is spent today (UTC). Without a ledger, by this process.

    Holds the count of one day and at most one task, which ends by itself when all is in the ledger or that fails.
    """

    def __init__(self, name: str, ledger: UsageLike | None, clock: Callable[[], float]) -> None:
        self._name = name
        self._ledger = ledger
        self._clock = clock
        self._day = _Day(self._today())
        self._sending = asyncio.Lock()
        self._added = NEVER
        self._flush: asyncio.Task[None] | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing of today is counted here alone."""
        flushed = self._flush is None or self._flush.done()
        return flushed and (not self._day.unsent or self._day.date != self._today())

    async def check(self, most: int, size: int | None) -> None:
        """Raises `QuotaExceeded` when the day is spent, or has no room for `size` bytes; `AccessUnavailable`."""
        day = self._current()
        if self._time() - day.read >= FLUSH_INTERVAL:
            await self._read(day)
        if day.total >= most or day.total + (size or 0) > most:
            raise self._spent()

    async def add(self, most: int, size: int) -> None:
        """Count `size` bytes. Raises `QuotaExceeded`, and counts nothing, when there is no room for them.

        Waits for the ledger, and raises `AccessUnavailable` when it fails, only where it was never asked before.
        """
        day = self._current()
        if day.read == NEVER:
            await self._read(day)
        if day.total + size > most:
            raise self._spent()
        day.unsent += size
        if self._ledger is not None and (self._flush is None or self._flush.done()):
            self._flush = asyncio.get_running_loop().create_task(self._flush_in_time(day))

    async def settle(self) -> None:
        """Add to the ledger what is not there yet. When that fails it stays for the next time."""
        await self._send(self._day)

    async def _read(self, day: _Day) -> None:
        asked = day.read
        known = day.known if self._ledger is None else await self._ledger.usage(self._name, day.date)
        if day.read == asked:  # Else an addition came back meanwhile, and the total it read is the newer.
            day.known, day.read = known, self._time()

    async def _flush_in_time(self, day: _Day) -> None:
        while day.unsent:
            await asyncio.sleep(self._added + FLUSH_INTERVAL - self._time())
            if not await self._send(day):
                return
            if not day.unsent:
                day = self._day  # Midnight may have passed.

    async def _send(self, day: _Day) -> bool:
        """Whether what was not sent is in the ledger now."""
        async with self._sending:
            size = day.unsent
            if self._ledger is None or not size:
                return True
            self._added = self._time()
            try:
                day.known = await self._ledger.add_usage(self._name, day.date, size)
            except AccessUnavailable:
                return False  # The ledger has said so in the log.
            day.unsent -= size
            day.read = self._time()
            return True

    def _current(self) -> _Day:
        today = self._today()
        if today != self._day.date:
            self._day = _Day(today, self._day.read)
        return self._day

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock(), UTC).date()

    def _time(self) -> float:
        return asyncio.get_running_loop().time()

    def _spent(self) -> QuotaExceeded:
        return QuotaExceeded("The bytes of the day are spent.", retry_after=DAY - self._clock() % DAY)
