"""Client connections whose large reads go straight into recycled buffers."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

from tornado.iostream import IOStream

from s3proxy.transfer.budget import map_block

Room = Callable[[], memoryview | None]
"""Asked when bytes of a body are there: where to receive them, if not into a buffer of the connection's own."""

HEAD_SIZE = 16 * 1024
"""Bytes that Tornado itself reads at a time: headers, what came along with them, and bodies smaller than this."""

DIRECT_SIZE = 128 * 1024
"""Bytes read at a time from a client that sends more slowly than it is read."""

FAST_SIZE = 1024 * 1024
"""Bytes read at a time from one that has just sent as much as could be read: a chunk costs the same, large or small."""

LEAST_ROOM = 64 * 1024
"""Bytes of room from which on a chunk is received there: a copy costs less than one more chunk."""

FAST_BUFFERS_SIZE = 16 * 1024 * 1024
"""Bytes in use by all connections up to which a fast one has a large buffer: they are beside the memory budget."""

BUFFERS_SIZE = 32 * 1024 * 1024
"""Bytes in use from which on every connection has `HEAD_SIZE` only: a disk that stalls keeps a chunk of each client."""

IDLE_BUFFERS = {HEAD_SIZE: 64, DIRECT_SIZE: 64, FAST_SIZE: 4}
"""How many buffers of each size are kept for the next read: a fresh one costs more than reading into it."""


class Buffers:
    """What all connections of a server read large bodies into: each for as long as a chunk is being taken care of."""

    def __init__(self) -> None:
        self.used = 0
        self._idle: dict[int, list[memoryview]] = {size: [] for size in IDLE_BUFFERS}

    def take(self, *, fast: bool) -> memoryview:
        """A buffer with unspecified contents, larger for a `fast` client, smaller when many are in use."""
        if fast and self.used + FAST_SIZE <= FAST_BUFFERS_SIZE:
            size = FAST_SIZE
        else:
            size = DIRECT_SIZE if self.used + DIRECT_SIZE <= BUFFERS_SIZE else HEAD_SIZE
        self.used += size
        idle = self._idle[size]
        return idle.pop() if idle else map_block(size)

    def recycle(self, buffer: memoryview) -> None:
        """Hand a buffer back."""
        self.lose(buffer)
        size = len(buffer)
        if len(self._idle[size]) < IDLE_BUFFERS[size]:
            self._idle[size].append(buffer)

    def lose(self, buffer: memoryview) -> None:
        """Count a buffer as gone, which may still be in use."""
        self.used -= len(buffer)


class ClientStream(IOStream):
    """An `IOStream` that reads large bodies without Tornado's three copies, and has no buffer while it waits.

    Tornado reads into a fresh buffer, appends that to another and cuts a third from it. Here it is asked to wait for a
    single byte, and when that can be read all that is there is received into a recycled buffer, of which `read_bytes`
    gives a view. So a thousand slow clients hold no memory but for the chunks that just came.

    Chunks of a body are views, valid until the next read, which is when `data_received` has returned.
    """

    def __init__(self, connection: socket.socket, buffers: Buffers) -> None:
        """`buffers` are shared by all connections of a server."""
        super().__init__(connection, read_chunk_size=HEAD_SIZE)
        self._buffers = buffers
        self._buffer: memoryview | None = None
        self._chunk: memoryview | None = None
        self._first = bytearray(1)
        self.room: Room | None = None
        self._wanted = 0
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
        self.room = None
        self._let_go()
        return super().read_until_regex(regex, max_bytes)

    def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
        """Called by Tornado when there may be something to read, with room for the one byte it was asked for."""
        if not self._wanted:
            return super().read_from_fd(buf)
        room = self.room() if self.room is not None else None
        if room is not None and len(room) >= min(self._wanted, LEAST_ROOM):
            received = super().read_from_fd(room[: self._wanted])
        else:
            room, received = self._receive()
        self._fast = received is not None and received >= DIRECT_SIZE
        if not received:
            return received
        buf[0] = room[0]
        self._chunk = room[:received]
        self._wanted = 0
        return 1

    def close_fd(self) -> None:
        """Called by Tornado once. Whoever is still busy with the last chunk keeps its buffer."""
        super().close_fd()
        if self._buffer is not None:
            self._buffers.lose(self._buffer)
            self._buffer = None

    async def _read_chunk(self, num_bytes: int) -> bytes:
        if self._read_buffer_size:
            # Tornado has other work to await first (it hands on what it gathered), and meanwhile an idle stream reads.
            return await super().read_bytes(num_bytes, partial=True)
        self._wanted = num_bytes
        try:
            await self.read_into(self._first)
        finally:
            self._wanted = 0
        assert self._chunk is not None
        return self._chunk  # type: ignore[return-value]

    def _receive(self) -> tuple[memoryview, int | None]:
        """Receive into a buffer; returns it, and what `read_from_fd` does."""
        buffer, received = self._buffers.take(fast=self._fast), None
        try:
            received = super().read_from_fd(buffer[: self._wanted])
        finally:
            if received:
                self._buffer = buffer
            else:  # Nothing yet, or the end, or a fault: Tornado's to deal with.
                self._buffers.recycle(buffer)
        return buffer, received

    def _let_go(self) -> None:
        if self._chunk is not None:
            self._chunk.release()
            self._chunk = None
        if self._buffer is not None:
            self._buffers.recycle(self._buffer)
            self._buffer = None
