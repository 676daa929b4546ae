"""How much of all bodies one process holds in memory.

Three ideas keep the bound hard, the cost low and the line moving:

* Memory is *granted before bytes are read*. Who asks for more than is left waits in line, and its client waits with
  it, because nobody reads its socket meanwhile.
* *Who waits holds next to nothing, and who holds much waits for nobody's memory.* A part whose client has proved fast
  asks once for all it will hold, any other once for a foothold. So whatever is granted is about to be filled and sent,
  and the line moves; or its client has stopped sending, and after `PATIENCE` seconds it is spooled; or its client has
  proved nothing, and then it takes more only while memory abounds, never stands in line for it, and goes to disk when
  it does not (`Part`). Nobody's memory depends on somebody else's in line.
* Uploads fill recycled blocks. A fresh 8 MiB buffer costs more in page faults than copying 8 MiB into memory that is
  already mapped, and anonymous mappings go back to the system at once when they are let go, as malloc's do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import mmap
from collections import deque
from operator import itemgetter
from typing import Protocol

from s3proxy.errors import Busy

BLOCK_SIZE = 1024 * 1024
"""Bytes of one block: what is received or sent at once, since each time costs the same, large or small."""

SMALL_BLOCK_SIZE = 64 * 1024
"""Bytes of a block where less than `BLOCK_SIZE` was granted; below it malloc does as well."""

IDLE_SHARE = 3
"""The part of the budget that idle blocks may be, as a divisor: enough for what comes and goes, no more."""

REST = 3.0
"""Seconds without any body in memory after which idle blocks go back to the system."""

PATIENCE = 5.0
"""Seconds a part has to fill what it was granted before it may be spooled for others."""

GRANT_TIMEOUT = 60.0
"""Seconds after which a request for memory gives up with `Busy`."""


def map_block(size: int) -> memoryview:
    """`size` fresh bytes that go back to the system at once when nobody has them any more, as malloc's do not."""
    # Shared pages, Python's default, are a file to the kernel, and fresh ones cost half as much again.
    return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


class Spoolable(Protocol):
    """Something that holds granted memory and can move it to disk."""

    async def spool(self) -> None:
        """Move the bytes to disk and give the memory back. Must not raise."""
        ...


class _Line:
    """Requests for memory, first come, first served, that may bring what is granted up to `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.waiting: deque[tuple[int, asyncio.Future[None]]] = deque()


class MemoryBudget:
    """A cap in bytes on what all transfers of a process hold, shared first come, first served.

    `reserve` of them are for downloads only, which have a line of their own: uploads to a store that hangs hold what
    they were granted for minutes, and nobody else's page should wait for that. Blocks in use and idle ones together
    never exceed `size`. Not thread-safe: used from the event loop only.
    """

    def __init__(self, size: int, *, reserve: int = 0) -> None:
        self.size = size
        self.granted = 0
        self._idle: dict[int, list[memoryview]] = {}
        self._idle_size = 0
        self._uploads = _Line(size - reserve)
        self._downloads = _Line(size)
        self._filling: dict[Spoolable, float] = {}
        self._reclaiming: asyncio.Task[None] | None = None
        self._resting: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many requests for memory stand in line."""
        return len(self._uploads.waiting) + len(self._downloads.waiting)

    @property
    def pressed(self) -> bool:
        """Whether memory is scarce enough that nobody should take more than it needs right now."""
        return self.waiting > 0 or self.granted > self.size // 2

    async def take(self, size: int, *, patience: float = GRANT_TIMEOUT, download: bool = False) -> None:
        """Be granted `size` bytes, waiting in line for them.

        Raises `Busy` when the process cannot free that much in `patience` seconds, or ever.
        """
        line = self._downloads if download else self._uploads
        if size > line.limit:
            raise Busy
        if not line.waiting and self._grant(size, line.limit):
            return
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.waiting.append((size, ready))
        self._reclaim()
        try:
            async with asyncio.timeout(patience):
                await ready
        except BaseException as stop:
            if ready.done() and not ready.cancelled():
                self.give(size)
            else:
                with contextlib.suppress(ValueError):
                    line.waiting.remove((size, ready))
                self._serve()
            if isinstance(stop, TimeoutError):
                raise Busy from None
            raise

    def take_now(self, size: int) -> bool:
        """Be granted `size` bytes when nobody waits and half of all remains free: for what can be done without."""
        return not self.waiting and self._grant(size, self.size // 2)

    def give(self, size: int) -> None:
        """Return `size` granted bytes."""
        self.granted -= size
        if self._idle_size and not self.granted:
            if self._resting is not None:
                self._resting.cancel()
            self._resting = asyncio.get_running_loop().call_later(REST, self._rest)
        self._serve()

    def _rest(self) -> None:
        """Nothing has moved for a while: a process at rest holds nothing for what may come."""
        if not self.granted:
            self._trim(0)

    def block(self, size: int = BLOCK_SIZE) -> memoryview:
        """`size` writable bytes with unspecified contents, to be filled under a grant.

        Multiples of `SMALL_BLOCK_SIZE` come from the idle blocks if one fits, and may be recycled.
        """
        idle = self._idle.get(size)
        if idle:
            self._idle_size -= size
            return idle.pop()
        self._trim(self.size - self.granted)
        return memoryview(bytearray(size)) if size % SMALL_BLOCK_SIZE else map_block(size)

    def recycle(self, view: memoryview) -> None:
        """Hand the block under `view` back, before its grant is given back."""
        if isinstance(view.obj, mmap.mmap):
            block = memoryview(view.obj)
            self._idle.setdefault(len(block), []).append(block)
            self._idle_size += len(block)
            self._trim(self.size // IDLE_SHARE)

    def give_way(self, size: int) -> None:
        """Hand idle blocks of some `size` bytes back, for what is about to take as much beside the budget."""
        if size >= BLOCK_SIZE:
            self._trim(max(0, self._idle_size - size))

    def watch(self, part: Spoolable, patience: float = PATIENCE) -> None:
        """`part` has so many seconds to fill what it was granted; then it may be asked to move to disk for others."""
        self._filling[part] = asyncio.get_running_loop().time() + patience
        if self.waiting:
            self._reclaim()

    def unwatch(self, part: Spoolable) -> None:
        """`part` is complete, or waits itself, or is gone: it stays where it is."""
        self._filling.pop(part, None)

    def _grant(self, size: int, limit: int) -> bool:
        if self.granted + size > limit:
            return False
        self.granted += size
        return True

    def _trim(self, limit: int) -> None:
        """Give idle blocks over `limit` bytes back to the system, of the size that has most."""
        while self._idle_size > limit:
            size = max(self._idle, key=lambda size: size * len(self._idle[size]))
            self._idle[size].pop()
            self._idle_size -= size

    def _serve(self) -> None:
        for line in (self._downloads, self._uploads):
            while line.waiting:
                size, ready = line.waiting[0]
                if not ready.cancelled():  # By a task that has yet to leave the line.
                    if not self._grant(size, line.limit):
                        break
                    ready.set_result(None)
                line.waiting.popleft()

    def _reclaim(self) -> None:
        if self._filling and (self._reclaiming is None or self._reclaiming.done()):
            # In no request's context: what it logs is about other uploads than the one that happens to ask.
            loop = asyncio.get_running_loop()
            self._reclaiming = loop.create_task(self._spool_overdue(), context=contextvars.Context())

    async def _spool_overdue(self) -> None:
        """Spool the parts whose time is up, the longest overdue first, for as long as somebody waits."""
        loop = asyncio.get_running_loop()
        while self.waiting and self._filling:
            part, due = min(self._filling.items(), key=itemgetter(1))
            if loop.time() < due:
                _, ready = (self._downloads.waiting or self._uploads.waiting)[0]
                await asyncio.wait([ready], timeout=due - loop.time())
            else:
                self.unwatch(part)
                await part.spool()
