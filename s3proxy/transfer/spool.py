"""Disk for uploads too slow for memory."""

from __future__ import annotations

import asyncio
import contextvars
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from s3proxy.errors import Busy

GATHER_SECONDS = 0.01
"""How long writes are gathered, so that a thousand slow clients do not cost a trip to a thread for each chunk."""

Piece = bytes | memoryview


class SpoolFile:
    """A nameless temporary file, written front to back: gone when closed, also by a crash.

    `append`, `reserve` and `close` belong to the event loop; `write` and `read` block and belong to a thread.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._file = tempfile.TemporaryFile(dir=spool.directory, buffering=0)  # noqa: SIM115 - closed by close()
        self._reserved = 0
        self._lock = threading.Lock()
        self._users = 0
        self._closed = False
        self.size = 0

    def reserve(self, size: int) -> None:
        """Count `size` more bytes before they are written. Raises `Busy` when the spool is full."""
        self._spool.reserve(size)
        self._reserved += size

    async def append(self, *pieces: Piece) -> None:
        """Write `pieces` at the end, in a thread. One call at a time. Raises what `reserve` and `write` raise."""
        self.reserve(sum(map(len, pieces)))
        await self._spool.write(self, pieces)

    def write(self, data: Piece) -> None:
        """Append. Raises `Busy` when the disk is full or broken, or the file closed; the size is then unchanged."""
        view = memoryview(data)
        offset = self.size
        with self._descriptor() as descriptor:
            while view:
                written = os.pwrite(descriptor, view, offset)
                offset += written
                view = view[written:]
        self.size = offset

    def read(self, size: int, offset: int) -> bytes:
        """At most `size` bytes from `offset`. Raises `Busy` when the disk is broken or the file closed."""
        with self._descriptor() as descriptor:
            return os.pread(descriptor, size, offset)

    def close(self) -> None:
        """Give the disk space back, once no thread uses the file. Never blocks for it; may be called twice."""
        with self._lock:
            self._closed = True
            self._close_unused()
        self._spool.release(self._reserved)
        self._reserved = 0

    @contextmanager
    def _descriptor(self) -> Iterator[int]:
        """The file's descriptor, which means this file until the block ends: a closed one soon means another."""
        with self._lock:
            if self._closed:
                raise Busy
            self._users += 1
        try:
            yield self._file.fileno()
        except OSError:
            raise Busy from None
        finally:
            with self._lock:
                self._users -= 1
                self._close_unused()

    def _close_unused(self) -> None:
        if self._closed and not self._users:
            self._file.close()


class Spool:
    """A directory and how many bytes one process may keep in it."""

    def __init__(self, directory: Path, limit: int) -> None:
        self.directory = directory
        self.limit = limit
        self.used = 0
        self._queue: list[tuple[SpoolFile, Sequence[Piece], asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    def create(self) -> SpoolFile:
        """A new empty file. Raises `Busy` when the directory takes none."""
        try:
            return SpoolFile(self)
        except OSError:
            raise Busy from None

    def reserve(self, size: int) -> None:
        """Count `size` bytes. Raises `Busy` over the limit."""
        if self.used + size > self.limit:
            raise Busy
        self.used += size

    def release(self, size: int) -> None:
        """Count `size` bytes less."""
        self.used -= size

    async def write(self, file: SpoolFile, pieces: Sequence[Piece]) -> None:
        """Append `pieces` to `file` in a thread. Raises what `SpoolFile.write` raises.

        A trip to a thread and back costs more than writing 64 KiB, so one takes along all that came during the last.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((file, pieces, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_queue(), context=contextvars.Context())
        await done

    async def _write_queue(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue:
            await asyncio.sleep(GATHER_SECONDS)
            batch, self._queue = self._queue, []
            work = [(file, pieces) for file, pieces, _ in batch]
            faults: list[Exception | None]
            try:
                faults = await loop.run_in_executor(None, _write_all, work)
            except Exception as broken:  # No thread is to be had; whoever waits must hear of it.
                faults = [broken] * len(batch)
            for (_, _, done), fault in zip(batch, faults, strict=True):
                if done.done():
                    continue
                if fault is None:
                    done.set_result(None)
                else:
                    done.set_exception(fault)
        self._writing = None


def _write_all(batch: Sequence[tuple[SpoolFile, Sequence[Piece]]]) -> list[Exception | None]:
    """Write everything, each file as far as it goes; what went wrong with which: one holds up no others."""
    faults: list[Exception | None] = []
    for file, pieces in batch:
        try:
            for piece in pieces:
                file.write(piece)
        except Exception as fault:
            faults.append(fault)
        else:
            faults.append(None)
    return faults
