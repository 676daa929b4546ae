"""The body of an answer to boto3, received by the event loop.

boto3 asks and reads the headers, in a thread, with its signing, retries and redirects. What follows is bytes on a
socket, and a thread for each of their reads costs more than the reads do (docs/performance.md). Below urllib3's
response is the standard library's, with a buffered reader over the socket: plain, TLS, or TLS within a proxy's TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Any

from s3proxy.errors import StoreBroken
from s3proxy.store.s3_faults import FAULTS, translate

LULL = 0.1
"""Seconds after which what has come is handed on without the rest: clients of a slow store are to see that it comes."""

NOTHING_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""What a socket says in place of waiting."""


class S3Body:
    """The `length` bytes that follow an answer's headers. Holds what came along with these, at most 8 KiB.

    The store may send nothing for `patience` seconds after `LULL`. When the last byte was read the connection goes back
    to boto3.
    """

    def __init__(self, body: Any, length: int, patience: float) -> None:
        """`body` is the `StreamingBody` of an answer that nobody has read from. Raises `StoreBroken`."""
        self._response = body._raw_stream
        if self._response.chunked:
            self._response.close()
            raise StoreBroken(reason="NoLength")
        reader = self._response._fp.fp
        self._socket = reader.raw._sock
        self._left = length
        self._patience = patience
        self._timeout = self._socket.gettimeout()
        self._socket.settimeout(0)
        self._head = b""
        with contextlib.suppress(OSError):  # The socket will say so again.
            self._head = reader.read1(len(reader.peek()))
        self._fault: Exception | None = None
        self._arrival: asyncio.Future[None] | None = None
        self._closed = False

    async def readinto(self, buffer: memoryview) -> int:
        """Fill the front of `buffer` with bytes that are still to come; returns how many, at least one.

        They are fewer before a fault, and when the store takes its time (`LULL`).

        Raises `StoreBroken` when the connection ended too early or was closed, and `StoreTimeout`. A caller that is
        cancelled has `buffer` for itself again.
        """
        if self._closed or self._fault is not None:
            raise self._why()
        view = buffer[: self._left]
        size = self._receive(view)
        if size < len(view) and self._fault is None:
            size = await self._wait(view, size)
        if self._closed or (not size and self._fault is not None):
            raise self._why()
        self._left -= size
        if not self._left:
            self._release()
        return size

    def close(self) -> None:
        """Close the connection, unless it went back. A read under way raises `StoreBroken`. May be called twice."""
        if self._closed:
            return
        self._closed = True
        self._stop_waiting()
        self._response.close()

    def _receive(self, view: memoryview) -> int:
        """Take what is there; returns how many bytes fit. The end and all other faults are kept for `_why`."""
        size = min(len(self._head), len(view))
        view[:size] = self._head[:size]
        self._head = self._head[size:]
        try:
            while size < len(view):
                received = self._socket.recv_into(view[size:])
                if not received:
                    raise ConnectionError
                size += received
        except NOTHING_YET:
            pass
        except FAULTS as fault:
            self._fault = fault
        return size

    async def _wait(self, view: memoryview, size: int) -> int:
        """Wait until `view`, which has `size` bytes, is full or enough, or for a fault; returns how many it has."""
        loop = asyncio.get_running_loop()
        hurried = False
        arrival = self._arrival = loop.create_future()

        def receive() -> None:
            nonlocal size
            if arrival.done():
                return
            size += self._receive(view[size:])
            if size == len(view) or self._fault is not None or hurried:
                arrival.set_result(None)

        loop.add_reader(self._socket.fileno(), receive)
        try:
            await asyncio.wait([arrival], timeout=LULL)
            hurried = True
            if not size:
                async with asyncio.timeout(self._patience):
                    await arrival
        except TimeoutError as fault:
            self._fault = fault
        finally:
            self._stop_waiting()
        return size

    def _stop_waiting(self) -> None:
        arrival, self._arrival = self._arrival, None
        if arrival is not None:
            arrival.get_loop().remove_reader(self._socket.fileno())
            if not arrival.done():
                arrival.set_result(None)

    def _why(self) -> Exception:
        return StoreBroken(reason="closed") if self._closed or self._fault is None else translate(self._fault)

    def _release(self) -> None:
        """Give the connection back: urllib3 would at the end of a read of its own."""
        self._closed = True
        self._socket.settimeout(self._timeout)
        self._response._fp.close()
        self._response.release_conn()
