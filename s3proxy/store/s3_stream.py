"""Reading one object: bytes at hand, then bytes from a connection."""

from __future__ import annotations

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

    async def read_body(self, body: Any, size: int) -> bytes:
        """At most `size` of the next bytes on a connection."""
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

    async def read(self, size: int) -> bytes:
        """See `ObjectStream.read`."""
        self._check_open()
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            self._next += len(data)
            return data
        last = self.first + self.length - 1
        if self._next > last:
            return b""
        self._busy = True
        try:
            if self._body is None:
                self._body = await self._store.open_body(self._path, ByteRange(self._next, last), self.info.etag)
            data = await self._store.read_body(self._body, size)
        finally:
            self._busy = False
            if self._closed and self._body is not None:
                self._body.close()
        self._next += len(data)
        return data

    def close(self) -> None:
        """See `ObjectStream.close`."""
        if self._closed:
            return
        self._closed = True
        if self._body is None:
            return
        if self._busy:
            # Closing would wait for the thread that reads; this wakes it up.
            self._body._raw_stream.shutdown()
        else:
            self._body.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreBroken(reason="closed")
