"""One download: bytes in order, from one connection to the store or from several ranges side by side.

A download begins on the connection its first answer came on, and reads from it when the client has taken what was read
before: what arrives meanwhile waits in the system's buffer. While the client is faster than that connection, the window
of ranges fetched ahead grows; while the store is faster, it halves, down to the one connection.
"""

from __future__ import annotations

import asyncio
from collections import deque

from s3proxy.errors import StoreBroken, StoreError
from s3proxy.protocol.keys import ObjectPath
from s3proxy.protocol.ranges import ByteRange, RangeRequest
from s3proxy.store.contract import ObjectInfo, ObjectStore, ObjectStream
from s3proxy.transfer.budget import MemoryBudget
from s3proxy.transfer.span import Span

PRESSED_CHUNK_SIZE = 64 * 1024
"""Bytes read at a time when memory is scarce."""

GROWTH = 4
"""How many times wider the window becomes while the store is the slower side."""

FASTER = 3
"""How many times longer one side must keep the other waiting before the window changes."""

PLENTY = 512 * 1024 * 1024
"""Bytes a second of waiting from which on it is not the connections that more is wanted of."""


class Downloads:
    """What all downloads of a process share. Sizes in bytes."""

    def __init__(
        self,
        store: ObjectStore,
        budget: MemoryBudget,
        *,
        chunk_size: int,
        range_size: int,
        window: int,
        resumes: int,
    ) -> None:
        self.store = store
        self.budget = budget
        self.range_size = range_size
        self.window = window
        self.resumes = resumes
        self._chunk_size = chunk_size

    @property
    def chunk_size(self) -> int:
        """Bytes to read at a time, as memory stands."""
        return min(self._chunk_size, PRESSED_CHUNK_SIZE) if self.budget.pressed else self._chunk_size

    async def open(
        self, path: ObjectPath, *, byte_range: ByteRange | RangeRequest | None = None, if_match: str | None = None
    ) -> ObjectReader:
        """Start a download. Raises what `ObjectStore.open` raises."""
        stream = await self.store.open(path, byte_range=byte_range, if_match=if_match)
        return ObjectReader(self, path, stream)


class ObjectReader:
    """The bytes of one object or of one range of it. Made by `Downloads.open`; `close` on every way out.

    Holds one chunk, or at most `Downloads.window` ranges, all within the memory budget.
    """

    def __init__(self, downloads: Downloads, path: ObjectPath, stream: ObjectStream) -> None:
        self.info: ObjectInfo = stream.info
        self.first = stream.first
        self.length = stream.length
        self._downloads = downloads
        self._path = path
        self._stream: ObjectStream | None = stream
        self._next = self._ahead = self.first
        self._end = self.first + self.length
        self._fetches: deque[_Fetch] = deque()
        self._closed = False
        self._pace = _Pace(downloads.window)

    async def read(self) -> memoryview:
        """The next bytes, valid until the next call or `close`; empty at the end.

        Raises `ObjectChanged` when the store has another version by now, and the `StoreError` that remains when
        `Downloads.resumes` fresh starts in a row brought nothing, also when the reader was closed. Raises `Busy` when
        there is no memory.
        """
        self._check_open()
        if self._fetches and self._fetches[0].drained:
            self._fetches.popleft().close()
        if self._next == self._end:
            return memoryview(b"")
        if not self._fetches:
            await self._begin()
        self._pace.client_done()
        data = await self._fetches[0].take()
        self._pace.store_done()
        self._next += len(data)
        if self._pace.passed(len(data), self._downloads.range_size, all(fetch.fetched for fetch in self._fetches)):
            self._look_ahead()
        return data

    def close(self) -> None:
        """Let go of connections and memory at once. May be called twice."""
        self._closed = True
        if self._stream is not None:
            self._stream.close()
        while self._fetches:
            self._fetches.pop().close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreBroken(reason="closed")

    async def _begin(self) -> None:
        """Read all that is left over one connection, a chunk at a time."""
        span = self._span(self._next, self._end, self._stream)
        chunk_size = self._downloads.chunk_size
        granted = min(chunk_size, self._end - self._next)
        await self._downloads.budget.take(granted, download=True)
        if self._closed:
            self._downloads.budget.give(granted)
        self._check_open()
        self._stream = None
        self._ahead = self._end
        self._fetches.append(_Fetch(span, self._downloads.budget, granted, chunk_size, ahead=False))

    def _span(self, first: int, end: int, stream: ObjectStream | None = None) -> Span:
        downloads = self._downloads
        return Span(downloads.store, self._path, self.info.etag, first, end, resumes=downloads.resumes, stream=stream)

    def _look_ahead(self) -> None:
        """Fetch ranges beside the first one, as far as window and free memory go."""
        size, budget = self._downloads.range_size, self._downloads.budget
        if len(self._fetches) == 1 and self._ahead == self._end and self._pace.window > 1:
            # The one connection is to stop early, and ranges take over from there.
            self._ahead = self._fetches[0].shorten(size)
        while len(self._fetches) < self._pace.window and self._ahead < self._end:
            last = min(self._ahead + size, self._end)
            if not budget.take_now(last - self._ahead):
                break
            span = self._span(self._ahead, last)
            self._fetches.append(_Fetch(span, budget, last - self._ahead, self._downloads.chunk_size, ahead=True))
            self._ahead = last


class _Pace:
    """Who waits for whom, and how wide the window should be for it."""

    def __init__(self, widest: int) -> None:
        self.window = 1
        self._widest = widest
        self._now = asyncio.get_running_loop().time
        self._mark = self._now()
        self._client = self._store = 0.0
        self._bytes = 0

    def client_done(self) -> None:
        """The client has taken the last chunk."""
        now = self._now()
        self._client += now - self._mark
        self._mark = now

    def store_done(self) -> None:
        """The store has brought the next chunk."""
        now = self._now()
        self._store += now - self._mark
        self._mark = now

    def passed(self, size: int, range_size: int, ahead: bool) -> bool:
        """Count `size` bytes; true once a range's worth has passed and the window was set anew.

        It narrows only when the store is `ahead`, with all that was asked of it: one range that was there in time is no
        sign that fewer would have been.
        """
        self._bytes += size
        if self._bytes < range_size:
            return False
        if self._store > FASTER * self._client and self._bytes < PLENTY * self._store:
            self.window = min(self.window * GROWTH, self._widest)
        elif ahead and self._client > FASTER * self._store:
            self.window = max(self.window // 2, 1)
        self._client = self._store = 0.0
        self._bytes = 0
        return True


class _Fetch:
    """A span on its way into memory granted for it: `ahead` of the client, as far as that goes, or when it asks."""

    def __init__(self, span: Span, budget: MemoryBudget, granted: int, chunk_size: int, *, ahead: bool) -> None:
        self._span = span
        self._budget = budget
        self._granted = granted
        self._chunk_size = chunk_size
        self._chunks: deque[tuple[memoryview, int]] = deque()
        self._taken: memoryview | None = None
        self._held = 0
        self._fault: StoreError | None = None
        self._changed = asyncio.Event()
        self._is_ahead = ahead
        self._task = asyncio.create_task(self._run()) if ahead else None

    @property
    def drained(self) -> bool:
        """Whether all of the span was taken."""
        return not self._chunks and self._span.done

    @property
    def fetched(self) -> bool:
        """Whether all of the span has arrived."""
        return self._span.done

    def shorten(self, size: int) -> int:
        """End the span `size` bytes and one chunk from here; returns where."""
        return self._span.shorten(size + self._chunk_size)

    async def take(self) -> memoryview:
        """The next chunk, valid until the one after it is asked for."""
        self._recycle()
        if self._task is None:
            await self._fetch_chunk()
        while not self._chunks:
            if self._fault is not None:
                raise self._fault
            await self._change()
        self._taken, size = self._chunks.popleft()
        return self._taken[:size]

    def close(self) -> None:
        """Stop fetching and give the memory back; who waits in `take` gets `StoreBroken`."""
        self._fault = StoreBroken(reason="closed")
        self._changed.set()
        if self._task is not None:
            self._task.cancel()
        self._span.close()
        self._recycle()
        self._budget.give(self._granted)
        self._granted = 0

    async def _run(self) -> None:
        try:
            while not self._span.done:
                await self._fetch_chunk()
                self._changed.set()
        except StoreError as fault:
            self._fault = fault
            self._changed.set()

    async def _fetch_chunk(self) -> None:
        size = min(self._chunk_size, self._span.left)
        while self._held + size > self._granted:
            await self._change()
        # Lost when this is cancelled, not recycled: a store may still be writing into it.
        buffer, filled = self._budget.block(size), 0
        try:
            # Ahead nobody waits, and a block counts as a whole, so it is to be full.
            while not filled or (self._is_ahead and filled < size):
                filled += await self._span.readinto(buffer[filled:])
        finally:
            if filled:
                self._chunks.append((buffer, filled))
                self._held += size

    def _recycle(self) -> None:
        if self._taken is not None:
            self._held -= len(self._taken)
            self._budget.recycle(self._taken)
            self._taken = None
            self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
