"""Disk for uploads too slow for memory."""

from __future__ import annotations

import os
import tempfile
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
        self.size = 0

    def reserve(self, size: int) -> None:
        """Count `size` more bytes before they are written. Raises `Busy` when the spool is full."""
        self._spool.reserve(size)
        self._reserved += size

    def write(self, data: bytes | memoryview) -> None:
        """Append. Raises `Busy` when the disk is full or broken; the size is then unchanged."""
        view = memoryview(data)
        offset = self.size
        try:
            while view:
                written = os.pwrite(self._file.fileno(), view, offset)
                offset += written
                view = view[written:]
        except OSError:
            raise Busy from None
        self.size = offset

    def read(self, size: int, offset: int) -> bytes:
        """At most `size` bytes from `offset`."""
        return os.pread(self._file.fileno(), size, offset)

    def close(self) -> None:
        """Give the disk space back. May be called twice."""
        self._file.close()
        self._spool.release(self._reserved)
        self._reserved = 0


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
