"""Client connections whose large reads go straight into one buffer."""

from __future__ import annotations

from collections.abc import Awaitable

from tornado.iostream import IOStream

DIRECT_SIZE = 128 * 1024
"""Bytes asked for, and brought by the last read, from which on a body is read directly."""


class ClientStream(IOStream):
    """An `IOStream` that reads a fast body without three copies on the way.

    Tornado reads into a fresh buffer, appends that to another and cuts a third from it. While a client sends faster
    than it is read, `read_bytes` gives a view of one buffer instead, valid until the next read, which is when
    `data_received` has returned. A slow client gets no buffer of its own.
    """

    _buffer: memoryview | None = None
    _fast = False

    def read_bytes(self, num_bytes: int, partial: bool = False) -> Awaitable[bytes]:
        """See `IOStream.read_bytes`."""
        if partial and num_bytes >= DIRECT_SIZE:
            return self._read_direct(num_bytes) if self._fast else self._read_measured(num_bytes)
        self._buffer = None
        self._fast = False
        return super().read_bytes(num_bytes, partial)

    async def _read_measured(self, num_bytes: int) -> bytes:
        data = await super().read_bytes(num_bytes, partial=True)
        self._fast = len(data) >= DIRECT_SIZE
        return data

    async def _read_direct(self, num_bytes: int) -> bytes:
        if self._buffer is None:
            self._buffer = memoryview(bytearray(self.read_chunk_size))
        view = self._buffer[:num_bytes]
        size = await self.read_into(view, partial=True)  # type: ignore[arg-type]
        self._fast = size >= DIRECT_SIZE
        return view[:size]  # type: ignore[return-value]
