"""Disk for uploads too slow for memory."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from s3proxy.errors import Busy


class SpoolFile:
    """A nameless temporary file, written front to back: gone when closed, also by a crash.

    `reserve` and `close` belong to the event loop; `write` and `read` block and belong to an executor thread.
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

    def write(self, data: bytes | memoryview) -> None:
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
