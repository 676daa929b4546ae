"""Reading one object: bytes at hand, then bytes from a connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from s3proxy.errors import StoreBroken
from s3proxy.protocol.keys import ObjectPath
from s3proxy.protocol.ranges import ByteRange
from s3proxy.store.contract import ObjectInfo
from s3proxy.store.s3_body import S3Body


@dataclass(frozen=True, slots=True)
class Opening:
    """How a read begins: `head` is at hand, `body` has the rest, if its connection is open."""

    info: ObjectInfo
    first: int
    length: int
    head: bytes
    body: S3Body | None


class Connections(Protocol):
    """What a stream needs of its store."""

    async def open_body(self, path: ObjectPath, byte_range: ByteRange, etag: str) -> S3Body:
        """A connection that sends `byte_range` of the version `etag`."""
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
        else:
            if self._body is None:
                self._body = await self._store.open_body(self._path, ByteRange(self._next, last), self.info.etag)
                if self._closed:
                    self._body.close()
            size = await self._body.readinto(buffer)
        self._next += size
        return size

    def close(self) -> None:
        """See `ObjectStream.close`."""
        self._closed = True
        if self._body is not None:
            self._body.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreBroken(reason="closed")
