"""Client connections whose large reads go straight into recycled buffers."""

from __future__ import annotations

import socket
from collections.abc import Awaitable

from tornado.iostream import IOStream

from s3proxy.transfer.budget import map_block

HEAD_SIZE = 16 * 1024
"""Bytes that Tornado itself reads at a time: headers, what came along with them, and bodies smaller than this."""

DIRECT_SIZE = 128 * 1024
"""Bytes read at a time from a client that sends more slowly than it is read."""

FAST_SIZE = 256 * 1024
"""Bytes read at a time from one that has just sent as much as could be read."""

IDLE_BUFFERS = 32
"""How many buffers of one size are kept for the next read: a fresh one costs more than reading into it."""


class Buffers:
    """What all connections of a server read large bodies into: each for as long as a chunk is being taken care of."""

    def __init__(self) -> None:
        self._idle: dict[int, list[memoryview]] = {DIRECT_SIZE: [], FAST_SIZE: []}

    def take(self, size: int) -> memoryview:
        """A buffer of `DIRECT_SIZE` or `FAST_SIZE`, with unspecified contents."""
        idle = self._idle[size]
        return idle.pop() if idle else map_block(size)

    def recycle(self, buffer: memoryview) -> None:
        """Hand a buffer back."""
        idle = self._idle[len(buffer)]
        if len(idle) < IDLE_BUFFERS:
            idle.append(buffer)


class ClientStream(IOStream):
    """An `IOStream` that reads large bodies without Tornado's three copies, and has no buffer while it waits.

    Tornado reads into a fresh buffer, appends that to another and cuts a third from it. Here `read_bytes` gives a view
    of a recycled buffer. Nothing but a single byte waits for a client: a thousand slow ones hold no memory but for the
    chunks that just came.

    Chunks of a body are views, valid until the next read, which is when `data_received` has returned.
    """

    def __init__(self, connection: socket.socket, buffers: Buffers) -> None:
        """`buffers` are shared by all connections of a server."""
        super().__init__(connection, read_chunk_size=HEAD_SIZE)
        self._buffers = buffers
        self._buffer: memoryview | None = None
        self._chunk: memoryview | None = None
        self._fast = False

    def read_bytes(self, num_bytes: int, partial: bool = False) -> Awaitable[bytes]:
        """See `IOStream.read_bytes`."""
        self._let_go()
        # What came along with the headers, or with a chunk's size, is in Tornado's own buffer.
        if partial and num_bytes >= HEAD_SIZE and not self._read_buffer_size:
            return self._read_chunk(num_bytes)
        self._fast = False
        return super().read_bytes(num_bytes, partial)

    def read_until_regex(self, regex: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        """See `IOStream.read_until_regex`. Called for a request's headers, so the last one's body is over."""
        self._let_go()
        return super().read_until_regex(regex, max_bytes)

    async def _read_chunk(self, num_bytes: int) -> bytes:
        size = self._receive(0, num_bytes) if self._fast else 0
        if not size:
            self._let_go()
            self._fast = False
            first = bytearray(1)
            await self.read_into(first)
            size = 1 + self._receive(1, num_bytes)
            assert self._buffer is not None
            self._buffer[0] = first[0]
        assert self._buffer is not None
        self._fast = size >= DIRECT_SIZE
        self._chunk = self._buffer[:size]
        return self._chunk  # type: ignore[return-value]

    def _receive(self, start: int, end: int) -> int:
        """Read what is there into a buffer from `start`; returns how many bytes, 0 also for what a wait will tell."""
        self._buffer = self._buffers.take(FAST_SIZE if self._fast else DIRECT_SIZE)
        if self.closed():
            return 0
        try:
            return self.read_from_fd(self._buffer[start:end]) or 0
        except OSError:
            return 0

    def _let_go(self) -> None:
        if self._chunk is not None:
            self._chunk.release()
            self._chunk = None
        if self._buffer is not None:
            self._buffers.recycle(self._buffer)
            self._buffer = None
