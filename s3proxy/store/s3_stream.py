"""Reading one object: bytes at hand, then bytes from a connection."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, Protocol

from s3proxy.errors import StoreBroken
from s3proxy.protocol.keys import ObjectPath
from s3proxy.protocol.ranges import ByteRange
from s3proxy.store.contract import ObjectInfo


@dataclass(frozen=True, slots=True)
class Opening:
    """How a read begins: `head` is at hand, `body` is the connection of boto3's that has the rest, if it is open."""

    info: ObjectInfo
    first: int
    length: int
    head: bytes
    body: Any


class Connections(Protocol):
    """What a stream needs of its store."""

    async def open_body(self, path: ObjectPath, byte_range: ByteRange, etag: str) -> Any:
        """A connection that sends `byte_range` of the version `etag`."""
        ...

    async def fill(self, body: Any, buffer: memoryview) -> int:
        """Fill `buffer` from a connection; returns how many bytes, fewer only at the end."""
        ...


class S3Stream:
    """One object or range being read: its beginning may be at hand, the rest comes over one connection of boto3's.

    Keeps `ObjectStream`.
    """

    def __init__(self, store: Connections, path: ObjectPath, opening: Opening) -> None:
        self.info = opening.info
        self.first = opening.first
        self.length = opening.length
        self._store = store
        self._path = path
        self._head = opening.head
        self._body = opening.body
        self._next = self.first
        self._busy = False
        self._closed = False

    async def readinto(self, buffer: memoryview) -> int:
        """See `ObjectStream.readinto`."""
        self._check_open()
        last = self.first + self.length - 1
        if self._next > last:
            return 0
        if self._head:
            size = min(len(self._head), len(buffer))
            buffer[:size] = self._head[:size]
            self._head = self._head[size:]
            self._next += size
            return size
        self._busy = True
        try:
            if self._body is None:
                self._body = await self._store.open_body(self._path, ByteRange(self._next, last), self.info.etag)
            size = await self._store.fill(self._body, buffer)
        finally:
            self._busy = False
            if self._closed and self._body is not None:
                self._body.close()
        if not size and len(buffer):
            raise StoreBroken(reason="ConnectionBroken")
        self._next += size
        return size

    def close(self) -> None:
        """See `ObjectStream.close`."""
        if self._closed:
            return
        self._closed = True
        if self._body is None:
            return
        if self._busy:
            # Closing would wait for the thread that reads; this wakes it up, unless it has just read the last byte.
            with contextlib.suppress(RuntimeError):
                self._body._raw_stream.shutdown()
        else:
            self._body.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreBroken(reason="closed")


def fill(body: Any, buffer: memoryview) -> int:
    """Read from a boto3 body into `buffer`, blocking; returns how many bytes, fewer than fit only at the end.

    boto3 and urllib3 only give fresh `bytes`, and a fresh MiB costs more in page faults than in reading. The response
    of the standard library underneath them reads into memory that is there already.
    """
    response = body._raw_stream
    size: int = response._fp.readinto(buffer)
    if response._fp.isclosed():
        response.release_conn()  # urllib3 would, at the end of its own read.
    return size
