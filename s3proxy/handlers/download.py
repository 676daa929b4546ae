"""Sending an object: conditions, ranges, and bytes at the client's pace."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from typing import Never

from tornado.iostream import StreamClosedError

from s3proxy.errors import (
    ObjectChanged,
    PreconditionFailed,
    RangeNotSatisfiable,
    RequestTimeout,
    S3ProxyError,
    StorePreconditionFailed,
    StoreRangeNotSatisfiable,
)
from s3proxy.handlers.attributes import to_headers
from s3proxy.handlers.body import BodyHandler
from s3proxy.protocol.conditions import Conditions, Verdict
from s3proxy.protocol.keys import ObjectPath
from s3proxy.protocol.ranges import ByteRange, content_range, parse_range
from s3proxy.store.contract import ObjectInfo
from s3proxy.transfer.reader import ObjectReader

SMALLEST_STRIDE = 64 * 1024
"""Bytes handed to the network at first, and to a client that takes more than `SLOW` seconds for them."""

LARGEST_STRIDE = 64 * 1024 * 1024

QUICK, SLOW = 0.1, 1.0
"""Seconds for one stride below which the next is twice as long, and above which it is half."""

LOOKS = 4
"""How often in a client timeout a client that takes its time is looked at."""

ACKNOWLEDGED = struct.Struct("=120xQ")
"""`tcpi_bytes_acked` in Linux's `struct tcp_info`."""

TRIES = 3
"""How often a download starts anew when the object changes between the look at it and the read."""


class DownloadHandler(BodyHandler):
    """Base of handlers that send objects."""

    transfers = ("GET", "PUT", "POST")

    _reader: ObjectReader | None = None
    _ranged = False
    _stride = SMALLEST_STRIDE

    def close_transfer(self) -> None:
        """See `Handler.close_transfer`."""
        super().close_transfer()
        if self._reader is not None:
            self._reader.close()

    async def send_object(self, path: ObjectPath) -> None:
        """Answer GET or HEAD for the object (RFC 9110 sections 13 and 14). Raises before the first byte is sent."""
        conditions = Conditions.from_headers(self.request.headers)
        if self.request.method == "HEAD":
            info = await self.service.store.head(path)
            if self._proceeds(conditions, info):
                self._describe(path, info)
                self.set_header("Content-Length", str(info.size))
                await self.finish()
            return
        reader = await self._open(path, conditions)
        if reader is None:
            return
        self._reader = reader
        if self.closed:
            reader.close()
            return
        if self._leads_elsewhere(path, reader.info.size):
            reader.close()
            await self._redirect(path, reader.info)
            return
        await self.guest.expect(reader.length)
        data = await reader.read()
        self._describe(path, reader.info)
        self.set_header("Content-Length", str(reader.length))
        if self._ranged:
            self.set_status(206)
            span = ByteRange(reader.first, reader.first + reader.length - 1)
            self.set_header("Content-Range", content_range(span, reader.info.size))
        await self._send(reader, data)

    async def _open(self, path: ObjectPath, conditions: Conditions) -> ObjectReader | None:
        """Start reading what the client is to have; None when it was answered already."""
        wanted = parse_range(self.request.headers.get("Range"))
        for _ in range(TRIES):
            etag = None
            span = wanted
            if conditions.any:
                info = await self.service.store.head(path)
                if not self._proceeds(conditions, info):
                    return None
                etag = info.etag
                if not conditions.range_applies(info.etag, info.last_modified):
                    span = None
            self._ranged = span is not None
            try:
                return await self.service.downloads.open(path, byte_range=span, if_match=etag)
            except StoreRangeNotSatisfiable:
                await self._unsatisfiable(path)
            except StorePreconditionFailed:
                continue
        raise ObjectChanged

    async def _unsatisfiable(self, path: ObjectPath) -> Never:
        raise RangeNotSatisfiable((await self.service.store.head(path)).size)

    def _proceeds(self, conditions: Conditions, info: ObjectInfo) -> bool:
        """Whether the conditions let the object be sent. Answers 304, raises `PreconditionFailed`."""
        verdict = conditions.evaluate(info.etag, info.last_modified) if conditions.any else Verdict.PROCEED
        if verdict is Verdict.FAILED:
            raise PreconditionFailed
        if verdict is Verdict.NOT_MODIFIED:
            self.set_status(304)
            self.set_header("ETag", info.etag)
            if info.attributes.cache_control:
                self.set_header("Cache-Control", info.attributes.cache_control)
            self.finish()
        return verdict is Verdict.PROCEED

    def _describe(self, path: ObjectPath, info: ObjectInfo) -> None:
        for name, value in to_headers(info, path.key, self.service.inline_types).items():
            self.set_header(name, value)

    def write_fault(self, fault: S3ProxyError) -> None:
        """See `Handler.write_fault`."""
        super().write_fault(fault)
        if isinstance(fault, RangeNotSatisfiable):
            self.set_header("Content-Range", f"bytes */{fault.size}")

    def _leads_elsewhere(self, path: ObjectPath, size: int) -> bool:
        """Whether the client is to fetch the object from the store itself."""
        how = self.service.buckets.rules(path.bucket).redirect
        asked = "redirect" in self.request.query_arguments
        return (how in ("asked", "large") and asked) or (how == "large" and size >= self.service.limits.redirect_size)

    async def _redirect(self, path: ObjectPath, info: ObjectInfo) -> None:
        """Answer with a URL of the store's own, good for a short time, for this object and for reading."""
        headers = to_headers(info, path.key, self.service.inline_types)
        shown = {name: headers[name] for name in ("Content-Disposition", "Content-Type")}
        await self.guest.expect(info.size)
        url = await self.service.store.presign(path, seconds=self.service.limits.redirect_seconds, response=shown)
        self.set_header("Location", url)
        self.set_header("Cache-Control", "no-store")
        self.answer(None, status=307)

    async def _send(self, reader: ObjectReader, data: memoryview) -> None:
        """Send `data` and all that follows. From here on an error can only be shown by breaking off."""
        try:
            while data:
                await self._send_chunk(data)
                data = await reader.read()
            await self.finish()
        except StreamClosedError:
            self.outcome = self.outcome or "client_closed"
        except S3ProxyError as fault:
            self.outcome = self.outcome or fault.code
            self.break_off()
        except TimeoutError:
            self.outcome = RequestTimeout.code
            self.break_off()
        finally:
            reader.close()

    async def _send_chunk(self, data: memoryview) -> None:
        """Hand `data` to the network in strides the client takes in about a second.

        Raises what `_taken` raises.
        """
        loop = asyncio.get_running_loop()
        sent = 0
        while sent < len(data):
            stride = data[sent : sent + self._stride]
            if self.guest.paced:
                stride = stride[:SMALLEST_STRIDE]
            await self.guest.spend(len(stride))
            await self.service.turns.take(len(stride))
            started = loop.time()
            await self._taken(self._hand_over(stride), len(stride))
            took = loop.time() - started
            if took < QUICK:
                self._stride = min(self._stride * 2, LARGEST_STRIDE)
            elif took > SLOW:
                self._stride = max(self._stride // 2, SMALLEST_STRIDE)
            sent += len(stride)
            self.sent += len(stride)

    def _hand_over(self, data: memoryview) -> asyncio.Future[None]:
        """Give `data` to the network; done when it has taken it all: the backpressure."""
        if not self._headers_written or self.request.connection is None:
            self.write(bytes(data))
            return self.flush()
        # What `write` and `flush` come to, without their copy. Streams take views; the interface says bytes.
        return self.request.connection.write(data)  # type: ignore[arg-type]

    async def _taken(self, writing: asyncio.Future[None], size: int) -> None:
        """Wait until the network has taken the `size` bytes of `writing`.

        Raises `TimeoutError` when the client acknowledges nothing for the client timeout, or fewer bytes than the
        minimum rate.
        """
        if writing.done():
            return await writing
        timeout = self.service.limits.client_timeout
        loop = asyncio.get_running_loop()
        quiet = 0.0
        acknowledged = self._acknowledged()
        while True:
            started = loop.time()
            await asyncio.wait([writing], timeout=timeout / LOOKS)
            seconds = loop.time() - started
            before, acknowledged = acknowledged, self._acknowledged()
            if before is None or acknowledged is None:
                progress = size if writing.done() else 0
            else:
                progress = acknowledged - before
            if self.pace.too_slow(seconds, progress):
                raise TimeoutError
            if writing.done():
                return await writing
            if self.closed:
                raise StreamClosedError
            quiet = 0.0 if progress else quiet + seconds
            if quiet >= timeout:
                raise TimeoutError

    def _acknowledged(self) -> int | None:
        """Bytes of this connection that have arrived at the other end, where the system tells."""
        stream = getattr(self.request.connection, "stream", None)
        if stream is None or stream.closed() or sys.platform != "linux":
            return None
        try:
            info = stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, ACKNOWLEDGED.size)
            acknowledged: int = ACKNOWLEDGED.unpack(info)[0]
        except (OSError, struct.error):
            return None
        return acknowledged
