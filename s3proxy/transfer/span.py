"""A stretch of an object, read from the store in order and taken up again where the store breaks off."""

from __future__ import annotations

import asyncio

from s3proxy.errors import (
    ObjectChanged,
    ObjectNotFound,
    StoreBroken,
    StorePreconditionFailed,
    StoreThrottled,
    StoreTimeout,
)
from s3proxy.protocol.keys import ObjectPath
from s3proxy.protocol.ranges import ByteRange
from s3proxy.store.contract import ObjectStore, ObjectStream

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0
"""Seconds between resumes that bring no progress, doubling."""


class Span:
    """The bytes from `first` up to but without `end` of the version `etag`. Holds none of them.

    `stream`, when given, is open already and at `first`. `resumes` is how often in a row it is taken up again.
    """

    def __init__(
        self,
        store: ObjectStore,
        path: ObjectPath,
        etag: str,
        first: int,
        end: int,
        *,
        resumes: int,
        stream: ObjectStream | None = None,
    ) -> None:
        self._store = store
        self._path = path
        self._etag = etag
        self._next = first
        self._end = end
        self._stream = stream
        self._resumes = resumes
        self._tries = 0
        self._closed = False

    @property
    def done(self) -> bool:
        """Whether all was read."""
        return self._next >= self._end

    @property
    def left(self) -> int:
        """Bytes that are still to be read."""
        return self._end - self._next

    def shorten(self, size: int) -> int:
        """End `size` bytes from here, no less than a read under way may bring; returns where."""
        self._end = min(self._end, self._next + size)
        return self._end

    async def readinto(self, buffer: memoryview) -> int:
        """Fill the front of `buffer`; returns how many bytes, at least one.

        Resumes are spent only while they bring nothing; then the `StoreError` that remains is raised, at once after
        `close`. Raises `ObjectChanged` when the store has another version by now.
        """
        while True:
            try:
                size = await self._attempt(buffer[: self.left])
            except (StoreBroken, StoreTimeout, StoreThrottled):
                self._let_go()
                if self._closed or self._tries == self._resumes:
                    raise
                await asyncio.sleep(min(FIRST_PAUSE * 2**self._tries, LONGEST_PAUSE) if self._tries else 0)
                self._tries += 1
            except (StorePreconditionFailed, ObjectNotFound):
                raise ObjectChanged from None
            else:
                self._next += size
                self._tries = 0
                if self.done:
                    self._let_go()
                return size

    def close(self) -> None:
        """Let go of the connection for good. A read under way raises `StoreBroken`."""
        self._closed = True
        self._let_go()

    def _let_go(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    async def _attempt(self, buffer: memoryview) -> int:
        if self._closed:
            raise StoreBroken(reason="closed")
        if self._stream is None:
            self._stream = await self._open()
            if self._stream.info.etag != self._etag:
                raise StorePreconditionFailed
            if self._stream.first != self._next:
                raise StoreBroken(reason="RangeIgnored")
            if self._closed:
                raise StoreBroken(reason="closed")
        size = await self._stream.readinto(buffer)
        if not size:
            raise StoreBroken
        return size

    async def _open(self) -> ObjectStream:
        byte_range = ByteRange(self._next, self._end - 1)
        opening = asyncio.ensure_future(self._store.open(self._path, byte_range=byte_range, if_match=self._etag))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            # The store answers nevertheless, and that connection must be let go of too.
            opening.add_done_callback(_close_stream)
            raise


def _close_stream(opening: asyncio.Future[ObjectStream]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
