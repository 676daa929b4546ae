"""One part of an upload while it is gathered and sent: in memory, or on disk when its client is slow."""

from __future__ import annotations

import asyncio
import io
import logging
from bisect import bisect_right
from collections.abc import Callable, Sequence
from operator import itemgetter

from s3proxy.errors import Busy, S3ProxyError
from s3proxy.protocol.checksums import ChecksumAlgorithm, RunningChecksum
from s3proxy.transfer.budget import BLOCK_SIZE, PATIENCE, SMALL_BLOCK_SIZE, MemoryBudget
from s3proxy.transfer.spool import Spool, SpoolFile

logger = logging.getLogger(__name__)

FOOTHOLD = 128 * 1024
"""Bytes a part begins with. How fast they come is a first guess at how fast its client is."""

FOOTHOLD_PATIENCE = 1.0
"""Seconds it has for them while others wait: thousands of slow clients must not keep a fast one from beginning."""

HICCUP = 0.5
"""Seconds that do not count against a client: they may well have been the event loop's."""

SPOOL_PATIENCE = 30.0
"""Seconds a part stands in line for memory before it does without; well before it would be told `Busy`."""

FILE_STRETCH_SIZE = 256 * 1024
"""Bytes read at a time of a part that is in a file, by each thread that sends one: they are beside the budget."""

LARGEST_SHARE = 4
"""A part larger than the budget divided by this is never granted at once."""


class Withdrawn(Exception):
    """The part was given up while it was being gathered or sent."""


class PartBody:
    """The bytes of a sealed part as a store reads them, in stretches of at most `BLOCK_SIZE`. Keeps `store.Body`.

    `read` ignores the size it is asked for: HTTP clients ask for 16 KiB, and each stretch costs them a system call.
    """

    def __init__(self, size: int, stretch: Callable[[int], bytes | memoryview]) -> None:
        self._size = size
        self._stretch = stretch
        self._offset = 0
        self._withdrawn = False

    def __len__(self) -> int:
        return self._size

    def read(self, size: int = -1, /) -> bytes | memoryview:
        """The next stretch; empty at the end. Raises `Withdrawn` after `withdraw`."""
        data = self._next()
        self._offset += len(data)
        return data

    def readinto(self, buffer: memoryview, /) -> int:
        """The same into `buffer`, as far as it goes; awscrt asks for this when it hashes a body to sign it."""
        data = self._next()[: len(buffer)]
        buffer[: len(data)] = data
        self._offset += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move as `io.IOBase.seek` does."""
        self._offset = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: self._size}[whence]
        return self._offset

    def tell(self) -> int:
        """The offset of the next byte read."""
        return self._offset

    def withdraw(self) -> None:
        """Make a sending thread stop at its next stretch, so that an abort does not wait for a slow network."""
        self._withdrawn = True

    def release(self) -> None:
        """The same for good. Whoever keeps the body, as the frames of a failed request do, keeps no bytes."""
        self._withdrawn = True
        self._stretch = _released

    def _next(self) -> bytes | memoryview:
        if self._withdrawn:
            raise Withdrawn
        return self._stretch(self._offset) if self._offset < self._size else b""


class Part:
    """A part being filled, with a running checksum. Gathers at most `capacity` bytes.

    A client is `fast` when a whole part comes within `PATIENCE` seconds. Who has proved to be with one part is granted
    the next one whole, and waits in line for it. Everybody else begins with a foothold, and is granted all the rest
    when that came fast, or as much again as there is, but only while memory abounds: a slow client's first burst
    looks like a fast client. When it does not abound the part goes on in a file; so does one whose client has stopped
    sending, when the budget asks for it (`spool`). `release` must be called on every way out.
    """

    def __init__(
        self, capacity: int, budget: MemoryBudget, spool: Spool, algorithm: ChecksumAlgorithm, *, fast: bool = False
    ) -> None:
        self.capacity = capacity
        self.fast = fast
        self.size = 0
        self.granted = 0
        self.checksum = RunningChecksum(algorithm)
        self._budget = budget
        self._spool = spool
        self._blocks: list[tuple[int, memoryview]] = []  # Each with the offset of its first byte.
        self._room: memoryview | None = None
        self._file: SpoolFile | None = None
        self._disk = asyncio.Lock()
        self._sealed: PartBody | None = None
        self._released = False
        self._spoolable = spool.limit > 0
        self._began = 0.0

    @property
    def full(self) -> bool:
        """Whether no more bytes fit."""
        return self.size == self.capacity

    async def prepare(self) -> None:
        """Be granted memory for a client that has proved fast, before its bytes are read. Raises what `append` does."""
        if self.fast and not self.granted and self._file is None:
            await self._grow()

    def room(self) -> memoryview | None:
        """Where the next bytes may be received, so that `append` need not copy them; None where there is no such place.

        It is the caller's until the next `append`, whatever becomes of the part.
        """
        if self._settled() or self._file is not None or self._disk.locked() or self.size == self.granted:
            return None
        self._room = self._free()
        return self._room

    async def append(self, data: memoryview) -> int:
        """Take what fits from the front of `data`; returns how many bytes that were.

        What was received at the front of `room` stays where it is. Waits for memory or disk. Raises `Busy` when neither
        is to be had, `Withdrawn` after `release`.
        """
        data = data[: self.capacity - self.size]
        taken = len(data)
        while data:
            if self._released:
                raise Withdrawn
            if self._disk.locked() or self._file is not None:
                data = data[await self._append_to_file(data) :]
            elif self.size == self.granted:
                await self._grow()
            else:
                data = data[self._fill(data) :]
        self._room = None
        return taken

    def resize(self, capacity: int) -> bool:
        """Gather at most `capacity` bytes from now on; false, and nothing changed, when there are more already."""
        if self.size > capacity:
            return False
        self.capacity = capacity
        return True

    def seal(self) -> PartBody:
        """No more bytes come; the body may be sent. From now on the part stays where it is."""
        self._budget.unwatch(self)
        file = self._file
        if file is not None:
            self._sealed = PartBody(self.size, lambda offset: file.read(FILE_STRETCH_SIZE, offset))
        else:
            used = sum(len(block) for _, block in self._blocks)
            self._budget.give(self.granted - used)
            self.granted = used
            self._sealed = PartBody(self.size, _stretches(self._blocks, self.size))
        return self._sealed

    async def spool(self) -> None:
        """Move the bytes to a file and give the memory back; stay in memory when the disk does not take them."""
        async with self._disk:
            if self._settled() or self._file is not None:
                return
            try:
                file = self._spool.create()
            except S3ProxyError:
                self._spoolable = False
                logger.warning("spool directory does not take a file")
                return
            try:
                await file.append(*self._filled())
            except S3ProxyError:
                file.close()
                self._spoolable = False
                logger.warning("spool is full; a slow upload stays in memory")
                return
            if self._settled():  # Released or sealed while the thread wrote.
                file.close()
                return
            self._file = file
            self._drop_memory()

    def release(self) -> None:
        """Give memory and disk back. The body may not be read any more. May be called twice."""
        if self._released:
            return
        self._released = True
        self._budget.unwatch(self)
        if self._sealed is not None:
            self._sealed.release()
        if self._file is not None:
            self._file.close()
        self._drop_memory()

    def _settled(self) -> bool:
        """Whether the bytes are to stay where they are."""
        return self._released or self._sealed is not None

    async def _grow(self) -> None:
        """Be granted the next step, or go on in a file."""
        self._budget.unwatch(self)
        rest = self.capacity - self.granted
        whole = self._is_fast() and self.capacity <= self._budget.size // LARGEST_SHARE
        step = rest if whole else min(rest, max(self.granted, FOOTHOLD))
        if not await self._take(step, wait=not self.granted):
            await self.spool()
            if self._released or self._file is not None:
                return
            await self._budget.take(step)
        if self._released or self._file is not None:
            self._budget.give(step)
            return
        if not self.granted:
            self._began = asyncio.get_running_loop().time()
        self.granted += step
        if self._spoolable:
            self._budget.watch(self, PATIENCE if self.granted > FOOTHOLD else FOOTHOLD_PATIENCE)

    async def _take(self, step: int, *, wait: bool) -> bool:
        """Be granted `step` bytes; false when there is a file to go on in instead. Raises `Busy`."""
        if not self._spoolable:
            await self._budget.take(step)
            return True
        if not wait:
            return self._budget.take_now(step)
        try:
            await self._budget.take(step, patience=SPOOL_PATIENCE)
        except Busy:
            return False
        return True

    def _is_fast(self) -> bool:
        """Whether the client, as fast as so far, fills the part before `PATIENCE` runs out."""
        if not self.size:
            return self.fast
        seconds = asyncio.get_running_loop().time() - self._began - HICCUP
        return self.capacity * seconds <= self.size * PATIENCE

    def _free(self) -> memoryview:
        """Where the next bytes go, as far as the block reaches and memory was granted."""
        left = self.granted - self.size
        start, block = self._blocks[-1] if self._blocks else (0, memoryview(b""))
        if self.size == start + len(block):
            size = BLOCK_SIZE if left >= BLOCK_SIZE else min(left, SMALL_BLOCK_SIZE)
            start, block = self.size, self._budget.block(size)
            self._blocks.append((start, block))
        filled = self.size - start
        return block[filled : filled + left]

    def _fill(self, data: memoryview) -> int:
        free = self._free()
        data = data[: len(free)]
        if data.obj is not free.obj:  # Else it was received there.
            free[: len(data)] = data
        self._count(data)
        return len(data)

    async def _append_to_file(self, data: memoryview) -> int:
        async with self._disk:
            if self._released or self._file is None:
                return 0
            try:
                await self._file.append(data)
            except S3ProxyError:
                if self._settled():
                    raise Withdrawn from None
                raise
        self._count(data)
        return len(data)

    def _count(self, data: memoryview) -> None:
        self.checksum.update(data)
        self.size += len(data)
        if self.full:  # From now on it waits for the store, not for its client.
            self.fast = self._is_fast()
            self._budget.unwatch(self)

    def _filled(self) -> Sequence[memoryview]:
        body = PartBody(self.size, _stretches(self._blocks, self.size))
        return [memoryview(piece) for piece in iter(body.read, b"")]

    def _drop_memory(self) -> None:
        for _, block in self._blocks:
            # What may still be received into is lost, not recycled.
            if self._room is None or block.obj is not self._room.obj:
                self._budget.recycle(block)
        self._blocks, self._room = [], None
        granted, self.granted = self.granted, 0
        self._budget.give(granted)


def _released(offset: int) -> memoryview:
    raise Withdrawn


def _stretches(blocks: Sequence[tuple[int, memoryview]], size: int) -> Callable[[int], memoryview]:
    """From an offset to the bytes from there to the end of its block, or of the part."""

    def stretch(offset: int) -> memoryview:
        start, block = blocks[bisect_right(blocks, offset, key=itemgetter(0)) - 1]
        return block[offset - start : size - start]

    return stretch
