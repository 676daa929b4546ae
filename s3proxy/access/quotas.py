"""Bounds on each principal: requests, transfers, bandwidth, and bytes a day.

All are this process's own but the day's bytes, which the processes share (`day_count`). Principals are told apart by
name, however they came: a link spends what its issuer has.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Self
from weakref import WeakValueDictionary

from s3proxy.access.bandwidth import Bandwidth, Share
from s3proxy.access.day_count import DayCount, UsageLike
from s3proxy.access.policy import Principal, Quota
from s3proxy.errors import QuotaExceeded

BURST = 1.0
"""Seconds whose requests may come at once."""

SLOT_RETRY = 2.0
"""Seconds after which to ask again for a transfer: nobody knows when one ends."""

ROUNDING = 1e-9
"""Seconds that are none."""


class Quotas:
    """The allowances of all principals. Without a ledger the day's bytes are this process's own too.

    Holds about a kilobyte for each principal that was active in the last second, or whose bytes only we know. Not
    thread-safe: used from the event loop only. `clock` gives unix seconds, for midnight.
    """

    def __init__(self, ledger: UsageLike | None, *, clock: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._clock = clock
        self._allowances: OrderedDict[str, Allowance] = OrderedDict()
        self._in_use: WeakValueDictionary[str, Allowance] = WeakValueDictionary()
        """Also those that looked idle but that a request still holds: it must not be alone with it."""

    def __len__(self) -> int:
        return len(self._allowances)

    def of(self, principal: Principal) -> Allowance:
        """What all requests of that name share; its quota becomes this one, also for transfers under way.

        To be held for a request, not longer: it is forgotten when nothing is under way.
        """
        name = principal.name
        allowance = self._allowances.get(name)
        if allowance is None:
            return self._take_in(name, principal.quota)
        self._allowances.move_to_end(name)
        if allowance.quota is not principal.quota:
            allowance.quota = principal.quota
        return allowance

    async def settle(self) -> None:
        """Add to the ledger what is not there yet: before the process ends."""
        for allowance in list(self._allowances.values()):
            await allowance.settle()

    def _take_in(self, name: str, quota: Quota) -> Allowance:
        for other in list(itertools.islice(self._allowances, 2)):  # Two go for one that comes, if they may.
            if self._allowances[other].idle:
                del self._allowances[other]
            else:
                self._allowances.move_to_end(other)
        allowance = self._in_use.get(name)
        if allowance is None:
            allowance = self._in_use[name] = Allowance(name, quota, self._ledger, self._clock)
        allowance.quota = quota
        self._allowances[name] = allowance
        return allowance


class Allowance:
    """What one principal has left. Made by `Quotas.of`."""

    def __init__(self, name: str, quota: Quota, ledger: UsageLike | None, clock: Callable[[], float]) -> None:
        self.bandwidth = Bandwidth(quota.bandwidth)
        self.day = DayCount(name, ledger, clock)
        self._quota = quota
        self._slots = 0
        self._spaced_out = float("-inf")
        """When, in loop time, all requests so far would have come if evenly spaced."""

    @property
    def quota(self) -> Quota:
        """The bounds. May be changed at any time and counts at once."""
        return self._quota

    @quota.setter
    def quota(self, quota: Quota) -> None:
        self._quota = quota
        self.bandwidth.rate = quota.bandwidth

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost with it: nothing is under way and nothing is counted here alone."""
        resting = self._spaced_out <= asyncio.get_running_loop().time()
        return not self._slots and resting and self.day.settled

    def admit(self) -> None:
        """Count a request. Raises `QuotaExceeded` when there were too many in the last second."""
        rate = self._quota.requests_per_second
        if rate is None:
            return
        now = asyncio.get_running_loop().time()
        after = max(self._spaced_out, now) + 1 / rate
        wait = after - now - max(BURST, 1 / rate)
        if wait > ROUNDING:
            raise QuotaExceeded("Too many requests. Try again later.", retry_after=wait)
        self._spaced_out = after

    def enter(self) -> Slot:
        """Begin a transfer. Raises `QuotaExceeded` when too many are under way."""
        most = self._quota.transfers
        if most is not None and self._slots >= most:
            raise QuotaExceeded("Too many transfers at once. Try again later.", retry_after=SLOT_RETRY)
        self._slots += 1
        return Slot(self)

    def leave(self) -> None:
        """A slot is given back."""
        self._slots -= 1

    async def settle(self) -> None:
        """Add to the ledger what is not there yet. When that fails it stays for the next time."""
        await self.day.settle()


class Slot:
    """One transfer among those of its principal, from `Allowance.enter` to `leave`; a context manager.

    One `spend` at a time: the transfer passes its chunk on before it asks for the next.
    """

    __slots__ = ("_allowance", "_left", "_share")

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._share = Share()
        self._left = False

    async def open_day(self, size: int | None) -> None:
        """Before bytes move: look how much of the day is left.

        Raises `QuotaExceeded`, until midnight UTC, when it is spent or a declared `size` does not fit into what is
        left; `AccessUnavailable` when the ledger does not tell.
        """
        most = self._allowance.quota.daily_bytes
        if most is not None:
            await self._allowance.day.check(most, size)

    async def spend(self, size: int) -> None:
        """Before each chunk is passed on: wait for bandwidth, and count the bytes to the day.

        Raises `QuotaExceeded` when they do not fit into the day; then they are not counted. A ledger that fails in the
        middle of a transfer does not stop it.
        """
        allowance = self._allowance
        if allowance.quota.bandwidth is not None:
            await allowance.bandwidth.take(self._share, size)
        most = allowance.quota.daily_bytes
        if most is not None:
            await allowance.day.add(most, size)

    def leave(self) -> None:
        """End the transfer, on every way out. May be called twice."""
        if not self._left:
            self._left = True
            self._allowance.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
