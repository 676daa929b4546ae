"""HTTP as bytes on a socket: for malformed requests, exact timing, and clients that leave."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tornado.httputil import HTTPHeaders

DEADLINE = 10.0
"""Seconds after which a test that waits has failed."""

BODILESS = (204, 304)


@dataclass(frozen=True, slots=True)
class Answer:
    """One response as it came."""

    status: int
    headers: HTTPHeaders
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which must be JSON."""
        assert self.headers["Content-Type"] == "application/json"
        return json.loads(self.body)

    @property
    def detail(self) -> str:
        """What an error says."""
        return str(self.json["detail"])


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = DEADLINE) -> None:
    """Return as soon as `condition` holds; fail when it does not come true in time."""
    async with asyncio.timeout(seconds):
        while True:
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return
            await asyncio.sleep(0.005)


class Wire:
    """One connection of a client that sends what it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, *pieces: bytes) -> None:
        """Send, waiting as long as the server does not read."""
        async with asyncio.timeout(DEADLINE):
            for piece in pieces:
                self._writer.write(piece)
                await self._writer.drain()

    async def request(self, method: str, target: str, *headers: str, body: bytes = b"", version: str = "1.1") -> None:
        """Send a request line, `Host`, the headers given, and the body as it is."""
        lines = [f"{method} {target} HTTP/{version}", "Host: test", *headers]
        await self.send("".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n" + body)

    async def answer(self, method: str = "GET") -> Answer:
        """The next response; fails when the connection ends before it does."""
        async with asyncio.timeout(DEADLINE):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            start, _, lines = head.partition("\r\n")
            status, headers = int(start.split()[1]), HTTPHeaders.parse(lines)
            if method == "HEAD" or status in BODILESS or status < 200:
                body = b""
            elif "Content-Length" in headers:
                body = await self._reader.readexactly(int(headers["Content-Length"]))
            else:
                body = await self._reader.read()
            return Answer(status, headers, body)

    async def rest(self) -> bytes:
        """All that comes until the server closes; a reset ends it too."""
        received = b""
        async with asyncio.timeout(DEADLINE):
            try:
                while data := await self._reader.read(65536):
                    received += data
            except ConnectionError:
                pass
        return received

    async def read(self, size: int) -> bytes:
        """Exactly `size` bytes."""
        async with asyncio.timeout(DEADLINE):
            return await self._reader.readexactly(size)

    async def read_until(self, end: bytes) -> bytes:
        """All up to and with `end`."""
        async with asyncio.timeout(DEADLINE):
            return await self._reader.readuntil(end)

    def stop_reading(self) -> None:
        """Leave what comes in the kernel's buffers."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def end(self) -> None:
        """Say that nothing more will be sent (FIN), and go on reading."""
        self._writer.write_eof()

    def close(self) -> None:
        """Leave in good order (FIN)."""
        self._writer.close()

    def reset(self) -> None:
        """Leave with a reset (RST), as a killed process with unread data does."""
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


@asynccontextmanager
async def connect(port: int, *, receive_buffer: int | None = None) -> AsyncIterator[Wire]:
    """A connection to the server on this port; `receive_buffer` bounds what the kernel takes for the client."""
    connection = socket.socket()
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    limit = receive_buffer or 1 << 20
    reader, writer = await asyncio.open_connection(sock=connection, limit=limit)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


async def exchange(
    port: int, method: str, target: str, *headers: str, body: bytes = b"", version: str = "1.1"
) -> Answer:
    """One request on a connection of its own. With a body and no framing header, its length is declared."""
    framed = any(line.lower().startswith(("content-length:", "transfer-encoding:")) for line in headers)
    length = [] if framed or not body else [f"Content-Length: {len(body)}"]
    async with connect(port) as wire:
        await wire.request(method, target, *headers, *length, body=body, version=version)
        return await wire.answer(method)


def chunked(data: bytes, size: int) -> bytes:
    """`data` in the chunked coding (RFC 9112 section 7.1)."""
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


BOUNDARY = "----test-boundary"

FORM_TYPE = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"


@dataclass(frozen=True, slots=True)
class File:
    """A file of a form."""

    data: bytes
    file_name: str = "report.txt"
    name: str = "file_request"
    content_type: str | None = "text/plain"


def form(*parts: File | tuple[str, str]) -> bytes:
    """A form of these files and fields, in this order."""
    return b"".join(_form_parts(parts)) + f"--{BOUNDARY}--\r\n".encode()


def _form_parts(parts: tuple[File | tuple[str, str], ...]) -> Iterator[bytes]:
    for part in parts:
        yield f"--{BOUNDARY}\r\n".encode()
        if isinstance(part, File):
            yield f'Content-Disposition: form-data; name="{part.name}"; filename="{part.file_name}"\r\n'.encode()
            if part.content_type is not None:
                yield f"Content-Type: {part.content_type}\r\n".encode()
            yield b"\r\n" + part.data + b"\r\n"
        else:
            yield f'Content-Disposition: form-data; name="{part[0]}"\r\n\r\n{part[1]}\r\n'.encode()
