"""Client connections whose large reads go straight into one buffer."""

from __future__ import annotations

import socket
from collections.abc import Awaitable

from tornado.iostream import IOStream

DIRECT_SIZE = 128 * 1024
"""Bytes asked for, and brought by the last read, from which on a body is read directly."""


class ClientStream(IOStream):
    """An `IOStream` that reads a fast body without three copies on the way, and keeps nothing of a slow one.

    Tornado reads into a fresh buffer, appends that to another and cuts a third from it. While a client sends faster
    than it is read, `read_bytes` gives a view of one buffer instead. A slow client gets no buffer of its own.

    Chunks of a body are views, valid until the next read, which is when `data_received` has returned. Tornado keeps
    a name for the last chunk while it waits for the next, which with a thousand slow clients would be 100 MiB.
    """

    _buffer: memoryview | None = None
    _chunk: memoryview | None = None
    _fast = False

    def __init__(self, connection: socket.socket, *, read_chunk_size: int) -> None:
        """`read_chunk_size` bytes are read from a fast client at a time, `DIRECT_SIZE` from others."""
        super().__init__(connection, read_chunk_size=DIRECT_SIZE)
        self._direct_size = read_chunk_size

    def read_bytes(self, num_bytes: int, partial: bool = False) -> Awaitable[bytes]:
        """See `IOStream.read_bytes`."""
        if self._chunk is not None:
            self._chunk.release()
            self._chunk = None
        if partial and num_bytes >= DIRECT_SIZE:
            return self._read_chunk(num_bytes)
        self._buffer = None
        self._fast = False
        return super().read_bytes(num_bytes, partial)

    async def _read_chunk(self, num_bytes: int) -> bytes:
        if not self._fast:
            self._buffer = None
            self._chunk = memoryview(await super().read_bytes(num_bytes, partial=True))
        else:
            if self._buffer is None:
                self._buffer = memoryview(bytearray(self._direct_size))
            view = self._buffer[:num_bytes]
            size = await self.read_into(view, partial=True)  # type: ignore[arg-type]
            self._chunk = view[:size]
        self._fast = len(self._chunk) >= DIRECT_SIZE
        return self._chunk  # type: ignore[return-value]
