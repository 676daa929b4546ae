"""How much of all bodies one process holds in memory.

Two ideas keep the bound hard and the cost low:

* Memory is *granted before bytes are read*. Who asks for more than is left waits in line, and its client waits with
  it, because nobody reads its socket meanwhile.
* Uploads fill recycled blocks. A fresh 8 MiB buffer costs more in page faults than copying 8 MiB into memory that is
  already mapped, and anonymous mappings go back to the system at once when they are let go, as malloc's do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import mmap
from collections import OrderedDict, deque
from typing import Protocol

from s3proxy.errors import Busy

BLOCK_SIZE = 256 * 1024
"""Bytes of one block, as much as a system call carries well."""

SMALL_BLOCK_SIZE = 64 * 1024
"""Bytes of the first blocks of a part, which a thousand slow clients can have; below it malloc does as well."""

PATIENCE = 5.0
"""Seconds a request for memory waits for parts on their way to the store before slow uploads are spooled."""

GRANT_TIMEOUT = 60.0
"""Seconds after which a request for memory gives up with `Busy`."""


class Spoolable(Protocol):
    """Something that holds granted memory and can move it to disk."""

    @property
    def granted(self) -> int:
        """Bytes granted to it that moving it to disk would give back."""
        ...

    async def spool(self) -> None:
        """Move the bytes to disk and give the memory back. Must not raise."""
        ...


class MemoryBudget:
    """A cap in bytes on what all transfers of a process hold, shared first come, first served.

    Granted plus idle recycled blocks never exceed `size`. Not thread-safe: used from the event loop only.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.granted = 0
        self.in_flight = 0
        self._idle: dict[int, list[memoryview]] = {}
        self._idle_size = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._filling: OrderedDict[Spoolable, None] = OrderedDict()
        self._reclaiming: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many requests for memory stand in line."""
        return len(self._waiting)

    @property
    def pressed(self) -> bool:
        """Whether memory is scarce enough that nobody should take more than it needs right now."""
        return bool(self._waiting) or self.granted > self.size // 2

    async def take(self, size: int) -> None:
        """Be granted `size` bytes, waiting in line for them.

        Raises `Busy` when the process cannot free that much in `GRANT_TIMEOUT` seconds, or ever.
        """
        if size > self.size:
            raise Busy
        if not self._waiting and self._grant(size):
            return
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, ready))
        self._reclaim()
        try:
            async with asyncio.timeout(GRANT_TIMEOUT):
                await ready
        except BaseException as stop:
            if ready.done() and not ready.cancelled():
                self.give(size)
            else:
                with contextlib.suppress(ValueError):
                    self._waiting.remove((size, ready))
                self._serve()
            if isinstance(stop, TimeoutError):
                raise Busy from None
            raise

    def take_now(self, size: int) -> bool:
        """Be granted `size` bytes if they are free and nobody waits for them."""
        return not self._waiting and self._grant(size)

    def give(self, size: int) -> None:
        """Return `size` granted bytes."""
        self.granted -= size
        self._serve()

    def block(self, size: int = BLOCK_SIZE) -> memoryview:
        """`size` writable bytes with unspecified contents, to be filled under a grant.

        Multiples of `SMALL_BLOCK_SIZE` come from the idle blocks if one fits, and may be recycled.
        """
        if size % SMALL_BLOCK_SIZE:
            return memoryview(bytearray(size))
        idle = self._idle.get(size)
        if idle:
            self._idle_size -= size
            return idle.pop()
        return memoryview(mmap.mmap(-1, size))

    def recycle(self, view: memoryview) -> None:
        """Hand the block under `view` back, before its grant is given back."""
        if isinstance(view.obj, mmap.mmap):
            block = memoryview(view.obj)
            self._idle.setdefault(len(block), []).append(block)
            self._idle_size += len(block)

    def trim(self) -> None:
        """Give idle blocks that no longer fit beside the grants back to the system."""
        for idle in self._idle.values():
            while idle and self._idle_size + self.granted > self.size:
                self._idle_size -= len(idle.pop())

    def watch(self, part: Spoolable) -> None:
        """From now on `part` may be asked to move to disk, the longest watched first."""
        self._filling[part] = None

    def unwatch(self, part: Spoolable) -> None:
        """`part` is complete or gone and stays where it is."""
        self._filling.pop(part, None)

    def _grant(self, size: int) -> bool:
        if self.granted + size > self.size:
            return False
        self.granted += size
        self.trim()
        return True

    def _serve(self) -> None:
        while self._waiting:
            size, ready = self._waiting[0]
            if not ready.cancelled():  # By a task that has yet to leave the line.
                if not self._grant(size):
                    self._reclaim()
                    return
                ready.set_result(None)
            self._waiting.popleft()

    def _reclaim(self) -> None:
        if self._filling and (self._reclaiming is None or self._reclaiming.done()):
            # In no request's context: what it logs is about other uploads than the one that happens to ask.
            loop = asyncio.get_running_loop()
            self._reclaiming = loop.create_task(self._spool_oldest(), context=contextvars.Context())

    async def _spool_oldest(self) -> None:
        """Spool the parts that have been filling longest until the first in line can be served."""
        while self._waiting and self._filling:
            size, ready = self._waiting[0]
            if self.granted - self.in_flight + size <= self.size:
                # Parts on their way to the store give enough back by themselves, and cheaper.
                await asyncio.wait([ready], timeout=PATIENCE)
                if ready.done():
                    continue
            victim = next((part for part in self._filling if part.granted), None)
            if victim is None:
                return
            self.unwatch(victim)
            await victim.spool()
